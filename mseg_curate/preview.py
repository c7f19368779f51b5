"""A picture of exports side by side: photo, then the label map of each arm, and a legend of the classes shown."""

from __future__ import annotations

import colorsys
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mseg_curate.core.label_map import LabelMap
from mseg_curate.errors import ExportError, InputError
from mseg_curate.files import read_text, safe_join, write_bytes_atomically
from mseg_curate.images import encode_rgb_png, read_image, read_label
from mseg_curate.manifest import MANIFEST, read_manifest

__all__ = ["Preview", "draw_preview", "palette"]

Picture = npt.NDArray[np.uint8]

CELL_WIDTH_PX = 280
GAP_PX = 6
LINE_PX = 20
IGNORE_COLOUR = (0, 0, 0)
SET_COLOUR = (255, 255, 255)
PAPER, INK = 255, (30, 30, 30)


@dataclass(frozen=True)
class Preview:
    """The picture that was drawn: how many images it shows, and in how many of them the exports differ."""

    path: Path
    images: int
    differing: int


@dataclass(frozen=True)
class _Row:
    """One training image in one export."""

    dataset: str
    image: Path
    label: str


def palette(classes: int) -> npt.NDArray[np.uint8]:
    """Return (classes, 3) uint8 RGB colours: neighbours far apart in hue, none of them black or white."""
    golden = 0.618034
    colours = [
        colorsys.hsv_to_rgb(
            (i * golden) % 1, (0.85, 0.55, 0.7)[i % 3], (0.95, 0.8, 0.6)[i // 3 % 3]
        )
        for i in range(classes)
    ]
    return np.round(255 * np.array(colours)).astype(np.uint8).reshape(classes, 3)


def draw_preview(
    exports: Mapping[str, Path], out: Path, *, images: int = 6, dataset: str | None = None
) -> Preview:
    """Draw training images of exports of the same images into a PNG: photo, then each export's label map.

    Images on which the exports differ come first, spread over the datasets' lists. Ignored pixels are black, sets
    of classes white. Raises ExportError where a folder is no export or the exports do not show the same images.
    """
    if images < 1 or not exports:
        raise InputError("a preview needs exports and images", expected="one of each at least")
    manifests = {name: read_manifest(folder) for name, folder in exports.items()}
    tables = {name: _read_rows(exports[name], manifests[name]) for name in exports}
    keys = _shared_keys(exports, tables, dataset)
    differing = [key for key in keys if _differs(key, manifests, tables)]
    shown = _spread(differing, images)
    shown += _spread([key for key in keys if key not in set(differing)], images - len(shown))
    cells = [[_photo(tables, key)] for key in shown]
    names: dict[str, tuple[int, int, int]] = {}
    for name, folder in exports.items():
        for row, key in zip(cells, shown, strict=True):
            label_map = read_label(safe_join(folder, tables[name][key].label))
            row.append(_fit(_colourise(label_map, manifests[name], names), nearest=True))
    sheet = _lay_out(["photo", *exports], cells, names)
    write_bytes_atomically(out, encode_rgb_png(sheet))
    return Preview(out, len(shown), sum(key in set(differing) for key in shown))


def _read_rows(folder: Path, manifest: Mapping[str, object]) -> dict[str, _Row]:
    """Return the training images of an export by their label path, which is the same in every arm."""
    rows: dict[str, _Row] = {}
    datasets = manifest.get("train")
    if not isinstance(datasets, list):
        raise ExportError("damaged manifest: no training datasets", path=folder / MANIFEST)
    for entry in datasets:
        root = Path(entry["image_root"]) if entry["image_root"] else folder
        for split in entry["splits"].values():
            text = read_text(safe_join(folder, split["list"]))
            for row in csv.DictReader(io.StringIO(text), delimiter="\t"):
                rows[row["label"]] = _Row(entry["name"], root / row["image"], row["label"])
    return rows


def _shared_keys(
    exports: Mapping[str, Path], tables: Mapping[str, Mapping[str, _Row]], dataset: str | None
) -> list[str]:
    first = next(iter(exports))
    for name, table in tables.items():
        if table.keys() != tables[first].keys():
            raise ExportError(
                "exports of different images",
                path=exports[name],
                expected=f"the training images of {exports[first]}",
                hint="preview exports of one store",
            )
    keys = [key for key, row in tables[first].items() if dataset in (None, row.dataset)]
    if not keys:
        known = ", ".join(sorted({row.dataset for row in tables[first].values()}))
        raise InputError(f"no training dataset {dataset!r} in the exports", expected=known)
    return keys


def _differs(
    key: str,
    manifests: Mapping[str, Mapping[str, object]],
    tables: Mapping[str, Mapping[str, _Row]],
) -> bool:
    digests = set()
    for name, manifest in manifests.items():
        files = manifest["files"]
        digests.add(files.get(tables[name][key].label) if isinstance(files, dict) else None)
    return len(digests) > 1


def _spread(keys: Sequence[str], wanted: int) -> list[str]:
    """Choose keys evenly from a list."""
    if wanted <= 0 or not keys:
        return []
    places = np.linspace(0, len(keys) - 1, min(wanted, len(keys))).round().astype(int)
    return [keys[place] for place in dict.fromkeys(places.tolist())]


def _photo(tables: Mapping[str, Mapping[str, _Row]], key: str) -> Picture:
    return _fit(read_image(next(iter(tables.values()))[key].image), nearest=False)


def _fit(picture: Picture, *, nearest: bool) -> Picture:
    height = max(1, round(picture.shape[0] * CELL_WIDTH_PX / picture.shape[1]))
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
    return cv2.resize(picture, (CELL_WIDTH_PX, height), interpolation=how).astype(np.uint8)


def _colourise(
    label_map: LabelMap,
    manifest: Mapping[str, object],
    names: dict[str, tuple[int, int, int]],
) -> Picture:
    """Colour an (H, W) label map of an export, and note the classes that occur in `names`."""
    classes, ignore = manifest["universal_classes"], manifest["ignore_label"]
    if not isinstance(classes, list) or not isinstance(ignore, int):
        raise ExportError("damaged manifest: no classes", place=MANIFEST)
    colours = np.full((65_536, 3), SET_COLOUR, np.uint8)
    colours[: len(classes)] = palette(len(classes))
    colours[ignore] = IGNORE_COLOUR
    for class_id in np.unique(label_map).tolist():
        known = classes[class_id] if class_id < len(classes) else "a set of classes"
        red, green, blue = colours[class_id].tolist()
        names["ignored" if class_id == ignore else known] = (red, green, blue)
    return colours[label_map]


def _lay_out(
    titles: Sequence[str],
    cells: Sequence[Sequence[Picture]],
    names: Mapping[str, tuple[int, int, int]],
) -> Picture:
    width = len(titles) * (CELL_WIDTH_PX + GAP_PX) + GAP_PX
    per_line = max(1, (width - GAP_PX) // 180)
    legend = -(-len(names) // per_line) * LINE_PX + 2 * GAP_PX
    heights = [max(cell.shape[0] for cell in row) + GAP_PX for row in cells]
    sheet = np.full((LINE_PX + GAP_PX + sum(heights) + legend, width, 3), PAPER, np.uint8)
    for column, title in enumerate(titles):
        _write(sheet, title, (GAP_PX + column * (CELL_WIDTH_PX + GAP_PX), LINE_PX - 4))
    top = LINE_PX + GAP_PX
    for row, height in zip(cells, heights, strict=True):
        for column, cell in enumerate(row):
            left = GAP_PX + column * (CELL_WIDTH_PX + GAP_PX)
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        top += height
    for number, (name, colour) in enumerate(sorted(names.items())):
        x, y = GAP_PX + number % per_line * 180, top + GAP_PX + number // per_line * LINE_PX
        sheet[y : y + 14, x : x + 14] = colour
        cv2.rectangle(sheet, (x, y), (x + 14, y + 14), INK)
        _write(sheet, name, (x + 20, y + 12))
    return sheet


def _write(sheet: Picture, text: str, baseline: tuple[int, int]) -> None:
    # OpenCV's letters are ASCII; a name in another script still shows where its letters are.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, plain, baseline, cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
