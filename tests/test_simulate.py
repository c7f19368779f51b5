"""Simulated annotators: right as often as stated, wrong evenly, the same for a seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mseg_curate.errors import DatasetError, ImageError, InputError, StoreError
from mseg_curate.ingest import add_dataset
from mseg_curate.map_classes import import_mapping
from mseg_curate.simulate import Simulated, simulate_annotators
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.tasks import make_task

NOW = "2026-01-02T03:04:05+00:00"
WriteDataset = Callable[..., Path]
TRUTH_CLASSES = "id\tname\n0\tground\n4\tcat\n5\tdog\n6\tcow\n7\tgoat\n255\tignore\n"
SIDE = 60


@pytest.fixture
def truth(write_dataset: WriteDataset, tmp_path: Path) -> Path:
    """The true classes of the farm: a/0 is a dog, most of a/1 a cow, b/0 something that is no candidate."""
    labels = {
        "a": [[0, 5, 5, 0, 0, 0, 0, 0], [0, 5, 4, 0, 6, 0, 0, 0], [0, 0, 0, 0, 6, 0, 0, 0]],
        "b": [[7, 0, 7, 0], [0, 7, 0, 0], [0, 0, 0, 0]],
    }
    return write_dataset(tmp_path / "truth", labels, classes=TRUTH_CLASSES)


@pytest.fixture
def crowd_store(
    small_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> tuple[Store, Path]:
    """A store with a task of 900 one-pixel masks, and their truth: cat, dog and cow in turn."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[::2, ::2] = 1
    true = np.zeros_like(labels)
    true[::2, ::2] = 4 + np.arange(900).reshape(30, 30) % 3
    root = write_dataset(
        tmp_path / "crowd", {"a": labels}, classes="id\tname\n0\tground\n1\tanimal\n"
    )
    truth = write_dataset(tmp_path / "truth", {"a": true}, classes=TRUTH_CLASSES)
    add_dataset(small_store, "crowd", folder=root, role="train", now=NOW)
    mapping = tmp_path / "m.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\nground\tkeep\tground\t\n"
        "animal\tsplit\tcat\t{cat, dog, cow}\n"
    )
    import_mapping(small_store, "crowd", path=mapping, author="one", note="", now=NOW)
    make_task(small_store, "crowd", dataset="crowd", source_class="animal", now=NOW)
    return small_store, truth


def votes(store: Store) -> list[tuple[object, ...]]:
    """Return mask, annotator and what was said, in the order of the decisions."""
    return run_query(
        store,
        "SELECT segment, annotator, COALESCE(decided_class, outcome) FROM v_decision ORDER BY decision_id",
    )[1]


def test_without_errors_everyone_is_right(farm_store: Store, truth: Path) -> None:
    """At accuracy 1 every annotator names the majority of the mask's pixels, or none of these."""
    done = simulate_annotators(farm_store, "kinds", truth=truth, accuracy=1, annotators=2, now=NOW)
    assert done == Simulated(masks=3, votes=6, right=6, new=6)
    _, rows = run_query(
        farm_store,
        "SELECT annotator, image, segment, COALESCE(decided_class, outcome), annotator_kind "
        "FROM v_decision ORDER BY decision_id",
    )
    assert rows == [
        (f"simulated-100%-{n}", image, segment, said, "simulated")
        for n in (1, 2)
        for image, segment, said in (("a", 0, "dog"), ("a", 1, "cow"), ("b", 0, "none_of_these"))
    ]


def test_at_accuracy_zero_everyone_is_wrong(farm_store: Store, truth: Path) -> None:
    """At accuracy 0 no one names the truth, and everyone names a candidate."""
    done = simulate_annotators(farm_store, "kinds", truth=truth, accuracy=0, now=NOW)
    assert done.right == 0
    said = {(segment, image_said) for segment, _, image_said in votes(farm_store)}
    assert {name for _, name in said} <= {"cat", "dog", "cow"}


def test_errors_come_as_often_as_stated_and_evenly(crowd_store: tuple[Store, Path]) -> None:
    """Right votes are within five standard deviations of p, and each wrong class is as likely."""
    store, truth = crowd_store
    accuracy, count = 0.6, 2700
    done = simulate_annotators(store, "crowd", truth=truth, accuracy=accuracy, seed=5, now=NOW)
    assert (done.masks, done.votes) == (900, count)
    spread = math.sqrt(count * accuracy * (1 - accuracy))
    assert abs(done.right - count * accuracy) < 5 * spread
    candidates = ("cat", "dog", "cow")
    said = Counter((candidates[int(str(s)) % 3], name) for s, _, name in votes(store))
    assert sum(said[name, name] for name in candidates) == done.right
    for true in candidates:
        wrong = [said[true, name] for name in candidates if name != true]
        assert abs(wrong[0] - wrong[1]) < 5 * math.sqrt(sum(wrong))


def test_a_seed_gives_the_same_votes(crowd_store: tuple[Store, Path]) -> None:
    """The same seed again adds nothing; another one gives other votes, which supersede."""
    store, truth = crowd_store
    options = {"truth": truth, "accuracy": 0.5, "annotators": 1, "now": NOW}
    first = simulate_annotators(store, "crowd", seed=1, **options)  # type: ignore[arg-type]
    before = votes(store)
    again = simulate_annotators(store, "crowd", seed=1, **options)  # type: ignore[arg-type]
    assert (first.new, again.new, again.right) == (900, 0, first.right)
    assert votes(store) == before
    other = simulate_annotators(store, "crowd", seed=2, **options)  # type: ignore[arg-type]
    assert 0 < other.new < 900
    _, rows = run_query(store, "SELECT COUNT(*) FROM v_decision WHERE NOT superseded")
    assert rows == [(900,)]


def test_truth_may_be_named_like_the_dataset(
    small_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """True classes that the dataset itself keeps or merges are known by their mapping, RGB-coded or not."""
    root = write_dataset(
        tmp_path / "d",
        {"a": [[1, 0, 1]], "b": [[2]]},
        classes="id\tname\n0\tground\n1\tanimal\n2\tkitty\n",
    )
    add_dataset(small_store, "d", folder=root, role="train", now=NOW)
    (tmp_path / "m.tsv").write_text(
        "class\trelation\tuniversal\tcandidates\nground\tkeep\tground\t\n"
        "animal\tsplit\tdog\t{cat, dog}\nkitty\tkeep\tcat\t\n"
    )
    import_mapping(small_store, "d", path=tmp_path / "m.tsv", author="one", note="", now=NOW)
    make_task(small_store, "t", dataset="d", source_class="animal", now=NOW)
    true = np.array([[[255, 0, 0], [0, 0, 0], [0, 255, 0]]], np.uint8)
    truth = write_dataset(
        tmp_path / "t",
        {"a": true},
        classes="id\tname\tcolour\n0\tground\t#000000\n1\tkitty\t#ff0000\n2\tdog\t#00ff00\n",
    )
    simulate_annotators(small_store, "t", truth=truth, accuracy=1, annotators=1, now=NOW)
    assert [name for _, _, name in votes(small_store)] == ["cat", "dog"]


def test_truth_may_lie_beside_its_table(farm_store: Store, truth: Path) -> None:
    """Label maps are found in `labels` or right beside classes.tsv."""
    for path in (truth / "labels").iterdir():
        path.rename(truth / path.name)
    (truth / "labels").rmdir()
    done = simulate_annotators(farm_store, "kinds", truth=truth, accuracy=1, now=NOW)
    assert done.right == done.votes == 9


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, 95, float("nan")])
def test_accuracy_is_a_share(farm_store: Store, truth: Path, accuracy: float) -> None:
    """An accuracy outside 0 … 1 is refused."""
    with pytest.raises(InputError, match="accuracy of an annotator: expected 0 … 1"):
        simulate_annotators(farm_store, "kinds", truth=truth, accuracy=accuracy, now=NOW)


def shrink(truth: Path) -> None:
    """Give one true label map another size."""
    Image.fromarray(np.zeros((3, 9), np.uint8)).save(truth / "labels" / "a.png")


def use_unknown_id(truth: Path) -> None:
    """Put an id outside the class table into one true label map."""
    Image.fromarray(np.full((3, 8), 77, np.uint8)).save(truth / "labels" / "a.png")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda t: (t / "labels" / "b.png").unlink(), ImageError, r"b\.png: no such file"),
        (lambda t: (t / "classes.tsv").unlink(), DatasetError, r"classes\.tsv: no class table"),
        (
            shrink,
            DatasetError,
            r"a\.png: truth has another size .*: expected \(3, 8\), found \(3, 9\)",
        ),
        (use_unknown_id, DatasetError, r"a\.png: truth has an id outside .*, found 77"),
    ],
)
def test_a_truth_that_does_not_fit_stores_nothing(
    farm_store: Store,
    truth: Path,
    spoil: Callable[[Path], object],
    error: type[Exception],
    message: str,
) -> None:
    """A truth that misses an image, or has another size or an unknown id, is named; no vote is stored."""
    spoil(truth)
    with pytest.raises(error, match=message):
        simulate_annotators(farm_store, "kinds", truth=truth, accuracy=1, now=NOW)
    assert votes(farm_store) == []


def test_a_task_that_is_not_there_is_named(farm_store: Store, truth: Path) -> None:
    """An unknown task is an error that shows the known ones."""
    with pytest.raises(StoreError, match="no task 'kind' in the store; known: kinds"):
        simulate_annotators(farm_store, "kind", truth=truth, accuracy=1, now=NOW)
