"""A small export folder, written by hand as docs/export-format.md says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from baselines.config import EvalConfig, TrainConfig

CLASSES = ("ground", "disc", "square", "nothing", "cross")
REACHABLE = (0, 1, 2, 4)
TEST_CLASSES = ("floor", "round", "angular", "unseen")
SOURCES = ((0,), (1,), (2, 4), (3,))
TO_TEST = np.array([0, 1, 2, 255, 2], np.uint8)
SET_ID = 5
IGNORE_LABEL = 255

WriteExport = Callable[..., Path]


def draw_scene(
    rng: np.random.Generator, size_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw textured shapes on a ground: an RGB image and its universal ids."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width]
    textures = {
        0: 90 + 20 * ((x + y) % 7 < 3),
        1: 120 + 110 * (x % 6 < 3),
        2: 120 + 110 * (y % 6 < 3),
        4: 60 + 90 * ((x // 4 + y // 4) % 2),
    }
    label_map = np.zeros(size_hw, np.uint8)
    for shape in rng.permutation([1, 2, 4]):
        radius = int(rng.integers(height // 7, height // 4))
        top, left = rng.integers(radius, height - radius), rng.integers(radius, width - radius)
        down, right = np.abs(y - top), np.abs(x - left)
        inside = {
            1: down**2 + right**2 < radius**2,
            2: np.maximum(down, right) < radius * 0.8,
            4: (np.minimum(down, right) < radius * 0.35) & (np.maximum(down, right) < radius),
        }[int(shape)]
        label_map[inside] = shape
    grey = np.zeros(size_hw, np.float64)
    for number, texture in textures.items():
        grey[label_map == number] = texture[label_map == number]
    tint = rng.uniform(0.8, 1.2, 3)
    noise = rng.normal(0, 8, (*size_hw, 3))
    return np.clip(grey[..., None] * tint + noise, 0, 255).astype(np.uint8), label_map


def apply_arm(label_map: npt.NDArray[np.uint8], arm: str) -> npt.NDArray[np.uint8]:
    """Give squares the label that the arm leaves them with, disc being their default."""
    label = {"relabeled": 2, "unrelabeled": 1, "ignored": IGNORE_LABEL, "partial": SET_ID}[arm]
    table = np.arange(256, dtype=np.uint8)
    table[2] = label
    if arm == "partial":
        table[1] = SET_ID
    mapped: npt.NDArray[np.uint8] = table[label_map]
    return mapped


def _write_split(
    folder: Path,
    role: str,
    name: str,
    *,
    scenes: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]],
) -> dict[str, object]:
    base = folder / role / name
    lines = ["image\tlabel\theight\twidth\timage_sha256"]
    for kind in ("labels", "images"):
        (base / kind).mkdir(parents=True, exist_ok=True)
    for number, (image, label_map) in enumerate(scenes):
        Image.fromarray(image).save(base / "images" / f"scene{number:03}.png")
        Image.fromarray(label_map).save(base / "labels" / f"scene{number:03}.png")
        paths = [f"{role}/{name}/{kind}/scene{number:03}.png" for kind in ("images", "labels")]
        digest = hashlib.sha256((folder / paths[0]).read_bytes()).hexdigest()
        lines.append("\t".join([*paths, *map(str, label_map.shape), digest]))
    (base / f"{role}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    listed = {"list": f"{role}/{name}/{role}.tsv", "images": len(scenes)}
    return {"name": name, "splits": {role: listed}}


def write_export_folder(
    folder: Path,
    *,
    arm: str = "relabeled",
    images: int = 6,
    test_images: int = 3,
    size_hw: tuple[int, int] = (40, 56),
) -> Path:
    """Write a complete export of two training datasets and one test dataset."""
    rng = np.random.default_rng(7)
    train = []
    for name in ("first", "second"):
        count = images if name == "first" else max(1, images // 2)
        scenes = [draw_scene(rng, size_hw) for _ in range(count)]
        labelled = [
            (image, apply_arm(label_map, arm if name == "first" else "relabeled"))
            for image, label_map in scenes
        ]
        train.append(_write_split(folder, "train", name, scenes=labelled))
    scenes = [draw_scene(rng, size_hw) for _ in range(test_images)]
    mapped = [(image, TO_TEST[label_map]) for image, label_map in scenes]
    test = _write_split(folder, "test", "held_out", scenes=mapped)
    test |= {"classes": list(TEST_CLASSES), "sources": [list(ids) for ids in SOURCES]}
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    labels = [value for name, value in files.items() if name.startswith("train/")]
    manifest = {
        "format": "mseg-curate export",
        "version": 2,
        "tool_version": "0",
        "arm": arm,
        "label_dtype": "uint8",
        "ignore_label": IGNORE_LABEL,
        "universal_classes": list(CLASSES),
        "reachable": list(REACHABLE),
        "sets": [{"id": SET_ID, "classes": [1, 2]}] if arm == "partial" else [],
        "train": train,
        "test": [test],
        "shared_sha256": f"shared {images} {test_images} {size_hw}",
        "labels_sha256": hashlib.sha256(" ".join(labels).encode()).hexdigest(),
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture
def write_export() -> WriteExport:
    """The function that writes an export folder."""
    return write_export_folder


@pytest.fixture
def export_dir(tmp_path: Path) -> Path:
    """A complete export of the arm `relabeled`."""
    return write_export_folder(tmp_path / "export")


@pytest.fixture
def quick_config() -> TrainConfig:
    """A network and a schedule that train in about a second."""
    return TrainConfig(
        backbone="resnet18",
        width=0.125,
        head_channels=16,
        output_stride=16,
        steps=6,
        batch=2,
        base_px=40,
        crop_px=33,
        optimizer="adamw",
        lr=3e-3,
        head_lr_factor=2.0,
        warmup=2,
        loss_stride=2,
        log_every=4,
        checkpoint_every=2,
        cache_mib=8,
    )


@pytest.fixture
def quick_evaluation() -> EvalConfig:
    """An evaluation with more than one crop per image."""
    return EvalConfig(base_px=40, crop_px=41, batch=4)
