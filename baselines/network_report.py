"""The table of networks: one's own runs, and what was published of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mseg_curate.core.metrics import ImageCounts, harmonic_mean, pixel_accuracy
from mseg_curate.errors import InputError
from mseg_curate.published import Published, load_published
from mseg_curate.report.frames import MISSING
from mseg_curate.report.zero_shot import (
    NOTHING,
    describe_spread,
    format_spread,
    frame_rows,
    lay_out,
    tables_beside,
)

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


def render_networks(
    rows: Rows, cost: str, *, others: Mapping[str, Rows] = NOTHING, validation: Rows = NOTHING
) -> tuple[str, str]:
    """Lay out mean IoU (strict) and pixel accuracy per network and test, for a terminal and as Markdown.

    Published columns are mean IoU of the networks' own authors or as PSPNet's paper quotes them, on other data.
    `others` are the rows at each further declared resolution, `validation` those on the training datasets' other
    splits. Raises InputError where there is no run.
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
    frames = {"mIoU (strict) and pixel accuracy in percent": frame_rows(cells)}
    return lay_out(
        TITLE,
        frames | tables_beside(others, validation),
        [*notes, describe_spread(rows), cost],
    )


def _measure(row: Sequence[Mapping[str, ImageCounts]]) -> dict[str, str]:
    tests = tuple(row[0])
    scores = {test: [run[test].mean_iou() for run in row] for test in tests}
    found = {f"{test}, mIoU": format_spread(values) for test, values in scores.items()}
    if len(tests) > 1:
        by_seed = zip(*scores.values(), strict=True)
        found["harmonic mean"] = format_spread([harmonic_mean(values) for values in by_seed])
    for test in tests:
        accuracies = [pixel_accuracy(run[test].confusion) for run in row]
        found[f"{test}, pixel accuracy"] = format_spread(accuracies)
    return found


def _published(table: Published, network: str) -> str:
    name = NAMES[table.name].get(network)
    return table.row(name)[SCORE[table.name]] if name else MISSING
