"""The analysts' contract: views named `v_…`, documented in docs/data-dictionary.md.

Their columns stay what they are; the tables behind them may change.
"""

from __future__ import annotations

from mseg_curate.store.annotators import TIMED
from mseg_curate.store.gold import ANSWERS
from mseg_curate.store.standing import stands

__all__ = ["VIEWS"]

_CURRENT_MAPPING = """
SELECT dataset_id, MAX(id) AS mapping_revision_id FROM mapping_revision GROUP BY dataset_id
"""

_STANDS = stands("x")
_IS_VOTE = f"x.outcome <> 'withdrawn' AND x.mode <> 'adjudication' AND {_STANDS}"


def _work_by(column: str) -> str:
    """Return the SQL of the seconds that decisions took by task or annotator, and their median."""
    return f"""
  SELECT {column}, SUM(seconds) AS seconds,
         AVG(CASE WHEN place IN ((n + 1) / 2, (n + 2) / 2) THEN seconds END) AS median_s
  FROM (SELECT {column}, seconds, COUNT(*) OVER (PARTITION BY {column}) AS n,
               ROW_NUMBER() OVER (PARTITION BY {column} ORDER BY seconds) AS place FROM ({TIMED}))
  GROUP BY {column}
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
       CASE WHEN x.outcome IN ('unsure', 'withdrawn') THEN NULL
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
       r.posterior AS posterior, r.policy AS policy, r.as_of_decision AS as_of_decision
FROM resolution AS r
JOIN mask AS m ON m.id = r.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
LEFT JOIN label_class AS u ON u.id = r.label_class_id
""",
    "v_mask": f"""
SELECT d.name AS dataset, i.split AS split, i.sequence AS sequence, i.name AS image,
       m.segment AS segment, m.source_class AS source_class, m.area_px AS area_px,
       t.name AS task, q.status AS state, q.rank AS rank,
       (SELECT COUNT(*) FROM task_slot AS s WHERE s.task_id = q.task_id AND s.mask_id = m.id
        AND s.decision_id IS NULL) AS wanted,
       (SELECT COUNT(*) FROM decision AS x WHERE x.mask_id = m.id AND {_IS_VOTE}) AS votes,
       (SELECT COUNT(DISTINCT x.outcome || COALESCE(x.label_class_id, '')) FROM decision AS x
        WHERE x.mask_id = m.id AND {_IS_VOTE}) AS answers,
       r.outcome AS outcome, u.name AS resolved_class, r.agreement AS agreement,
       r.posterior AS posterior
FROM mask AS m
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
LEFT JOIN task_mask AS q ON q.mask_id = m.id
LEFT JOIN task AS t ON t.id = q.task_id
LEFT JOIN resolution AS r ON r.mask_id = m.id
LEFT JOIN label_class AS u ON u.id = r.label_class_id
""",
    "v_task": f"""
SELECT t.name AS task, d.name AS dataset, c.name AS source_class, t.status AS status,
       t.priority AS priority, t.redundancy AS redundancy, t.max_redundancy AS max_redundancy,
       t.policy AS policy, t.created_at AS created_at,
       COALESCE(q.masks, 0) AS masks, COALESCE(q.open, 0) AS open, COALESCE(q.settled, 0) AS settled,
       COALESCE(q.contested, 0) AS contested, COALESCE(q.adjudicated, 0) AS adjudicated,
       (SELECT COUNT(*) FROM decision AS x WHERE x.task_id = t.id AND x.outcome <> 'withdrawn'
        AND {_STANDS}) AS decisions,
       (SELECT COUNT(*) FROM task_slot AS s WHERE s.task_id = t.id AND s.decision_id IS NULL)
       + COALESCE(q.contested, 0) AS decisions_to_come,
       (SELECT COUNT(*) FROM gold AS g WHERE g.task_id = t.id AND g.retired_at IS NULL) AS gold,
       COALESCE(w.seconds, 0.0) / 3600 AS hours, w.median_s AS median_s
FROM task AS t
JOIN dataset_class AS c ON c.id = t.dataset_class_id
JOIN dataset AS d ON d.id = c.dataset_id
LEFT JOIN (
  SELECT task_id, COUNT(*) AS masks, SUM(status = 'open') AS open, SUM(status = 'settled') AS settled,
         SUM(status = 'contested') AS contested, SUM(status = 'adjudicated') AS adjudicated
  FROM task_mask GROUP BY task_id
) AS q ON q.task_id = t.id
LEFT JOIN ({_work_by("task_id")}) AS w ON w.task_id = t.id
""",
    "v_annotator": f"""
SELECT a.name AS annotator, a.kind AS kind, a.role AS role, a.status AS status,
       a.created_at AS created_at, COALESCE(x.decisions, 0) AS decisions,
       COALESCE(x.in_grid, 0) AS grid_decisions, x.last_at AS last_decision_at,
       COALESCE(g.is_right, 0) AS gold_right, COALESCE(g.answered, 0) AS gold_answered,
       (SELECT COUNT(*) FROM gold_exposure AS e WHERE e.annotator_id = a.id) AS gold_shown,
       COALESCE(w.seconds, 0.0) / 3600 AS hours, w.median_s AS median_s,
       v.kind AS last_event, v.note AS last_event_note, v.at AS last_event_at
FROM annotator AS a
LEFT JOIN (
  SELECT x.annotator_id, COUNT(*) AS decisions, SUM(x.mode = 'grid') AS in_grid,
         MAX(x.decided_at) AS last_at
  FROM decision AS x WHERE x.outcome <> 'withdrawn' AND {_STANDS} GROUP BY x.annotator_id
) AS x ON x.annotator_id = a.id
LEFT JOIN (
  SELECT annotator_id, COUNT(*) AS answered, SUM(is_right) AS is_right FROM ({ANSWERS})
  WHERE kind = 'evaluation' GROUP BY annotator_id
) AS g ON g.annotator_id = a.id
LEFT JOIN ({_work_by("annotator_id")}) AS w ON w.annotator_id = a.id
LEFT JOIN annotator_event AS v
       ON v.id = (SELECT MAX(id) FROM annotator_event WHERE annotator_id = a.id)
""",
    "v_gold": f"""
SELECT g.id AS gold_id, t.name AS task, d.name AS dataset, i.split AS split, i.sequence AS sequence,
       i.name AS image, m.segment AS segment, m.source_class AS source_class, g.kind AS kind,
       g.outcome AS outcome, u.name AS right_class, g.note AS note,
       g.added_by AS added_by, g.added_at AS added_at, g.retired_at IS NULL AS active,
       g.retired_by AS retired_by, g.retired_at AS retired_at, g.retired_note AS retired_note,
       (SELECT COUNT(*) FROM gold_exposure AS e WHERE e.gold_id = g.id) AS shown,
       (SELECT COALESCE(SUM(e.excepted), 0) FROM gold_exposure AS e WHERE e.gold_id = g.id) AS excepted,
       COALESCE(b.answered, 0) AS answers, COALESCE(b.is_right, 0) AS right_answers
FROM gold AS g
JOIN task AS t ON t.id = g.task_id
JOIN mask AS m ON m.id = g.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
LEFT JOIN label_class AS u ON u.id = g.label_class_id
LEFT JOIN (
  SELECT gold_id, COUNT(*) AS answered, SUM(is_right) AS is_right FROM ({ANSWERS}) GROUP BY gold_id
) AS b ON b.gold_id = g.id
""",
    "v_gold_answer": f"""
SELECT b.gold_id AS gold_id, b.decision_id AS decision_id, t.name AS task, d.name AS dataset,
       i.split AS split, i.sequence AS sequence, i.name AS image, m.segment AS segment,
       b.kind AS kind, a.name AS annotator, a.kind AS annotator_kind, b.mode AS mode,
       x.outcome AS outcome, u.name AS decided_class,
       g.outcome AS right_outcome, v.name AS right_class, b.is_right AS is_right,
       x.milliseconds AS milliseconds, b.decided_at AS decided_at
FROM ({ANSWERS}) AS b
JOIN gold AS g ON g.id = b.gold_id
JOIN decision AS x ON x.id = b.decision_id
JOIN annotator AS a ON a.id = b.annotator_id
JOIN task AS t ON t.id = b.task_id
JOIN mask AS m ON m.id = b.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
LEFT JOIN label_class AS u ON u.id = x.label_class_id
LEFT JOIN label_class AS v ON v.id = g.label_class_id
""",
    "v_suggestion": """
SELECT t.name AS task, d.name AS dataset, i.split AS split, i.sequence AS sequence, i.name AS image,
       m.segment AS segment, m.source_class AS source_class, m.area_px AS area_px,
       v.name AS suggested_class, g.score AS score, g.source AS source,
       r.outcome AS outcome, u.name AS resolved_class,
       CASE WHEN r.outcome IN ('resolved', 'ignored') THEN r.label_class_id IS g.label_class_id END AS agrees
FROM suggestion AS g
JOIN task AS t ON t.id = g.task_id
JOIN mask AS m ON m.id = g.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
JOIN label_class AS v ON v.id = g.label_class_id
LEFT JOIN resolution AS r ON r.mask_id = g.mask_id
LEFT JOIN label_class AS u ON u.id = r.label_class_id
""",
    "v_flag": """
SELECT f.id AS flag_id, t.name AS task, d.name AS dataset, i.split AS split, i.sequence AS sequence,
       i.name AS image, m.segment AS segment, m.source_class AS source_class, a.name AS annotator,
       f.comment AS comment, f.created_at AS created_at, f.closed_at IS NOT NULL AS closed,
       f.closed_by AS closed_by, f.closed_at AS closed_at
FROM flag AS f
JOIN task AS t ON t.id = f.task_id
JOIN mask AS m ON m.id = f.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
JOIN annotator AS a ON a.id = f.annotator_id
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
