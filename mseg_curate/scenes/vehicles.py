"""Vehicles: side views of car, bus, truck and bicycle, placed so that no two of them touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mseg_curate.scenes.canvas import (
    DARK,
    GLASS,
    LAMP,
    PALE,
    Canvas,
    Colour,
    Points,
    box,
    pick_colour,
    scale_colour,
)

__all__ = ["BODIES", "park_vehicles"]

BODIES: tuple[Colour, ...] = (
    (188, 52, 46), (44, 88, 160), (228, 226, 220), (222, 168, 50), (58, 124, 96), (120, 124, 132),
    (206, 106, 56), (96, 62, 112),
)  # fmt: skip


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
        length=(30, 38), height_share=0.44,
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
        length=(46, 54), height_share=0.5,
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
        length=(44, 54), height_share=0.52,
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
        length=(24, 30), height_share=0.62,
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
    canvas.fill_ellipse((x0 + length / 2, base), (length * 0.52, 1.3), colour=ground)
    for outline in shape.outline:
        canvas.fill(place(outline), None if shape.bars else body, kind)
    for colour, detail in shape.details:
        canvas.fill(place(detail), body if colour is None else colour)
        if colour == LAMP:
            canvas.lamps.append(place(detail)[0])
    for x, y, share in shape.wheels:
        (centre,) = place(((x, y),))
        draw_wheel(canvas, centre, kind=kind, radius=height * share, spoked=bool(shape.bars))
    for bar in shape.bars:
        canvas.stroke(place(bar), body, width=1.0)


def draw_wheel(
    canvas: Canvas, centre: tuple[float, float], *, kind: str, radius: float, spoked: bool
) -> None:
    """Draw a dark wheel with a hub or, where it is spoked, a rim that one looks through."""
    canvas.fill_ellipse(centre, (radius,) * 2, colour=None if spoked else DARK, thing=kind)
    if spoked:
        rim = np.linspace(0, 2 * np.pi, 20)
        xs, ys = centre[0] + 0.9 * radius * np.cos(rim), centre[1] + 0.9 * radius * np.sin(rim)
        canvas.stroke(tuple(zip(xs.tolist(), ys.tolist(), strict=True)), DARK, width=0.9)
    else:
        canvas.fill_ellipse(centre, (radius * 0.45,) * 2, colour=(150, 152, 156))


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
