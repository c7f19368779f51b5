"""The canvas: a picture and its label map, drawn together, and the light in which it becomes a photo.

Lengths are in units: a scene is 96 units high, whatever its size in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "DARK", "DAY", "DUSK", "GLASS", "HEIGHT", "LAMP", "PALE", "RAIN", "THINGS",
    "Canvas", "Colour", "Domain", "Points", "UInt8Array",
    "box", "pick_colour", "scale_colour", "take_photo",
]  # fmt: skip

Colour = tuple[int, int, int]
Points = tuple[tuple[float, float], ...]
UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

HEIGHT = 96.0
SUPERSAMPLING = 2
THINGS = (
    "sky", "road", "marking", "pavement", "house", "barn", "tree", "hedge", "meadow", "field",
    "pond", "person", "post", "fence", "void", "car", "bus", "truck", "bicycle",
)  # fmt: skip
DARK: Colour = (34, 35, 40)
GLASS: Colour = (72, 92, 108)
PALE: Colour = (226, 224, 214)
LAMP: Colour = (255, 232, 150)

# Contrast of fine grain, blotches and upright streaks, per thing.
TEXTURES: Mapping[str, tuple[float, float, float]] = {
    "sky": (0.00, 0.03, 0.00), "road": (0.07, 0.04, 0.00), "marking": (0.06, 0.05, 0.00),
    "pavement": (0.05, 0.05, 0.00), "house": (0.03, 0.04, 0.02), "barn": (0.02, 0.02, 0.10),
    "tree": (0.10, 0.14, 0.00), "hedge": (0.12, 0.10, 0.04), "meadow": (0.06, 0.06, 0.10),
    "field": (0.10, 0.06, 0.00), "pond": (0.01, 0.06, 0.00), "post": (0.02, 0.02, 0.00),
    "fence": (0.05, 0.03, 0.04),
}  # fmt: skip


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
        rgb += (
            glow_lamps(canvas)[:, :, None] * np.array(LAMP, np.float32) * (0.9 * domain.lit_windows)
        )
    if domain.rain:
        rgb += fall_rain(canvas, rng)[:, :, None] * np.float32(0.15)
    return np.asarray(rgb, np.float32)


def glow_lamps(canvas: Canvas) -> FloatArray:
    """Return how strongly the lamps light each pixel, (2H, 2W), 0 to 1."""
    height, width = canvas.things.shape
    glow = np.zeros((height // 4, width // 4), np.float32)
    for lamp in canvas.lamps:
        column, row = (int(part * canvas.px_per_unit / 4) for part in lamp)
        cv2.circle(glow, (column, row), 2, 1.0, -1)
    return cv2.resize(cv2.GaussianBlur(glow, (0, 0), 2.5), (width, height)).astype(np.float32)


def fall_rain(canvas: Canvas, rng: np.random.Generator) -> UInt8Array:
    """Draw sixty streaks of rain: (2H, 2W), 255 where one falls."""
    height, width = canvas.things.shape
    streaks = np.zeros((height, width), np.uint8)
    starts = rng.integers(0, (width, height), (60, 2))
    lengths = rng.integers(5, 11, 60) * canvas.px_per_unit / 2
    for (column, row), length in zip(starts.tolist(), lengths.tolist(), strict=True):
        end = (round(column - length * 0.3), round(row + length))
        cv2.line(streaks, (column, row), end, 255)
    return streaks


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
