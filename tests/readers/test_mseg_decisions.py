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
    read_decisions_folder,
    read_mseg_api_decisions,
    read_published_decisions,
)
from tests.readers.mseg_records import (
    RECORDS,
    ROWS,
    TABLE,
    write_checkout,
    write_folder,
    write_lists,
    write_source,
)


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    """The taxonomy that ships with the package."""
    return parse_taxonomy(TABLE.read_bytes().decode(), path=TABLE)


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
