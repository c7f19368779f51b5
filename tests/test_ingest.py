"""Datasets in: every fault is listed and nothing stored, or all of it is stored, once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mseg_curate.errors import DatasetError, InputError, StoreError
from mseg_curate.ingest import add_dataset, colour_table, ignore_ids_of, label_map_of
from mseg_curate.readers.folder import FolderLayout
from mseg_curate.store import Store
from mseg_curate.store.datasets import class_pixels, list_datasets, list_images, load_dataset
from mseg_curate.store.decisions import mask_ids
from mseg_curate.store.engine import run_query

NOW = "2026-01-02T03:04:05+00:00"
WriteDataset = Callable[..., Path]


def count_rows(store: Store) -> list[int]:
    """Return how many datasets, classes, images and pixel counts a store holds."""
    tables = ("dataset", "dataset_class", "image", "image_class_pixels")
    return [int(str(run_query(store, f"SELECT COUNT(*) FROM {t}")[1][0][0])) for t in tables]


def read_all(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return bytes and modification time of every file below a folder."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_stored(small_store: Store, farm: Path) -> None:
    """Images, sizes, files and pixels per class are stored; ignored pixels are not counted."""
    added = add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    assert (added.is_new, added.images, added.unlisted, added.bound) == (
        True,
        {"train": 2, "val": 1},
        0,
        0,
    )
    assert (added.classes, added.ignored_ids) == (3, (255,))
    with small_store.reading() as connection:
        row = load_dataset(connection, "farm")
        assert row.classes == ((0, "ground"), (1, "animal"), (2, "sky"))
        assert (row.root, row.role) == (farm.resolve(), "train")
        assert class_pixels(connection, row.id) == {"ground": 23, "animal": 9, "sky": 7}
        images = list_images(connection, row.id)
        with_animals = list_images(connection, row.id, with_class="animal")
    assert [(i.split, i.name, i.size_hw) for i in images] == [
        ("train", "a", (3, 8)),
        ("train", "b", (3, 4)),
        ("val", "c", (2, 2)),
    ]
    assert [image.name for image in with_animals] == ["a", "b"]
    assert (images[0].image_file, images[0].label_file) == ("images/a.jpg", "labels/a.png")
    assert images[0].segment_file is None


def test_source_files_stay_as_they_are(small_store: Store, farm: Path) -> None:
    """Adding a folder changes no byte and no time in it, and leaves no file there."""
    before = read_all(farm)
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    assert read_all(farm) == before


def test_adding_twice_changes_nothing(small_store: Store, farm: Path) -> None:
    """The same folder again, under another path to it too, is known."""
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    before = count_rows(small_store)
    link = farm.with_name("link")
    link.symlink_to(farm)
    for folder in (farm, link):
        assert not add_dataset(small_store, "farm", folder=folder, role="train", now="later").is_new
    assert count_rows(small_store) == before == [1, 3, 3, 8]
    assert run_query(small_store, "SELECT added_at FROM dataset")[1] == [(NOW,)]


def test_a_changed_folder_is_refused_with_counts(
    small_store: Store, farm: Path, write_dataset: WriteDataset
) -> None:
    """New, gone and changed images are counted, and the stored dataset stays."""
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    before = count_rows(small_store)
    write_dataset(farm, {"a": np.zeros((3, 8)), "d": np.zeros((2, 2))}, classes=None)
    (farm / "val.txt").write_text("d\n")
    with pytest.raises(DatasetError) as caught:
        add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    assert "added before with other files: found 1 new, 1 gone and 1 changed images" in str(
        caught.value
    )
    assert count_rows(small_store) == before


def test_other_segments_are_a_change(
    small_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """A segment file that changed is noticed: masks would be others."""
    labels, root = {"a": np.ones((2, 3))}, tmp_path / "s"
    for number, is_known in ((1, False), (1, True), (2, False)):
        write_dataset(
            root, labels, classes="id\tname\n1\tcat\n", segments={"a": np.full((2, 3), number)}
        )
        if number == 2:
            with pytest.raises(DatasetError, match="same images and labels, but other segments"):
                add_dataset(small_store, "s", folder=root, role="train", now=NOW)
        else:
            added = add_dataset(small_store, "s", folder=root, role="train", now=NOW)
            assert added.is_new is not is_known


def miss_label(root: Path) -> None:
    """Take a label map away."""
    (root / "labels" / "b.png").unlink()


def change_size(root: Path) -> None:
    """Give a label map another size than its photo."""
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(root / "labels" / "b.png")


def use_unknown_ids(root: Path) -> None:
    """Put ids outside the class table into two label maps."""
    for key, size in (("a", (3, 8)), ("b", (3, 4))):
        pixels = np.zeros(size, np.uint8)
        pixels[0, :3] = 9
        Image.fromarray(pixels).save(root / "labels" / f"{key}.png")


def truncate(root: Path) -> None:
    """Cut a label map off."""
    path = root / "labels" / "a.png"
    path.write_bytes(path.read_bytes()[:-30])


def truncate_photo(root: Path) -> None:
    """Cut a photo off."""
    path = root / "images" / "a.jpg"
    path.write_bytes(path.read_bytes()[:200])


def rotate(root: Path) -> None:
    """Write a photo that asks to be turned."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((3, 8, 3), np.uint8)).save(root / "images" / "a.jpg", exif=exif)


def take_classes(root: Path) -> None:
    """Take the class table away."""
    (root / "classes.tsv").unlink()


def colour(root: Path) -> None:
    """Write an RGB-coded label map into a dataset of ids."""
    Image.fromarray(np.zeros((3, 8, 3), np.uint8)).save(root / "labels" / "a.png")


def write_text(root: Path) -> None:
    """Write a text where a label map should be."""
    (root / "labels" / "a.png").write_text("not a picture at all, but long enough for a header")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (miss_label, "labels/b.png: no label map for images/b.jpg; nothing was stored"),
        (change_size, "labels/b.png: sizes differ: expected 3×4 (rows × columns) as images/b.jpg, "
         "found 3×5; nothing was stored"),
        (use_unknown_ids, "id 9 is not in classes.tsv: 6 px in 2 files, first labels/a.png; add it "
         "there, or ignore it with --ignore-id 9; nothing was stored"),
        (truncate, "labels/a.png: damaged picture (image file is truncated"),
        (truncate_photo, "images/a.jpg: damaged picture ("),
        (rotate, "images/a.jpg: photo asks to be rotated: expected EXIF orientation 1, found 6; "),
        (take_classes, "classes.tsv: no class table: expected a tab-separated file"),
        (colour, "labels/a.png: RGB-coded label map, but the class table has no colours; "),
        (write_text, "labels/a.png: not a PNG file: expected a label map as PNG; "),
    ],
)  # fmt: skip
def test_each_fault_is_named_and_nothing_stored(
    small_store: Store, farm: Path, spoil: Callable[[Path], None], message: str
) -> None:
    """One fault is one message with file, expected and found; the store stays empty."""
    spoil(farm)
    with pytest.raises(DatasetError) as caught:
        add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    shown = str(caught.value).removeprefix(str(farm)).lstrip(":/ ")
    assert shown.startswith(message)
    assert count_rows(small_store) == [0, 0, 0, 0]


def test_all_faults_are_listed_at_once(small_store: Store, farm: Path) -> None:
    """Missing files, bad pairs and unknown ids come in one error, in this order."""
    use_unknown_ids(farm)
    truncate(farm)
    shutil.copy(farm / "images" / "a.jpg", farm / "images" / "d.jpg")
    (farm / "train.txt").write_text("a\nb\nd\n", encoding="utf-8")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(farm / "labels" / "c.png")
    with pytest.raises(DatasetError, match="4 faults in the folder") as caught:
        add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    starts = (
        "labels/d.png: no label map for images/d.jpg",
        "labels/a.png: damaged",
        "labels/c.png: sizes differ",
        "id 9 is not in classes.tsv: 3",
    )
    for problem, start in zip(caught.value.problems, starts, strict=True):
        assert problem.startswith(start)
    assert "nothing was stored" in str(caught.value)
    assert count_rows(small_store) == [0, 0, 0, 0]


def test_an_unknown_id_can_be_ignored(small_store: Store, farm: Path) -> None:
    """What the hint advises works: ids named on the command are ignored and remembered."""
    use_unknown_ids(farm)
    added = add_dataset(small_store, "farm", folder=farm, role="train", now=NOW, ignore_ids=(9,))
    assert added.ignored_ids == (9, 255)
    with small_store.reading() as connection:
        row = load_dataset(connection, "farm")
        assert ignore_ids_of(row) == (9, 255)
        assert sum(class_pixels(connection, row.id).values()) == 24 + 12 - 6 + 4


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "ü"])
def test_a_name_that_is_no_file_name_is_refused(small_store: Store, farm: Path, name: str) -> None:
    """Dataset names become folders of an export, so they are plain."""
    with pytest.raises(InputError, match="not a dataset name"):
        add_dataset(small_store, name, folder=farm, role="train", now=NOW)


def test_a_folder_that_is_not_there_is_named(small_store: Store, tmp_path: Path) -> None:
    """A missing folder is an error of its own."""
    with pytest.raises(DatasetError, match="none: no such folder"):
        add_dataset(small_store, "farm", folder=tmp_path / "none", role="train", now=NOW)


def test_a_dataset_keeps_its_role(small_store: Store, farm: Path) -> None:
    """A training dataset cannot become a test dataset."""
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    with pytest.raises(StoreError, match="stored with the role train, not test"):
        add_dataset(small_store, "farm", folder=farm, role="test", now=NOW)


def test_sixteen_bit_ids(small_store: Store, write_dataset: WriteDataset, tmp_path: Path) -> None:
    """Ids above 255 are counted as they are, and 65535 can be ignored."""
    labels = np.array([[300, 300, 7], [65535, 7, 7]], np.uint16)
    root = write_dataset(
        tmp_path / "wide",
        {"a": labels},
        classes="id\tname\n7\tcat\n300\tdog\n65535\tignore\n",
    )
    add_dataset(small_store, "wide", folder=root, role="test", now=NOW)
    with small_store.reading() as connection:
        row = load_dataset(connection, "wide")
        assert class_pixels(connection, row.id) == {"cat": 3, "dog": 2}
        image = list_images(connection, row.id)[0]
    assert image.split == "test"
    assert np.array_equal(label_map_of(row, image, None), labels)


def test_palette_ids(small_store: Store, farm: Path) -> None:
    """A palette PNG is read by its indices, not by its colours."""
    indices = np.array([[1, 0, 2, 0]] * 3, np.uint8)
    picture = Image.frombytes("P", (4, 3), indices.tobytes())
    picture.putpalette([200, 1, 1, 1, 200, 1, 1, 1, 200])
    picture.save(farm / "labels" / "b.png")
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    with small_store.reading() as connection:
        row = load_dataset(connection, "farm")
        image = list_images(connection, row.id)[1]
    assert np.array_equal(label_map_of(row, image, None), indices)


COLOURS = "id\tname\tcolour\n0\tcat\t#ff0000\n1\tdog\t#00ff00\n2\tignore\t#000000\n"


def test_rgb_coded_labels(small_store: Store, write_dataset: WriteDataset, tmp_path: Path) -> None:
    """Colours become ids, and the store remembers how to read them."""
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, :2, 0] = pixels[1, 0, 1] = 255
    root = write_dataset(tmp_path / "rgb", {"a": pixels}, classes=COLOURS)
    add_dataset(small_store, "rgb", folder=root, role="train", now=NOW)
    with small_store.reading() as connection:
        row = load_dataset(connection, "rgb")
        assert class_pixels(connection, row.id) == {"cat": 2, "dog": 1}
        image = list_images(connection, row.id)[0]
    label_map = label_map_of(row, image, colour_table(row.layout))
    assert label_map.tolist() == [[0, 0, 2], [1, 2, 2]]


def test_unknown_colours_are_named(
    small_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """A colour outside the table comes with its count and first place; nothing is stored."""
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[1, 1:] = (1, 2, 3)
    root = write_dataset(tmp_path / "rgb", {"a": pixels}, classes=COLOURS)
    with pytest.raises(
        DatasetError,
        match=r"labels/a\.png: unknown colours: .*#010203 in 2 px, first at row 1, column 1",
    ):
        add_dataset(small_store, "rgb", folder=root, role="train", now=NOW)
    assert count_rows(small_store) == [0, 0, 0, 0]


def test_native_segments_are_remembered(
    small_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """The file of native segments is stored with its image; one of another size is a fault."""
    labels = {"s/a": np.ones((2, 3)), "b": np.ones((2, 2))}
    root = tmp_path / "s"
    segments = {"s/a": np.full((2, 3), 70_000 // 2, np.uint16), "b": np.zeros((2, 3))}
    write_dataset(root, labels, classes="id\tname\n1\tcat\n", segments=segments)
    with pytest.raises(DatasetError, match=r"segments/b\.png: sizes differ: expected 2×2"):
        add_dataset(small_store, "s", folder=root, role="train", now=NOW)
    write_dataset(root, labels, classes=None, segments={"b": np.zeros((2, 2))})
    add_dataset(small_store, "s", folder=root, role="train", now=NOW)
    with small_store.reading() as connection:
        images = list_images(connection, load_dataset(connection, "s").id)
    assert [(i.key, i.segment_file) for i in images] == [
        ("b", "segments/b.png"),
        ("s/a", "segments/s/a.png"),
    ]


def test_other_folder_names_are_remembered(small_store: Store, farm: Path) -> None:
    """A layout that was named once is stored with the dataset."""
    (farm / "labels").rename(farm / "gt")
    add_dataset(
        small_store, "farm", folder=farm, role="train", now=NOW, layout=FolderLayout(labels="gt")
    )
    with small_store.reading() as connection:
        row = load_dataset(connection, "farm")
        assert list_images(connection, row.id)[0].label_file == "gt/a.png"
    assert row.layout["labels"] == "gt"


def test_one_split_can_be_chosen(small_store: Store, farm: Path) -> None:
    """Of several lists the named ones are added, the rest is counted as unlisted."""
    added = add_dataset(small_store, "farm", folder=farm, role="train", now=NOW, splits=("val",))
    assert (added.images, added.unlisted) == ({"val": 1}, 2)


def test_a_declared_dataset_gets_its_pixels(
    mseg_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """A dataset of the taxonomy needs no class table, keeps its id and mapping, and binds known images."""
    before = count_rows(mseg_store)
    with mseg_store.writing() as connection:
        known = load_dataset(connection, "bdd")
        mask_ids(connection, known.id, keys=[("train", "", "a", 11, ""), ("val", "", "z", 1, "")])
    root = write_dataset(
        tmp_path / "bdd",
        {"a": np.full((2, 2), 11), "b": np.full((2, 2), 255)},
        classes=None,
        lists={"train": "a\nb\n"},
    )
    added = add_dataset(mseg_store, "bdd", folder=root, role="train", now=NOW, ignore_ids=(255,))
    assert (added.is_new, added.bound, added.images) == (True, 1, {"train": 2})
    after = count_rows(mseg_store)
    assert (after[:2], after[2] - before[2]) == (before[:2], 3)
    with mseg_store.reading() as connection:
        row = load_dataset(connection, "bdd")
        images = list_images(connection, row.id)
        names = row.class_names
        assert class_pixels(connection, row.id) == {n: 4 * (n == names[11]) for n in names}
    assert row.id == known.id
    assert [(image.name, image.label_file) for image in images] == [
        ("a", "labels/a.png"),
        ("b", "labels/b.png"),
    ]


def test_a_class_list_that_differs_from_the_declared_one_is_refused(
    mseg_store: Store, write_dataset: WriteDataset, tmp_path: Path
) -> None:
    """Every id whose name differs is listed, and the declared dataset stays without pixels."""
    with mseg_store.reading() as connection:
        classes = [*load_dataset(connection, "bdd").classes]
    last = len(classes)
    classes[2] = (2, "house")
    text = "id\tname\n" + "".join(f"{i}\t{name}\n" for i, name in [*classes, (last, "more")])
    root = write_dataset(tmp_path / "bdd", {"a": np.zeros((2, 2))}, classes=text)
    with pytest.raises(DatasetError, match="differs from that of the dataset bdd") as caught:
        add_dataset(mseg_store, "bdd", folder=root, role="train", now=NOW)
    assert list(caught.value.problems) == [
        "id 2: stored 'building', here 'house'",
        f"id {last}: stored None, here 'more'",
    ]
    with mseg_store.reading() as connection:
        assert load_dataset(connection, "bdd").root is None


def test_a_label_map_that_changed_later_is_refused(farm_store: Store, farm: Path) -> None:
    """Reading a stored label map proves that it is the one that was added."""
    with farm_store.reading() as connection:
        row = load_dataset(connection, "farm")
        image = list_images(connection, row.id)[0]
    label_map_of(row, image, None)
    Image.fromarray(np.zeros((3, 8), np.uint8)).save(farm / "labels" / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png: label map was changed since"):
        label_map_of(row, image, None)
    (farm / "labels" / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png: label map cannot be read \(No such file"):
        label_map_of(row, image, None)


REAL = {
    "camvid": ("test", {"train": 367, "val": 101, "test": 233}),
    "idd_lite": ("train", {"train": 600, "val": 120}),
    "nyuv2_40": ("train", {"train": 350, "val": 50, "test": 200}),
    "msrc_v2": ("train", {"train": 354, "val": 59, "test": 178}),
    "voc2012_animals": ("test", {"test": 220}),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_folders_as_they_lie_there(small_store: Store, shared_data: Path, name: str) -> None:
    """Each real dataset is added whole, with the pixel counts that a plain loop finds."""
    role, images = REAL[name]
    root = shared_data / name
    added = add_dataset(small_store, name, folder=root, role=role, now=NOW)
    assert added.images == images
    with small_store.reading() as connection:
        row = load_dataset(connection, name)
        stored = list_images(connection, row.id)
        assert len(list_datasets(connection)) == 1
    for image in stored[:: len(stored) // 3]:
        with Image.open(root / image.label_file) as picture:
            ids = np.asarray(picture).reshape(-1).tolist()
        naive = {
            label: ids.count(class_id) for class_id, label in row.classes if class_id in set(ids)
        }
        _, rows = run_query(
            small_store,
            "SELECT c.name, p.pixels FROM image_class_pixels AS p "
            f"JOIN dataset_class AS c ON c.id = p.dataset_class_id WHERE p.image_id = {image.id}",
        )
        assert {str(label): pixels for label, pixels in rows} == naive
        assert sum(naive.values()) + sum(ids.count(i) for i in added.ignored_ids) == len(ids)


def test_a_moved_folder_is_followed(farm_store: Store, farm: Path, tmp_path: Path) -> None:
    """The same files at another place are the same dataset, and it is read from there from now on."""
    moved = farm.rename(tmp_path / "barn")
    assert not add_dataset(farm_store, "farm", folder=moved, role="train", now=NOW).is_new
    with farm_store.reading() as connection:
        assert load_dataset(connection, "farm").root == moved.resolve()


def test_changed_colours_are_another_dataset(
    small_store: Store, write_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    """Two colours exchanged in the class table mean other labels, so the folder is refused as changed."""
    table = "id\tname\tcolour\n0\tone\t#{}\n1\ttwo\t#{}\n"
    labels = {"a": [[[255, 0, 0], [0, 255, 0]]]}
    classes = table.format("ff0000", "00ff00")
    root = write_dataset(tmp_path / "rgb", labels, classes=classes)
    add_dataset(small_store, "rgb", folder=root, role="train", now=NOW)
    (root / "classes.tsv").write_text(table.format("00ff00", "ff0000"), encoding="utf-8")
    with pytest.raises(DatasetError, match="added before with other files"):
        add_dataset(small_store, "rgb", folder=root, role="train", now=NOW)


def test_names_with_control_characters_are_faults(
    small_store: Store, write_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    """A tab or a line end in a file name would tear the lists of an export."""
    root = write_dataset(tmp_path / "torn", {"a\tb": [[0]]}, classes="id\tname\n0\tone\n")
    with pytest.raises(DatasetError, match="control character"):
        add_dataset(small_store, "torn", folder=root, role="train", now=NOW)
