"""Tasks: the masks of a class that must be split, and what is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mseg_curate.decide import import_csv
from mseg_curate.errors import DatasetError, InputError, MappingError, StoreError
from mseg_curate.ingest import add_dataset
from mseg_curate.map_classes import import_mapping
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.masks import masks_of_task
from mseg_curate.store.tasks import newest_tasks
from mseg_curate.tasks import TaskOptions, all_tasks, make_task, write_questions

NOW = "2026-01-02T03:04:05+00:00"
WriteDataset = Callable[..., Path]


def test_masks_are_numbered_components(farm_store: Store) -> None:
    """Masks come image by image, numbered by their first pixel, with box, area and pixels."""
    (task,) = all_tasks(farm_store)
    with farm_store.reading() as connection:
        masks = list(masks_of_task(connection, task.id))
    found = [
        (m.image_id, m.mask.segment, m.mask.box.top, m.mask.box.left, m.mask.crop().tolist())
        for m in masks
    ]
    assert found == [
        (1, 0, 0, 1, [[True, True], [True, True]]),
        (1, 1, 1, 4, [[True], [True]]),
        (2, 0, 0, 0, [[True, False, True], [False, True, False]]),
    ]
    assert [m.mask.area_px for m in masks] == [4, 2, 3]


def test_a_task_is_stored_as_asked(farm_store: Store) -> None:
    """Name, class, candidates, redundancy and revision are kept, and counts are right."""
    made = make_task(
        farm_store,
        "again",
        dataset="farm",
        source_class="animal",
        options=TaskOptions(redundancy=3, max_redundancy=4),
        now=NOW,
    )
    task = made.task
    assert (made.images, made.area_px, task.masks) == (2, 9, 3)
    assert (task.name, task.dataset, task.source_class, task.class_id) == (
        "again",
        "farm",
        "animal",
        1,
    )
    assert (task.candidates, task.redundancy, task.status, task.mapping_revision) == (
        ("cat", "dog", "cow"),
        3,
        "open",
        1,
    )
    assert all_tasks(farm_store)[1] == task


def test_a_second_task_asks_about_the_same_masks(farm_store: Store) -> None:
    """Masks are not doubled by another task on their class, and the newest task is the one that counts."""
    made = make_task(farm_store, "again", dataset="farm", source_class="animal", now=NOW)
    assert run_query(farm_store, "SELECT COUNT(*) FROM mask")[1] == [(3,)]
    assert run_query(farm_store, "SELECT COUNT(*) FROM task_mask")[1] == [(6,)]
    with farm_store.reading() as connection:
        assert newest_tasks(connection) == {("farm", "animal"): made.task.id}


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (("kinds", "animal", 1), StoreError, "task 'kinds' exists already; choose another name"),
        (("new", "sky", 1), MappingError, r"needs no task: expected a class that the mapping splits "
         r"\('animal'\), found keep"),
        (("new", "anmal", 1), MappingError, "dataset farm has no class 'anmal'; did you mean 'animal'"),
        (("new", "animal", 0), InputError, "redundancy of a task: expected 1 … 100, found 0"),
    ],
)  # fmt: skip
def test_what_is_no_task_is_refused(
    farm_store: Store, asked: tuple[str, str, int], error: type[Exception], message: str
) -> None:
    """A name that is taken, a class that is not split and no votes at all are refused; nothing is stored."""
    name, source_class, redundancy = asked
    with pytest.raises(error, match=message):
        make_task(
            farm_store,
            name,
            dataset="farm",
            source_class=source_class,
            options=TaskOptions(redundancy=redundancy, max_redundancy=redundancy),
            now=NOW,
        )
    assert len(all_tasks(farm_store)) == 1


def test_a_task_needs_pixels_and_a_mapping(mseg_store: Store, farm: Path) -> None:
    """A dataset without pixels, one without a mapping and one that is not there are named."""
    add_dataset(mseg_store, "farm", folder=farm, role="train", now=NOW)
    for dataset, message in (
        ("bdd", "dataset bdd has no pixels yet"),
        ("farm", "dataset farm has no mapping yet"),
        ("barn", "no dataset 'barn' in the store"),
    ):
        with pytest.raises(StoreError, match=message):
            make_task(mseg_store, "x", dataset=dataset, source_class="animal", now=NOW)


def add_pets(
    store: Store,
    root: Path,
    write_dataset: WriteDataset,
    labels: list[list[int]],
    segments: list[list[int]] | None = None,
) -> None:
    """Add a dataset of one image whose class 1 must be split."""
    write_dataset(
        root,
        {"a": labels},
        segments=None if segments is None else {"a": np.array(segments, np.uint16)},
        classes="id\tname\n0\tground\n1\tpet\n",
    )
    add_dataset(store, "pets", folder=root, role="train", now=NOW)
    mapping = root / "mapping.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\nground\tkeep\tground\t\npet\tsplit\tcat\t{cat, dog}\n"
    )
    import_mapping(store, "pets", path=mapping, author="one", note="", now=NOW)


def test_a_class_without_pixels_needs_no_task(
    small_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """A split class that never occurs is refused, saying so."""
    add_pets(small_store, tmp_path / "pets", write_dataset, [[0, 0]])
    with pytest.raises(MappingError, match="class 'pet' of dataset pets has no pixels"):
        make_task(small_store, "pets", dataset="pets", source_class="pet", now=NOW)


def test_native_segments_are_the_masks(
    small_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """Where a dataset has native segments, masks carry their ids: apart where they touch, whole where they do not."""
    add_pets(
        small_store,
        tmp_path / "pets",
        write_dataset,
        [[1, 1, 0, 1], [1, 1, 0, 0]],
        [[900, 7, 7, 900], [900, 7, 3, 3]],
    )
    made = make_task(small_store, "pets", dataset="pets", source_class="pet", now=NOW)
    with small_store.reading() as connection:
        masks = list(masks_of_task(connection, made.task.id))
    assert [(m.mask.segment, m.mask.area_px) for m in masks] == [(7, 2), (900, 3)]


def test_a_label_map_that_changed_makes_no_masks(farm_store: Store, farm: Path) -> None:
    """Masks are never found in pixels other than those that were added."""
    Image.fromarray(np.ones((3, 8), np.uint8)).save(farm / "labels" / "a.png")
    with pytest.raises(DatasetError, match="label map was changed since"):
        make_task(farm_store, "again", dataset="farm", source_class="animal", now=NOW)
    assert len(all_tasks(farm_store)) == 1


def test_questions_can_be_filled_in_and_imported(farm_store: Store, tmp_path: Path) -> None:
    """The CSV of a task has a row per mask and, with outcome and annotator filled in, imports as decisions."""
    out = io.StringIO(newline="")
    assert write_questions(farm_store, "kinds", out=out) == 3
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    filled = tmp_path / "filled.csv"
    with filled.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"outcome": "cow", "annotator": "ann"} for row in rows)
    assert import_csv(farm_store, filled, now=NOW).new == 3
