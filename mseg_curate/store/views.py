"""The analysts' contract: views named `v_…`, documented in docs/data-dictionary.md.

Their columns stay what they are; the tables behind them may change.
"""

from __future__ import annotations

__all__ = ["VIEWS"]

_CURRENT_MAPPING = """
SELECT dataset_id, MAX(id) AS mapping_revision_id FROM mapping_revision GROUP BY dataset_id
"""

VIEWS: dict[str, str] = {
    "v_class_mapping": f"""
SELECT d.name AS dataset, d.role AS role, c.class_id AS class_id, c.name AS class_name,
       m.relation AS relation, k.kind AS kind, k.position AS position,
       u.name AS universal_class, t.universal_id AS universal_id,
       r.id AS mapping_revision, r.author AS author, r.created_at AS mapped_at
FROM ({_CURRENT_MAPPING}) AS latest
JOIN mapping_revision AS r ON r.id = latest.mapping_revision_id
JOIN mapping AS m ON m.mapping_revision_id = r.id
JOIN dataset_class AS c ON c.id = m.dataset_class_id
JOIN dataset AS d ON d.id = c.dataset_id
LEFT JOIN mapping_class AS k ON k.mapping_id = m.id
LEFT JOIN label_class AS u ON u.id = k.label_class_id
LEFT JOIN taxonomy_class AS t ON t.label_class_id = u.id
      AND t.taxonomy_id = (SELECT MAX(id) FROM taxonomy)
""",
    "v_decision": """
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
LEFT JOIN label_class AS u ON u.id = x.label_class_id
""",
    "v_resolution": """
SELECT d.name AS dataset, i.split AS split, i.sequence AS sequence, i.name AS image,
       m.segment AS segment, m.source_class AS source_class, m.area_px AS area_px,
       r.outcome AS outcome, u.name AS resolved_class, r.votes AS votes, r.agreement AS agreement,
       r.policy AS policy, r.as_of_decision AS as_of_decision
FROM resolution AS r
JOIN mask AS m ON m.id = r.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
LEFT JOIN label_class AS u ON u.id = r.label_class_id
""",
    "v_class_frequency": """
SELECT d.name AS dataset, d.role AS role, i.split AS split, c.class_id AS class_id,
       c.name AS class_name, COUNT(*) AS images, SUM(p.pixels) AS pixels
FROM image_class_pixels AS p
JOIN dataset_class AS c ON c.id = p.dataset_class_id
JOIN image AS i ON i.id = p.image_id
JOIN dataset AS d ON d.id = c.dataset_id
GROUP BY d.name, d.role, i.split, c.class_id, c.name
""",
    "v_run": """
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
LEFT JOIN export AS e ON e.id = latest.id
""",
    "v_zero_shot": """
SELECT r.experiment AS experiment, r.arm AS arm, r.seed AS seed, m.dataset AS test_dataset,
       m.class_name AS class_name, m.name AS metric, m.value AS value, r.id AS run_id
FROM metric AS m JOIN run AS r ON r.id = m.run_id
""",
}
