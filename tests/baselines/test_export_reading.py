"""Export folders as the trainer reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.exports import IGNORE, index_all, read_export, select_datasets
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
        ({"version": 1}, "export of another version: expected 2, found 1"),
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
        (
            "image\tlabel\theight\twidth\timage_sha256\nx\ty\t1\n",
            ExportError,
            "train.tsv:2: list row",
        ),
        ("image\tlabel\theight\twidth\timage_sha256\n", ExportError, "expected 6, found 0"),
        (
            "image\tlabel\theight\twidth\timage_sha256\n../x\ty\t1\t1\tab\n",
            InputError,
            "leaves its folder",
        ),
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


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Apply a change to manifest.json."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def add_split(folder: Path, role: str, name: str, split: str, *, images: int) -> dict[str, object]:
    """List the first images of a dataset as another split; return its entry for the manifest."""
    listed = f"{role}/{name}/{split}.tsv"
    rows = (folder / role / name / f"{role}.tsv").read_text().splitlines()
    (folder / listed).write_text("\n".join(rows[: images + 1]) + "\n")
    return {"list": listed, "images": images}


def test_the_other_splits_of_a_training_dataset_are_for_validation(export_dir: Path) -> None:
    """`train` is trained on, the rest measured in the universal classes that the dataset can have."""

    def change(manifest: dict[str, Any]) -> None:
        first = manifest["train"][0]
        first["splits"]["val"] = add_split(export_dir, "train", "first", "val", images=2)
        first["reachable"] = [4, 1]
        manifest["sets"] = [{"id": 5, "classes": [1, 2]}]

    change_manifest(export_dir, change)
    export = read_export(export_dir)
    assert [len(dataset.samples) for dataset in export.train] == [6, 3]
    (dataset,) = export.validation
    assert (dataset.name, len(dataset.samples)) == ("first", 2)
    assert dataset.classes == ("disc", "cross")
    assert dataset.sources == ((1,), (4,))
    assert dataset.label_ids == (1, 4)
    assert dataset.ignored_ids == (255, 5)


def test_a_dataset_that_is_older_than_reachable_ids_may_have_all(export_dir: Path) -> None:
    """Without ids of its own, a training dataset can have all reachable classes."""

    def change(manifest: dict[str, Any]) -> None:
        split = add_split(export_dir, "train", "second", "test", images=1)
        manifest["train"][1]["splits"]["test"] = split

    change_manifest(export_dir, change)
    (dataset,) = read_export(export_dir).validation
    assert dataset.classes == ("ground", "disc", "square", "cross")


def test_a_dataset_without_a_split_train_has_nothing_to_validate(export_dir: Path) -> None:
    """Where all splits are trained on, none is left to measure."""

    def change(manifest: dict[str, Any]) -> None:
        splits = manifest["train"][0]["splits"]
        splits["a"] = splits.pop("train")
        splits["b"] = add_split(export_dir, "train", "first", "b", images=2)

    change_manifest(export_dir, change)
    export = read_export(export_dir)
    assert len(export.train[0].samples) == 8
    assert export.validation == ()


@pytest.mark.parametrize(("splits", "images"), [(("train", "val"), 2), (("train",), 3)])
def test_a_test_datasets_split_train_is_not_tested_on(
    export_dir: Path, splits: tuple[str, ...], images: int
) -> None:
    """An oracle trains there; where it is the only split, it is the test."""

    def change(manifest: dict[str, Any]) -> None:
        test = manifest["test"][0]
        all_of_them = test["splits"].pop("test")
        test["splits"]["train"] = all_of_them
        if "val" in splits:
            test["splits"]["val"] = add_split(export_dir, "test", "held_out", "val", images=2)

    change_manifest(export_dir, change)
    (test,) = read_export(export_dir).tests
    assert len(test.samples) == images


def test_split_classes_and_names_are_read(export_dir: Path) -> None:
    """The classes that must be split come with their candidates; universal classes with their names."""
    tasks = [{"name": "things", "dataset": "first", "class": "thing", "candidates": [1, 2]}]
    change_manifest(export_dir, lambda manifest: manifest.update(tasks=tasks))
    export = read_export(export_dir)
    assert export.universal_names == ("ground", "disc", "square", "nothing", "cross")
    (task,) = export.tasks
    assert (task.name, task.dataset, task.source) == ("things", "first", "thing")
    assert task.candidates == (1, 2)


def test_an_older_export_has_no_split_classes(export_dir: Path) -> None:
    """A manifest without the field is read all the same."""
    assert read_export(export_dir).tasks == ()


def test_reachable_ids_of_a_dataset_must_be_reachable(export_dir: Path) -> None:
    """A dataset that claims a class of no output is refused."""

    def change(manifest: dict[str, Any]) -> None:
        first = manifest["train"][0]
        first["splits"]["val"] = add_split(export_dir, "train", "first", "val", images=2)
        first["reachable"] = [0, 3]

    change_manifest(export_dir, change)
    with pytest.raises(ExportError, match="reachable of first: manifest: expected reachable ids"):
        read_export(export_dir)


def test_some_datasets_are_selected_to_train_on(export_dir: Path) -> None:
    """Outputs, tests and hashes stay; only the training datasets are fewer, in the export's order."""
    export = read_export(export_dir)
    chosen = select_datasets(export, ["second"])
    assert [dataset.name for dataset in chosen.train] == ["second"]
    assert (chosen.outputs, chosen.tests) == (export.outputs, export.tests)
    both = select_datasets(export, ["second", "first"])
    assert [dataset.name for dataset in both.train] == ["first", "second"]


@pytest.mark.parametrize("names", [[], ["third"], ["first", "first"]])
def test_unknown_datasets_cannot_be_selected(export_dir: Path, names: list[str]) -> None:
    """No name, a name twice and one that is none are refused with those that are there."""
    with pytest.raises(InputError, match="expected different ones of first, second, found"):
        select_datasets(read_export(export_dir), names)


def test_all_universal_classes_as_outputs(export_dir: Path) -> None:
    """The index of a published network has an output for every universal class, in their order."""
    index = index_all(read_export(export_dir))
    assert index.reachable == (0, 1, 2, 3, 4)
    assert index.compact(np.array([[3, 255]], np.uint8), path=Path("x.png")).tolist() == [
        [3, IGNORE]
    ]
