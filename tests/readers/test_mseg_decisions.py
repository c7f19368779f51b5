"""The published decisions, from the indexed folder and from a checkout of mseg-api."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mseg_curate.core.taxonomy import Taxonomy, parse_taxonomy
from mseg_curate.errors import DecisionError
from mseg_curate.readers.mseg_decisions import (
    DecisionRow,
    read_decisions_folder,
    read_mseg_api_decisions,
    read_published_decisions,
)

TABLE = Path(__file__).resolve().parents[2] / "taxonomy.tsv"

INDEX_HEADER = (
    "dataset\tupstream_name\tsplit\toriginal_universal_class\trelabeled_universal_class\tfile"
)
UPSTREAM = {
    "coco-panoptic-133": "cocopanoptic-v1",
    "ade20k-150": "ade20k",
    "bdd": "bdd",
    "sunrgbd-37": "sunrgbd",
    "cityscapes-19": "cityscapes",
    "idd-39": "idd",
    "mapillary-public65": "mapillary-public65",
}

Record = tuple[str, str, str, str, str, str]
"""dataset, split, from, to, file, text of the list."""


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    """The taxonomy that ships with the package."""
    return parse_taxonomy(TABLE.read_bytes().decode(), path=TABLE)


def write_lists(folder: Path, records: list[Record]) -> None:
    """Write the text lists of some records below a folder."""
    for *_, file, text in records:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def write_folder(folder: Path, records: list[Record]) -> Path:
    """Write an index and its lists, as the published copy has them."""
    write_lists(folder / "relabeled_data", records)
    lines = [
        "\t".join([dataset, UPSTREAM.get(dataset, dataset), split, old, new, file])
        for dataset, split, old, new, file, _ in records
    ]
    (folder / "relabeled_index.tsv").write_text("\n".join([INDEX_HEADER, *lines]) + "\n")
    return folder


def write_checkout(folder: Path, records: list[Record]) -> Path:
    """Write a record table in Python and its lists, as a checkout of mseg-api has them."""
    write_lists(folder / "mseg" / "relabeled_data", records)
    calls = [
        f"\tDatasetClassUpdateRecord('{UPSTREAM.get(dataset, dataset)}', '{split}', \t'{old}',"
        f" \t\t'{new}',\t'{file}'),"
        for dataset, split, old, new, file, _ in records
    ]
    write_source(
        folder,
        "\n".join(
            [
                "from mseg.label_preparation.relabeled_data_containers import (",
                "\tDatasetClassUpdateRecord)",
                "records = [",
                "\t# dataset, split, old name, new name, list",
                *calls,
                "]",
                "",
            ]
        ),
    )
    return folder


def write_source(folder: Path, source: str) -> Path:
    """Write the text of a record table into a checkout."""
    path = folder / "mseg" / "label_preparation" / "dataset_update_records.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


RECORDS: list[Record] = [
    (
        "coco-panoptic-133",
        "train",
        "cabinet",
        "desk",
        "cocop_cabinet-merged/desk_train.txt",
        "000000024880_7237508.png\n000000024881_0.png",
    ),
    (
        "coco-panoptic-133",
        "val",
        "table",
        "desk",
        "cocop_diningtable/desk.txt",
        "000000024880_12.png\n",
    ),
    (
        "coco-panoptic-133",
        "val",
        "table",
        "table",
        "cocop_table-merged/table.txt",
        "000000024880_13.png\n",
    ),
    (
        "ade20k-150",
        "train",
        "animal_other",
        "bear",
        "ade20k_animal/bear.txt",
        "ADE_train_00000577_68.png",
    ),
    ("ade20k-150", "val", "table", "desk", "ade20k_table/desk.txt", "ADE_val_00000001_5.png"),
    (
        "ade20k-150",
        "val",
        "mountain_hill",
        "snow",
        "ade20k_snow/snow.txt",
        "ADE_val_00000001_6.png",
    ),
    ("bdd", "train", "rider_other", "bicyclist", "bdd_rider/b.txt", "0f4e8f1e-6ba53d52_11.jpg"),
    ("sunrgbd-37", "val", "light_other", "lamp", "sunrgbd_lamp/lamp.txt", "img-000001_21.jpg"),
    (
        "cityscapes-19",
        "train",
        "rider_other",
        "unlabeled",
        "cityscapes_rider/none.txt",
        "seqcologne_cologne_000115_000019_leftImg8bit_70.jpg",
    ),
    (
        "idd-39",
        "train",
        "rider_other",
        "motorcyclist",
        "idd_rider/m.txt",
        "seq32_597097_leftImg8bit_117.jpg\r\nseq173_316862_leftImg8bit_34\r\n",
    ),
    (
        "mapillary-public65",
        "train",
        "dog",
        "bird",
        "groundanimal/bird.txt",
        "mapillary_czkO_9In4u30opBy5H1uLg_259.jpg\n",
    ),
]
COCO = "coco-panoptic-133"
ROWS: list[DecisionRow] = [
    (COCO, "train", "", "000000024880", 7237508, "cabinet-merged", "cabinet", "desk"),
    (COCO, "train", "", "000000024881", 0, "cabinet-merged", "cabinet", "desk"),
    (COCO, "val", "", "000000024880", 12, "dining table", "table", "desk"),
    (COCO, "val", "", "000000024880", 13, "table-merged", "table", "table"),
    ("ade20k-150", "train", "", "ADE_train_00000577", 68, "animal", "animal_other", "bear"),
    ("ade20k-150", "val", "", "ADE_val_00000001", 5, "", "table", "desk"),
    ("ade20k-150", "val", "", "ADE_val_00000001", 6, "", "mountain_hill", "snow"),
    ("bdd", "train", "", "0f4e8f1e-6ba53d52", 11, "rider", "rider_other", "bicyclist"),
    ("sunrgbd-37", "val", "", "img-000001", 21, "lamp", "light_other", "lamp"),
    (
        "cityscapes-19",
        "train",
        "cologne",
        "cologne_000115_000019_leftImg8bit",
        70,
        "rider",
        "rider_other",
        "unlabeled",
    ),
    ("idd-39", "train", "32", "597097_leftImg8bit", 117, "rider", "rider_other", "motorcyclist"),
    ("idd-39", "train", "173", "316862_leftImg8bit", 34, "rider", "rider_other", "motorcyclist"),
    (
        "mapillary-public65",
        "train",
        "",
        "czkO_9In4u30opBy5H1uLg",
        259,
        "Ground Animal",
        "dog",
        "bird",
    ),
]


def test_indexed_folder_gives_the_rows(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """Every dataset's names are split as it means them, with its own class where it is known."""
    found = read_published_decisions(write_folder(tmp_path, RECORDS), taxonomy)
    assert found.rows == ROWS
    assert found.lists == len(RECORDS)
    assert found.changed == len(ROWS) - 1
    assert found.source == tmp_path / "relabeled_index.tsv"


def test_checkout_gives_the_same_rows(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """The record table of a checkout leads to the same rows as the index."""
    found = read_mseg_api_decisions(write_checkout(tmp_path, RECORDS), taxonomy)
    assert found.rows == ROWS
    assert found.lists == len(RECORDS)
    assert found.source.name == "dataset_update_records.py"


def test_folder_is_recognised(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """Either kind of folder is told by its table, and a third is refused."""
    index = write_folder(tmp_path / "index", RECORDS)
    checkout = write_checkout(tmp_path / "checkout", RECORDS)
    assert read_decisions_folder(index, taxonomy).rows == ROWS
    assert read_decisions_folder(checkout, taxonomy).rows == ROWS
    with pytest.raises(DecisionError, match=r"expected relabeled_index.tsv, or mseg/label_prep"):
        read_decisions_folder(tmp_path, taxonomy)


def test_source_is_never_executed(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """A record table may hold any code, spelled in any way: it is parsed and does not run."""
    write_lists(tmp_path / "mseg" / "relabeled_data", RECORDS[:2])
    victim = tmp_path / "executed"
    write_source(
        tmp_path,
        f"import pathlib\npathlib.Path({str(victim)!r}).touch()\nraise SystemExit\n"
        "many = [containers.DatasetClassUpdateRecord('cocop', split='train',\n"
        "    orig_class='cabinet', relabeled_class='desk',\n"
        "    txt_fpath='cocop_cabinet-merged/' 'desk_train.txt')]\n",
    )
    assert read_mseg_api_decisions(tmp_path, taxonomy).rows == ROWS[:2]
    assert not victim.exists()


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


def split_naively(name: str, dataset: str) -> tuple[str, str, int]:
    """Sequence, image and segment of one name, the slow way."""
    stem = os.path.splitext(name)[0]  # noqa: PTH122
    *words, segment = stem.split("_")
    sequence = ""
    if dataset == "idd-39":
        sequence = words.pop(0)[len("seq") :]
    elif dataset == "mapillary-public65":
        words.pop(0)
    return sequence, "_".join(words), int(segment)


WORDS = st.text("abz09-_", min_size=1, max_size=8)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    dataset=st.sampled_from(["bdd", "idd-39", "mapillary-public65"]),
    names=st.lists(
        st.tuples(st.text("ab09-", min_size=1), WORDS, st.integers(0, 2**40)),
        min_size=1,
        max_size=8,
        unique=True,
    ),
    suffixes=st.sampled_from([(".png",), (".jpg",), (".jpg", ".png"), (".jpeg", ".jpg")]),
)
def test_bulk_splitting_equals_the_naive(
    dataset: str,
    names: list[tuple[str, str, int]],
    suffixes: tuple[str, ...],
    tmp_path: Path,
    taxonomy: Taxonomy,
) -> None:
    """Lists of one extension, split in bulk, and mixed lists give what one name at a time gives."""
    starts = {"bdd": "", "idd-39": "seq{}_", "mapillary-public65": "mapillary_"}
    lines = [
        f"{starts[dataset].format(sequence)}{image}_{segment}{suffixes[at % len(suffixes)]}"
        for at, (sequence, image, segment) in enumerate(names)
    ]
    lines = list(dict.fromkeys(lines))
    record = (dataset, "train", "person", "bicyclist", "a.txt", "\n".join(lines))
    found = read_published_decisions(write_folder(tmp_path, [record]), taxonomy)
    expected = dict.fromkeys(split_naively(line, dataset) for line in lines)
    assert [row[2:5] for row in found.rows] == list(expected)


@pytest.mark.real_data
def test_published_decisions_are_all_there(shared_data: Path, taxonomy: Taxonomy) -> None:
    """226,413 decisions, 99,276 of them changing the class, per dataset as published."""
    found = read_decisions_folder(shared_data / "mseg", taxonomy)
    assert (len(found.rows), found.changed, found.lists) == (226_413, 99_276, 381)
    assert Counter(row[0] for row in found.rows) == {
        "coco-panoptic-133": 158_707,
        "idd-39": 32_080,
        "ade20k-150": 24_683,
        "sunrgbd-37": 4_472,
        "bdd": 3_197,
        "cityscapes-19": 2_363,
        "mapillary-public65": 911,
    }
    assert len({row[:5] for row in found.rows}) == 226_413
    assert {(row[0], row[6]) for row in found.rows if not row[5]} == {
        ("ade20k-150", "table"),
        ("ade20k-150", "mountain_hill"),
    }


@pytest.mark.real_data
def test_published_decisions_equal_from_a_checkout(
    shared_data: Path, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    """The published records, in the syntax of a checkout, give the same 226,413 rows."""
    index = (shared_data / "mseg" / "relabeled_index.tsv").read_text().splitlines()[1:]
    calls = [
        "DatasetClassUpdateRecord('{1}', '{2}', '{3}', '{4}', '{5}')".format(*line.split("\t"))
        for line in index
    ]
    write_source(tmp_path, "records = [\n\t" + ",\n\t".join(calls) + "\n]\n")
    (tmp_path / "mseg" / "relabeled_data").symlink_to(shared_data / "mseg" / "relabeled_data")
    found = read_decisions_folder(tmp_path, taxonomy)
    assert found.rows == read_decisions_folder(shared_data / "mseg", taxonomy).rows
