"""Drawn street scenes: three small datasets whose classes disagree, made for the demo.

`townscape` (day) calls every vehicle `vehicle`; `outskirts` (dusk) names the few cars and bicycles
that it has; `cityview` (rain) tells car, bus, truck and bicycle apart and is for testing. Lengths
are in units: a scene is 96 units high, whatever its size in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from mseg_curate.errors import InputError, OutputError

__all__ = ["DrawnDataset", "DrawnDatasets", "draw_datasets"]

Colour = tuple[int, int, int]
Points = tuple[tuple[float, float], ...]
UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

HEIGHT = 96.0
SMALLEST_SIDE_PX = 48
SUPERSAMPLING = 2
THINGS = (
    "sky", "road", "marking", "pavement", "house", "barn", "tree", "hedge", "meadow", "field",
    "pond", "person", "post", "fence", "void", "car", "bus", "truck", "bicycle",
)  # fmt: skip
SPLIT_CLASS = "vehicle"
CANDIDATES = ("car", "truck", "bus", "bicycle")
DARK: Colour = (34, 35, 40)
GLASS: Colour = (72, 92, 108)
PALE: Colour = (226, 224, 214)
LAMP: Colour = (255, 232, 150)
BODIES: tuple[Colour, ...] = (
    (188, 52, 46), (44, 88, 160), (228, 226, 220), (222, 168, 50), (58, 124, 96), (120, 124, 132),
    (206, 106, 56), (96, 62, 112),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = ((178, 60, 70), (50, 80, 140), (230, 200, 90), (70, 70, 76))
SKINS: tuple[Colour, ...] = ((232, 190, 158), (186, 132, 96), (112, 76, 56))

# Contrast of fine grain, blotches and upright streaks, per thing.
TEXTURES: Mapping[str, tuple[float, float, float]] = {
    "sky": (0.00, 0.03, 0.00), "road": (0.07, 0.04, 0.00), "marking": (0.06, 0.05, 0.00),
    "pavement": (0.05, 0.05, 0.00), "house": (0.03, 0.04, 0.02), "barn": (0.02, 0.02, 0.10),
    "tree": (0.10, 0.14, 0.00), "hedge": (0.12, 0.10, 0.04), "meadow": (0.06, 0.06, 0.10),
    "field": (0.10, 0.06, 0.00), "pond": (0.01, 0.06, 0.00), "post": (0.02, 0.02, 0.00),
    "fence": (0.05, 0.03, 0.04),
}  # fmt: skip


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
class Domain:
    """Palette, texture and light of a dataset's scenes; colours are RGB."""

    sky_high: Colour
    sky_low: Colour
    walls: tuple[Colour, ...]
    roofs: tuple[Colour, ...]
    leaves: tuple[Colour, ...]
    road: Colour
    pavement: Colour
    meadow: Colour
    lit_windows: float
    texture: float
    gain: tuple[float, float]
    tint: tuple[float, float, float]
    haze: float
    noise: float
    rain: bool = False
    tilt_deg: float = 0.0


DAY = Domain(
    sky_high=(86, 150, 222), sky_low=(198, 224, 240),
    walls=((204, 126, 96), (232, 206, 160), (170, 88, 74), (214, 214, 206), (150, 170, 182)),
    roofs=((146, 66, 52), (92, 92, 104), (120, 84, 62)),
    leaves=((66, 128, 58), (88, 148, 62), (52, 108, 66)),
    road=(104, 106, 112), pavement=(190, 182, 170), meadow=(124, 168, 78),
    lit_windows=0.0, texture=1.0, gain=(0.85, 1.12), tint=(1.03, 1.0, 0.96), haze=0.10, noise=4.0,
)  # fmt: skip
DUSK = Domain(
    sky_high=(74, 70, 134), sky_low=(250, 164, 108),
    walls=((196, 168, 150), (168, 120, 104), (140, 128, 140)),
    roofs=((94, 54, 60), (70, 62, 80)),
    leaves=((52, 84, 66), (74, 92, 58), (40, 66, 66)),
    road=(92, 86, 102), pavement=(150, 132, 132), meadow=(120, 122, 70),
    lit_windows=0.6, texture=1.5, gain=(0.82, 1.08), tint=(1.08, 0.95, 0.97), haze=0.25, noise=7.0,
)  # fmt: skip
RAIN = Domain(
    sky_high=(138, 152, 172), sky_low=(206, 208, 210),
    walls=((176, 124, 106), (198, 186, 166), (136, 150, 160), (158, 100, 92)),
    roofs=((112, 70, 64), (82, 84, 94)),
    leaves=((62, 108, 68), (82, 122, 74)),
    road=(92, 96, 106), pavement=(164, 162, 162), meadow=(110, 140, 84),
    lit_windows=0.25, texture=1.25, gain=(0.78, 1.0), tint=(0.97, 1.0, 1.04), haze=0.30, noise=6.0,
    rain=True, tilt_deg=2.5,
)  # fmt: skip


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Return the corners of an upright rectangle."""
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


@dataclass(frozen=True)
class Silhouette:
    """The side view of a vehicle that faces right, in shares of its length and height.

    `outline` carries the label and the body's colour, `details` lie on it, `wheels` are
    (x, y, radius as a share of the height). A bicycle is all `bars`: its outline is not painted.
    """

    length: tuple[float, float]
    height_share: float
    outline: tuple[Points, ...]
    wheels: tuple[tuple[float, float, float], ...]
    details: tuple[tuple[Colour | None, Points], ...] = ()
    bars: tuple[Points, ...] = ()


SILHOUETTES: Mapping[str, Silhouette] = {
    "car": Silhouette(
        length=(22, 29), height_share=0.44,
        outline=(
            ((0, 0.82), (0.01, 0.5), (0.16, 0.42), (0.3, 0.04), (0.66, 0.02), (0.8, 0.42),
             (0.97, 0.5), (1, 0.66), (1, 0.82)),
        ),
        wheels=((0.21, 0.8, 0.2), (0.79, 0.8, 0.2)),
        details=(
            (GLASS, ((0.24, 0.42), (0.34, 0.12), (0.47, 0.12), (0.47, 0.42))),
            (GLASS, ((0.51, 0.42), (0.51, 0.12), (0.63, 0.12), (0.73, 0.42))),
            (LAMP, box(0.95, 0.52, 1.0, 0.62)), ((150, 30, 30), box(0, 0.52, 0.04, 0.62)),
        ),
    ),
    "bus": Silhouette(
        length=(34, 40), height_share=0.5,
        outline=(
            ((0, 0.9), (0, 0.06), (0.03, 0), (0.96, 0), (1, 0.1), (1, 0.9)),
        ),
        wheels=((0.2, 0.9, 0.13), (0.78, 0.9, 0.13)),
        details=(
            *((GLASS, box(x, 0.14, x + 0.12, 0.46)) for x in (0.04, 0.19, 0.34, 0.49, 0.64)),
            (GLASS, box(0.9, 0.14, 0.99, 0.56)), (DARK, box(0.79, 0.14, 0.88, 0.72)),
            (PALE, box(0, 0.56, 0.79, 0.66)), (LAMP, box(0.96, 0.7, 1.0, 0.78)),
        ),
    ),
    "truck": Silhouette(
        length=(32, 40), height_share=0.52,
        outline=(
            box(0, 0, 0.68, 0.76), box(0.02, 0.76, 0.98, 0.87),
            ((0.72, 0.87), (0.72, 0.26), (0.9, 0.26), (0.98, 0.52), (1, 0.56), (1, 0.87)),
        ),
        wheels=((0.12, 0.87, 0.13), (0.28, 0.87, 0.13), (0.84, 0.87, 0.13)),
        details=(
            (PALE, box(0, 0, 0.68, 0.76)),
            *((None, box(x, 0.04, x + 0.035, 0.72)) for x in (0.04, 0.14, 0.24, 0.34, 0.44, 0.54)),
            (DARK, box(0.02, 0.76, 0.72, 0.85)),
            (GLASS, ((0.79, 0.52), (0.79, 0.32), (0.88, 0.32), (0.94, 0.52))),
            (LAMP, box(0.96, 0.66, 1.0, 0.75)),
        ),
    ),
    "bicycle": Silhouette(
        length=(17, 22), height_share=0.62,
        outline=(
            ((0.22, 0.66), (0.34, 0.12), (0.68, 0.06), (0.8, 0.66), (0.5, 0.8)),
        ),
        wheels=((0.24, 0.62, 0.38), (0.76, 0.62, 0.38)),
        bars=(
            ((0.24, 0.62), (0.38, 0.28), (0.66, 0.26), (0.47, 0.66), (0.24, 0.62)),
            ((0.47, 0.66), (0.36, 0.2)), ((0.76, 0.62), (0.64, 0.08)),
            ((0.28, 0.17), (0.43, 0.17)), ((0.6, 0.06), (0.72, 0.1)),
        ),
    ),
}  # fmt: skip


class Canvas:
    """A picture and its label map, drawn together at twice the final size.

    `rgb` is (2H, 2W, 3) uint8, `things` is (2H, 2W) uint8 indices into THINGS.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        height_px, width_px = (SUPERSAMPLING * side for side in size_hw)
        self.px_per_unit = height_px / HEIGHT
        self.width = width_px / self.px_per_unit
        self.rgb: UInt8Array = np.zeros((height_px, width_px, 3), np.uint8)
        self.things: UInt8Array = np.zeros((height_px, width_px), np.uint8)
        self.lamps: list[tuple[float, float]] = []

    def fill(self, points: Points, colour: Colour | None, thing: str | None = None) -> None:
        """Fill a polygon: its colour, its label, or both."""
        corners = [np.round(np.array(points) * self.px_per_unit * 16).astype(np.int32)]
        if colour is not None:
            cv2.fillPoly(self.rgb, corners, colour, shift=4)
        if thing is not None:
            cv2.fillPoly(self.things, corners, THINGS.index(thing), shift=4)

    def fill_ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        *,
        colour: Colour | None,
        thing: str | None = None,
    ) -> None:
        """Fill an upright ellipse."""
        turns = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
        x, y = centre[0] + radii[0] * np.cos(turns), centre[1] + radii[1] * np.sin(turns)
        self.fill(tuple(zip(x.tolist(), y.tolist(), strict=True)), colour, thing)

    def stroke(self, points: Points, colour: Colour, *, width: float = 1.0) -> None:
        """Draw a line of the given width; the label stays."""
        path = np.round(np.array(points) * self.px_per_unit * 16).astype(np.int32)
        thickness_px = max(1, round(width * self.px_per_unit))
        cv2.polylines(self.rgb, [path], False, colour, thickness=thickness_px, shift=4)


def scale_colour(colour: Colour, factor: float) -> Colour:
    """Lighten or darken a colour."""
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


def pick_colour(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """Choose a colour and vary it a little."""
    return scale_colour(colours[int(rng.integers(len(colours)))], float(rng.uniform(0.85, 1.12)))


def draw_sky(canvas: Canvas, rng: np.random.Generator, domain: Domain) -> None:
    """Draw a graded sky, a sun and clouds."""
    rows = canvas.rgb.shape[0]
    share = np.clip(np.linspace(0.0, 2.0, rows, dtype=np.float32), 0, 1)[:, None, None]
    graded = np.array(domain.sky_high) * (1 - share) + np.array(domain.sky_low) * share
    canvas.rgb[:] = np.round(graded).astype(np.uint8)
    if rng.random() < 0.5 and not domain.rain:
        centre = (float(rng.uniform(0, canvas.width)), float(rng.uniform(6, 34)))
        canvas.fill_ellipse(centre, (4, 4), colour=scale_colour(LAMP, 1.05))
    cloud = scale_colour(domain.sky_low, 1.08)
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(0, canvas.width), rng.uniform(4, 26)
        for _ in range(4):
            centre = (float(x + rng.normal(0, 6)), float(y + rng.normal(0, 1)))
            radii = (float(rng.uniform(4, 9)), float(rng.uniform(1.2, 2.6)))
            canvas.fill_ellipse(centre, radii, colour=cloud)


def draw_house(
    canvas: Canvas, rng: np.random.Generator, domain: Domain, *, x: float, base: float, thing: str
) -> float:
    """Draw a house (or a barn) that stands on `base`; return its width in units."""
    width, height = float(rng.uniform(15, 28)), float(rng.uniform(17, 36))
    if thing == "barn":
        width, height = width * 1.1, 11.0
    top, wall = base - height, pick_colour(rng, domain.walls)
    roof = pick_colour(rng, domain.roofs)
    canvas.fill(box(x, top, x + width, base), wall, thing)
    canvas.fill(box(x + width * 0.86, top, x + width, base), scale_colour(wall, 0.86))
    if thing == "barn" or rng.random() < 0.6:
        rise, eave = float(rng.uniform(4, 8)), 1.2
        ridge = (x + width * 0.25, top - rise), (x + width * 0.75, top - rise)
        canvas.fill(((x - eave, top), *ridge, (x + width + eave, top)), roof, thing)
        chimney = x + width * float(rng.uniform(0.3, 0.6))
        canvas.fill(box(chimney, top - rise - 3, chimney + 2, top - rise + 1), roof, thing)
    else:
        canvas.fill(box(x - 0.8, top - 1.6, x + width + 0.8, top), scale_colour(wall, 0.7), thing)
    for y in np.arange(top + 2, base, 2.0).tolist():
        canvas.stroke(((x, y), (x + width, y)), scale_colour(wall, 0.93), width=0.5)
    columns, pane = int(rng.integers(2, 5)), float(rng.uniform(2.2, 3.2))
    step = width / columns
    for y in np.arange(top + 3, base - 8, pane + 4).tolist():
        for column in range(columns):
            left = x + step * (column + 0.5) - pane / 2
            lit = rng.random() < domain.lit_windows
            frame = box(left - 0.5, y - 0.5, left + pane + 0.5, y + pane + 1.3)
            canvas.fill(frame, scale_colour(wall, 1.2))
            canvas.fill(box(left, y, left + pane, y + pane + 0.8), LAMP if lit else GLASS)
    door = x + width * float(rng.uniform(0.15, 0.7))
    canvas.fill(box(door, base - 6, door + 3.2, base), scale_colour(roof, 0.7))
    return width


def draw_tree(
    canvas: Canvas,
    rng: np.random.Generator,
    domain: Domain,
    *,
    foot: tuple[float, float],
    height: float,
    pointed: bool = False,
) -> None:
    """Draw a leafy or a pointed tree that stands on `foot`."""
    x, base = foot
    leaf = pick_colour(rng, domain.leaves)
    canvas.fill(box(x - 0.8, base - height * 0.5, x + 0.8, base), (96, 72, 54), "tree")
    if pointed:
        for level in range(3):
            y, half = base - height * (0.22 + 0.24 * level), height * (0.28 - 0.06 * level)
            tip = ((x - half, y), (x + half, y), (x, y - height * 0.36))
            canvas.fill(tip, scale_colour(leaf, 0.85 + 0.15 * level), "tree")
        return
    for blob in range(8):
        centre = (
            x + float(rng.normal(0, height * 0.15)),
            base - height * float(rng.uniform(0.5, 0.85)),
        )
        radius = height * float(rng.uniform(0.13, 0.22))
        shade = scale_colour(leaf, 0.8 + 0.05 * blob)
        canvas.fill_ellipse(centre, (radius, radius * 0.9), colour=shade, thing="tree")


def draw_person(
    canvas: Canvas, rng: np.random.Generator, *, foot: tuple[float, float], height: float
) -> None:
    """Draw a walking person who stands on `foot`."""
    x, base = foot
    coat, trousers = pick_colour(rng, CLOTHES), scale_colour(pick_colour(rng, CLOTHES), 0.6)
    stride, half = height * float(rng.uniform(0.04, 0.14)), height * 0.14
    hip, neck = base - height * 0.45, base - height * 0.8
    for side in (-1, 1):
        ankle = x + side * stride
        leg = ((x - 0.8, hip), (x + 0.8, hip), (ankle + 0.8, base), (ankle - 0.8, base))
        canvas.fill(leg, trousers, "person")
    torso = ((x - half, neck), (x + half, neck), (x + half * 0.8, hip), (x - half * 0.8, hip))
    canvas.fill(torso, coat, "person")
    head = (x, base - height * 0.89)
    canvas.fill_ellipse(head, (height * 0.1,) * 2, colour=pick_colour(rng, SKINS), thing="person")


def draw_post(canvas: Canvas, x: float, *, base: float, height: float) -> None:
    """Draw a street lamp."""
    top = base - height
    canvas.fill(box(x - 0.6, top, x + 0.6, base), (70, 74, 78), "post")
    canvas.fill(box(x - 0.6, top - 0.8, x + 4.5, top + 0.6), (70, 74, 78), "post")
    canvas.fill(box(x + 2.2, top + 0.6, x + 4.5, top + 1.6), LAMP, "post")
    canvas.lamps.append((x + 3.3, top + 1.4))


def draw_fence(canvas: Canvas, x0: float, x1: float, *, base: float, colour: Colour) -> None:
    """Draw a railed fence; its label covers the gaps, as annotators draw it."""
    canvas.fill(box(x0, base - 5, x1, base), None, "fence")
    for x in np.arange(x0, x1, 3.0).tolist():
        canvas.fill(box(x, base - 5, x + 1, base), colour)
    for y in (base - 4.2, base - 2.0):
        canvas.stroke(((x0, y), (x1, y)), scale_colour(colour, 0.88), width=0.9)


def draw_vehicle(
    canvas: Canvas,
    rng: np.random.Generator,
    *,
    kind: str,
    corner: tuple[float, float],
    length: float,
) -> None:
    """Draw a vehicle whose lower left corner is `corner`."""
    shape = SILHOUETTES[kind]
    height, flipped = length * shape.height_share, rng.random() < 0.5
    x0, base = corner
    body = pick_colour(rng, BODIES)

    def place(points: Points) -> Points:
        return tuple(
            (x0 + length * (1 - x if flipped else x), base - height * (1 - y)) for x, y in points
        )

    ground = scale_colour((70, 72, 80), float(rng.uniform(0.7, 1.0)))
    middle = (x0 + length / 2, base)
    canvas.fill_ellipse(middle, (length * 0.52, 1.3), colour=ground)
    for outline in shape.outline:
        canvas.fill(place(outline), None if shape.bars else body, kind)
    for colour, detail in shape.details:
        canvas.fill(place(detail), body if colour is None else colour)
        if colour == LAMP:
            canvas.lamps.append(place(detail)[0])
    for x, y, share in shape.wheels:
        (centre,) = place(((x, y),))
        radius = height * share
        canvas.fill_ellipse(centre, (radius,) * 2, colour=None if shape.bars else DARK, thing=kind)
        if shape.bars:
            rim = np.linspace(0, 2 * np.pi, 20)
            xs, ys = centre[0] + 0.9 * radius * np.cos(rim), centre[1] + 0.9 * radius * np.sin(rim)
            canvas.stroke(tuple(zip(xs.tolist(), ys.tolist(), strict=True)), DARK, width=0.9)
        else:
            canvas.fill_ellipse(centre, (radius * 0.45,) * 2, colour=(150, 152, 156))
    for bar in shape.bars:
        canvas.stroke(place(bar), body, width=1.0)


def park_vehicles(
    canvas: Canvas, rng: np.random.Generator, kinds: Sequence[str], *, lanes: tuple[float, float]
) -> None:
    """Draw vehicles on a far or a near lane, never two that touch: a mask is one vehicle."""
    placed: list[tuple[str, tuple[float, float, float, float]]] = []
    for kind in kinds:
        shape = SILHOUETTES[kind]
        for _ in range(12):
            lane = int(rng.integers(2))
            length = float(rng.uniform(*shape.length)) * (0.88, 1.0)[lane]
            x0 = float(rng.uniform(-0.2 * length, canvas.width - 0.8 * length))
            base = lanes[lane] + float(rng.uniform(-1.5, 1.5))
            room = (x0 - 2, base - length * shape.height_share - 2, x0 + length + 2, base + 2)
            if not any(overlaps(room, other) for _, other in placed):
                placed.append((kind, room))
                break
    for kind, (x0, _, x1, y1) in sorted(placed, key=lambda item: item[1][3]):
        draw_vehicle(canvas, rng, kind=kind, corner=(x0 + 2, y1 - 2), length=x1 - x0 - 4)


def overlaps(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Say whether two rectangles (x0, y0, x1, y1) have a point in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def draw_road(canvas: Canvas, domain: Domain, *, top: float, bottom: float) -> None:
    """Draw a road across the scene, with a broken line along its middle."""
    canvas.fill(box(0, top, canvas.width, bottom), domain.road, "road")
    canvas.fill(box(0, top, canvas.width, top + 0.8), scale_colour(domain.road, 0.8))
    middle = top + (bottom - top) * 0.42
    for x in np.arange(-4, canvas.width, 14.0).tolist():
        canvas.fill(box(x, middle, x + 7, middle + 1.2), PALE, "marking")


def draw_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the bonnet of the car that carries the camera: it belongs to no class."""
    centre = (canvas.width * float(rng.uniform(0.4, 0.6)), HEIGHT + 4)
    colour = scale_colour(pick_colour(rng, BODIES), 0.5)
    canvas.fill_ellipse(centre, (canvas.width * 0.42, 10), colour=colour, thing="void")


def draw_street(
    canvas: Canvas, rng: np.random.Generator, domain: Domain, kinds: Sequence[str]
) -> None:
    """Draw a street: houses and trees, a pavement, a road with vehicles, people, lamps."""
    draw_sky(canvas, rng, domain)
    width, base = canvas.width, float(rng.uniform(44, 51))
    kerb, front = base + float(rng.uniform(7, 11)), float(rng.uniform(89, 97))
    line_street(canvas, rng, domain, base=base)
    verge = base + 3 * int(rng.integers(2))
    canvas.fill(box(0, base, width, kerb), domain.meadow, "meadow")
    canvas.fill(box(0, verge, width, kerb), domain.pavement, "pavement")
    for joint in np.arange(0, width, 6.0).tolist():
        seam = ((joint, base + 3), (joint - 2, kerb))
        canvas.stroke(seam, scale_colour(domain.pavement, 0.9), width=0.5)
    draw_road(canvas, domain, top=kerb, bottom=front)
    near = ("meadow", domain.meadow) if rng.random() < 0.5 else ("pavement", domain.pavement)
    canvas.fill(box(0, front, width, HEIGHT + 1), near[1], near[0])
    if domain.rain and rng.random() < 0.6:
        x0 = float(rng.uniform(-20, width))
        draw_fence(canvas, x0, x0 + 50, base=base + 3, colour=(92, 98, 104))
    furnish_pavement(canvas, rng, domain, base=base, kerb=kerb)
    park_vehicles(canvas, rng, kinds, lanes=(kerb + 11, front - 3))
    if rng.random() < 0.3:
        draw_post(canvas, float(rng.uniform(0, width)), base=HEIGHT + 1, height=58)
    if rng.random() < 0.25:
        foot = (float(rng.uniform(0, width)), HEIGHT)
        draw_person(canvas, rng, foot=foot, height=float(rng.uniform(20, 26)))
    if rng.random() < 0.2:
        draw_bonnet(canvas, rng)


def line_street(canvas: Canvas, rng: np.random.Generator, domain: Domain, *, base: float) -> None:
    """Draw a distant skyline, then houses side by side, with a garden here and there."""
    for x in np.arange(-6, canvas.width, 9.0).tolist():
        top = base - float(rng.uniform(12, 34))
        distant = scale_colour(domain.sky_low, 0.86)
        canvas.fill(box(x, top, x + float(rng.uniform(8, 14)), base), distant, "house")
    x = float(rng.uniform(-14, 2))
    while x < canvas.width:
        if rng.random() < 0.22:
            gap = float(rng.uniform(10, 18))
            canvas.fill(box(x, base - 6, x + gap, base), pick_colour(rng, domain.leaves), "hedge")
            foot = (x + gap / 2, base)
            draw_tree(canvas, rng, domain, foot=foot, height=float(rng.uniform(20, 30)))
            x += gap
        else:
            x += draw_house(canvas, rng, domain, x=x, base=base, thing="house")


def furnish_pavement(
    canvas: Canvas, rng: np.random.Generator, domain: Domain, *, base: float, kerb: float
) -> None:
    """Put trees, lamps and people on the far pavement."""
    for _ in range(int(rng.integers(0, 3))):
        foot = (float(rng.uniform(0, canvas.width)), float(rng.uniform(base + 1, kerb - 1)))
        draw_tree(canvas, rng, domain, foot=foot, height=float(rng.uniform(22, 32)))
    for _ in range(int(rng.integers(0, 3))):
        draw_post(canvas, float(rng.uniform(0, canvas.width)), base=kerb - 1, height=28)
    for _ in range(int(rng.integers(1, 5))):
        foot = (float(rng.uniform(0, canvas.width)), float(rng.uniform(base + 3, kerb)))
        draw_person(canvas, rng, foot=foot, height=float(rng.uniform(13, 18)))


def draw_country(
    canvas: Canvas, rng: np.random.Generator, domain: Domain, kinds: Sequence[str]
) -> None:
    """Draw the edge of town: hills, fields, a pond, a house or a barn, a lane."""
    draw_sky(canvas, rng, domain)
    width, horizon = canvas.width, float(rng.uniform(36, 44))
    lane = float(rng.uniform(60, 66))
    roll_hills(canvas, rng, domain, top=horizon, bottom=lane + 1)
    for _ in range(int(rng.integers(1, 3))):
        plough_field(canvas, rng, y=float(rng.uniform(horizon + 9, lane - 6)))
    if rng.random() < 0.4:
        centre = (float(rng.uniform(10, width - 10)), lane - 7)
        radii = (float(rng.uniform(9, 16)), 3.0)
        canvas.fill_ellipse(centre, radii, colour=scale_colour(domain.sky_low, 0.8), thing="pond")
    for thing in ("house", "barn")[int(rng.integers(2)) :]:
        spot, base = float(rng.uniform(-4, width - 14)), lane - float(rng.uniform(4, 9))
        draw_house(canvas, rng, domain, x=spot, base=base, thing=thing)
    for _ in range(int(rng.integers(2, 6))):
        foot = (float(rng.uniform(0, width)), float(rng.uniform(horizon + 8, lane - 1)))
        pointed, height = bool(rng.random() < 0.5), float(rng.uniform(18, 30))
        draw_tree(canvas, rng, domain, foot=foot, height=height, pointed=pointed)
    if rng.random() < 0.4:
        graze_cow(canvas, rng, foot=(float(rng.uniform(4, width - 18)), lane - 3))
    edge, front = float(rng.uniform(0, width)), float(rng.uniform(88, 93))
    if rng.random() < 0.5:
        draw_fence(canvas, edge, width, base=lane, colour=(150, 116, 92))
    else:
        leaf = pick_colour(rng, domain.leaves)
        canvas.fill(box(edge, lane - 4, width, lane), leaf, "hedge")
    draw_road(canvas, domain, top=lane, bottom=front)
    canvas.fill(box(0, front, width, HEIGHT + 1), domain.meadow, "meadow")
    for _ in range(int(rng.integers(0, 3))):
        foot = (float(rng.uniform(0, width)), lane + float(rng.uniform(0, 3)))
        draw_person(canvas, rng, foot=foot, height=float(rng.uniform(13, 18)))
    park_vehicles(canvas, rng, kinds, lanes=(lane + 12, front - 3))
    if rng.random() < 0.4:
        draw_post(canvas, float(rng.uniform(0, width)), base=front + 3, height=44)


def roll_hills(
    canvas: Canvas, rng: np.random.Generator, domain: Domain, *, top: float, bottom: float
) -> None:
    """Draw three ridges of meadow, the nearest the brightest."""
    edge = canvas.width + 2
    for level in range(3):
        xs = np.linspace(-2, edge, 12)
        wave = np.sin(xs / float(rng.uniform(9, 22)) + float(rng.uniform(0, 6)))
        ys = top + level * 5 + 3 * wave
        ridge = tuple(zip(xs.tolist(), ys.tolist(), strict=True))
        colour = scale_colour(domain.meadow, 0.8 + 0.1 * level)
        canvas.fill((*ridge, (edge, bottom), (-2.0, bottom)), colour, "meadow")


def plough_field(canvas: Canvas, rng: np.random.Generator, *, y: float) -> None:
    """Draw a ploughed field with its furrows."""
    x0, length = float(rng.uniform(-20, canvas.width * 0.6)), float(rng.uniform(35, 70))
    soil = scale_colour((138, 98, 70), float(rng.uniform(0.85, 1.15)))
    canvas.fill(
        ((x0 + 8, y), (x0 + length, y), (x0 + length + 6, y + 7), (x0, y + 7)), soil, "field"
    )
    for part in np.linspace(0.05, 0.95, 9).tolist():
        furrow = ((x0 + 8 + part * (length - 8), y), (x0 + part * (length + 6), y + 7))
        canvas.stroke(furrow, scale_colour(soil, 0.78), width=0.7)


def graze_cow(canvas: Canvas, rng: np.random.Generator, *, foot: tuple[float, float]) -> None:
    """Draw a cow, for which the dataset has no class."""
    x, base = foot
    hide = pick_colour(rng, ((232, 226, 218), (126, 82, 58)))
    for leg in (1.0, 3.0, 9.0, 11.0):
        canvas.fill(box(x + leg, base - 4, x + leg + 1.2, base), hide, "void")
    canvas.fill(box(x, base - 9, x + 13, base - 3.5), hide, "void")
    head = ((x + 12, base - 9), (x + 17, base - 7), (x + 16.5, base - 4.5), (x + 12, base - 5.5))
    canvas.fill(head, hide, "void")
    canvas.fill_ellipse((x + 5, base - 6.5), (2.2, 1.6), colour=DARK)


def apply_texture(canvas: Canvas, rng: np.random.Generator, strength: float) -> FloatArray:
    """Return the colours with grain, blotches and streaks by thing; (2H, 2W, 3), 0 to 255."""
    height, width = canvas.things.shape
    table = np.array([TEXTURES.get(thing, (0.03, 0.02, 0.0)) for thing in THINGS], np.float32)
    contrast: FloatArray = np.ones((height, width), np.float32)
    for layer, (cell_y, cell_x) in enumerate(((1, 1), (7, 7), (6, 2))):
        coarse = rng.standard_normal((height // cell_y + 2, width // cell_x + 2), dtype=np.float32)
        noise = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        contrast += table[canvas.things, layer] * noise * strength
    lit: FloatArray = canvas.rgb.astype(np.float32) * contrast[:, :, None]
    return lit


def apply_light(
    rgb: FloatArray, canvas: Canvas, rng: np.random.Generator, domain: Domain
) -> FloatArray:
    """Return the colours under the domain's haze, light, lamps and rain; (2H, 2W, 3)."""
    height, width = rgb.shape[:2]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    haze = domain.haze * float(rng.uniform(0.5, 1.2)) * np.exp(-(((y - 0.42) / 0.18) ** 2))
    rgb = rgb * (1 - haze) + np.array(domain.sky_low, np.float32) * haze
    gain = float(rng.uniform(*domain.gain))
    slope_x, slope_y = rng.uniform(-0.14, 0.14), rng.uniform(-0.12, 0.12)
    tint = np.array(domain.tint) * rng.uniform(0.96, 1.04, 3) * gain
    rgb = rgb * ((1 + slope_x * x + slope_y * (y - 0.5)) * tint.astype(np.float32))
    if domain.lit_windows > 0:
        glow = np.zeros((height // 4, width // 4), np.float32)
        for lamp in canvas.lamps:
            column, row = (int(part * canvas.px_per_unit / 4) for part in lamp)
            cv2.circle(glow, (column, row), 2, 1.0, -1)
        glow = cv2.resize(cv2.GaussianBlur(glow, (0, 0), 2.5), (width, height)).astype(np.float32)
        rgb += glow[:, :, None] * np.array(LAMP, np.float32) * (0.9 * domain.lit_windows)
    if domain.rain:
        streaks = np.zeros((height, width), np.uint8)
        starts = rng.integers(0, (width, height), (60, 2))
        lengths = rng.integers(5, 11, 60) * canvas.px_per_unit / 2
        for (column, row), length in zip(starts.tolist(), lengths.tolist(), strict=True):
            end = (round(column - length * 0.3), round(row + length))
            cv2.line(streaks, (column, row), end, 255)
        rgb += streaks[:, :, None] * np.float32(0.15)
    return np.asarray(rgb, np.float32)


def take_photo(
    canvas: Canvas, rng: np.random.Generator, domain: Domain
) -> tuple[UInt8Array, UInt8Array]:
    """Return the picture (H, W, 3) RGB and its label map (H, W) of indices into THINGS."""
    rgb = apply_light(apply_texture(canvas, rng, domain.texture), canvas, rng, domain)
    things = canvas.things
    height, width = things.shape
    if domain.tilt_deg:
        angle = float(rng.uniform(-domain.tilt_deg, domain.tilt_deg))
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
        whole = (width, height)
        edge = cv2.BORDER_REPLICATE
        rgb = cv2.warpAffine(rgb, turn, whole, borderMode=edge).astype(np.float32)
        things = cv2.warpAffine(
            things, turn, whole, flags=cv2.INTER_NEAREST, borderMode=edge
        ).astype(np.uint8)
    half = (width // SUPERSAMPLING, height // SUPERSAMPLING)
    small = cv2.resize(rgb, half, interpolation=cv2.INTER_AREA)
    small = small + rng.standard_normal(small.shape, dtype=np.float32) * domain.noise
    return (
        np.clip(np.round(small), 0, 255).astype(np.uint8),
        np.ascontiguousarray(things[1::SUPERSAMPLING, 1::SUPERSAMPLING]),
    )


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
    if images < 1 or test_images < 1:
        raise InputError(
            "each dataset needs an image",
            expected="counts of 1 or more",
            found=f"{images} training images and {test_images} test images",
        )
    if min(size_hw) < SMALLEST_SIDE_PX:
        expected = f"sides of {SMALLEST_SIDE_PX} px or more"
        raise InputError("the scenes are too small", expected=expected, found=str(size_hw))
    truth = out / TOWNSCAPE.name / "truth"
    drawn: list[DrawnDataset] = []
    try:
        for place, recipe in enumerate((TOWNSCAPE, OUTSKIRTS, CITYVIEW)):
            count = test_images if recipe.split == "test" else images
            keeps_truth = truth if recipe is TOWNSCAPE else None
            stream = (seed, place)
            drawn.append(
                write_dataset(
                    out, recipe, stream=stream, images=count, size_hw=size_hw, truth=keeps_truth
                )
            )
    except OSError as error:
        raise OutputError(f"{out}: the drawn datasets could not be written: {error}") from error
    coarse, finer, test = drawn
    return DrawnDatasets(
        coarse=coarse,
        finer=finer,
        test=test,
        truth=truth,
        split_class=SPLIT_CLASS,
        candidates=CANDIDATES,
        default=CANDIDATES[0],
    )


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
    for made in (folder / "images", *(place for place, _ in maps)):
        made.mkdir(parents=True, exist_ok=True)
    names = [f"{recipe.name}_{number:04d}" for number in range(images)]
    tables = [(place, tabulate_ids(classes)) for place, classes in maps]
    for number, name in enumerate(names):
        rng = np.random.default_rng((*stream, number))
        turn = [number * recipe.per_image + step for step in range(recipe.per_image)]
        kinds = [recipe.vehicles[step % len(recipe.vehicles)] for step in turn]
        canvas = Canvas(size_hw)
        recipe.compose(canvas, rng, recipe.domain, [kind for kind in kinds if kind is not None])
        picture, things = take_photo(canvas, rng, recipe.domain)
        Image.fromarray(picture).save(folder / "images" / f"{name}.jpg", quality=92)
        for place, table in tables:
            Image.fromarray(table[things]).save(place / f"{name}.png")
    write_lines(folder / "classes.tsv", list_classes(recipe.classes))
    if truth is not None:
        write_lines(truth / "classes.tsv", list_classes(TRUTH_CLASSES))
    mapping = out / f"{recipe.name}.mapping.tsv"
    write_lines(mapping, list_mapping(recipe.classes))
    write_lines(folder / f"{recipe.split}.txt", names)
    return DrawnDataset(recipe.name, folder, mapping, recipe.split)


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
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
