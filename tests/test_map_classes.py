"""Mappings in and out of a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mseg_curate.errors import InputError, MappingError, StoreError
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import (
    count_named_pixels,
    describe_datasets,
    export_mapping,
    import_mapping,
    map_by_column,
)
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query

NOW = "2026-01-02T03:04:05+00:00"
HEADER = "class\trelation\tuniversal\tcandidates\n"
FARM = HEADER + "ground\tkeep\tground\t\nanimal\tsplit\tcat\t{cat, dog, cow}\nsky\tkeep\tsky\t\n"


def import_text(store: Store, folder: Path, text: str, *, dataset: str = "farm") -> int:
    """Import a mapping from its text; returns the revision."""
    path = folder / "mapping.tsv"
    path.write_text(text, encoding="utf-8")
    done = import_mapping(store, dataset, path=path, author="curator", note="why", now=NOW)
    return done.revision


def test_what_was_imported_is_exported(farm_store: Store, tmp_path: Path) -> None:
    """The text form comes back as it was given, for training and for test datasets."""
    assert export_mapping(farm_store, "farm") == FARM
    other = HEADER + "ground\tmerge\tground\t\nanimal\tignore\t\t\nsky\tmerge\tground\t\n"
    import_text(farm_store, tmp_path, other)
    assert export_mapping(farm_store, "farm") == other


def test_every_revision_is_kept(farm_store: Store, tmp_path: Path) -> None:
    """A mapping that changes becomes a new revision with author, time and note; an equal one does not."""
    other = FARM.replace("sky\tkeep\tsky", "sky\tignore\t")
    assert [import_text(farm_store, tmp_path, text) for text in (FARM, other, other, FARM)] == [
        1,
        2,
        2,
        3,
    ]
    _, rows = run_query(
        farm_store, "SELECT id, author, created_at, note FROM mapping_revision ORDER BY id"
    )
    assert rows[1:] == [(2, "curator", NOW, "why"), (3, "curator", NOW, "why")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{cat, dog, cow}", "{cat, dogg}", "line 3: unknown universal class 'dogg'; did you mean 'dog'?"),
        ("animal\t", "animl\t", "unknown class 'animl' of farm; did you mean 'animal'?"),
        ("sky\tkeep\tsky\t\n", "", "class 'sky' is missing: every class needs a line"),
        ("keep\tsky", "?\t", "relation of 'sky': expected ignore, keep, merge, split, found '?'"),
        (HEADER, "", "not a mapping file"),
    ],
)  # fmt: skip
def test_a_faulty_mapping_stores_nothing(
    farm_store: Store, tmp_path: Path, old: str, new: str, message: str
) -> None:
    """A mapping with a fault names it, and the current revision stays."""
    with pytest.raises(MappingError) as caught:
        import_text(farm_store, tmp_path, FARM.replace(old, new))
    assert message in str(caught.value)
    assert "mapping.tsv" in str(caught.value)
    assert run_query(farm_store, "SELECT MAX(id) FROM mapping_revision")[1] == [(1,)]


def test_what_is_not_there_is_named(small_store: Store, farm: Path, tmp_path: Path) -> None:
    """A missing file, an unknown dataset and a dataset without a mapping are errors of one line."""
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    with pytest.raises(InputError, match="no such file"):
        import_mapping(small_store, "farm", path=tmp_path / "none", author="one", note="", now=NOW)
    with pytest.raises(StoreError, match="no dataset 'fram' in the store; known: farm"):
        import_text(small_store, tmp_path, FARM, dataset="fram")
    with pytest.raises(
        StoreError, match="no mapping yet; draft one with `mseg-curate mapping draft"
    ):
        export_mapping(small_store, "farm")


def test_a_default_is_compared_with_the_named_pixels(
    farm_store: Store, tmp_path: Path, write_dataset: Callable[..., Path]
) -> None:
    """Importing a split says which candidate the training data names most, and where the default is another."""
    root = write_dataset(
        tmp_path / "pets", {"a": [[0, 0, 0, 1]]}, classes="id\tname\n0\tdog\n1\tpuppy\n"
    )
    add_dataset(farm_store, "pets", folder=root, role="train", now=NOW)
    import_text(
        farm_store,
        tmp_path,
        HEADER + "dog\tmerge\tdog\t\npuppy\tmerge\tdog\t\n",
        dataset="pets",
    )
    assert count_named_pixels(farm_store) == {"dog": 4, "ground": 23, "sky": 7}
    path = tmp_path / "farm.tsv"
    done = import_mapping(farm_store, "farm", path=path, author="one", note="", now=NOW)
    assert not done.is_new
    assert done.default_notes == (
        "split animal: default cat; named pixels: dog 4, cat 0, cow 0 "
        "(the default is not the most frequent)",
    )


@pytest.fixture
def column_store(tmp_path: Path, write_dataset: Callable[..., Path]) -> Store:
    """A store whose taxonomy has a column for the dataset pets, and that dataset without a mapping."""
    (tmp_path / "t.tsv").write_text(
        "pets\tuniversal\n{dog, puppy}\tdog\n\tcat\nwall\tunlabeled\n", encoding="utf-8"
    )
    create_store(tmp_path / "s.db", taxonomy_path=tmp_path / "t.tsv", now=NOW)
    root = write_dataset(
        tmp_path / "pets",
        {"a": np.zeros((2, 2))},
        classes="id\tname\n0\tdog\n1\tpuppy\n2\twall\n",
    )
    store = Store.open(tmp_path / "s.db")
    add_dataset(store, "pets", folder=root, role="train", now=NOW)
    return store


def test_a_column_of_the_taxonomy_maps_its_dataset(column_store: Store, farm: Path) -> None:
    """A dataset named like a column gets that mapping once; others get none."""
    add_dataset(column_store, "farm", folder=farm, role="train", now=NOW)
    done = map_by_column(column_store, "pets", author="one", now=NOW)
    assert done is not None
    assert done.is_new
    assert export_mapping(column_store, "pets") == (
        HEADER + "dog\tmerge\tdog\t\npuppy\tmerge\tdog\t\nwall\tignore\t\t\n"
    )
    assert map_by_column(column_store, "pets", author="one", now=NOW) is None
    assert map_by_column(column_store, "farm", author="one", now=NOW) is None


def test_datasets_are_described(farm_store: Store, farm: Path) -> None:
    """The list of datasets says where each lies, how many images it has and which revision maps it."""
    (row,) = describe_datasets(farm_store)
    assert (row.name, row.role, row.root, row.images, row.revision) == (
        "farm",
        "train",
        farm.resolve(),
        3,
        1,
    )
