"""The drawn datasets: what they promise to the demo that is built on them."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mseg_curate.errors import InputError, OutputError
from mseg_curate.scenes import DrawnDataset, DrawnDatasets, draw_datasets

IMAGES, TEST_IMAGES, SIZE_HW = 30, 20, (96, 128)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnDatasets:
    """A small drawing, shared because no test changes it."""
    out = tmp_path_factory.mktemp("drawn")
    return draw_datasets(out, images=IMAGES, test_images=TEST_IMAGES, size_hw=SIZE_HW)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a TSV file with a header."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def read_classes(path: Path) -> dict[str, int]:
    """Read a classes.tsv as name to id."""
    return {row["name"]: int(row["id"]) for row in read_table(path)}


def list_ids(dataset: DrawnDataset) -> list[str]:
    """Read the image ids of a dataset's split list."""
    return (dataset.folder / f"{dataset.split}.txt").read_text(encoding="utf-8").splitlines()


def stack_labels(folder: Path, ids: list[str]) -> npt.NDArray[np.uint8]:
    """Read label maps as one array (N, H, W)."""
    return np.stack([np.array(Image.open(folder / f"{image}.png")) for image in ids])


def stack_images(dataset: DrawnDataset) -> npt.NDArray[np.float64]:
    """Read a dataset's pictures as one array (N, H, W, 3), 0 to 255."""
    folder = dataset.folder / "images"
    pictures = [np.array(Image.open(folder / f"{image}.jpg")) for image in list_ids(dataset)]
    return np.stack(pictures).astype(np.float64)


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def read_feeds(dataset: DrawnDataset) -> dict[str, list[str]]:
    """Read which universal classes each class of a mapping file names."""
    return {
        row["class"]: row["universal"].strip("{}").split(", ")
        for row in read_table(dataset.mapping)
    }


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """The same seed gives the same files byte for byte, another seed gives other pictures."""
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        draw_datasets(tmp_path / name, seed=seed, images=3, test_images=2)
    one, two, other = (hash_files(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    pictures = [name for name in one if name.endswith(".jpg")]
    assert pictures
    assert all(one[name] != other[name] for name in pictures)


def test_layout_is_complete(drawn: DrawnDatasets) -> None:
    """Each listed id has a picture and a label map, and nothing else lies there."""
    for dataset, count in (
        (drawn.coarse, IMAGES),
        (drawn.finer, IMAGES),
        (drawn.test, TEST_IMAGES),
    ):
        ids = list_ids(dataset)
        assert len(set(ids)) == count
        assert {path.name for path in (dataset.folder / "images").iterdir()} == {
            f"{image}.jpg" for image in ids
        }
        assert {path.name for path in (dataset.folder / "labels").iterdir()} == {
            f"{image}.png" for image in ids
        }
        assert dataset.mapping == dataset.folder.parent / f"{dataset.name}.mapping.tsv"
    assert (drawn.coarse.split, drawn.finer.split, drawn.test.split) == ("train", "train", "test")


@pytest.mark.parametrize("size_hw", [(96, 128), (48, 64), (70, 101), (120, 90)])
def test_size_is_honoured(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    """Pictures and label maps have the size that was asked for, odd or upright ones too."""
    made = draw_datasets(tmp_path, images=1, test_images=1, size_hw=size_hw)
    for dataset in (made.coarse, made.finer, made.test):
        assert stack_images(dataset).shape == (1, *size_hw, 3)
        (image,) = list_ids(dataset)
        with Image.open(dataset.folder / "labels" / f"{image}.png") as label:
            assert (label.mode, label.size) == ("L", size_hw[::-1])


def test_label_ids_are_listed(drawn: DrawnDatasets) -> None:
    """Label maps hold ids of classes.tsv only, and every class of it occurs."""
    for dataset in (drawn.coarse, drawn.finer, drawn.test):
        listed = read_classes(dataset.folder / "classes.tsv")
        found = np.unique(stack_labels(dataset.folder / "labels", list_ids(dataset)))
        assert set(found.tolist()) == set(listed.values())


def test_mapping_lists_every_class(drawn: DrawnDatasets) -> None:
    """A mapping file names the classes of classes.tsv but those of the ignore label."""
    for dataset in (drawn.coarse, drawn.finer, drawn.test):
        classes = read_classes(dataset.folder / "classes.tsv")
        named = [name for name in classes if not name.endswith("(ignore)")]
        rows = read_table(dataset.mapping)
        assert [row["class"] for row in rows] == named
        assert list(rows[0]) == ["class", "relation", "universal", "candidates"]
        assert len(classes) == len(named) + 1


def test_relations_mean_what_they_say(drawn: DrawnDatasets) -> None:
    """Keep is alone with its universal class, merge is not, and one class alone must be split."""
    for dataset in (drawn.coarse, drawn.finer):
        rows = [row for row in read_table(dataset.mapping) if row["relation"] != "split"]
        targets = [row["universal"] for row in rows]
        for row in rows:
            merged = targets.count(row["universal"]) > 1
            assert row["relation"] == ("merge" if merged else "keep")
            assert row["candidates"] == ""
    splits = [row for row in read_table(drawn.coarse.mapping) if row["relation"] == "split"]
    assert [row["class"] for row in splits] == [drawn.split_class]
    assert splits[0]["universal"] == drawn.default == "car"
    assert splits[0]["candidates"] == f"{{{', '.join(drawn.candidates)}}}"
    assert {row["relation"] for row in read_table(drawn.test.mapping)} == {"test"}


def test_universal_class_feeds_one_test_class(drawn: DrawnDatasets) -> None:
    """What training can name feeds exactly one test class, and each candidate one of its own."""
    feeds = read_feeds(drawn.test)
    fed = [universal for several in feeds.values() for universal in several]
    assert len(fed) == len(set(fed))
    trained = {
        name for d in (drawn.coarse, drawn.finer) for row in read_feeds(d).values() for name in row
    }
    assert trained | set(drawn.candidates) == set(fed)
    assert all(feeds[candidate] == [candidate] for candidate in drawn.candidates)


def test_universal_names_are_those_of_mseg(drawn: DrawnDatasets, shared_data: Path) -> None:
    """The universal classes are named as in the published table."""
    table = read_table(shared_data / "mseg" / "class_remapping_files" / "MSeg_master.tsv")
    published = {row["universal"] for row in table}
    for dataset in (drawn.coarse, drawn.finer, drawn.test):
        assert {name for names in read_feeds(dataset).values() for name in names} <= published
    assert set(drawn.candidates) <= published


def test_truth_agrees_with_coarse_labels(drawn: DrawnDatasets) -> None:
    """Truth differs from the coarse labels inside the split class alone, and names candidates there."""
    ids = list_ids(drawn.coarse)
    coarse = stack_labels(drawn.coarse.folder / "labels", ids)
    truth = stack_labels(drawn.truth, ids)
    coarse_classes = read_classes(drawn.coarse.folder / "classes.tsv")
    truth_classes = read_classes(drawn.truth / "classes.tsv")
    inside = coarse == coarse_classes[drawn.split_class]
    assert np.array_equal(coarse[~inside], truth[~inside])
    named = {truth_classes[candidate] for candidate in drawn.candidates}
    assert set(np.unique(truth[inside]).tolist()) == named
    outside = {name: number for name, number in truth_classes.items() if number not in named}
    assert outside == {n: i for n, i in coarse_classes.items() if n != drawn.split_class}


def test_each_mask_is_one_vehicle(drawn: DrawnDatasets) -> None:
    """A connected component of the split class holds one true class, and most can be recognised."""
    split_id = read_classes(drawn.coarse.folder / "classes.tsv")[drawn.split_class]
    ids = list_ids(drawn.coarse)
    sides: list[int] = []
    for coarse, truth in zip(
        stack_labels(drawn.coarse.folder / "labels", ids),
        stack_labels(drawn.truth, ids),
        strict=True,
    ):
        inside = (coarse == split_id).astype(np.uint8)
        count, components, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        for component in range(1, count):
            assert len(np.unique(truth[components == component])) == 1
            sides.append(
                int(max(stats[component][cv2.CC_STAT_WIDTH], stats[component][cv2.CC_STAT_HEIGHT]))
            )
    assert max(sides) <= 56
    assert np.mean(np.array(sides) >= 12) > 0.85


def test_candidates_occur_often_enough(drawn: DrawnDatasets) -> None:
    """Each candidate is in many scenes of the coarse and the test dataset, and unequally so."""
    ids = list_ids(drawn.coarse)
    truth = stack_labels(drawn.truth, ids)
    classes = read_classes(drawn.truth / "classes.tsv")
    scenes = {name: int((truth == classes[name]).any((1, 2)).sum()) for name in drawn.candidates}
    assert min(scenes.values()) >= 0.2 * IMAGES
    assert len(set(scenes.values())) > 2
    test_labels = stack_labels(drawn.test.folder / "labels", list_ids(drawn.test))
    test_classes = read_classes(drawn.test.folder / "classes.tsv")
    for name in drawn.candidates:
        assert (test_labels == test_classes[name]).any((1, 2)).sum() >= 0.25 * TEST_IMAGES


def test_only_part_of_the_data_names_candidates(drawn: DrawnDatasets) -> None:
    """The finer dataset names two candidates, in a minority of its scenes; the default leads."""
    labels = stack_labels(drawn.finer.folder / "labels", list_ids(drawn.finer))
    classes = read_classes(drawn.finer.folder / "classes.tsv")
    named = [name for name in drawn.candidates if name in classes]
    assert named == ["car", "bicycle"]
    pixels = {name: int((labels == classes[name]).sum()) for name in named}
    assert max(pixels, key=lambda name: pixels[name]) == drawn.default
    has_vehicle = np.isin(labels, [classes[name] for name in named]).any((1, 2))
    assert 0.2 < has_vehicle.mean() < 0.5


def test_domains_differ(drawn: DrawnDatasets) -> None:
    """The three domains lie apart in colour and in grain, by more than their scenes scatter."""
    features = []
    for dataset in (drawn.coarse, drawn.finer, drawn.test):
        pictures = stack_images(dataset)
        grain = np.abs(np.diff(pictures[:, 60:], axis=2)).mean((1, 2, 3))
        warmth = (pictures[..., 0] - pictures[..., 2]).mean((1, 2))
        features.append(np.stack([pictures.mean((1, 2, 3)), warmth, grain], 1))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        gap = np.abs(features[one].mean(0) - features[other].mean(0))
        scatter = (features[one].std(0) + features[other].std(0)) / 2
        assert (gap / scatter).max() > 1.25


@pytest.mark.parametrize(
    "wrong", [{"images": 0}, {"test_images": 0}, {"size_hw": (40, 128)}, {"size_hw": (96, 40)}]
)
def test_impossible_requests_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    """A count or a size that no dataset can have is refused before anything is written."""
    with pytest.raises(InputError, match="expected"):
        draw_datasets(tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    """A folder that cannot be made is an OutputError that names it."""
    (tmp_path / "out").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="out"):
        draw_datasets(tmp_path / "out", images=1, test_images=1)
