"""Dataset folders: pairs, split lists, class tables and label maps, and what is said of each fault."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mseg_curate.core.label_map import ColourTable
from mseg_curate.errors import DatasetError, ImageError, InputError
from mseg_curate.images import encode_label_png, probe_image
from mseg_curate.readers.class_table import ClassTable, parse_class_table, read_class_table
from mseg_curate.readers.folder import (
    FolderLayout,
    Sample,
    find_samples,
    load_label_map,
    load_segment_map,
)

LAYOUT = FolderLayout()
TABLE = Path("classes.tsv")


def make(root: Path, *files: str, **lists: str) -> Path:
    """Make empty files below a root, and split lists from keyword arguments."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text, encoding="utf-8")
    return root


def pairs(*keys: str) -> list[str]:
    """Return the photo and the label file of each image id."""
    return [file for key in keys for file in (f"images/{key}.jpg", f"labels/{key}.png")]


def faults(root: Path, **options: object) -> list[str]:
    """Return the problems that reading a folder reports."""
    return list(find_samples(root, LAYOUT, role="train", **options).problems)  # type: ignore[arg-type]


def read_samples(
    root: Path, layout: FolderLayout, *, role: str, splits: tuple[str, ...] = ()
) -> tuple[list[Sample], int]:
    """Return the samples of a folder without faults, and how many images are unlisted."""
    found = find_samples(root, layout, role=role, splits=splits)
    assert found.problems == ()
    return list(found.samples), found.unlisted


def test_pairs_are_listed_by_split(tmp_path: Path) -> None:
    """Samples come sorted by split and name, unlisted photos are counted, README.txt is no list."""
    make(tmp_path, *pairs("b", "a", "c", "d"), val="c.jpg\n\n", train=" b \r\na\n")
    make(tmp_path, README="three words here\n", License="to read\n")
    samples, unlisted = read_samples(tmp_path, LAYOUT, role="train")
    assert samples == [
        Sample("train", "", "a", "images/a.jpg", "labels/a.png", None),
        Sample("train", "", "b", "images/b.jpg", "labels/b.png", None),
        Sample("val", "", "c", "images/c.jpg", "labels/c.png", None),
    ]
    assert unlisted == 1


@pytest.mark.parametrize("role", ["train", "test"])
def test_without_lists_all_photos_form_one_split(role: str, tmp_path: Path) -> None:
    """A folder without lists is one split named after its role."""
    samples, unlisted = read_samples(make(tmp_path, *pairs("b", "a")), LAYOUT, role=role)
    assert [(s.split, s.name) for s in samples] == [(role, "a"), (role, "b")]
    assert unlisted == 0


def test_sequences_nest(tmp_path: Path) -> None:
    """Sub-folders are the sequence, of any depth, and equal names in two sequences stay apart."""
    root = make(tmp_path, *pairs("x/y/0001", "x/0001", "0001"), all="x/y/0001\nx/0001\n0001\n")
    samples, _ = read_samples(root, LAYOUT, role="train")
    assert [(s.sequence, s.name, s.label_file) for s in samples] == [
        ("", "0001", "labels/0001.png"),
        ("x", "0001", "labels/x/0001.png"),
        ("x/y", "0001", "labels/x/y/0001.png"),
    ]


def test_segments_are_found_beside_their_photos(tmp_path: Path) -> None:
    """A segment file belongs to the image of its id."""
    root = make(tmp_path, *pairs("a", "s/b"), "segments/a.png", "segments/s/b.png")
    samples, _ = read_samples(root, LAYOUT, role="train")
    assert [s.segment_file for s in samples] == ["segments/a.png", "segments/s/b.png"]


def test_an_image_without_segments_is_a_fault_where_others_have_them(tmp_path: Path) -> None:
    """No image falls back to components in silence; one outside the chosen lists may lack segments."""
    root = make(tmp_path, *pairs("a", "b", "c"), "segments/a.png", train="a\nb\n", val="c\n")
    assert faults(root, splits=("train",)) == ["segments/b.png: no segments for images/b.jpg"]
    assert len(faults(root)) == 2
    (root / "segments" / "b.png").touch()
    assert len(read_samples(root, LAYOUT, role="train", splits=("train",))[0]) == 2


def test_an_empty_folder_of_segments_is_a_fault(tmp_path: Path) -> None:
    """A folder of segments that lost its files is noticed."""
    root = make(tmp_path, *pairs("a"))
    (root / "segments").mkdir()
    assert faults(root) == ["segments/a.png: no segments for images/a.jpg"]


def test_other_folder_names_are_followed(tmp_path: Path) -> None:
    """A layout names the folders, nested ones too."""
    root = make(tmp_path, "jpg/a.PNG", "gt/ids/a.png", "inst/a.png")
    layout = FolderLayout(images="jpg", labels="gt/ids", segments="inst")
    samples, _ = read_samples(root, layout, role="train")
    assert samples == [Sample("train", "", "a", "jpg/a.PNG", "gt/ids/a.png", "inst/a.png")]


@pytest.mark.parametrize(
    ("chosen", "names"),
    [((), ["a", "b", "c"]), (("val",), ["c"]), (("val", "train"), ["a", "b", "c"])],
)
def test_splits_can_be_chosen(chosen: tuple[str, ...], names: list[str], tmp_path: Path) -> None:
    """`--split` takes the named lists alone, and none means all."""
    root = make(tmp_path, *pairs("a", "b", "c"), train="a\nb\n", val="c\n")
    samples, unlisted = read_samples(root, LAYOUT, role="train", splits=chosen)
    assert sorted(s.name for s in samples) == names
    assert unlisted == 3 - len(names)


def test_an_id_in_two_lists_is_a_fault_until_one_is_chosen(tmp_path: Path) -> None:
    """Overlapping lists are refused, and accepted one at a time."""
    root = make(tmp_path, *pairs("a", "b"), train="a\n", trainval="a\nb\n")
    assert faults(root) == ["a: listed in train.txt and in trainval.txt; choose with --split"]
    samples, _ = read_samples(root, LAYOUT, role="train", splits=("trainval",))
    assert len(samples) == 2


def test_an_id_twice_in_a_list_is_a_fault(tmp_path: Path) -> None:
    """A doubled line is named as what it is."""
    root = make(tmp_path, *pairs("a"), train="a\na.jpg\n")
    assert faults(root) == ["a: listed twice in train.txt; take one of them out"]


def test_every_missing_file_is_listed(tmp_path: Path) -> None:
    """Missing label maps and photos come together, each with what speaks of it."""
    root = make(tmp_path, "images/a.jpg", "images/c.jpg", "labels/c.png", train="a\nb\nc\n")
    assert faults(root) == [
        "labels/a.png: no label map for images/a.jpg",
        "images/b: no photo, listed in train.txt",
    ]


def test_without_lists_labels_need_photos(tmp_path: Path) -> None:
    """A label map without a photo is a fault where no list explains it."""
    root = make(tmp_path, *pairs("a"), "labels/b.png")
    assert faults(root) == ["labels/b.png: no photo for it"]


@pytest.mark.parametrize(
    ("one", "other"), [("Cat", "cat"), ("s/straße", "s/STRASSE"), ("caf\u00e9", "cafe\u0301")]
)
def test_names_that_collide_elsewhere_are_faults(one: str, other: str, tmp_path: Path) -> None:
    """Names that differ by case or Unicode form alone are refused, naming both."""
    (problem,) = faults(make(tmp_path, *pairs(one, other)))
    assert one in problem
    assert other in problem
    assert problem.endswith("differ only by case or Unicode form and collide on other file systems")


def test_two_photos_of_one_id_are_a_fault(tmp_path: Path) -> None:
    """An id names one photo."""
    root = make(tmp_path, *pairs("a"), "images/a.png")
    (problem,) = faults(root)
    assert problem in (
        "images/a.png: images/a.jpg has the same id; keep one",
        "images/a.jpg: images/a.png has the same id; keep one",
    )


def test_a_name_that_is_not_utf8_is_a_fault(tmp_path: Path) -> None:
    """A name that a store cannot hold is refused, spelled so that it can be read."""
    make(tmp_path, *pairs("a"))
    (tmp_path / "images" / os.fsdecode(b"b\xe4.jpg")).touch()
    (problem,) = faults(tmp_path)
    assert problem.endswith(r"b\udce4.jpg': the name is not UTF-8; rename it")


def test_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    """Thumbnails databases, hidden files and texts among the photos are no photos."""
    root = make(tmp_path, *pairs("a"), "images/.b.jpg", "images/Thumbs.db", "labels/note.txt")
    assert len(read_samples(root, LAYOUT, role="train")[0]) == 1


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({}, "--images"),
        ({"images": "jpg"}, "--images"),
        ({"images": "here", "labels": "gt"}, "--labels"),
        ({"images": "here", "labels": "here", "segments": "inst"}, "--segments"),
    ],
)
def test_a_missing_folder_is_named_with_its_option(
    changes: dict[str, str], option: str, tmp_path: Path
) -> None:
    """The hint names the option that exists; a folder of segments that was asked for must be there."""
    (tmp_path / "here").mkdir()
    layout = replace(LAYOUT, **changes)
    with pytest.raises(DatasetError, match=f"no folder .*/; name another with {option}, if"):
        read_samples(tmp_path, layout, role="train")


@pytest.mark.parametrize("folder", ["/etc", "../elsewhere"])
def test_folders_lie_below_the_root(folder: str, tmp_path: Path) -> None:
    """A layout cannot lead out of the dataset."""
    with pytest.raises(InputError, match="path leaves its folder"):
        read_samples(tmp_path, FolderLayout(images=folder), role="train")


def test_a_folder_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sub-folder without permission is not passed over."""
    root = make(tmp_path, *pairs("a", "s/b"))
    scandir = os.scandir

    def scan(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("images/s"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scan)
        with pytest.raises(DatasetError, match=r"images/s: folder cannot be read \(Permission"):
            read_samples(root, LAYOUT, role="train")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A chosen list that is missing is an error that shows the others."""
    root = make(tmp_path, *pairs("a"), train="a\n")
    with pytest.raises(DatasetError, match=r"no split list dev\.txt: expected one of train\.txt"):
        read_samples(root, LAYOUT, role="train", splits=("dev",))


def test_a_text_that_is_no_list_is_refused(tmp_path: Path) -> None:
    """A line of several words is refused with file and line."""
    root = make(tmp_path, *pairs("a"), about="a\n\nthese are words\n")
    with pytest.raises(DatasetError, match=r"about\.txt:3: not a split list: .*'these are words'"):
        read_samples(root, LAYOUT, role="train")


def test_an_id_with_a_blank_is_an_id_where_it_is_a_photo(tmp_path: Path) -> None:
    """A photo whose name has a blank can be listed."""
    samples, _ = read_samples(make(tmp_path, *pairs("my cat"), all="my cat\n"), LAYOUT, role="test")
    assert samples[0].name == "my cat"


@pytest.mark.parametrize("lists", [{}, {"train": "\n"}])
def test_a_folder_without_images_is_refused(lists: dict[str, str], tmp_path: Path) -> None:
    """No photos, or none listed, is an error."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DatasetError, match="no images found: expected images/ with photos"):
        read_samples(make(tmp_path, **lists), LAYOUT, role="train")


def test_a_class_table_is_read() -> None:
    """Classes come in the order of their ids, ignore names and given ids apart, gaps allowed."""
    text = "name\tID\tnote\n dog \t300\t\nignore\t0\tx\ncat\t2\nVoid (Ignore)\t255\n\nout\t9\n"
    assert parse_class_table(text, path=TABLE, ignore_ids=[9, 77]) == ClassTable(
        ((2, "cat"), (300, "dog")), frozenset({0, 9, 77, 255})
    )


def test_the_known_ids_are_classes_and_ignore_ids() -> None:
    """A label map may carry classes and ignore ids, nothing else."""
    table = parse_class_table("id\tname\n1\tcat\n255\tignore\n", path=TABLE)
    assert table.known_ids == {1, 255}


def test_several_ids_may_be_ignored_under_one_name() -> None:
    """Two rows named `ignore` are two ignore ids, not one class twice."""
    table = parse_class_table("id\tname\n0\tignore\n1\tcat\n255\tignore\n", path=TABLE)
    assert table.ignore_ids == {0, 255}


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("colour", "#0aFF10"),
        ("Color", "10,255,16"),
        ("colour", "10 255 16"),
        ("color", "10, 255, 16"),
        ("r\tg\tb", "10\t255\t16"),
        ("R\tG\tB", "010\t255\t16"),
    ],
)
def test_colours_are_read_in_each_form(header: str, cell: str) -> None:
    """Colours come as #rrggbb, as three numbers, or as three columns; a row may have none."""
    text = f"id\tname\t{header}\n1\tcat\t{cell}\n2\tdog\t\n3\tcow\n4\thorse\t\t\t\n"
    assert parse_class_table(text, path=TABLE).colours == {(10, 255, 16): 1}


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.tuples(*[st.integers(0, 255)] * 3), st.none(), min_size=1, max_size=9))
def test_hex_colours_give_back_their_numbers(colours: dict[tuple[int, int, int], None]) -> None:
    """Any colour written as #rrggbb is read as it was."""
    rows = [f"{i}\tclass {i}\t#{r:02x}{g:02X}{b:02x}\n" for i, (r, g, b) in enumerate(colours)]
    table = parse_class_table("id\tname\tcolour\n" + "".join(rows), path=TABLE)
    assert table.colours == {colour: i for i, colour in enumerate(colours)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x\tdog\n", "line 3: id: expected 0 … 65535, found 'x'"),
        ("\tdog\n", "line 3: id: expected 0 … 65535, found ''"),
        ("-1\tdog\n", "line 3: id: expected 0 … 65535, found '-1'"),
        ("65536\tdog\n", "line 3: id: expected 0 … 65535, found '65536'"),
        ("1.0\tdog\n", "line 3: id: expected 0 … 65535, found '1.0'"),
        ("²\tdog\n", "line 3: id: expected 0 … 65535, found '²'"),
        ("9" * 5000 + "\tdog\n", f"line 3: id: expected 0 … 65535, found '{'9' * 20}'"),
        ("1\tdog\n", "line 3: id 1 stands on line 2 already"),
        ("2\tcat\n", "line 3: class 'cat' stands on line 2 already"),
        ("2\t\n", "line 3: id 2: expected a name, found none"),
        ("2\n", "line 3: id 2: expected a name, found none"),
        ("\n2\t\n", "line 4: id 2: expected a name, found none"),
        ("2\tdog\t#102030\n", "line 3: colour (16, 32, 48) stands on line 2 already"),
        ("2\tdog\t#10203g\n", "line 3: colour: expected #rrggbb, found '#10203g'"),
        ("2\tdog\t#+1+2+3\n", "line 3: colour: expected #rrggbb, found '#+1+2+3'"),
        ("2\tdog\t#123\n", "line 3: colour: expected #rrggbb, found '#123'"),
        ("2\tdog\t1 2 256\n", "line 3: colour: expected three numbers 0 … 255, found '1 2 256'"),
        ("2\tdog\t1,2\n", "line 3: colour: expected three numbers 0 … 255, found '1 2'"),
        ("2\tdog\t1 2 ²\n", "line 3: colour: expected three numbers 0 … 255, found '1 2 ²'"),
        ("2\tdog\tred\n", "line 3: colour: expected three numbers 0 … 255, found 'red'"),
        ("2\tdog\t\tmore\n", "line 3: expected 3 cells, found 4"),
    ],
)
def test_each_fault_of_a_class_table_is_named_with_its_line(rows: str, message: str) -> None:
    """One fault gives one message with file, line, expected and found."""
    with pytest.raises(DatasetError) as caught:
        parse_class_table("id\tname\tcolour\n1\tcat\t#102030\n" + rows, path=TABLE)
    assert str(caught.value) == f"classes.tsv: {message}"


def test_several_faults_of_a_class_table_come_together() -> None:
    """All faults of a table are listed at once."""
    with pytest.raises(DatasetError, match="class table has faults") as caught:
        parse_class_table("id\tname\tr\tg\tb\nx\tcat\n1\tdog\t1\t2\t\n", path=TABLE)
    assert caught.value.problems == (
        "line 2: id: expected 0 … 65535, found 'x'",
        "line 3: colour: expected three numbers 0 … 255, found '1 2 '",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "classes.tsv:1: not a class table: .* found an empty file"),
        ("id,name\n0,cat\n", "classes.tsv:1: not a class table: .* found id,name"),
        ("id\tname\tname\n", "classes.tsv:1: class table has two columns of one name"),
        ("id\tname\n", "classes.tsv: class table names no class"),
        ("id\tname\n0\tignore\n", "classes.tsv: class table names no class"),
        ('id\tname\n0\t"cat\n1\tdog\n', "classes.tsv:2: unreadable quoting"),
    ],
)
def test_what_is_no_class_table_is_refused(text: str, message: str) -> None:
    """A table without its columns or without a class is refused."""
    with pytest.raises(DatasetError, match=message):
        parse_class_table(text, path=TABLE)


def test_a_class_table_is_read_from_its_file(tmp_path: Path) -> None:
    """A file with a byte-order mark is read; one that is missing is named with the option."""
    path = tmp_path / "classes.tsv"
    with pytest.raises(DatasetError, match=r"no class table: .*name another with --classes"):
        read_class_table(path)
    path.write_bytes(b"\xef\xbb\xbfid\tname\r\n0\tcat\r\n")
    assert read_class_table(path) == ClassTable(((0, "cat"),))


def save_rgb(path: Path, colours: list[list[tuple[int, int, int]]]) -> Path:
    """Write an RGB-coded PNG."""
    Image.fromarray(np.array(colours, np.uint8)).save(path)
    return path


RED, BLUE, ODD = (255, 0, 0), (0, 0, 255), (1, 2, 3)


def test_colours_become_ids(tmp_path: Path) -> None:
    """An RGB-coded map is read through the table."""
    path = save_rgb(tmp_path / "a.png", [[RED, BLUE], [BLUE, RED]])
    table = ColourTable.of({RED: 4, BLUE: 300})
    assert load_label_map(path, table).tolist() == [[4, 300], [300, 4]]


def test_unknown_colours_are_listed_with_count_and_place(tmp_path: Path) -> None:
    """A colour outside the table is an error, neither a new class nor ignore."""
    path = save_rgb(tmp_path / "a.png", [[RED, ODD, RED], [BLUE, ODD, ODD]])
    with pytest.raises(DatasetError) as caught:
        load_label_map(path, ColourTable.of({RED: 0}))
    assert str(caught.value) == (
        f"{path}: unknown colours: expected colours of the class table, found "
        "#010203 in 3 px, first at row 0, column 1; #0000ff in 1 px, first at row 1, column 0"
    )


def test_many_unknown_colours_are_cut(tmp_path: Path) -> None:
    """Of many unknown colours, a photo say, five are shown and the others counted."""
    path = save_rgb(tmp_path / "a.png", [[(i, i, i) for i in range(1, 9)]])
    with pytest.raises(DatasetError, match=r"#050505 in 1 px, [^;]*; and 3 more$"):
        load_label_map(path, ColourTable.of({RED: 0}))


def test_colours_without_a_table_are_refused(tmp_path: Path) -> None:
    """An RGB-coded map of a dataset without colours says what is missing."""
    path = save_rgb(tmp_path / "a.png", [[RED]])
    with pytest.raises(DatasetError, match="the class table has no colours; add a colour column"):
        load_label_map(path)


@pytest.mark.parametrize("table", [None, ColourTable.of({RED: 0})])
def test_ids_are_read_as_they_are(table: ColourTable | None, tmp_path: Path) -> None:
    """A map of ids needs no colours and takes none."""
    path = tmp_path / "a.png"
    path.write_bytes(encode_label_png(np.array([[300, 7]], np.uint16)))
    assert load_label_map(path, table).tolist() == [[300, 7]]


def test_a_damaged_label_map_is_an_image_error(tmp_path: Path) -> None:
    """Damage is reported as damage."""
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="not a PNG"):
        load_label_map(tmp_path / "a.png")


def test_segments_are_read_from_numbers_and_colours(tmp_path: Path) -> None:
    """Native ids come from 16-bit maps as they are, and from colours as R + 256·G + 65536·B."""
    wide = tmp_path / "wide.png"
    wide.write_bytes(encode_label_png(np.array([[1, 60_000]], np.uint16)))
    coloured = save_rgb(tmp_path / "rgb.png", [[(1, 2, 3), (255, 255, 255)]])
    for path, ids in ((wide, [1, 60_000]), (coloured, [197_121, 16_777_215])):
        segment_map = load_segment_map(path)
        assert (segment_map.dtype.name, segment_map.tolist()) == ("uint32", [ids])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "classes", "ignored", "splits"),
    [
        ("camvid", 11, {11}, {"train": 367, "val": 101, "test": 233}),
        ("idd_lite", 7, {255}, {"train": 600, "val": 120}),
        ("nyuv2_40", 40, {0}, {"train": 350, "val": 50, "test": 200}),
        ("msrc_v2", 23, {0}, {"train": 354, "val": 59, "test": 178}),
        ("voc2012_animals", 21, {255}, {"test": 220}),
    ],
)
def test_real_folders_are_read_as_they_lie_there(
    folder: str, classes: int, ignored: set[int], splits: dict[str, int], shared_data: Path
) -> None:
    """Each real dataset has its classes, its ignore id and its splits, and its pairs match."""
    root = shared_data / folder
    table = read_class_table(root / "classes.tsv")
    assert len(table.classes) == classes
    assert table.ignore_ids == ignored
    samples, unlisted = read_samples(root, LAYOUT, role="train")
    assert {s: sum(x.split == s for x in samples) for s in splits} == splits
    assert len(samples) == sum(splits.values())
    assert unlisted == 0
    for sample in samples[:: len(samples) // 10]:
        label_map = load_label_map(root / sample.label_file)
        assert label_map.shape == probe_image(root / sample.image_file)
        assert set(np.unique(label_map).tolist()) <= table.known_ids
