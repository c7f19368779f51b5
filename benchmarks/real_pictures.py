"""What the arms predict, side by side: photo, truth, and one prediction per arm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from real_data import Question

from baselines.checkpoint import CHECKPOINT_NAME, read_weights
from baselines.config import EvalConfig, TrainConfig
from baselines.exports import Export, Sample, ZeroShotSet, read_export
from baselines.networks import Network, build_network
from baselines.predict import predict_label_map, sum_sources
from mseg_curate.files import write_bytes_atomically
from mseg_curate.images import encode_rgb_png, read_image, read_label
from mseg_curate.preview import palette

__all__ = ["choose_images", "draw_pictures"]

Picture = npt.NDArray[np.uint8]
LabelMap = npt.NDArray[np.uint8 | np.uint16]

CELL_WIDTH_PX: Final = 190
GAP_PX: Final = 4
LINE_PX: Final = 18
IGNORED: Final = (0, 0, 0)
BACKGROUND: Final = (226, 226, 226)


@dataclass(frozen=True)
class Shown:
    """A test image that is shown, and the class it was chosen for."""

    test: ZeroShotSet
    sample: Sample
    class_name: str


def draw_pictures(
    runs: Path, out: Path, *, question: Question, arms: Sequence[str], seed: int
) -> list[str]:
    """Draw the chosen images of a question with the predictions of all arms into `out`; return what is shown."""
    folders = {arm: runs / arm / f"seed-{seed}" for arm in arms}
    settings = {arm: _read_settings(folder) for arm, folder in folders.items()}
    first = read_export(settings[arms[0]].export)
    shown = choose_images(first, question)
    columns: list[list[LabelMap]] = [[read_label(row.sample.label) for row in shown]]
    for arm in arms:
        export = read_export(settings[arm].export)
        network = _load_network(folders[arm], settings[arm].train, export)
        columns.append([_predict(network, row, export, settings[arm].evaluation) for row in shown])
    photos = [read_image(row.sample.image) for row in shown]
    sheet = _lay_out(["photo", "truth", *arms], photos, columns, shown)
    write_bytes_atomically(out, encode_rgb_png(sheet))
    return [f"{row.test.name} {row.sample.image_id} ({row.class_name})" for row in shown]


def choose_images(export: Export, question: Question) -> list[Shown]:
    """Choose for each test class of the question the image with most of its pixels in the truth.

    No prediction plays a part. An image that two classes would choose is taken once; the later class takes its next.
    """
    shown: list[Shown] = []
    taken: set[tuple[str, str]] = set()
    for test in export.tests:
        wanted = question.tests.get(test.name, ())
        truths = {sample: read_label(sample.label) for sample in test.samples} if wanted else {}
        for name in wanted:
            class_id = test.classes.index(name)
            pixels = {sample: int((truth == class_id).sum()) for sample, truth in truths.items()}
            left = [sample for sample in pixels if (test.name, sample.image_id) not in taken]
            best = max(left, key=lambda sample: pixels[sample])
            taken.add((test.name, best.image_id))
            shown.append(Shown(test, best, name))
    return shown


@dataclass(frozen=True)
class _Settings:
    """What a run was carried out with, as it wrote it down."""

    export: Path
    train: TrainConfig
    evaluation: EvalConfig


def _read_settings(folder: Path) -> _Settings:
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    measured = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values["evaluation"].items()
    }
    train = TrainConfig(**(values["train"] | {"weights": None}))
    evaluation = EvalConfig(**measured)  # type: ignore[arg-type]
    return _Settings(Path(values["export"]), train, evaluation)


def _predict(network: Network, row: Shown, export: Export, evaluation: EvalConfig) -> LabelMap:
    sources = sum_sources(row.test, export.index)
    image = read_image(row.sample.image)
    return predict_label_map(network, image, sources=sources, evaluation=evaluation)


def _lay_out(
    titles: Sequence[str],
    photos: Sequence[Picture],
    columns: Sequence[Sequence[LabelMap]],
    shown: Sequence[Shown],
) -> Picture:
    """Lay rows of photo and label maps out below their titles, each test with a legend of its own."""
    width = len(titles) * (CELL_WIDTH_PX + GAP_PX) + GAP_PX
    parts = [_title(titles, width)]
    tests = {row.test.name: row.test for row in shown}
    for name, test in tests.items():
        numbers = [number for number, row in enumerate(shown) if row.test.name == name]
        colours = palette(len(test.classes))
        colours[[name == "background" for name in test.classes]] = BACKGROUND
        for number in numbers:
            cells = [_fit(photos[number], nearest=False)]
            cells += [_fit(_colourise(column[number], colours), nearest=True) for column in columns]
            parts.append(_join(cells, width))
        seen = {i for column in columns for number in numbers for i in np.unique(column[number])}
        names = {test.classes[i]: colours[i] for i in sorted(seen) if i < len(test.classes)}
        parts.append(_legend(name, names, width))
    return np.concatenate(parts)


def _title(titles: Sequence[str], width: int) -> Picture:
    line = np.full((LINE_PX + GAP_PX, width, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        _write(line, title, (GAP_PX + column * (CELL_WIDTH_PX + GAP_PX), LINE_PX - 4))
    return line


def _colourise(label_map: LabelMap, colours: npt.NDArray[np.uint8]) -> Picture:
    table = np.full((65_536, 3), IGNORED, np.uint8)
    table[: len(colours)] = colours
    coloured: Picture = table[label_map]
    return coloured


def _join(cells: Sequence[Picture], width: int) -> Picture:
    line = np.full((max(len(cell) for cell in cells) + GAP_PX, width, 3), 255, np.uint8)
    for column, cell in enumerate(cells):
        left = GAP_PX + column * (CELL_WIDTH_PX + GAP_PX)
        line[: len(cell), left : left + cell.shape[1]] = cell
    return line


def _fit(picture: Picture, *, nearest: bool) -> Picture:
    height = max(1, round(picture.shape[0] * CELL_WIDTH_PX / picture.shape[1]))
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
    fitted: Picture = cv2.resize(picture, (CELL_WIDTH_PX, height), interpolation=how).astype(
        np.uint8
    )
    return fitted


def _legend(test: str, names: Mapping[str, npt.NDArray[np.uint8]], width: int) -> Picture:
    entries = {**names, "not counted": np.array(IGNORED, np.uint8)}
    per_line = max(1, width // 140 - 1)
    lines = -(-len(entries) // per_line)
    legend = np.full((lines * LINE_PX + 2 * GAP_PX, width, 3), 255, np.uint8)
    _write(legend, test, (GAP_PX, LINE_PX - 4))
    for number, (name, colour) in enumerate(entries.items()):
        x, y = 140 * (1 + number % per_line), GAP_PX + number // per_line * LINE_PX
        legend[y : y + 12, x : x + 12] = colour
        _write(legend, name, (x + 17, y + 11))
    return legend


def _write(sheet: Picture, text: str, baseline: tuple[int, int]) -> None:
    cv2.putText(sheet, text, baseline, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)


def _load_network(folder: Path, config: TrainConfig, export: Export) -> Network:
    """Build the network of a finished run and give it the weights that were evaluated."""
    network = build_network(config, classes=export.outputs, seed=0)
    network.load_state_dict(read_weights(folder / CHECKPOINT_NAME))
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[no-any-return,call-overload]
