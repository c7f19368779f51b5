"""Published decisions that cannot be used: which source, index or list, and which line of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mseg_curate.core.taxonomy import Taxonomy, parse_taxonomy
from mseg_curate.errors import DecisionError
from mseg_curate.readers.mseg_decisions import (
    read_mseg_api_decisions,
    read_published_decisions,
)
from tests.readers.mseg_records import (
    INDEX_HEADER,
    RECORDS,
    TABLE,
    Record,
    write_folder,
    write_source,
)


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    """The taxonomy that ships with the package."""
    return parse_taxonomy(TABLE.read_bytes().decode(), path=TABLE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = [\n  (\n", ":2: unreadable source: expected Python 3, found"),
        ("records = []\n", ": no lists: expected at least one record"),
        (
            "\nDatasetClassUpdateRecord('bdd', 'train', 'person', 'person', PATH)\n",
            ":2: unreadable record: expected the strings dataset_name, split, orig_class, "
            "relabeled_class, txt_fpath, found DatasetClassUpdateRecord('bdd', ",
        ),
        ("DatasetClassUpdateRecord('bdd', 'train')\n", ":1: unreadable record"),
        ("DatasetClassUpdateRecord('a', 'b', 'c', 'd', 'e', 'f')\n", ":1: unreadable record"),
        ("DatasetClassUpdateRecord(*ROW)\n", ":1: unreadable record"),
        ("DatasetClassUpdateRecord(**ROW)\n", ":1: unreadable record"),
        (
            "DatasetClassUpdateRecord('kitti', 'train', 'person', 'person', 'a.txt')\n",
            ":1: unknown dataset: expected one of ade20k-150, bdd, ",
        ),
    ],
)
def test_unusable_source_is_named(
    source: str, message: str, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    """A record table that cannot be read is an error with the file and the line."""
    path = write_source(tmp_path, source)
    with pytest.raises(DecisionError) as caught:
        read_mseg_api_decisions(tmp_path, taxonomy)
    assert str(caught.value).startswith(f"{path}{message}")


LINE_FAULTS = [
    ("bdd", "a_1.jpg\nabc.jpg\n", 2, "'abc.jpg'"),
    ("bdd", "a_1.jpg\nabc_.jpg\n", 2, "'abc_.jpg'"),
    ("bdd", "_1.jpg\n", 1, "'_1.jpg'"),
    ("bdd", "a_1.jpg\na_-2.jpg\n", 2, "'a_-2.jpg'"),
    ("bdd", "a_+2.jpg\n", 1, "'a_+2.jpg'"),
    ("bdd", "a_ 2.jpg\n", 1, "'a_ 2.jpg'"),
    ("bdd", "a_02.jpg\n", 1, "'a_02.jpg'"),
    ("bdd", "a_2.5.jpg\n", 1, "'a_2.5.jpg'"),
    ("bdd", "a_\u0663.jpg\n", 1, "'a_\u0663.jpg'"),
    ("bdd", "a_9223372036854775808.jpg\n", 1, "'a_9223372036854775808.jpg'"),
    ("bdd", f"a_{'9' * 5000}.jpg\n", 1, "'a_999"),
    ("bdd", "a_1.jpg\n\nb_1.jpg\n", 2, "a blank line"),
    ("bdd", "a_1.jpg\n\n", 2, "a blank line"),
    ("bdd", "\n", 1, "a blank line"),
    ("bdd", "a_1.jpg \n", 1, "'a_1.jpg '"),
    ("bdd", "a_1.jpg\n a_2.jpg\n", 2, "' a_2.jpg'"),
    ("bdd", "a_1.gif\n", 1, "'a_1.gif'"),
    ("idd-39", "seq1_2_3.jpg\n1_2_3.jpg\n", 2, "'1_2_3.jpg'"),
    ("idd-39", "seq_2_3.jpg\n", 1, "'seq_2_3.jpg'"),
    ("idd-39", "seq1_3.jpg\n", 1, "'seq1_3.jpg'"),
    ("mapillary-public65", "mapillary_a_1.jpg\na_2.jpg\n", 2, "'a_2.jpg'"),
    ("mapillary-public65", "mapillary__2.jpg\n", 1, "'mapillary__2.jpg'"),
]


@pytest.mark.parametrize("fault", LINE_FAULTS)
def test_malformed_line_is_named(
    fault: tuple[str, str, int, str], tmp_path: Path, taxonomy: Taxonomy
) -> None:
    """A line that is no picture and segment is an error with file, line, expected and found."""
    dataset, text, line, found = fault
    write_folder(tmp_path, [(dataset, "train", "person", "person", "lists/x.txt", text)])
    with pytest.raises(DecisionError) as caught:
        read_published_decisions(tmp_path, taxonomy)
    path = tmp_path / "relabeled_data" / "lists" / "x.txt"
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: malformed line: expected ")
    assert f"_<segment>.<png or jpg>, found {found}" in message


INDEX_FAULTS = [
    (
        ("bdd", "train", "person", "persn", "a.txt", "a_1.jpg"),
        "unknown universal class: expected a class of the taxonomy, found 'persn'; "
        "did you mean 'person'",
    ),
    (("bdd", "train", "persn", "person", "a.txt", "a_1.jpg"), "unknown universal class: expected"),
    (("bdd", "train", "unlabeled", "person", "a.txt", "a_1.jpg"), "unlabeled cannot change"),
    (("kitti-19", "train", "person", "person", "a.txt", ""), "unknown dataset: expected one of"),
    (("bdd", "", "person", "person", "a.txt", "a_1.jpg"), "empty split: expected the name"),
    (("bdd", "train", "person", "person", "../a.txt", "a_1.jpg"), "list outside the folder"),
    (("bdd", "train", "person\tx", "person", "a.txt", ""), "wrong number of cells: expected 6"),
]


@pytest.mark.parametrize(("record", "message"), INDEX_FAULTS)
def test_unusable_index_row_is_named(
    record: Record, message: str, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    """A row of the index that names what is not there is an error with its line."""
    write_folder(tmp_path, [*RECORDS[:1], record])
    with pytest.raises(DecisionError) as caught:
        read_published_decisions(tmp_path, taxonomy)
    assert str(caught.value).startswith(f"{tmp_path / 'relabeled_index.tsv'}:3: {message}")


def test_missing_list_is_named(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """A row whose list is not there is an error that names the row and the file."""
    write_folder(tmp_path, RECORDS)
    path = tmp_path / "relabeled_data" / RECORDS[2][4]
    path.unlink()
    with pytest.raises(DecisionError) as caught:
        read_published_decisions(tmp_path, taxonomy)
    index = tmp_path / "relabeled_index.tsv"
    assert str(caught.value).startswith(f"{index}:4: missing list: expected the file {path}")


def test_taxonomy_without_the_dataset_is_named(tmp_path: Path) -> None:
    """Decisions on a dataset that the taxonomy does not know are refused."""
    small = parse_taxonomy("street\tuniversal\ncar\tcar\n", path="t.tsv")
    with pytest.raises(DecisionError, match="unknown dataset taxonomy: expected a column"):
        read_published_decisions(write_folder(tmp_path, RECORDS), small)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", ": empty file: expected at least one line, found none"),
        (b"a_1.jpg\nb\xff_1.jpg\n", ":2: undecodable text: expected UTF-8, found the byte 0xff"),
    ],
)
def test_unreadable_list_is_named(
    text: bytes, message: str, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    """A list that is empty or no UTF-8 is an error with its place."""
    write_folder(tmp_path, RECORDS[:1])
    path = tmp_path / "relabeled_data" / RECORDS[0][4]
    path.write_bytes(text)
    with pytest.raises(DecisionError) as caught:
        read_published_decisions(tmp_path, taxonomy)
    assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset\tsplit\n", "1: wrong columns: expected dataset, split, original"),
        (INDEX_HEADER, " no lists: expected at least one record"),
        (INDEX_HEADER + "\n\n", "2: wrong number of cells: expected 6, found a blank line"),
    ],
)
def test_unusable_index_is_named(
    text: str, message: str, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    """An index without its columns or rows is an error that says what is missing."""
    index = tmp_path / "relabeled_index.tsv"
    index.write_text(text)
    with pytest.raises(DecisionError) as caught:
        read_published_decisions(tmp_path, taxonomy)
    assert str(caught.value).startswith(f"{index}:{message}")


def test_missing_index_is_named(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """A folder without the index is an error that names the file."""
    with pytest.raises(DecisionError, match=r"relabeled_index.tsv: unreadable file"):
        read_published_decisions(tmp_path, taxonomy)


def test_contradiction_names_both_places(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """Two outcomes for one segment are an error that names both lines."""
    records: list[Record] = [
        ("bdd", "train", "person", "person", "a.txt", "x_1.jpg\ny_1.jpg\n"),
        ("bdd", "val", "person", "bicyclist", "b.txt", "y_1.jpg\n"),
        ("bdd", "train", "person", "bicyclist", "c.txt", "z_1.jpg\nq_1.jpg\ny_1.png\n"),
    ]
    with pytest.raises(DecisionError) as caught:
        read_published_decisions(write_folder(tmp_path, records), taxonomy)
    lists = tmp_path / "relabeled_data"
    assert str(caught.value).startswith(
        f"{lists / 'c.txt'}:3: two decisions on one segment: expected person → person as in "
        f"{lists / 'a.txt'}:2, found person → bicyclist"
    )


def test_repeat_counts_once(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """The same decision listed twice is one decision."""
    records: list[Record] = [
        ("bdd", "train", "person", "person", "a.txt", "x_1.jpg\ny_1.jpg\n"),
        ("bdd", "train", "person", "person", "b.txt", "y_1.jpg\nz_1.jpg\n"),
    ]
    found = read_published_decisions(write_folder(tmp_path, records), taxonomy)
    assert [row[3] for row in found.rows] == ["x", "y", "z"]
