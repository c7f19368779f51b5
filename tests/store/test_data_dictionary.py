"""The data dictionary: it says what a store holds, no more and no less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from mseg_curate.annotators import set_role, sign_in_person
from mseg_curate.clock import epoch_of
from mseg_curate.core.mapping import Arm
from mseg_curate.export import write_export
from mseg_curate.gold import add_gold, retire_gold
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.review import Operation, apply_operations, claim_masks
from mseg_curate.scenes import draw_datasets
from mseg_curate.simulate import simulate_annotators
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.exports import RunRow, save_run
from mseg_curate.store.steering import store_suggestions
from mseg_curate.store.tasks import load_task
from mseg_curate.store.views import VIEWS
from mseg_curate.tasks import make_task

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "data-dictionary.md"
NOW = "2026-01-02T03:04:05+00:00"
EPOCH = epoch_of(NOW)
HEADER = ["column", "type", "unit", "meaning", "NULL"]
TYPES = {"text": str, "integer": int, "real": float}


def read_sections() -> dict[str, str]:
    """Return the text of each section of the document by its heading."""
    parts = re.split(r"^## (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = read_sections()


def read_columns(view: str) -> list[list[str]]:
    """Return the cells of the table of columns, which is a section's first table."""
    table = SECTIONS[view].split("\n| ", 1)[1].split("\n\n", 1)[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines()]
    assert rows[0] == HEADER
    assert all(len(row) == len(HEADER) for row in rows)
    return [
        [cell.strip("`") if place == 0 else cell for place, cell in enumerate(row)]
        for row in rows[2:]
    ]


def find_queries(view: str) -> list[str]:
    """Return the example queries of a section."""
    return re.findall(r"^```sql\n(.*?)^```$", SECTIONS[view], flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store as `init` makes it, shared because no test changes it."""
    path = tmp_path_factory.mktemp("fresh") / "store.db"
    create_store(path, now=NOW)
    with Store.open(path) as store:
        yield store


@pytest.fixture(scope="module")
def filled_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with something in every view, shared because no test changes it."""
    out = tmp_path_factory.mktemp("filled")
    drawn = draw_datasets(out / "drawn", images=4, test_images=2, size_hw=(48, 64))
    create_store(out / "store.db", now=NOW)
    with Store.open(out / "store.db") as store:
        for dataset, role in ((drawn.coarse, "train"), (drawn.test, "test")):
            add_dataset(store, dataset.name, folder=dataset.folder, role=role, now=NOW)
            import_mapping(
                store, dataset.name, path=dataset.mapping, author="curator", note="", now=NOW
            )
        make_task(
            store, "kinds", dataset=drawn.coarse.name, source_class=drawn.split_class, now=NOW
        )
        simulate_annotators(store, "kinds", truth=drawn.truth, accuracy=0.6, now=NOW)
        review_a_little(store)
        suggest_a_little(store)
        resolve_masks(store, min_agreement=0.7)
        export = write_export(store, out / "export", arm=Arm.RELABELED, now=NOW)
        with store.writing() as connection:
            for seed, labels in ((0, export.labels_sha256), (1, "0" * 64)):
                row = make_run(seed, shared_sha256=export.shared_sha256, labels_sha256=labels)
                save_run(connection, row, now=NOW)
        yield store


class Always(Random):
    """A source of randomness that draws gold wherever there is some."""

    def random(self) -> float:
        """Return what is below every rate."""
        return 0.0


def review_a_little(store: Store) -> None:
    """Add gold, retire one mask of it, and let somebody answer the rest, flag a mask and take a decision back."""
    curator = sign_in_person(store, "curator", now=EPOCH)
    set_role(store, curator.name, role="curator", by="curator", now=EPOCH)
    _, found = run_query(store, "SELECT split, sequence, image, segment FROM v_mask LIMIT 3")
    masks = [(str(a), str(b), str(c), int(str(d))) for a, b, c, d in found]
    _, names = run_query(store, "SELECT decided_class FROM v_decision WHERE outcome = 'class'")
    candidate = str(names[0][0])
    answers = [(*masks[0], candidate), (*masks[1], candidate), (*masks[2], "none_of_these")]
    add_gold(store, "kinds", answers, kind="evaluation", note="", by="curator", now=EPOCH)
    retire_gold(
        store, "kinds", masks[0], note="too easy", by="curator", now=EPOCH, answer_stands=True
    )
    person = sign_in_person(store, "anna", now=EPOCH)
    items = claim_masks(
        store, person.id, task="kinds", count=3, client="tab", held=[], now=EPOCH, rng=Always(1)
    )
    operations = [
        Operation("flag", "f" * 32, items[0].lease, comment="two of them?"),
        *(
            Operation(
                "decide",
                f"{n:032x}",
                item.lease,
                outcome="class",
                class_name=candidate,
                milliseconds=900,
            )
            for n, item in enumerate(items)
        ),
        Operation("undo", "e" * 32, "d" * 32, of=f"{len(items) - 1:032x}"),
    ]
    results = apply_operations(store, person.id, operations, client="tab", now=EPOCH)
    assert {result.status for result in results} == {"stored"}


def suggest_a_little(store: Store) -> None:
    """Suggest a class for two masks, for one of them without a score."""
    with store.writing() as connection:
        task = load_task(connection, "kinds")
        _, found = run_query(store, "SELECT mask_id FROM task_mask ORDER BY mask_id LIMIT 2")
        scores = (0.75, None)
        rows = [
            (int(str(mask)), task.candidate_ids[0], score)
            for (mask,), score in zip(found, scores, strict=True)
        ]
        store_suggestions(connection, task.id, rows=rows, source="a run")


def make_run(seed: int, *, shared_sha256: str, labels_sha256: str) -> RunRow:
    """Build a run with a score that is defined and one that is not."""
    return RunRow(
        experiment="runs",
        arm="relabeled",
        seed=seed,
        config_sha256="1" * 64,
        shared_sha256=shared_sha256,
        labels_sha256=labels_sha256,
        weights_sha256=None,
        checkpoint="runs/checkpoint.safetensors",
        device="cpu",
        torch_version="2.6",
        steps=10,
        train_s=1.5,
        eval_s=0.5,
        metrics=[("cityview", "", "miou_strict", 0.5), ("cityview", "bus", "iou", None)],
        confusions=[],
    )


def test_document_lists_the_views_of_a_store(fresh_store: Store) -> None:
    """The sections of the document are the views of a fresh store, in the order of the code."""
    _, rows = run_query(fresh_store, "SELECT name FROM sqlite_master WHERE type = 'view'")
    assert set(SECTIONS) == {str(name) for (name,) in rows}
    assert list(SECTIONS) == list(VIEWS)


@pytest.mark.parametrize("view", SECTIONS)
def test_document_lists_the_columns_of_a_view(fresh_store: Store, view: str) -> None:
    """Each table names exactly the columns of its view, in their order, with a type we know."""
    documented = read_columns(view)
    names, _ = run_query(fresh_store, f"SELECT * FROM {view} LIMIT 0")
    assert [row[0] for row in documented] == names
    assert {row[1] for row in documented} <= TYPES.keys()
    assert all(all(row) for row in documented)


@pytest.mark.parametrize("view", SECTIONS)
def test_types_and_nulls_are_as_documented(filled_store: Store, view: str) -> None:
    """Every value has the documented type, and a column is NULL only where the document allows it."""
    documented = read_columns(view)
    _, rows = run_query(filled_store, f"SELECT * FROM {view}")
    assert rows
    for row in rows:
        for (name, kind, *_, nulls), value in zip(documented, row, strict=True):
            if value is None:
                assert nulls != "never", f"{view}.{name}"
            else:
                assert isinstance(value, TYPES[kind]), f"{view}.{name}"


@pytest.mark.parametrize(
    ("view", "query"), [(view, query) for view in SECTIONS for query in find_queries(view)]
)
def test_example_queries_run(
    fresh_store: Store, filled_store: Store, view: str, query: str
) -> None:
    """Every example query runs on a fresh and on a filled store and asks the view of its section."""
    assert view in query
    for store in (fresh_store, filled_store):
        names, _ = run_query(store, query)
        assert len(names) == len(set(names)) >= 2


@pytest.mark.parametrize("view", SECTIONS)
def test_each_view_has_examples(view: str) -> None:
    """Each view comes with two example queries at least, and each query with a sentence before it."""
    assert len(find_queries(view)) >= 2
    before = re.findall(r"(.*)\n\n```sql\n", SECTIONS[view])
    assert len(before) == len(find_queries(view))
    assert all(line.endswith(("?", ".")) for line in before)
