"""The table of networks: one's own runs, and what was published of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from mseg_curate.core.metrics import ImageCounts, harmonic_mean, mean_iou, pixel_accuracy
from mseg_curate.errors import InputError
from mseg_curate.published import Published, load_published

__all__ = ["render_networks"]

Rows = Mapping[str, Sequence[Mapping[str, ImageCounts]]]

# The row of each network in the published tables; a network that has none there is left out.
NAMES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "ade20k": {
            "fcn8s": "FCN",
            "segnet": "SegNet",
            "dilatednet": "DilatedNet",
            "dilated_fcn": "ResNet50+DA+AL",
            "pspnet": "ResNet50+DA+AL+PSP",
        },
        "voc2012": {
            "fcn8s": "FCN",
            "deconvnet": "DeconvNet",
            "deeplab": "DeepLab",
            "pspnet": "PSPNet",
        },
        "cityscapes": {
            "fcn8s": "FCN",
            "dilatednet": "Dilation10",
            "deeplab": "DeepLab",
            "pspnet": "PSPNet",
        },
    }
)
SCORE: Final[Mapping[str, str]] = MappingProxyType(
    {"ade20k": "mean IoU", "voc2012": "mIoU", "cityscapes": "mIoU"}
)
TITLE: Final = "Networks, trained and tested alike"
MISSING: Final = "–"


def render_networks(rows: Rows, cost: str) -> tuple[str, str]:
    """Lay out mean IoU (strict) and pixel accuracy per network and test, for a terminal and as Markdown.

    Published columns are mean IoU of the networks' own authors or as PSPNet's paper quotes them, on other data.
    Raises InputError where there is no run.
    """
    if not rows:
        raise InputError("no network to lay out", expected="at least one run")
    tables = {name: load_published(name) for name in NAMES}
    cells = {network: _measure(row) for network, row in rows.items()}
    for network, found in cells.items():
        found |= {
            f"{name}, published": _published(table, network) for name, table in tables.items()
        }
    notes = [f"{name}: {table.title}; {table.source}." for name, table in tables.items()]
    seeds = sorted({len(row) for row in rows.values()})
    notes.append(
        f"Mean ± standard deviation over {' or '.join(map(str, seeds))} seeds, in percent."
    )
    notes.append(cost)
    return _lay_out(cells, notes)


def _measure(row: Sequence[Mapping[str, ImageCounts]]) -> dict[str, str]:
    tests = tuple(row[0])
    scores = {test: [_mean_iou(run[test]) for run in row] for test in tests}
    found = {f"{test}, mIoU": _spread(values) for test, values in scores.items()}
    if len(tests) > 1:
        by_seed = zip(*scores.values(), strict=True)
        found["harmonic mean"] = _spread([harmonic_mean(values) for values in by_seed])
    for test in tests:
        accuracies = [pixel_accuracy(run[test].confusion) for run in row]
        found[f"{test}, pixel accuracy"] = _spread(accuracies)
    return found


def _mean_iou(counts: ImageCounts) -> float:
    return mean_iou(counts.confusion, mode="strict", predictable=counts.predictable).value


def _spread(values: Sequence[float]) -> str:
    mean = f"{100 * float(np.mean(values)):.1f}"
    return f"{mean} ± {100 * float(np.std(values, ddof=1)):.1f}" if len(values) > 1 else mean


def _published(table: Published, network: str) -> str:
    name = NAMES[table.name].get(network)
    return table.row(name)[SCORE[table.name]] if name else MISSING


def _lay_out(cells: Mapping[str, Mapping[str, str]], notes: Sequence[str]) -> tuple[str, str]:
    head = ["", *next(iter(cells.values()))]
    lines = [head, *([network, *found.values()] for network, found in cells.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    rows.insert(1, "| --- " * len(head) + "|")
    body = "\n".join(f"- {note}" for note in notes)
    markdown = f"# {TITLE}\n\n" + "\n".join(rows) + f"\n\n## Notes\n\n{body}\n"
    return "\n\n".join([TITLE, "\n".join(text), "\n".join(notes)]) + "\n", markdown
