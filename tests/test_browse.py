"""Browsing: images found by what was decided on them, page by page; label maps before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mseg_curate.browse import (
    KINDS,
    BrowsedMask,
    ImageFilter,
    Kind,
    browsable,
    count_images,
    draw_image,
    encode_drawn,
    find_images,
    find_neighbours,
    look_at,
)
from mseg_curate.core.mask import encode_runs
from mseg_curate.decide import import_csv
from mseg_curate.errors import DatasetError, ImageError, InputError
from mseg_curate.preview import palette
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store
from mseg_curate.store.browse import find_images as find_in_store
from mseg_curate.store.engine import run_query
from mseg_curate.store.flags import add_flag

DAY = "2026-01-01T00:00:00+00:00"
VOTES = """dataset,split,image,segment,source_class,outcome,annotator
farm,train,a,0,animal,dog,anna
farm,train,a,0,animal,dog,ben
farm,train,a,1,animal,cat,anna
farm,train,a,1,animal,dog,ben
farm,train,b,0,animal,bad_mask,anna
"""
GROUND, CAT, DOG, COW, SKY = range(5)
# Rows of the farm's image a by universal class before decisions; 9 is ignored.
BEFORE_A = np.array(
    [
        [GROUND, CAT, CAT, GROUND, GROUND, GROUND, SKY, SKY],
        [GROUND, CAT, CAT, GROUND, CAT, GROUND, SKY, SKY],
        [GROUND, GROUND, GROUND, GROUND, CAT, GROUND, SKY, 9],
    ]
)


@pytest.fixture
def store(farm_store: Store, tmp_path: Path) -> Store:
    """The farm: a/0 is a dog, a/1 contested, b/0 a bad mask with a flag; c has no animal."""
    (tmp_path / "votes.csv").write_text(VOTES, encoding="utf-8")
    import_csv(farm_store, tmp_path / "votes.csv", now=DAY)
    resolve_masks(farm_store)
    with farm_store.writing() as connection:
        add_flag(
            connection, b"f" * 16, task_id=1, mask_id=3, annotator_id=1, comment="two <b>cats</b>", now=DAY
        )  # fmt: skip
    return farm_store


def names(store: Store, wanted: ImageFilter) -> str:
    """Return the names of the images that a filter finds."""
    return "".join(image.name for image in find_images(store, wanted)[0])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ImageFilter(), "abc"),
        (ImageFilter(dataset="farm", split="train"), "ab"),
        (ImageFilter(split="val"), "c"),
        (ImageFilter(dataset="zoo"), ""),
        (ImageFilter(text="B"), "b"),
        (ImageFilter(text="%"), ""),
        (ImageFilter(source_class="animal"), "ab"),
        (ImageFilter(source_class="sky"), ""),
        (ImageFilter(shown_class="animal"), "ab"),
        (ImageFilter(shown_class="sky", split="train"), "ab"),
        (ImageFilter(shown_class="sky"), "abc"),
        (ImageFilter(shown_class="nothing"), ""),
        (ImageFilter(shown_class="sky", outcome="resolved"), "a"),
        (ImageFilter(state="adjudicated"), ""),
        (ImageFilter(outcome="resolved"), "a"),
        (ImageFilter(outcome="contested"), "a"),
        (ImageFilter(outcome="ignored"), "b"),
        (ImageFilter(outcome="undecided"), ""),
        (ImageFilter(resolved_class="dog"), "a"),
        (ImageFilter(resolved_class="cat"), ""),
        (ImageFilter(outcome="undecided", resolved_class="dog"), ""),
        (ImageFilter(outcome="contested", resolved_class="dog"), ""),
        (ImageFilter(state="contested"), "a"),
        (ImageFilter(state="settled"), "ab"),
        (ImageFilter(state="open"), ""),
        (ImageFilter(flagged=True), "b"),
        (ImageFilter(flagged=True, text="a"), ""),
        (ImageFilter(flagged=True, outcome="ignored", source_class="animal", dataset="farm"), "b"),
    ],
)
def test_filters(store: Store, wanted: ImageFilter, found: str) -> None:
    """Each filter, and some together, find the images that have such a mask."""
    assert names(store, wanted) == found


def test_counts_of_an_image(store: Store) -> None:
    """An image in the list says how many of its masks are resolved and contested, and its open flags."""
    a, b, _ = find_images(store, ImageFilter())[0]
    assert (a.dataset, a.split, a.masks, a.resolved, a.contested, a.flags) == (
        "farm",
        "train",
        2,
        1,
        1,
        0,
    )
    assert (b.masks, b.resolved, b.contested, b.flags) == (1, 0, 0, 1)


def test_what_is_contested_before_it_is_resolved(store: Store) -> None:
    """A mask whose votes disagree counts as contested in the list before anybody ran `resolve`."""
    with store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM resolution")
    assert [image.contested for image in find_images(store, ImageFilter())[0]] == [1, 0, 0]


def test_pages_follow_each_other(store: Store) -> None:
    """Pages of one image show every image once, in order, and the last says that it is the last."""
    for wanted, names_of in (
        (ImageFilter(), "abc"),
        (ImageFilter(dataset="farm"), "abc"),
        (ImageFilter(dataset="farm", split="train"), "ab"),
    ):
        seen, after, more = "", None, True
        while more:
            page, more = find_images(store, wanted, after=after, limit=1)
            seen += page[0].name
            after = page[-1].id
        assert seen == names_of
        back, before, more = names_of[-1], page[-1].id, True
        while more:
            page, more = find_images(store, wanted, before=before, limit=1)
            back = page[0].name + back
            before = page[0].id
        assert back == names_of
    assert find_images(store, ImageFilter(), after=99)[0][0].name == "a"
    for limit in (0, 1000):
        with pytest.raises(InputError, match=f"expected 1 … 200, found {limit}"):
            find_images(store, ImageFilter(), limit=limit)


def test_neighbours(store: Store) -> None:
    """Beside an image are those that the filter finds next to it, even where it does not find the image itself."""
    near = [find_neighbours(store, ImageFilter(), image) for image in (1, 2, 3)]
    found = [tuple(n.name if n else "" for n in pair) for pair in near]
    assert found == [("", "b"), ("a", "c"), ("b", "")]
    (previous, following) = find_neighbours(store, ImageFilter(shown_class="animal"), 3)
    assert following is None
    assert previous is not None
    assert previous.name == "b"
    page, more = find_images(store, ImageFilter(), before=3, limit=2)
    assert ([image.name for image in page], more) == (["a", "b"], False)


def test_images_are_counted(store: Store) -> None:
    """A count is that of the pages, up to its limit."""
    for wanted in (ImageFilter(), ImageFilter(state="contested"), ImageFilter(shown_class="sky")):
        assert count_images(store, wanted) == len(find_images(store, wanted)[0])
    assert count_images(store, ImageFilter(), limit=2) == 2


def test_a_page_needs_no_look_at_all_images(store: Store) -> None:
    """A page is found by an index: the plan neither sorts nor scans the images before it."""
    for wanted in (
        ImageFilter(),
        ImageFilter(dataset="farm"),
        ImageFilter(dataset="farm", split="train", outcome="resolved"),
    ):
        found = plan(store, wanted)
        assert "SEARCH i USING INDEX" in found
        assert "TEMP B-TREE FOR ORDER BY" not in found


def plan(store: Store, wanted: ImageFilter) -> str:
    """Return SQLite's plan of a page of images behind the first."""
    said: list[str] = []

    class Asking:
        """A connection that explains what it is asked."""

        def __init__(self, connection: object) -> None:
            self.connection = connection

        def exec_driver_sql(self, sql: str, values: object) -> object:
            """Note the plan of the page and return nothing; ask anything else as it is."""
            if not sql.startswith("\nSELECT i.id"):
                return self.connection.exec_driver_sql(sql, values)  # type: ignore[attr-defined]
            rows = self.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)  # type: ignore[attr-defined]
            said.extend(row[3] for row in rows)
            return []

    with store.reading() as connection:
        find_in_store(Asking(connection), wanted, after=1, limit=5)  # type: ignore[arg-type]
    return "\n".join(said)


def test_before_and_after(store: Store) -> None:
    """Before, a split class has its default's colour; after, masks have theirs, and nothing else changes."""
    colours = np.vstack([palette(6), np.zeros((4, 3), np.uint8)])
    assert draw_image(store, 1, kind="before").tolist() == colours[BEFORE_A].tolist()
    after = BEFORE_A.copy()
    after[0:2, 1:3] = DOG
    is_contested = np.zeros(after.shape, bool)
    is_contested[1:3, 4] = True
    drawn = draw_image(store, 1, kind="after")
    np.testing.assert_array_equal(drawn[~is_contested], colours[after][~is_contested])
    assert draw_image(store, 2, kind="after")[0, 0].tolist() == [0, 0, 0]
    assert draw_image(store, 2, kind="before")[0, 0].tolist() == colours[CAT].tolist()


def test_contested_pixels_are_hatched(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contested mask is striped after, its own colour between the stripes."""
    monkeypatch.setattr("mseg_curate.browse._HATCH_PX", 1)
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE mask SET y0 = 0, x0 = 0, y1 = 3, x1 = 8 WHERE id = 2")
        runs = encode_runs(np.ones((3, 8), bool))
        connection.exec_driver_sql("UPDATE mask_geometry SET runs = ? WHERE mask_id = 2", (runs,))
    drawn = draw_image(store, 1, kind="after")
    changed = (draw_image(store, 1, kind="before") != drawn).any(axis=2)
    # Painted or hatched are pixels of animals alone, although the mask spans the whole image.
    assert not changed[BEFORE_A != CAT].any()
    found = {tuple(pixel) for pixel in drawn[BEFORE_A == CAT].tolist()}
    assert (255, 255, 255) in found
    assert len(found) > 1


def test_the_legend_counts_pixels(store: Store) -> None:
    """Every class of either picture has a line with its pixels before and after; ignored pixels have one as well."""
    lines = {line.name: (line.before_px, line.after_px) for line in look_at(store, 1).legend}
    assert lines == {
        "ground": (12, 12), "cat": (6, 2), "dog": (0, 4), "sky": (5, 5), "ignored": (1, 1),
    }  # fmt: skip
    first = look_at(store, 1).legend[0]
    assert (first.name, first.colour) == ("ground", tuple(palette(6)[0].tolist()))


def test_masks_come_with_all_that_is_known(store: Store) -> None:
    """Each mask has its votes, resolution, state and flags."""
    dog, contested = look_at(store, 1).masks
    assert [(v.annotator, v.class_name, v.mode) for v in dog.votes] == [
        ("anna", "dog", "import"),
        ("ben", "dog", "import"),
    ]
    assert (dog.outcome, dog.resolved_class, dog.agreement, dog.state) == (
        "resolved",
        "dog",
        1,
        "settled",
    )
    assert isinstance(contested, BrowsedMask)
    assert contested.is_contested
    assert not dog.is_contested
    (bad,) = look_at(store, 2).masks
    assert (bad.outcome, bad.flags) == ("ignored", ("anna: two <b>cats</b>",))
    assert look_at(store, 3).masks == ()


@pytest.mark.parametrize("kind", KINDS)
def test_large_images_are_scaled_down(store: Store, kind: Kind) -> None:
    """No picture is larger than asked for, and all have one size, the pair twice its width."""
    width = 8 if kind == "pair" else 4
    picture = draw_image(store, 1, kind=kind, longest_px=4)
    assert picture.shape == (2, width, 3)
    assert picture.dtype == np.uint8
    data, media_type = encode_drawn(picture, kind)
    assert data.startswith(b"\x89PNG" if media_type == "image/png" else b"\xff\xd8")


def test_what_lies_over_and_beside_the_photo(store: Store) -> None:
    """The overlay mixes photo and classes, the pair has both; a photo needs no label map."""
    photo, after = (draw_image(store, 1, kind=kind) for kind in ("photo", "after"))
    np.testing.assert_array_equal(
        draw_image(store, 1, kind="pair"), np.concatenate([photo, after], axis=1)
    )
    mixed = draw_image(store, 1, kind="overlay").astype(int)
    low, high = np.minimum(photo, after).astype(int), np.maximum(photo, after).astype(int)
    assert ((low - 1 <= mixed) & (mixed <= high + 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_outlined(store: Store, kind: Kind) -> None:
    """The marked mask has a contour in every picture; a mask of another image changes nothing."""
    plain = draw_image(store, 1, kind=kind)
    np.testing.assert_array_equal(draw_image(store, 1, kind=kind, marked=3), plain)
    marked = draw_image(store, 1, kind=kind, marked=1)
    assert (marked[0:2, 1:3] == 255).all()


def test_own_classes_without_a_universal_mapping(store: Store) -> None:
    """A dataset that no mapping leads into the universal classes shows its own, unchanged by decisions."""
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE dataset SET role = 'test'")
    assert {line.name for line in look_at(store, 3).legend} == {"ground", "sky"}
    np.testing.assert_array_equal(
        draw_image(store, 3, kind="before"), draw_image(store, 3, kind="after")
    )


def test_lost_and_changed_files(store: Store, farm: Path) -> None:
    """An unknown image, a changed label map and a lost photo are said so."""
    with pytest.raises(InputError, match="no image 99 with pixels"):
        look_at(store, 99)
    (farm / "images/a.jpg").unlink()
    for kind in ("photo", "overlay", "pair"):
        with pytest.raises(ImageError, match=r"a\.jpg"):
            draw_image(store, 1, kind=kind)
    with pytest.raises(InputError, match="no image 99 with pixels"):
        draw_image(store, 99, kind="photo")
    (farm / "labels/b.png").write_bytes((farm / "labels/a.png").read_bytes())
    with pytest.raises(DatasetError, match="was changed"):
        look_at(store, 2)


def test_what_can_be_looked_for(store: Store) -> None:
    """Datasets with pixels and the universal classes are offered."""
    offered = browsable(store)
    assert [row.name for row in offered.datasets] == ["farm"]
    assert offered.universal[:3] == ("ground", "cat", "dog")
    assert run_query(store, "SELECT COUNT(*) FROM image")[1] == [(3,)]
