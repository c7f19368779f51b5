"""Street scenes: what stands in them, and how a street and the edge of town are put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mseg_curate.scenes.canvas import (
    DARK,
    GLASS,
    HEIGHT,
    LAMP,
    PALE,
    Canvas,
    Colour,
    Domain,
    box,
    pick_colour,
    scale_colour,
)
from mseg_curate.scenes.vehicles import BODIES, park_vehicles

__all__ = ["draw_country", "draw_street"]

CLOTHES: tuple[Colour, ...] = ((178, 60, 70), (50, 80, 140), (230, 200, 90), (70, 70, 76))
SKINS: tuple[Colour, ...] = ((232, 190, 158), (186, 132, 96), (112, 76, 56))


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
    draw_front(canvas, rng, domain, wall=wall, front=(x, top, x + width, base))
    door = x + width * float(rng.uniform(0.15, 0.7))
    canvas.fill(box(door, base - 6, door + 3.2, base), scale_colour(roof, 0.7))
    return width


def draw_front(
    canvas: Canvas,
    rng: np.random.Generator,
    domain: Domain,
    *,
    wall: Colour,
    front: tuple[float, float, float, float],
) -> None:
    """Draw courses of stone and rows of windows on a front (x0, y0, x1, y1)."""
    x, top, right, base = front
    for y in np.arange(top + 2, base, 2.0).tolist():
        canvas.stroke(((x, y), (right, y)), scale_colour(wall, 0.93), width=0.5)
    columns, pane = int(rng.integers(2, 5)), float(rng.uniform(2.2, 3.2))
    step = (right - x) / columns
    for y in np.arange(top + 3, base - 8, pane + 4).tolist():
        for column in range(columns):
            left = x + step * (column + 0.5) - pane / 2
            lit = rng.random() < domain.lit_windows
            frame = box(left - 0.5, y - 0.5, left + pane + 0.5, y + pane + 1.3)
            canvas.fill(frame, scale_colour(wall, 1.2))
            canvas.fill(box(left, y, left + pane, y + pane + 0.8), LAMP if lit else GLASS)


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
    pave_verge(canvas, rng, domain, base=base, kerb=kerb)
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


def pave_verge(
    canvas: Canvas, rng: np.random.Generator, domain: Domain, *, base: float, kerb: float
) -> None:
    """Draw the pavement below the houses with its joints, perhaps with a strip of grass above it."""
    verge = base + 3 * int(rng.integers(2))
    canvas.fill(box(0, base, canvas.width, kerb), domain.meadow, "meadow")
    canvas.fill(box(0, verge, canvas.width, kerb), domain.pavement, "pavement")
    for joint in np.arange(0, canvas.width, 6.0).tolist():
        seam = ((joint, base + 3), (joint - 2, kerb))
        canvas.stroke(seam, scale_colour(domain.pavement, 0.9), width=0.5)


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
    lay_land(canvas, rng, domain, horizon=horizon, lane=lane)
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


def lay_land(
    canvas: Canvas, rng: np.random.Generator, domain: Domain, *, horizon: float, lane: float
) -> None:
    """Draw what lies between the horizon and the lane, the farthest first."""
    width = canvas.width
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
