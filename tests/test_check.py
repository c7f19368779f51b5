"""The checks: every class lands somewhere, or is listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mseg_curate.check import check_store, check_taxonomy
from mseg_curate.core.mapping import Arm, ClassMapping, DatasetMapping, Relation
from mseg_curate.errors import DatasetError, MappingError, TaxonomyError
from mseg_curate.export import write_export
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import default_taxonomy_path
from mseg_curate.map_classes import import_mapping
from mseg_curate.store import Store
from mseg_curate.store.datasets import load_dataset
from mseg_curate.store.taxonomies import save_mapping

NOW = "2026-01-02T03:04:05+00:00"
WriteDataset = Callable[..., Path]


def test_the_shipped_taxonomy_is_covered() -> None:
    """taxonomy.tsv passes; test classes that nothing feeds are noted."""
    checked = check_taxonomy(default_taxonomy_path())
    assert "194 universal classes; all " in checked.summary
    assert any("pascal-context" in note and "flower, wood" in note for note in checked.notes)


Table = list[list[str]]


def read_table() -> Table:
    """Return the cells of the shipped taxonomy."""
    text = default_taxonomy_path().read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


def cell_of(table: Table, universal: str, column: str) -> tuple[int, int]:
    """Return where the cell of a universal class in a column stands."""
    header = table[0]
    row = next(i for i, r in enumerate(table) if r[header.index("universal")] == universal)
    return row, header.index(column)


def spoil_cell(universal: str, column: str, text: str) -> Callable[[Table], None]:
    """Return what puts a text into a cell."""

    def spoil(table: Table) -> None:
        row, place = cell_of(table, universal, column)
        table[row][place] = text

    return spoil


def drop_row(universal: str) -> Callable[[Table], None]:
    """Return what takes the row of a universal class out."""

    def spoil(table: Table) -> None:
        del table[cell_of(table, universal, "universal")[0]]

    return spoil


def double_row(table: Table) -> None:
    """Repeat the row of a class."""
    table.append(table[cell_of(table, "car", "universal")[0]])


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        (spoil_cell("car", "bdd", ""), ["column bdd: class 'car' lands nowhere"]),
        (spoil_cell("car", "bdd", "cars"), ["column bdd", "unknown class", "'cars'"]),
        (spoil_cell("car", "universal", ""), ["column universal: empty universal class"]),
        (spoil_cell("car", "bdd", "car "), ["column bdd: stray blanks"]),
        (spoil_cell("bus", "bdd", "{bus, car}"), ["column bdd", "car"]),
        (drop_row("car"), ["column bdd: class 'car' lands nowhere", "idd-39"]),
        (double_row, ["duplicate universal class", "'car'"]),
        (lambda table: table[3].append("more"), [":4", "cells"]),
    ],
)
def test_a_damaged_copy_is_refused_with_a_list(
    tmp_path: Path, spoil: Callable[[Table], object], messages: list[str]
) -> None:
    """Each damage to a copy of the shipped taxonomy is an error that names file, place and class."""
    table = read_table()
    spoil(table)
    path = tmp_path / "damaged.tsv"
    path.write_text("\n".join("\t".join(row) for row in table) + "\n", encoding="utf-8")
    with pytest.raises(TaxonomyError) as caught:
        check_taxonomy(path)
    assert str(caught.value).startswith(str(path))
    for message in messages:
        assert message in str(caught.value)


def test_columns_without_a_class_list_are_noted(tmp_path: Path) -> None:
    """A taxonomy of somebody's own passes, saying which columns could not be checked for coverage."""
    path = tmp_path / "t.tsv"
    path.write_text("farm\tuniversal\tzoo\nanimal\tcat\tcat\n\tdog\t\n")
    checked = check_taxonomy(path)
    assert checked.summary.endswith(
        "2 universal classes; all 0 classes of 0 dataset taxonomies land somewhere"
    )
    assert checked.notes == ("no class list, so not checked for coverage: farm, zoo",)


def test_a_store_that_can_be_exported_passes(farm_store: Store) -> None:
    """All classes mapped and every split class asked about: no note."""
    checked = check_store(farm_store)
    assert checked.summary == (
        f"{farm_store.path}: all classes of 1 datasets with pixels land somewhere"
    )
    assert checked.notes == ()


def test_a_fresh_store_passes(mseg_store: Store) -> None:
    """Declared datasets without pixels are not asked for."""
    assert "all classes of 0 datasets" in check_store(mseg_store).summary


def test_every_class_without_a_place_is_listed(small_store: Store, farm: Path) -> None:
    """A dataset without a mapping and classes that a mapping leaves out are listed together."""
    for name in ("farm", "ranch"):
        add_dataset(small_store, name, folder=farm, role="train", now=NOW)
    with small_store.writing() as connection:
        partly = DatasetMapping("ranch", (ClassMapping("sky", Relation.KEEP, ("sky",)),))
        dataset = load_dataset(connection, "ranch").id
        save_mapping(connection, dataset, new=partly, author="one", note="", now=NOW)
    with pytest.raises(MappingError, match="3 faults: nothing can be exported") as caught:
        check_store(small_store)
    assert list(caught.value.problems) == [
        "dataset farm has no mapping; `mseg-curate mapping draft farm` writes a first one",
        "dataset ranch: class 'ground' (23 px) has no mapping",
        "dataset ranch: class 'animal' (9 px) has no mapping",
    ]


def test_a_split_without_a_task_is_noted(small_store: Store, farm: Path, tmp_path: Path) -> None:
    """A class that must be split and is not asked about comes with the command that asks."""
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    (tmp_path / "m.tsv").write_text(
        "class\trelation\tuniversal\tcandidates\nground\tkeep\tground\t\n"
        "animal\tsplit\tcat\t{cat, dog}\nsky\tignore\t\t\n"
    )
    import_mapping(small_store, "farm", path=tmp_path / "m.tsv", author="one", note="", now=NOW)
    assert check_store(small_store).notes == (
        "dataset farm: class 'animal' must be split and has no task; "
        "`mseg-curate task make NAME --dataset farm --class 'animal'`",
    )


def test_test_classes_that_nothing_feeds_are_noted(
    farm_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """A test class is noted where it has no source, or only sources that no training class becomes."""
    root = write_dataset(
        tmp_path / "zoo",
        {"a": [[0, 1, 2]]},
        classes="id\tname\n0\tpet\n1\tcloud\n2\tfloor\n",
    )
    add_dataset(farm_store, "zoo", folder=root, role="test", now=NOW)
    (tmp_path / "m.tsv").write_text(
        "class\trelation\tuniversal\tcandidates\npet\ttest\t{cat, dog}\t\ncloud\ttest\t\t\n"
        "floor\ttest\tground\t\n"
    )
    import_mapping(farm_store, "zoo", path=tmp_path / "m.tsv", author="one", note="", now=NOW)
    assert check_store(farm_store).notes == (
        "test dataset zoo: no training class feeds cloud: they cannot be predicted",
    )


def test_photos_in_both_roles_are_a_fault(farm_store: Store, farm: Path, tmp_path: Path) -> None:
    """A photo that is trained on must not be tested on: check and export refuse it and name it."""
    add_dataset(farm_store, "again", folder=farm, role="test", now=NOW, splits=("val",))
    mapping = tmp_path / "again.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\nground\ttest\tground\t\n"
        "animal\ttest\tcat\t\nsky\ttest\tsky\t\n",
        encoding="utf-8",
    )
    import_mapping(farm_store, "again", path=mapping, author="a", note="", now=NOW)
    with pytest.raises(MappingError, match="farm/c and again/c"):
        check_store(farm_store)
    with pytest.raises(DatasetError, match="1 photos are in a training and in a test dataset"):
        write_export(farm_store, tmp_path / "out", arm=Arm.IGNORED, now=NOW)
    assert not (tmp_path / "out").exists()
