"""Making a store: from the shipped taxonomy, and from one of somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mseg_curate.core.taxonomy import parse_taxonomy
from mseg_curate.errors import InputError, TaxonomyError
from mseg_curate.initialise import (
    create_store,
    default_taxonomy_path,
    load_taxonomy,
    mseg_class_lists,
)
from mseg_curate.store import Store
from mseg_curate.store.datasets import list_datasets
from mseg_curate.store.engine import run_query
from mseg_curate.store.taxonomies import load_mapping, load_taxonomy_text, load_universal

NOW = "2026-01-02T03:04:05+00:00"


def test_the_shipped_taxonomy_is_stored_whole(mseg_store: Store) -> None:
    """A new store holds the shipped text, its 194 classes in order, and when it came."""
    text = default_taxonomy_path().read_text(encoding="utf-8")
    with mseg_store.reading() as connection:
        assert load_taxonomy_text(connection) == text
        names = load_universal(connection).names
    assert names == parse_taxonomy(text, path="taxonomy.tsv").names
    assert len(names) == 194


def test_every_known_column_becomes_a_mapped_dataset(mseg_store: Store) -> None:
    """Columns with a known class list are declared with classes and a mapping, and without pixels."""
    taxonomy, _ = load_taxonomy(default_taxonomy_path())
    lists = mseg_class_lists()
    with mseg_store.reading() as connection:
        datasets = {row.name: row for row in list_datasets(connection)}
        assert datasets.keys() == {column.name for column in taxonomy.columns} & lists.keys()
        for name, row in datasets.items():
            assert (row.class_names, row.root, row.fingerprint) == (lists[name], None, None)
            found = load_mapping(connection, row.id, dataset=name)
            assert found is not None
            assert tuple(entry.source for entry in found[1].entries) == lists[name]


@pytest.mark.parametrize("dataset", ["coco-panoptic-133", "idd-39", "sunrgbd-37"])
def test_a_stored_mapping_means_what_its_column_says(mseg_store: Store, dataset: str) -> None:
    """By SQL, each class of a training dataset has the universal id of its column."""
    taxonomy, _ = load_taxonomy(default_taxonomy_path())
    pairs = taxonomy.train_pairs(dataset, mseg_class_lists()[dataset])
    _, rows = run_query(
        mseg_store,
        "SELECT class_id, COALESCE(universal_id, 255) FROM v_class_mapping "
        f"WHERE dataset = '{dataset}' ORDER BY class_id",
    )
    assert rows == pairs


def test_made_store_is_counted(tmp_path: Path) -> None:
    """The result says what was made; a taxonomy of somebody's own declares nothing by itself."""
    (tmp_path / "t.tsv").write_text("farm\tuniversal\nanimal\tcat\n\tdog\n", encoding="utf-8")
    made = create_store(tmp_path / "s.db", taxonomy_path=tmp_path / "t.tsv", now=NOW)
    assert (made.path, made.classes, made.datasets) == (tmp_path / "s.db", 2, 0)
    with Store.open(made.path) as store, store.reading() as connection:
        assert load_universal(connection).names == ("cat", "dog")
        assert list_datasets(connection) == []


def test_names_of_shipped_columns_are_checked(tmp_path: Path) -> None:
    """A column named like a known dataset may not name a class which that dataset does not have."""
    (tmp_path / "t.tsv").write_text("bdd\tuniversal\nspaceship\tcar\n", encoding="utf-8")
    with pytest.raises(TaxonomyError, match=r"t\.tsv:2, column bdd: .*'spaceship'"):
        create_store(tmp_path / "s.db", taxonomy_path=tmp_path / "t.tsv", now=NOW)
    assert not (tmp_path / "s.db").exists()


def test_a_taxonomy_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file is an InputError, and no store is made."""
    with pytest.raises(InputError, match=r"none\.tsv: no such file"):
        create_store(tmp_path / "s.db", taxonomy_path=tmp_path / "none.tsv", now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_class_names_of_two_languages_survive(tmp_path: Path) -> None:
    """Names outside ASCII and with quotes come back as they were."""
    (tmp_path / "t.tsv").write_text("universal\nStraße\n道路\nO'Neill road\n", encoding="utf-8")
    create_store(tmp_path / "s.db", taxonomy_path=tmp_path / "t.tsv", now=NOW)
    with Store.open(tmp_path / "s.db") as store, store.reading() as connection:
        assert load_universal(connection).names == ("Straße", "道路", "O'Neill road")
