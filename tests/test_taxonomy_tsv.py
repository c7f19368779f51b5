"""taxonomy.tsv says what MSeg's published table says, and `check` has something to stand on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mseg_curate.core.taxonomy import (
    UNLABELED_ID,
    Taxonomy,
    find_uncovered,
    format_taxonomy,
    parse_class_lists,
    parse_taxonomy,
)
from mseg_curate.errors import TaxonomyError

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "taxonomy.tsv"
LISTS = ROOT / "mseg_curate" / "mseg_classes.tsv"

TRAIN = [
    "mapillary-public65",
    "coco-panoptic-133",
    "ade20k-150",
    "idd-39",
    "cityscapes-34",
    "cityscapes-19",
    "bdd",
    "sunrgbd-37",
]
TRAIN += [f"{name}-relabeled" for name in TRAIN]
TRAIN_WITHOUT_LIST = ["nyudepthv2-37", "scannet-37"]
TEST = [
    "kitti-19",
    "voc2012",
    "scannet-20",
    "camvid-11",
    "wilddash-19",
    "pascal-context-60",
]
TEST_WITHOUT_LIST = ["test-nyudepthv2-37"]


@pytest.fixture(scope="module")
def text() -> str:
    """The text of taxonomy.tsv."""
    return TABLE.read_bytes().decode()


@pytest.fixture(scope="module")
def class_lists() -> dict[str, tuple[str, ...]]:
    """The class lists that ship with the package."""
    return parse_class_lists(LISTS.read_bytes().decode(), path=LISTS)


@pytest.fixture(scope="module")
def taxonomy(text: str, class_lists: dict[str, tuple[str, ...]]) -> Taxonomy:
    """The taxonomy that ships with the package, checked against its class lists."""
    return parse_taxonomy(text, path=TABLE, class_lists=class_lists)


def test_has_all_classes_and_columns(taxonomy: Taxonomy) -> None:
    """194 classes, every training and test column, and the class list of each that has one."""
    assert len(taxonomy.classes) == 194
    columns = {column.name: column.role for column in taxonomy.columns}
    assert columns == dict.fromkeys(TRAIN + TRAIN_WITHOUT_LIST, "train") | dict.fromkeys(
        TEST + TEST_WITHOUT_LIST, "test"
    )


def test_is_in_its_own_text_form(taxonomy: Taxonomy, text: str) -> None:
    """The file is what writing the taxonomy gives: LF, no padding, unlabeled last."""
    assert format_taxonomy(taxonomy) == text
    assert text.splitlines()[-1].split("\t")[0] == "unlabeled"
    assert "Defn" not in text


def test_covers_every_class(taxonomy: Taxonomy, class_lists: dict[str, tuple[str, ...]]) -> None:
    """Every class of every list lands somewhere; flower and wood cannot be predicted."""
    assert sorted(class_lists) == sorted(TRAIN + TEST)
    assert find_uncovered(taxonomy, class_lists) == {"pascal-context-60": ("flower", "wood")}


def test_has_synsets(taxonomy: Taxonomy) -> None:
    """Synsets are names and nothing else, for the 166 classes that have one published."""
    synsets = [universal.synset for universal in taxonomy.classes if universal.synset]
    assert len(synsets) == 166
    for synset in ", ".join(synsets).split(", "):
        word, kind, number = synset.rsplit(".", 2)
        assert word
        assert kind == "n"
        assert number.isdecimal()
    assert {"dog": "dog.n.01", "cow": "beef.n.01"}.items() <= {
        universal.name: universal.synset for universal in taxonomy.classes
    }.items()


def read_naively(folder: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The universal names and the rows of the published table."""
    path = folder / "class_remapping_files" / "MSeg_master.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row["universal"] for row in rows if row["universal"] != "unlabeled"], rows


def split_naively(cell: str) -> list[str]:
    """The dataset classes in a cell of the published table."""
    return [name.strip() for name in cell.strip("{}").split(",") if name.strip()]


def read_names(folder: Path, dataset: str) -> list[str]:
    """The published class names of a dataset taxonomy in the order of their ids."""
    return (folder / "names" / f"{dataset}_names.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.real_data
@pytest.mark.parametrize("dataset", TRAIN)
def test_train_ids_equal_the_published(
    dataset: str,
    shared_data: Path,
    taxonomy: Taxonomy,
    class_lists: dict[str, tuple[str, ...]],
) -> None:
    """The map from class id to universal id is the published one, for every training column."""
    names = read_names(shared_data / "mseg", dataset)
    universal, rows = read_naively(shared_data / "mseg")
    expected = [
        (
            names.index(name),
            255 if row["universal"] == "unlabeled" else universal.index(row["universal"]),
        )
        for row in rows
        for name in split_naively(row[dataset])
    ]
    assert class_lists[dataset] == tuple(names)
    assert taxonomy.train_pairs(dataset, names) == sorted(expected)


@pytest.mark.real_data
@pytest.mark.parametrize("dataset", TEST)
def test_test_ids_equal_the_published(
    dataset: str,
    shared_data: Path,
    taxonomy: Taxonomy,
    class_lists: dict[str, tuple[str, ...]],
) -> None:
    """The list of (universal id, test id) is the published one, for every test column."""
    names = read_names(shared_data / "mseg", dataset)
    universal, rows = read_naively(shared_data / "mseg")
    expected = [
        (universal.index(row["universal"]), names.index(row[dataset]))
        for row in rows
        if row[dataset]
    ]
    assert class_lists[dataset] == tuple(names)
    assert taxonomy.test_pairs(dataset, names) == sorted(expected)


@pytest.mark.real_data
@pytest.mark.parametrize("dataset", TRAIN_WITHOUT_LIST + TEST_WITHOUT_LIST)
def test_cells_without_a_list_equal_the_published(
    dataset: str, shared_data: Path, taxonomy: Taxonomy
) -> None:
    """Columns whose class lists are not published hold the published cells."""
    _, rows = read_naively(shared_data / "mseg")
    expected = {row["universal"]: split_naively(row[dataset]) for row in rows if row[dataset]}
    cells = taxonomy.column(dataset).cells
    assert {universal: list(names) for universal, names in cells} == expected


@pytest.mark.real_data
def test_published_table_parses_as_it_is(
    shared_data: Path, taxonomy: Taxonomy, class_lists: dict[str, tuple[str, ...]]
) -> None:
    """MSeg_master.tsv, unedited, gives the same classes and columns as taxonomy.tsv."""
    path = shared_data / "mseg" / "class_remapping_files" / "MSeg_master.tsv"
    master = parse_taxonomy(path.read_bytes().decode(), path=path, class_lists=class_lists)
    assert master.columns == taxonomy.columns
    assert [(c.id, c.name, c.parent) for c in master.classes] == [
        (c.id, c.name, c.parent) for c in taxonomy.classes
    ]
    assert master.id_of("unlabeled") == UNLABELED_ID


DAMAGE = {
    "duplicate class": (
        ("\tumbrella\tumbrella.n.01", "\tbackpack\tumbrella.n.01"),
        ":3, column universal: duplicate universal class: expected each name once, "
        "found 'backpack' in line 2 too",
    ),
    "class in two rows": (
        ("\tumbrella\tumbrella\t", "\tbackpack\tumbrella\t"),
        ":3, column coco-panoptic-133: class in two rows: expected each class of a training "
        "dataset in one row, found 'backpack' in line 2 too",
    ),
    "unknown class": (
        ("{coffee table, table}", "{coffee tabel, table}"),
        ":69, column ade20k-150: unknown class: expected one of the 150 classes of ade20k-150, "
        "found 'coffee tabel'; did you mean 'coffee table'",
    ),
    "empty universal class": (
        ("\tumbrella\tumbrella.n.01", "\t\tumbrella.n.01"),
        ":3, column universal: empty universal class: expected a name, found nothing",
    ),
    "stray blank": (
        ("\tumbrella\tumbrella.n.01", "\tumbrella \tumbrella.n.01"),
        ":3, column universal: stray blanks: expected single plain blanks, inside names only, "
        "found 'umbrella '",
    ),
    "no-break blank": (
        ("{coffee table, table}", "{coffee\u00a0table, table}"),
        ":69, column ade20k-150: stray blanks",
    ),
    "open brace": (
        ("{coffee table, table}", "{coffee table, table"),
        ":69, column ade20k-150: unbalanced braces",
    ),
    "lost tab": (
        ("\tumbrella\tumbrella.n.01\t", "\tumbrella\tumbrella.n.01"),
        ":3: wrong number of cells: expected 28, found 27",
    ),
    "renamed column": (
        ("\tuniversal\t", "\tUniversal\t"),
        ":1: missing column: expected a column named universal",
    ),
    "doubled column": (
        ("\tcamvid-11\t", "\tkitti-19\t"),
        ":1, column kitti-19: duplicate column: expected each column once, "
        "found it as column 23 and column 26",
    ),
}


@pytest.mark.parametrize(("edit", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_copy_is_refused(
    edit: tuple[str, str], message: str, text: str, class_lists: dict[str, tuple[str, ...]]
) -> None:
    """A copy with one edit is refused, and the first line of the list names the place."""
    assert edit[0] in text
    with pytest.raises(TaxonomyError) as caught:
        parse_taxonomy(text.replace(*edit, 1), path="copy.tsv", class_lists=class_lists)
    problems = caught.value.problems or (str(caught.value),)
    assert problems[0].startswith(f"copy.tsv{message}")


def test_too_many_classes_are_refused(text: str) -> None:
    """More classes than one byte can name beside the ignore label are refused."""
    header, *rows = text.splitlines(keepends=True)
    blank = "\t" * header.split("\t").index("universal")
    rest = "\t" * (header.count("\t") - blank.count("\t"))
    more = [f"{blank}extra{index}{rest}\n" for index in range(62)]
    parse_taxonomy("".join([header, *more[:61], *rows]), path="copy.tsv")
    with pytest.raises(TaxonomyError, match=r"^copy.tsv:257, column universal: too many"):
        parse_taxonomy("".join([header, *more, *rows]), path="copy.tsv")


def test_class_taken_out_is_listed(text: str, class_lists: dict[str, tuple[str, ...]]) -> None:
    """A dataset class that no cell names any more shows up as uncovered."""
    copy = text.replace("{coffee table, table}", "table", 1)
    uncovered = find_uncovered(parse_taxonomy(copy, path="copy.tsv"), class_lists)
    assert uncovered["ade20k-150"] == ("coffee table",)
