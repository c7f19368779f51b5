"""The drawn datasets: what each calls the things of its scenes, and how it is written as a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mseg_curate.errors import InputError
from mseg_curate.files import write_bytes_atomically, write_text_atomically
from mseg_curate.images import encode_label_png, encode_photo_jpeg
from mseg_curate.scenes.canvas import (
    DAY,
    DUSK,
    RAIN,
    THINGS,
    Canvas,
    Domain,
    UInt8Array,
    take_photo,
)
from mseg_curate.scenes.street import draw_country, draw_street

__all__ = ["DrawnDataset", "DrawnDatasets", "draw_datasets"]

SMALLEST_SIDE_PX = 48
JPEG_QUALITY = 92
SPLIT_CLASS = "vehicle"
CANDIDATES = ("car", "truck", "bus", "bicycle")


@dataclass(frozen=True)
class DrawnDataset:
    """One dataset on disk: its folder, its mapping file and the name of its only split."""

    name: str
    folder: Path
    mapping: Path
    split: str


@dataclass(frozen=True)
class DrawnDatasets:
    """What `draw_datasets` wrote.

    `truth` is the folder of label maps (and their classes.tsv) that name, for each pixel of
    `coarse`, the class behind `split_class`: one of `candidates`, of which `default` is the one
    that unresolved masks fall back to.
    """

    coarse: DrawnDataset
    finer: DrawnDataset
    test: DrawnDataset
    truth: Path
    split_class: str
    candidates: tuple[str, ...]
    default: str


@dataclass(frozen=True)
class DrawnClass:
    """A class of a drawn dataset: the things it covers and the universal classes they become.

    `relation` is that of the mapping file; it is empty for the ignore label.
    """

    id: int
    name: str
    things: tuple[str, ...]
    relation: str
    universal: tuple[str, ...]


def tabulate_classes(
    *rows: tuple[int, str, str] | tuple[int, str, str, str, str],
) -> tuple[DrawnClass, ...]:
    """Build classes from rows of id, name, things and, but for ignore labels, relation, universal."""
    return tuple(
        DrawnClass(
            row[0],
            row[1],
            tuple(row[2].split()),
            row[3] if len(row) == 5 else "",
            tuple(row[4].split()) if len(row) == 5 else (),
        )
        for row in rows
    )


@dataclass(frozen=True)
class Recipe:
    """How a dataset is drawn and what it calls things.

    `vehicles` is the order in which kinds come up, `per_image` of them at a time (None: nothing).
    """

    name: str
    split: str
    domain: Domain
    compose: Callable[[Canvas, np.random.Generator, Domain, Sequence[str]], None]
    classes: tuple[DrawnClass, ...]
    vehicles: tuple[str | None, ...]
    per_image: int


TOWNSCAPE = Recipe(
    name="townscape", split="train", domain=DAY, compose=draw_street, per_image=3,
    classes=tabulate_classes(
        (0, "void (ignore)", "void"),
        (1, "sky", "sky", "keep", "sky"),
        (2, "road", "road marking", "keep", "road"),
        (3, "pavement", "pavement", "keep", "sidewalk_pavement"),
        (4, "building", "house barn", "keep", "building"),
        (5, "tree", "tree hedge", "keep", "vegetation"),
        (6, "lawn", "meadow field", "keep", "terrain"),
        (7, SPLIT_CLASS, " ".join(CANDIDATES), "split", " ".join(CANDIDATES)),
        (8, "person", "person", "keep", "person"),
        (9, "lamp post", "post", "keep", "pole"),
    ),
    vehicles=(
        "car", "truck", "car", "bicycle", "car", "bus", "car", "truck", "car", "bicycle",
        "car", "car", "bus", "car", "truck", "car", "bicycle", "car", "car", "bicycle",
    ),
)  # fmt: skip
OUTSKIRTS = Recipe(
    name="outskirts", split="train", domain=DUSK, compose=draw_country, per_image=2,
    classes=tabulate_classes(
        (0, "sky", "sky", "keep", "sky"),
        (1, "lane", "road", "merge", "road"),
        (2, "lane marking", "marking", "merge", "road"),
        (3, "house", "house", "merge", "building"),
        (4, "barn", "barn", "merge", "building"),
        (5, "tree", "tree", "merge", "vegetation"),
        (6, "hedge", "hedge", "merge", "vegetation"),
        (7, "meadow", "meadow", "merge", "terrain"),
        (8, "field", "field", "merge", "terrain"),
        (9, "pond", "pond", "keep", "river_lake"),
        (10, "walker", "person", "keep", "person"),
        (11, "fence", "fence", "keep", "fence"),
        (12, "post", "post", "keep", "pole"),
        (13, "car", "car", "keep", "car"),
        (14, "bicycle", "bicycle", "keep", "bicycle"),
        (255, "unlabelled (ignore)", "void"),
    ),
    vehicles=("car", "bicycle", None, None, "car", "car", None, None, None, None),
)  # fmt: skip
CITYVIEW = Recipe(
    name="cityview", split="test", domain=RAIN, compose=draw_street, per_image=3,
    classes=tabulate_classes(
        (0, "rest", "pavement meadow post fence", "test",
         "sidewalk_pavement terrain river_lake pole fence"),
        (1, "sky", "sky", "test", "sky"),
        (2, "road", "road marking", "test", "road"),
        (3, "building", "house", "test", "building"),
        (4, "vegetation", "tree hedge", "test", "vegetation"),
        (5, "person", "person", "test", "person"),
        (6, "car", "car", "test", "car"),
        (7, "bus", "bus", "test", "bus"),
        (8, "truck", "truck", "test", "truck"),
        (9, "bicycle", "bicycle", "test", "bicycle"),
        (255, "unclear (ignore)", "void"),
    ),
    vehicles=("car", "bus", "bicycle", "truck", "car", "bicycle", "truck", "car", "bus", "car"),
)  # fmt: skip
TRUTH_CLASSES = (
    *(drawn for drawn in TOWNSCAPE.classes if drawn.name != SPLIT_CLASS),
    *tabulate_classes(
        *((10 + place, name, name, "keep", name) for place, name in enumerate(CANDIDATES))
    ),
)


def draw_datasets(
    out: Path,
    *,
    seed: int = 0,
    images: int = 160,
    test_images: int = 60,
    size_hw: tuple[int, int] = (96, 128),
) -> DrawnDatasets:
    """Draw two training datasets and a test dataset into `out`, over files of the same name.

    The same arguments give the same bytes. Raises InputError for counts below 1 or sides below
    48 px, OutputError where a file cannot be written.
    """
    check_request(images, test_images, size_hw=size_hw)
    truth = out / TOWNSCAPE.name / "truth"
    coarse, finer, test = (
        write_dataset(
            out,
            recipe,
            stream=(seed, place),
            images=test_images if recipe.split == "test" else images,
            size_hw=size_hw,
            truth=truth if recipe is TOWNSCAPE else None,
        )
        for place, recipe in enumerate((TOWNSCAPE, OUTSKIRTS, CITYVIEW))
    )
    return DrawnDatasets(
        coarse=coarse,
        finer=finer,
        test=test,
        truth=truth,
        split_class=SPLIT_CLASS,
        candidates=CANDIDATES,
        default=CANDIDATES[0],
    )


def check_request(images: int, test_images: int, *, size_hw: tuple[int, int]) -> None:
    """Raise InputError for counts or sizes that no dataset can have."""
    if images < 1 or test_images < 1:
        raise InputError(
            "each dataset needs an image",
            expected="counts of 1 or more",
            found=f"{images} training images and {test_images} test images",
        )
    if min(size_hw) < SMALLEST_SIDE_PX:
        expected = f"sides of {SMALLEST_SIDE_PX} px or more"
        raise InputError("the scenes are too small", expected=expected, found=str(size_hw))


def write_dataset(
    out: Path,
    recipe: Recipe,
    *,
    stream: tuple[int, int],
    images: int,
    size_hw: tuple[int, int],
    truth: Path | None,
) -> DrawnDataset:
    """Draw and write one dataset; the split list comes last."""
    folder = out / recipe.name
    maps = [(folder / "labels", recipe.classes)]
    if truth is not None:
        maps.append((truth, TRUTH_CLASSES))
    names = [f"{recipe.name}_{number:04d}" for number in range(images)]
    tables = [(place, tabulate_ids(classes)) for place, classes in maps]
    for number, name in enumerate(names):
        picture, things = draw_scene(recipe, number, stream=stream, size_hw=size_hw)
        photo = encode_photo_jpeg(picture, quality=JPEG_QUALITY)
        write_bytes_atomically(folder / "images" / f"{name}.jpg", photo)
        for place, table in tables:
            write_bytes_atomically(place / f"{name}.png", encode_label_png(table[things]))
    write_lines(folder / "classes.tsv", list_classes(recipe.classes))
    if truth is not None:
        write_lines(truth / "classes.tsv", list_classes(TRUTH_CLASSES))
    mapping = out / f"{recipe.name}.mapping.tsv"
    write_lines(mapping, list_mapping(recipe.classes))
    write_lines(folder / f"{recipe.split}.txt", names)
    return DrawnDataset(recipe.name, folder, mapping, recipe.split)


def draw_scene(
    recipe: Recipe, number: int, *, stream: tuple[int, int], size_hw: tuple[int, int]
) -> tuple[UInt8Array, UInt8Array]:
    """Draw one scene of a dataset: (H, W, 3) RGB and (H, W) indices into THINGS."""
    rng = np.random.default_rng((*stream, number))
    turn = [number * recipe.per_image + step for step in range(recipe.per_image)]
    kinds = [recipe.vehicles[step % len(recipe.vehicles)] for step in turn]
    canvas = Canvas(size_hw)
    recipe.compose(canvas, rng, recipe.domain, [kind for kind in kinds if kind is not None])
    return take_photo(canvas, rng, recipe.domain)


def tabulate_ids(classes: Sequence[DrawnClass]) -> UInt8Array:
    """Return the class id of each thing, by its place in THINGS; 255 where it is never drawn."""
    table: UInt8Array = np.full(len(THINGS), 255, np.uint8)
    for drawn in classes:
        table[[THINGS.index(thing) for thing in drawn.things]] = drawn.id
    return table


def list_classes(classes: Sequence[DrawnClass]) -> list[str]:
    """Return the lines of a classes.tsv."""
    return ["id\tname", *(f"{drawn.id}\t{drawn.name}" for drawn in classes)]


def list_mapping(classes: Sequence[DrawnClass]) -> list[str]:
    """Return the lines of a mapping file; the first candidate of a split is its default."""
    lines = ["class\trelation\tuniversal\tcandidates"]
    for drawn in classes:
        if drawn.relation:
            several = f"{{{', '.join(drawn.universal)}}}"
            universal, candidates = drawn.universal[0], ""
            if drawn.relation == "split":
                candidates = several
            elif len(drawn.universal) > 1:
                universal = several
            lines.append(f"{drawn.name}\t{drawn.relation}\t{universal}\t{candidates}")
    return lines


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file with a line feed after each line."""
    write_text_atomically(path, "".join(f"{line}\n" for line in lines))
