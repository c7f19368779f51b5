"""Do a trained model's suggestions find wrong decisions sooner than chance?

    python benchmarks/suggestions.py drawn --out WORK [--steps 240]
    python benchmarks/suggestions.py measure --db STORE --task TASK --truth FOLDER --run DIR --out WORK [--as-decided]

`drawn` draws scenes, trains a network on each arm that may suggest, and measures those; `measure` does so with a store
and a run that are there. The masks are decided by one simulated annotator with a tenth of errors, a new draw each time,
and `mseg-curate task prioritise --suspicious` orders them. Printed as Markdown: the share of wrong decisions among the
first 5, 10, 20 and 30 % of the masks, beside the plain order (decided otherwise than suggested, by score) and a
random one. `--as-decided` takes the store's own decisions, for a run that was trained on them. docs/results.md holds
the outcome.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from baselines.config import EVALUATIONS, PRESETS
from baselines.recipe import Recipe
from mseg_curate.baseline import export_arms, run_baseline
from mseg_curate.core.arms import Arm
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.scenes import draw_datasets
from mseg_curate.simulate import simulate_annotators
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.suggest import suggest_from_run
from mseg_curate.suspect import prioritise_suspicious
from mseg_curate.tasks import make_task

NOW = "2026-01-01T00:00:00+00:00"
ACCURACY = 0.9
FIRST = (0.05, 0.1, 0.2, 0.3)
ARMS = (Arm.RELABELED, Arm.IGNORED, Arm.PARTIAL)

Floats = npt.NDArray[np.float64]


def measure_drawn(out: Path, *, steps: int, draws: int) -> None:
    """Draw scenes, decide them once for training, train each arm, and measure each run."""
    drawn = draw_datasets(out / "datasets")
    bare = out / "bare.db"
    create_store(bare, now=NOW)
    with Store.open(bare) as store:
        for dataset, role in (
            (drawn.finer, "train"),
            (drawn.coarse, "train"),
            (drawn.test, "test"),
        ):
            add_dataset(store, dataset.name, folder=dataset.folder, role=role, now=NOW)
            import_mapping(store, dataset.name, path=dataset.mapping, author="", note="", now=NOW)
        coarse, source = drawn.coarse.name, drawn.split_class
        make_task(store, "vehicles", dataset=coarse, source_class=source, now=NOW)
    decided = copy_store(bare, out / "decided.db")
    with Store.open(decided) as store:
        simulate_annotators(
            store, "vehicles", truth=drawn.truth, accuracy=ACCURACY, annotators=1, now=NOW
        )
        resolve_masks(store)
        exports = export_arms(store, out / "exports", arms=ARMS, now=NOW)
        recipe = Recipe(replace(PRESETS["tiny"], steps=steps), EVALUATIONS["tiny"], (0,), jobs=1)
        run_baseline(exports, out / "runs", recipe=recipe, store=store, now=NOW)
    for arm in ARMS:
        run = out / "runs" / arm.value / "seed-0"
        measure(bare, "vehicles", truth=drawn.truth, run=run, out=out, draws=draws)
        if arm is Arm.RELABELED:
            measure(decided, "vehicles", truth=drawn.truth, run=run, out=out, draws=0)


def measure(db: Path, task: str, *, truth: Path, run: Path, out: Path, draws: int) -> None:
    """Print how soon wrong decisions are found; without draws those that the store has."""
    known = copy_store(db, out / "truth.db")
    with Store.open(known) as store:
        simulate_annotators(store, task, truth=truth, accuracy=1.0, annotators=1, now=NOW)
        right = dict(map(pair, ask(store, _DECIDED.format(who="= 'simulated-100%-1'"))))
    base = copy_store(db, out / "suggested.db")
    with Store.open(base) as store:
        found = suggest_from_run(store, task, run_dir=run, say=lambda note: print(f"note: {note}"))
        hits = ask(store, _QUEUE.format(task=task.replace("'", "''")))
    rate = np.mean([right[mask] == label for mask, _, label, _ in hits])
    print(f"\n{found.source}: {len(hits)} masks, {rate:.1%} of the suggestions right\n")
    rows: dict[str, list[Floats]] = {}
    for seed in range(draws or 1):
        db_of_draw = copy_store(base, out / "draw.db")
        with Store.open(db_of_draw) as store:
            if draws:
                simulate_annotators(
                    store, task, truth=truth, accuracy=ACCURACY, annotators=1, seed=seed, now=NOW
                )
            prioritise_suspicious(store, task)
            queue = ask(store, _QUEUE.format(task=task.replace("'", "''")))
            for name, wrong in list_orders(store, queue, right=right).items():
                rows.setdefault(name, []).append(found_early(wrong))
    shown = " | ".join(f"first {share:.0%}" for share in FIRST)
    print(f"| order | {shown} | mean place |\n| --- |{' --- |' * (len(FIRST) + 1)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.0%}' for value in np.mean(values, axis=0))} |")
    print(f"| random | {' | '.join(f'{share:.0%}' for share in FIRST)} | 50% |\n")


_DECIDED = (
    "SELECT mask_id, label_class_id FROM decision AS d JOIN annotator AS a ON a.id = d.annotator_id "
    "WHERE a.name {who}"
)
_QUEUE = (
    "SELECT t.mask_id, t.rank, g.label_class_id, g.score FROM task_mask AS t "
    "JOIN suggestion AS g ON g.task_id = t.task_id AND g.mask_id = t.mask_id "
    "JOIN task AS k ON k.id = t.task_id WHERE k.name = '{task}' ORDER BY t.position"
)


def list_orders(
    store: Store, queue: Sequence[tuple[int, ...]], *, right: dict[int, int]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each order which decisions are wrong, in its order."""
    decided = dict(map(pair, ask(store, _DECIDED.format(who="<> 'simulated-100%-1'"))))
    # A plain reference: what differs, the surest first, then what does not, the least sure first.
    plain = sorted(queue, key=lambda row: -1 - row[3] if decided[row[0]] != row[2] else row[3])
    orders = {"suspicious": sorted(queue, key=lambda row: row[1]), "plain": plain}
    return {
        name: np.array([decided[row[0]] != right[row[0]] for row in rows])
        for name, rows in orders.items()
    }


def found_early(wrong: npt.NDArray[np.bool_]) -> Floats:
    """Return the share of wrong decisions in the first shares of the masks, and their mean place, 0 … 1."""
    found = np.cumsum(wrong) / max(int(wrong.sum()), 1)
    shares = [found[round(len(wrong) * share) - 1] for share in FIRST]
    return np.array([*shares, np.flatnonzero(wrong).mean() / len(wrong)])


def pair(row: tuple[int, ...]) -> tuple[int, int]:
    """Return a row of two cells."""
    return row[0], row[1]


def ask(store: Store, sql: str) -> list[tuple[int, ...]]:
    """Return the rows of a query, whose cells are numbers."""
    return run_query(store, sql)[1]  # type: ignore[return-value]


def copy_store(source: Path, target: Path) -> Path:
    """Copy a store that nobody has open."""
    for suffix in ("", "-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(source, target)
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["drawn", "measure"])
    parser.add_argument("--out", type=Path, required=True, help="a working folder")
    parser.add_argument("--steps", type=int, default=240, help="of training, for drawn scenes")
    parser.add_argument("--draws", type=int, default=20, help="how often errors are drawn")
    parser.add_argument("--db", type=Path, help="a store whose task nobody has decided")
    parser.add_argument("--task")
    parser.add_argument("--truth", type=Path, help="as for `mseg-curate decisions simulate`")
    parser.add_argument("--run", type=Path, help="a finished run")
    parser.add_argument("--as-decided", action="store_true", help="the store's own decisions")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    draws = 0 if options.as_decided else options.draws
    if options.step == "drawn":
        measure_drawn(options.out, steps=options.steps, draws=draws)
    elif None in (options.db, options.task, options.truth, options.run):
        parser.error("measure needs --db, --task, --truth and --run")
    else:
        place = {"truth": options.truth, "run": options.run, "out": options.out}
        measure(options.db, options.task, draws=draws, **place)


if __name__ == "__main__":
    main()
