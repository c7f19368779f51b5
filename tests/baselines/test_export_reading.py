"""Export folders as the trainer reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from baselines.exports import IGNORE, read_export
from mseg_curate.errors import ExportError, InputError

WriteExport = Callable[..., Path]


def test_an_export_is_read_as_its_manifest_says(export_dir: Path) -> None:
    """Datasets, samples, test classes and hashes come through."""
    export = read_export(export_dir)
    assert export.arm == "relabeled"
    assert export.outputs == 4
    assert [(dataset.name, len(dataset.samples)) for dataset in export.train] == [
        ("first", 6),
        ("second", 3),
    ]
    (test,) = export.tests
    assert test.classes == ("floor", "round", "angular", "unseen")
    assert test.sources == ((0,), (1,), (2, 4), (3,))
    assert test.samples[0].image_id == "scene000"
    assert test.samples[0].size_hw == (40, 56)
    assert test.samples[0].image.is_file()
    assert test.samples[0].label.is_file()


def test_ids_become_outputs_sets_and_ignore(tmp_path: Path, write_export: WriteExport) -> None:
    """Outputs are the reachable ids alone; sets follow them; 255 is ignored."""
    index = read_export(write_export(tmp_path / "partial", arm="partial")).index
    ids = np.array([[0, 1, 2, 4, 5, 255]], np.uint8)
    assert index.compact(ids, path=Path("x.png")).tolist() == [[0, 1, 2, 3, 4, IGNORE]]
    assert index.sets == ((1, 2),)


@pytest.mark.parametrize("stray", [3, 17])
def test_ids_that_no_class_can_be_are_listed(export_dir: Path, stray: int) -> None:
    """An unreachable or unknown id never becomes a class silently."""
    index = read_export(export_dir).index
    with pytest.raises(ExportError, match=f"x.png: label map has ids .*found {stray}"):
        index.compact(np.array([[0, stray]], np.uint8), path=Path("x.png"))


def test_a_map_of_another_kind_is_refused(export_dir: Path) -> None:
    """Colours and values beyond the export's ids are no label map of it."""
    index = read_export(export_dir).index
    for pixels in (np.zeros((2, 2, 3), np.uint8), np.array([[300]], np.uint16)):
        with pytest.raises(ExportError, match="not a label map of this export"):
            index.compact(pixels, path=Path("x.png"))


def test_a_folder_without_manifest_is_no_export(tmp_path: Path) -> None:
    """The manifest is written last: without it the export is not complete."""
    with pytest.raises(ExportError, match="no complete export"):
        read_export(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something else"}, "not the manifest of an export"),
        ({"version": 2}, "export of another version: expected 1, found 2"),
        ({"ignore_label": 0}, "do not match"),
        ({"reachable": []}, "reachable ids"),
        ({"reachable": [0, 99]}, "reachable ids"),
        ({"sets": [{"id": 5, "classes": [3]}]}, "not reachable"),
        ({"sets": [{"id": 1, "classes": [0]}]}, "no id of its own"),
        ({"train": []}, "no training dataset"),
        ({"shared_sha256": None}, "shared_sha256: manifest: expected str, found nothing"),
        ({"universal_classes": "x"}, "expected list, found str"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    export_dir: Path, change: dict[str, object], message: str
) -> None:
    """Each fault of a manifest is an ExportError that names it."""
    path = export_dir / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ExportError, match=message):
        read_export(export_dir)


def test_missing_files_are_listed(export_dir: Path) -> None:
    """A file that the manifest names and the folder lacks is named."""
    (export_dir / "train/first/labels/scene002.png").unlink()
    with pytest.raises(ExportError, match="1 files of the export are missing") as caught:
        read_export(export_dir)
    assert caught.value.problems == ("train/first/labels/scene002.png",)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("a\tb\n", ExportError, "another header"),
        ("image\tlabel\theight\twidth\nx\ty\t1\n", ExportError, "train.tsv:2: list row"),
        ("image\tlabel\theight\twidth\n", ExportError, "expected 6, found 0"),
        ("image\tlabel\theight\twidth\n../x\ty\t1\t1\n", InputError, "leaves its folder"),
    ],
)
def test_lists_are_checked(
    export_dir: Path, text: str, error: type[InputError], message: str
) -> None:
    """A list with another header, a broken row, too few rows or a stray path is refused."""
    (export_dir / "train/first/train.tsv").write_text(text)
    with pytest.raises(error, match=message):
        read_export(export_dir)


def test_images_by_reference_lie_below_the_image_root(export_dir: Path, tmp_path: Path) -> None:
    """With an `image_root` the list's images are relative to it."""
    path = export_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["test"][0]["image_root"] = str(tmp_path / "elsewhere")
    path.write_text(json.dumps(manifest))
    sample = read_export(export_dir).tests[0].samples[0]
    assert sample.image == tmp_path / "elsewhere" / "test/held_out/images/scene000.png"
