"""The published tables: they parse, their rows are those of their source, their means can be recomputed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mseg_curate import published
from mseg_curate.errors import InputError
from mseg_curate.published import (
    MSEG_RELABELED,
    MSEG_UNRELABELED,
    TABLES,
    ZERO_SHOT,
    leave_one_out_gains,
    load_published,
    match_test,
    recompute_harmonic,
)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_whole(name: str) -> None:
    """Each table has a title, a source, a licence note, and rows as wide as its head, no two with one name."""
    table = load_published(name)
    assert table.title
    assert "CVPR" in table.source
    assert table.licence.startswith("facts")
    assert {len(row) for row in table.rows} == {len(table.columns)}
    keys = [row[:2] if "also trained on" in table.columns else row[0] for row in table.rows]
    assert len(set(keys)) == len(keys)
    assert table.row(table.rows[0][0])[table.columns[0]] == table.rows[0][0]


def test_the_list_names_every_file() -> None:
    """The tables that are known are the files that ship."""
    folder = Path(published.__file__).parent
    assert sorted(TABLES) == sorted(path.stem for path in folder.glob("*.tsv"))


@pytest.mark.parametrize(
    ("name", "row", "column", "cell"),
    [
        ("voc2012", "FCN", "bike", "34.2"),
        ("voc2012", "Dilation8", "mIoU", "75.3"),
        ("cityscapes", "PSPNet", "wall", "50.8"),
        ("cityscapes", "SiCNN+CRF", "mIoU", "66.3"),
        ("ade20k", "ResNet50+DA+AL+PSP", "mean IoU", "41.68"),
        ("ade20k", "SegNet", "pixel accuracy", "71.00"),
        (ZERO_SHOT, "Mapillary", "ScanNet", "2.1"),
        (ZERO_SHOT, "Oracle", "WildDash", ""),
        ("mseg-images", "IDD", "images", "7974"),
        ("wilddash", "AHiSS", "meta average mIoU", "39.0"),
        ("wilddash", "MSeg-1080", "seen WildDash data", "no"),
    ],
)
def test_cells(name: str, row: str, column: str, cell: str) -> None:
    """Cells are kept as they were printed."""
    assert load_published(name).row(row)[column] == cell


def test_cityscapes_rows_average_to_their_mean() -> None:
    """The mean of the 19 class IoUs is the published mean: no cell is mistyped by more than a point or two."""
    table = load_published("cityscapes")
    for row in table.rows:
        *classes, mean = map(float, row[2:])
        assert len(classes) == 19
        assert sum(classes) / 19 == pytest.approx(mean, abs=0.1), row[0]


def test_voc_rows_leave_a_background_that_can_be() -> None:
    """VOC's mean counts 21 classes and prints 20: what is left for the background lies where it lies for all.

    It never is above 100 %, and follows the mean: better methods have a better background.
    """
    table = load_published("voc2012")
    for row in table.rows:
        *classes, mean = map(float, row[2:])
        assert len(classes) == 20
        background = 21 * mean - sum(classes)
        assert 91 < background < 97, row[0]


def test_the_published_harmonic_means_are_recomputed() -> None:
    """59.2 and 57.6 follow from the numbers beside them; the others are marked, and rounding explains them."""
    checks = {check.row: check for check in recompute_harmonic(load_published(ZERO_SHOT))}
    assert len(checks) == 9
    assert f"{checks[MSEG_RELABELED].recomputed:.1f}" == "59.2"
    assert f"{checks[MSEG_UNRELABELED].recomputed:.1f}" == "57.6"
    assert {row for row, check in checks.items() if not check.agrees} == {
        "ADE20K", "Mapillary", "IDD", "Cityscapes", "SUN RGBD",
    }  # fmt: skip
    assert all(check.explained for check in checks.values())
    for check in checks.values():
        assert check.low < check.recomputed < check.high


def test_a_mean_that_rounding_cannot_explain() -> None:
    """A published harmonic mean that its row cannot give is told apart from one that was rounded."""
    table = load_published(ZERO_SHOT)
    wrong = [(*row[:-1], "61.0") if row[0] == MSEG_RELABELED else row for row in table.rows]
    checks = recompute_harmonic(replace(table, rows=tuple(wrong)))
    assert [check.row for check in checks if not check.explained] == [MSEG_RELABELED]


def test_leave_one_out_gains() -> None:
    """The gain of relabeling with each test left out; nearly all of it is gone without ScanNet."""
    gains = leave_one_out_gains(load_published(ZERO_SHOT))
    assert {test: round(gain, 2) for test, gain in gains.items()} == {
        "VOC": 1.75, "Context": 2.27, "CamVid": 1.62, "WildDash": 2.02, "KITTI": 1.63, "ScanNet": 0.35,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "column"),
    [
        ("voc2012", "VOC"),
        ("PASCAL VOC 2012", "VOC"),
        ("pascal-context-60", "Context"),
        ("camvid", "CamVid"),
        ("wilddash-19", "WildDash"),
        ("scannet_20", "ScanNet"),
        ("voc2012_animals", None),
        ("coco", None),
    ],
)
def test_test_datasets_are_known_by_their_names(dataset: str, column: str | None) -> None:
    """A dataset is taken for one of MSeg's tests by its whole name; a part of one is none."""
    assert match_test(dataset) == column


def test_what_is_not_there() -> None:
    """Unknown tables and rows are errors that list what there is."""
    with pytest.raises(InputError, match="expected voc2012, cityscapes"):
        load_published("imagenet")
    with pytest.raises(InputError, match="table wilddash has no such row: expected MSeg-1080, "):
        load_published("wilddash").row("ours")


@pytest.mark.real_data
def test_every_row_stands_in_the_source(shared_data: Path) -> None:
    """Each row of numbers is, cell by cell, a row of the lecture that prints the tables."""
    lines: list[list[str]] = []
    for path in (shared_data.parent / "seed").glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            lines.append(line.replace("–", "").replace(",", "").split("\t"))
    printed = {tuple(cells[-n:]) for cells in lines for n in range(2, len(cells) + 1)}
    printed |= {(cells[0], cells[1]) for cells in lines if len(cells) == 3}
    for name in ("voc2012", "cityscapes", "ade20k", ZERO_SHOT):
        for row in load_published(name).rows:
            # What else was trained on is a dagger in print, between the name and the numbers.
            numbers = row[2:] if "also trained on" in load_published(name).columns else row[1:]
            assert numbers in printed, (name, row)
    for row in load_published("mseg-images").rows:
        assert any(
            cells[-1] == row[-1] and cells[0].startswith(row[0].split(" +")[0]) for cells in lines
        )
    for row in load_published("wilddash").rows:
        assert any(cells[0].startswith(row[0]) and cells[1:2] == [row[1]] for cells in lines)


@pytest.mark.real_data
def test_the_zero_shot_table_is_that_of_the_data(shared_data: Path) -> None:
    """The table equals the one that lies with MSeg's published data."""
    path = shared_data / "mseg" / "published_results.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [tuple(line.split("\t")) for line in lines[1:]]
    table = load_published(ZERO_SHOT)
    padded = [(*row, *[""] * (len(table.columns) + 1 - len(row)))[1:] for row in rows]
    assert [tuple(row) for row in padded] == list(table.rows)
