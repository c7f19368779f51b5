-- A store as mseg-curate 0.1.0 with schema 1 made it: the dataset farm, a task of redundancy 2, six decisions, resolved.
PRAGMA application_id = 1297303363;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE annotator (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	kind VARCHAR(9) NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_annotator PRIMARY KEY (id), 
	CONSTRAINT ck_annotator_kind CHECK (kind IN ('person', 'legacy', 'simulated')), 
	CONSTRAINT uq_annotator_name UNIQUE (name)
);
INSERT INTO "annotator" VALUES(1,'first','person','2026-01-01T00:00:00+00:00');
INSERT INTO "annotator" VALUES(2,'second','person','2026-01-01T00:00:00+00:00');
CREATE TABLE confusion (
	run_id INTEGER NOT NULL, 
	dataset TEXT NOT NULL, 
	truth TEXT NOT NULL, 
	predicted TEXT NOT NULL, 
	pixels BIGINT NOT NULL, 
	CONSTRAINT pk_confusion PRIMARY KEY (run_id, dataset, truth, predicted), 
	CONSTRAINT fk_confusion_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 WITHOUT ROWID

;
CREATE TABLE dataset (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	role VARCHAR(8) NOT NULL, 
	root TEXT, 
	layout TEXT, 
	fingerprint VARCHAR(64), 
	added_at VARCHAR(32), 
	CONSTRAINT pk_dataset PRIMARY KEY (id), 
	CONSTRAINT ck_dataset_role CHECK (role IN ('train', 'test')), 
	CONSTRAINT uq_dataset_name UNIQUE (name)
);
INSERT INTO "dataset" VALUES(1,'farm','train','farm','{"classes": "classes.tsv", "colours": [], "ignore_ids": [255], "images": "images", "labels": "labels", "segments": "segments"}','cdc3602fdc111bb62ed971f76761885acbe78e62d192076b43529d5f584f2855','2026-01-01T00:00:00+00:00');
CREATE TABLE dataset_class (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	class_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	CONSTRAINT pk_dataset_class PRIMARY KEY (id), 
	CONSTRAINT fk_dataset_class_dataset_id FOREIGN KEY(dataset_id) REFERENCES dataset (id), 
	CONSTRAINT uq_dataset_class_dataset_id_class_id UNIQUE (dataset_id, class_id), 
	CONSTRAINT uq_dataset_class_dataset_id_name UNIQUE (dataset_id, name)
);
INSERT INTO "dataset_class" VALUES(1,1,0,'ground');
INSERT INTO "dataset_class" VALUES(2,1,1,'animal');
INSERT INTO "dataset_class" VALUES(3,1,2,'sky');
CREATE TABLE decision (
	id INTEGER NOT NULL, 
	uuid BLOB NOT NULL, 
	mask_id INTEGER NOT NULL, 
	task_id INTEGER, 
	mapping_revision_id INTEGER, 
	shown_class_id INTEGER, 
	outcome VARCHAR(13) NOT NULL, 
	label_class_id INTEGER, 
	annotator_id INTEGER NOT NULL, 
	mode VARCHAR(12) NOT NULL, 
	milliseconds INTEGER, 
	decided_at VARCHAR(32), 
	supersedes_id INTEGER, 
	row_hash BLOB NOT NULL, 
	CONSTRAINT pk_decision PRIMARY KEY (id), 
	CONSTRAINT ck_decision_class_named CHECK ((outcome = 'class') = (label_class_id IS NOT NULL)), 
	CONSTRAINT ck_decision_mode CHECK (mode IN ('single', 'grid', 'import', 'adjudication')), 
	CONSTRAINT ck_decision_outcome CHECK (outcome IN ('class', 'none_of_these', 'unsure', 'bad_mask')), 
	CONSTRAINT fk_decision_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotator (id), 
	CONSTRAINT fk_decision_label_class_id FOREIGN KEY(label_class_id) REFERENCES label_class (id), 
	CONSTRAINT fk_decision_mapping_revision_id FOREIGN KEY(mapping_revision_id) REFERENCES mapping_revision (id), 
	CONSTRAINT fk_decision_mask_id FOREIGN KEY(mask_id) REFERENCES mask (id), 
	CONSTRAINT fk_decision_shown_class_id FOREIGN KEY(shown_class_id) REFERENCES label_class (id), 
	CONSTRAINT fk_decision_supersedes_id FOREIGN KEY(supersedes_id) REFERENCES decision (id), 
	CONSTRAINT fk_decision_task_id FOREIGN KEY(task_id) REFERENCES task (id), 
	CONSTRAINT uq_decision_uuid UNIQUE (uuid)
);
INSERT INTO "decision" VALUES(1,X'D3CE923F27A5A1B3834EC776D40B814E',1,1,1,2,'class',3,1,'import',NULL,'2026-01-01T10:00:00+00:00',NULL,X'A2BA67A878951F99961FEB41FD7443059A14A731EB2ED146A4D24FDD2BF14206');
INSERT INTO "decision" VALUES(2,X'4859AD2ECB3830D3CC0327A9E524230A',1,1,1,2,'class',3,2,'import',NULL,NULL,NULL,X'6E63B2E871E76A19F6E57B2DB04723DBB1BAA7C4F7B5AE7561D61F8A69B368D6');
INSERT INTO "decision" VALUES(3,X'5209B68CDBEE370641BFF492B9A64935',2,1,1,2,'class',2,1,'import',NULL,NULL,NULL,X'B37C7BF95B5658F148BD997DA596826061E1FCBCA3EDF37B45E22C053A86ACEF');
INSERT INTO "decision" VALUES(4,X'1214438E728C533A58CA9248B46CECF3',2,1,1,2,'none_of_these',NULL,2,'import',NULL,NULL,NULL,X'05DC6FE1BF17FB09FD2510737A0A5A0846993A9C1905AF99F8C7D5F065E1786D');
INSERT INTO "decision" VALUES(5,X'105E9AE7F7A281D4C9CBDF21DC51FF28',3,1,1,2,'unsure',NULL,1,'import',NULL,NULL,NULL,X'76B4D49B1C642382C3EB00DD35F2F98275E76701E878D80E13E7B1B8386741BA');
INSERT INTO "decision" VALUES(6,X'FBAA4DCE2CE5BAFE2104426AE34C0A90',3,1,1,2,'bad_mask',NULL,1,'import',NULL,NULL,5,X'1DCCD4EFC6523FEE28CC3A34AD9067629A1803CAAE78307F96EF7583D117E610');
CREATE TABLE export (
	id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	arm VARCHAR(12) NOT NULL, 
	as_of_decision INTEGER NOT NULL, 
	mapping_revision INTEGER NOT NULL, 
	policy TEXT NOT NULL, 
	unresolved VARCHAR(8) NOT NULL, 
	shared_sha256 VARCHAR(64) NOT NULL, 
	labels_sha256 VARCHAR(64) NOT NULL, 
	manifest_sha256 VARCHAR(64) NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_export PRIMARY KEY (id), 
	CONSTRAINT uq_export_manifest_sha256 UNIQUE (manifest_sha256)
);
CREATE TABLE image (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	split TEXT NOT NULL, 
	sequence TEXT NOT NULL, 
	name TEXT NOT NULL, 
	image_file TEXT, 
	label_file TEXT, 
	segment_file TEXT, 
	height INTEGER, 
	width INTEGER, 
	image_sha256 VARCHAR(64), 
	label_sha256 VARCHAR(64), 
	CONSTRAINT pk_image PRIMARY KEY (id), 
	CONSTRAINT fk_image_dataset_id FOREIGN KEY(dataset_id) REFERENCES dataset (id), 
	CONSTRAINT uq_image_dataset_id_split_sequence_name UNIQUE (dataset_id, split, sequence, name)
);
INSERT INTO "image" VALUES(1,1,'train','','a','images/a.jpg','labels/a.png',NULL,3,8,'46e8d804a7cee70ddc052feb226be89e9b81d8b6d58ce1a2a5dcabe372514ada','3215422660feb5e8e9d8f1c058fc4c8f78a8c33bf55e296787dee696f9073a3c');
INSERT INTO "image" VALUES(2,1,'train','','b','images/b.jpg','labels/b.png',NULL,3,4,'bd5acce4a0c0aa39c4f6d7d2620d8fe227f25aa96699ca6ed802430b03e5b4d9','62f3a974a365040f3203efbc7f7dc5abd2b5d88c1fd51a576cc9b538815e08ce');
INSERT INTO "image" VALUES(3,1,'val','','c','images/c.jpg','labels/c.png',NULL,2,2,'f25e704f3a23c77332dc9747b3c14b4d23b4ea3c9331d1ac6d0ffacdca469b44','44aad2a2d2be2303d75f662b471f2a5f0f94e61df94c8eb6ef99a2be09929e7f');
CREATE TABLE image_class_pixels (
	image_id INTEGER NOT NULL, 
	dataset_class_id INTEGER NOT NULL, 
	pixels BIGINT NOT NULL, 
	CONSTRAINT pk_image_class_pixels PRIMARY KEY (image_id, dataset_class_id), 
	CONSTRAINT fk_image_class_pixels_dataset_class_id FOREIGN KEY(dataset_class_id) REFERENCES dataset_class (id), 
	CONSTRAINT fk_image_class_pixels_image_id FOREIGN KEY(image_id) REFERENCES image (id)
)
 WITHOUT ROWID

;
INSERT INTO "image_class_pixels" VALUES(1,1,12);
INSERT INTO "image_class_pixels" VALUES(1,2,6);
INSERT INTO "image_class_pixels" VALUES(1,3,5);
INSERT INTO "image_class_pixels" VALUES(2,1,8);
INSERT INTO "image_class_pixels" VALUES(2,2,3);
INSERT INTO "image_class_pixels" VALUES(2,3,1);
INSERT INTO "image_class_pixels" VALUES(3,1,3);
INSERT INTO "image_class_pixels" VALUES(3,3,1);
CREATE TABLE label_class (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	parent TEXT NOT NULL, 
	synset TEXT NOT NULL, 
	CONSTRAINT pk_label_class PRIMARY KEY (id), 
	CONSTRAINT uq_label_class_name UNIQUE (name)
);
INSERT INTO "label_class" VALUES(1,'ground','','');
INSERT INTO "label_class" VALUES(2,'cat','','');
INSERT INTO "label_class" VALUES(3,'dog','','');
INSERT INTO "label_class" VALUES(4,'cow','','');
INSERT INTO "label_class" VALUES(5,'sky','','');
CREATE TABLE mapping (
	id INTEGER NOT NULL, 
	mapping_revision_id INTEGER NOT NULL, 
	dataset_class_id INTEGER NOT NULL, 
	relation VARCHAR(8) NOT NULL, 
	CONSTRAINT pk_mapping PRIMARY KEY (id), 
	CONSTRAINT ck_mapping_relation CHECK (relation IN ('keep', 'merge', 'split', 'ignore', 'test')), 
	CONSTRAINT fk_mapping_dataset_class_id FOREIGN KEY(dataset_class_id) REFERENCES dataset_class (id), 
	CONSTRAINT fk_mapping_mapping_revision_id FOREIGN KEY(mapping_revision_id) REFERENCES mapping_revision (id), 
	CONSTRAINT uq_mapping_mapping_revision_id_dataset_class_id UNIQUE (mapping_revision_id, dataset_class_id)
);
INSERT INTO "mapping" VALUES(1,1,1,'keep');
INSERT INTO "mapping" VALUES(2,1,2,'split');
INSERT INTO "mapping" VALUES(3,1,3,'keep');
CREATE TABLE mapping_class (
	mapping_id INTEGER NOT NULL, 
	kind VARCHAR(9) NOT NULL, 
	position INTEGER NOT NULL, 
	label_class_id INTEGER NOT NULL, 
	CONSTRAINT pk_mapping_class PRIMARY KEY (mapping_id, kind, position), 
	CONSTRAINT ck_mapping_class_kind CHECK (kind IN ('target', 'candidate')), 
	CONSTRAINT fk_mapping_class_label_class_id FOREIGN KEY(label_class_id) REFERENCES label_class (id), 
	CONSTRAINT fk_mapping_class_mapping_id FOREIGN KEY(mapping_id) REFERENCES mapping (id)
);
INSERT INTO "mapping_class" VALUES(1,'target',0,1);
INSERT INTO "mapping_class" VALUES(2,'target',0,2);
INSERT INTO "mapping_class" VALUES(2,'candidate',0,2);
INSERT INTO "mapping_class" VALUES(2,'candidate',1,3);
INSERT INTO "mapping_class" VALUES(2,'candidate',2,4);
INSERT INTO "mapping_class" VALUES(3,'target',0,5);
CREATE TABLE mapping_revision (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	taxonomy_id INTEGER NOT NULL, 
	author TEXT NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	note TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_mapping_revision PRIMARY KEY (id), 
	CONSTRAINT fk_mapping_revision_dataset_id FOREIGN KEY(dataset_id) REFERENCES dataset (id), 
	CONSTRAINT fk_mapping_revision_taxonomy_id FOREIGN KEY(taxonomy_id) REFERENCES taxonomy (id)
);
INSERT INTO "mapping_revision" VALUES(1,1,1,'curator','2026-01-01T00:00:00+00:00','','74b8efe94765bbecc54d07a504c89a8fa855eda1097bb85a4f0e17153f3eb083');
CREATE TABLE mask (
	id INTEGER NOT NULL, 
	image_id INTEGER NOT NULL, 
	source_class TEXT NOT NULL, 
	segment BIGINT NOT NULL, 
	numbering VARCHAR(9) NOT NULL, 
	y0 INTEGER, 
	x0 INTEGER, 
	y1 INTEGER, 
	x1 INTEGER, 
	area_px INTEGER, 
	CONSTRAINT pk_mask PRIMARY KEY (id), 
	CONSTRAINT ck_mask_numbering CHECK (numbering IN ('native', 'component', 'unknown')), 
	CONSTRAINT fk_mask_image_id FOREIGN KEY(image_id) REFERENCES image (id), 
	CONSTRAINT uq_mask_image_id_segment_source_class_numbering UNIQUE (image_id, segment, source_class, numbering)
);
INSERT INTO "mask" VALUES(1,1,'animal',0,'component',0,1,2,3,4);
INSERT INTO "mask" VALUES(2,1,'animal',1,'component',1,4,3,5,2);
INSERT INTO "mask" VALUES(3,2,'animal',0,'component',0,0,2,3,3);
CREATE TABLE mask_geometry (
	mask_id INTEGER NOT NULL, 
	runs BLOB NOT NULL, 
	CONSTRAINT pk_mask_geometry PRIMARY KEY (mask_id), 
	CONSTRAINT fk_mask_geometry_mask_id FOREIGN KEY(mask_id) REFERENCES mask (id)
);
INSERT INTO "mask_geometry" VALUES(1,X'0000000004000000');
INSERT INTO "mask_geometry" VALUES(2,X'0000000002000000');
INSERT INTO "mask_geometry" VALUES(3,X'00000000010000000100000001000000010000000100000001000000');
CREATE TABLE metric (
	run_id INTEGER NOT NULL, 
	dataset TEXT NOT NULL, 
	class_name TEXT NOT NULL, 
	name TEXT NOT NULL, 
	value FLOAT, 
	CONSTRAINT pk_metric PRIMARY KEY (run_id, dataset, class_name, name), 
	CONSTRAINT fk_metric_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 WITHOUT ROWID

;
CREATE TABLE resolution (
	mask_id INTEGER NOT NULL, 
	policy TEXT NOT NULL, 
	outcome VARCHAR(9) NOT NULL, 
	label_class_id INTEGER, 
	votes INTEGER NOT NULL, 
	agreement FLOAT NOT NULL, 
	as_of_decision INTEGER NOT NULL, 
	CONSTRAINT pk_resolution PRIMARY KEY (mask_id), 
	CONSTRAINT ck_resolution_class_named CHECK ((outcome = 'resolved') = (label_class_id IS NOT NULL)), 
	CONSTRAINT ck_resolution_outcome CHECK (outcome IN ('resolved', 'contested', 'ignored')), 
	CONSTRAINT fk_resolution_label_class_id FOREIGN KEY(label_class_id) REFERENCES label_class (id), 
	CONSTRAINT fk_resolution_mask_id FOREIGN KEY(mask_id) REFERENCES mask (id)
);
INSERT INTO "resolution" VALUES(1,'majority(min_agreement=0.5)','resolved',3,2,1.0,6);
INSERT INTO "resolution" VALUES(2,'majority(min_agreement=0.5)','contested',NULL,2,0.5,6);
INSERT INTO "resolution" VALUES(3,'majority(min_agreement=0.5)','ignored',NULL,1,1.0,6);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	experiment TEXT NOT NULL, 
	arm TEXT NOT NULL, 
	seed INTEGER NOT NULL, 
	config_sha256 VARCHAR(64) NOT NULL, 
	shared_sha256 VARCHAR(64) NOT NULL, 
	labels_sha256 VARCHAR(64) NOT NULL, 
	weights_sha256 VARCHAR(64), 
	checkpoint TEXT NOT NULL, 
	device TEXT NOT NULL, 
	torch_version TEXT NOT NULL, 
	steps INTEGER NOT NULL, 
	train_s FLOAT NOT NULL, 
	eval_s FLOAT NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_run PRIMARY KEY (id), 
	CONSTRAINT uq_run_experiment_arm_seed UNIQUE (experiment, arm, seed)
);
CREATE TABLE task (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	dataset_class_id INTEGER NOT NULL, 
	mapping_revision_id INTEGER NOT NULL, 
	redundancy INTEGER NOT NULL, 
	status VARCHAR(6) NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_task PRIMARY KEY (id), 
	CONSTRAINT ck_task_status CHECK (status IN ('open', 'paused', 'closed')), 
	CONSTRAINT ck_task_redundancy CHECK (redundancy >= 1), 
	CONSTRAINT fk_task_dataset_class_id FOREIGN KEY(dataset_class_id) REFERENCES dataset_class (id), 
	CONSTRAINT fk_task_mapping_revision_id FOREIGN KEY(mapping_revision_id) REFERENCES mapping_revision (id), 
	CONSTRAINT uq_task_name UNIQUE (name)
);
INSERT INTO "task" VALUES(1,'kinds',2,1,2,'open','2026-01-01T00:00:00+00:00');
CREATE TABLE task_candidate (
	task_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	label_class_id INTEGER NOT NULL, 
	CONSTRAINT pk_task_candidate PRIMARY KEY (task_id, position), 
	CONSTRAINT fk_task_candidate_label_class_id FOREIGN KEY(label_class_id) REFERENCES label_class (id), 
	CONSTRAINT fk_task_candidate_task_id FOREIGN KEY(task_id) REFERENCES task (id)
);
INSERT INTO "task_candidate" VALUES(1,0,2);
INSERT INTO "task_candidate" VALUES(1,1,3);
INSERT INTO "task_candidate" VALUES(1,2,4);
CREATE TABLE task_mask (
	task_id INTEGER NOT NULL, 
	mask_id INTEGER NOT NULL, 
	CONSTRAINT pk_task_mask PRIMARY KEY (task_id, mask_id), 
	CONSTRAINT fk_task_mask_mask_id FOREIGN KEY(mask_id) REFERENCES mask (id), 
	CONSTRAINT fk_task_mask_task_id FOREIGN KEY(task_id) REFERENCES task (id)
)
 WITHOUT ROWID

;
INSERT INTO "task_mask" VALUES(1,1);
INSERT INTO "task_mask" VALUES(1,2);
INSERT INTO "task_mask" VALUES(1,3);
CREATE TABLE taxonomy (
	id INTEGER NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_taxonomy PRIMARY KEY (id), 
	CONSTRAINT uq_taxonomy_sha256 UNIQUE (sha256)
);
INSERT INTO "taxonomy" VALUES(1,'e68a307f29a255d60be20e9f1fe8d9cd4022514d272432a770d5a69c5aea704e','universal
ground
cat
dog
cow
sky
unlabeled
','2026-01-01T00:00:00+00:00');
CREATE TABLE taxonomy_class (
	taxonomy_id INTEGER NOT NULL, 
	universal_id INTEGER NOT NULL, 
	label_class_id INTEGER NOT NULL, 
	CONSTRAINT pk_taxonomy_class PRIMARY KEY (taxonomy_id, universal_id), 
	CONSTRAINT fk_taxonomy_class_label_class_id FOREIGN KEY(label_class_id) REFERENCES label_class (id), 
	CONSTRAINT fk_taxonomy_class_taxonomy_id FOREIGN KEY(taxonomy_id) REFERENCES taxonomy (id), 
	CONSTRAINT uq_taxonomy_class_taxonomy_id_label_class_id UNIQUE (taxonomy_id, label_class_id)
);
INSERT INTO "taxonomy_class" VALUES(1,0,1);
INSERT INTO "taxonomy_class" VALUES(1,1,2);
INSERT INTO "taxonomy_class" VALUES(1,2,3);
INSERT INTO "taxonomy_class" VALUES(1,3,4);
INSERT INTO "taxonomy_class" VALUES(1,4,5);
CREATE INDEX ix_image_image_sha256 ON image (image_sha256);
CREATE INDEX ix_decision_mask_id ON decision (mask_id);
CREATE UNIQUE INDEX ix_decision_supersedes_id ON decision (supersedes_id) WHERE supersedes_id IS NOT NULL;
CREATE VIEW v_class_mapping AS 
SELECT d.name AS dataset, d.role AS role, c.class_id AS class_id, c.name AS class_name,
       m.relation AS relation, k.kind AS kind, k.position AS position,
       u.name AS universal_class, t.universal_id AS universal_id,
       r.id AS mapping_revision, r.author AS author, r.created_at AS mapped_at
FROM (
SELECT dataset_id, MAX(id) AS mapping_revision_id FROM mapping_revision GROUP BY dataset_id
) AS latest
JOIN mapping_revision AS r ON r.id = latest.mapping_revision_id
JOIN mapping AS m ON m.mapping_revision_id = r.id
JOIN dataset_class AS c ON c.id = m.dataset_class_id
JOIN dataset AS d ON d.id = c.dataset_id
LEFT JOIN mapping_class AS k ON k.mapping_id = m.id
LEFT JOIN label_class AS u ON u.id = k.label_class_id
LEFT JOIN taxonomy_class AS t ON t.label_class_id = u.id
      AND t.taxonomy_id = (SELECT MAX(id) FROM taxonomy);
CREATE VIEW v_decision AS 
SELECT x.id AS decision_id, d.name AS dataset, i.split AS split, i.sequence AS sequence,
       i.name AS image, m.segment AS segment, m.source_class AS source_class, m.area_px AS area_px,
       t.name AS task, s.name AS shown_class, x.outcome AS outcome, u.name AS decided_class,
       CASE WHEN x.outcome = 'unsure' THEN NULL
            WHEN x.label_class_id = x.shown_class_id THEN 0 ELSE 1 END AS changes_class,
       a.name AS annotator, a.kind AS annotator_kind, x.mode AS mode,
       x.milliseconds AS milliseconds, x.decided_at AS decided_at,
       x.mapping_revision_id AS mapping_revision,
       EXISTS (SELECT 1 FROM decision AS later WHERE later.supersedes_id = x.id) AS superseded
FROM decision AS x
JOIN mask AS m ON m.id = x.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
JOIN annotator AS a ON a.id = x.annotator_id
LEFT JOIN task AS t ON t.id = x.task_id
LEFT JOIN label_class AS s ON s.id = x.shown_class_id
LEFT JOIN label_class AS u ON u.id = x.label_class_id;
CREATE VIEW v_resolution AS 
SELECT d.name AS dataset, i.split AS split, i.sequence AS sequence, i.name AS image,
       m.segment AS segment, m.source_class AS source_class, m.area_px AS area_px,
       r.outcome AS outcome, u.name AS resolved_class, r.votes AS votes, r.agreement AS agreement,
       r.policy AS policy, r.as_of_decision AS as_of_decision
FROM resolution AS r
JOIN mask AS m ON m.id = r.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
LEFT JOIN label_class AS u ON u.id = r.label_class_id;
CREATE VIEW v_class_frequency AS 
SELECT d.name AS dataset, d.role AS role, i.split AS split, c.class_id AS class_id,
       c.name AS class_name, COUNT(*) AS images, SUM(p.pixels) AS pixels
FROM image_class_pixels AS p
JOIN dataset_class AS c ON c.id = p.dataset_class_id
JOIN image AS i ON i.id = p.image_id
JOIN dataset AS d ON d.id = c.dataset_id
GROUP BY d.name, d.role, i.split, c.class_id, c.name;
CREATE VIEW v_run AS 
SELECT r.id AS run_id, r.experiment AS experiment, r.arm AS arm, r.seed AS seed, r.steps AS steps,
       r.device AS device, r.train_s AS train_s, r.eval_s AS eval_s,
       r.config_sha256 AS config_sha256, r.shared_sha256 AS shared_sha256,
       r.labels_sha256 AS labels_sha256, r.weights_sha256 AS weights_sha256,
       e.as_of_decision AS as_of_decision, e.mapping_revision AS mapping_revision,
       e.policy AS policy, e.unresolved AS unresolved, r.checkpoint AS checkpoint,
       r.torch_version AS torch_version, r.created_at AS created_at
FROM run AS r
LEFT JOIN (
  SELECT shared_sha256, labels_sha256, MAX(id) AS id FROM export
  GROUP BY shared_sha256, labels_sha256
) AS latest ON latest.shared_sha256 = r.shared_sha256
           AND latest.labels_sha256 = r.labels_sha256
LEFT JOIN export AS e ON e.id = latest.id;
CREATE VIEW v_zero_shot AS 
SELECT r.experiment AS experiment, r.arm AS arm, r.seed AS seed, m.dataset AS test_dataset,
       m.class_name AS class_name, m.name AS metric, m.value AS value, r.id AS run_id
FROM metric AS m JOIN run AS r ON r.id = m.run_id;
COMMIT;
