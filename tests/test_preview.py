"""The picture of exports side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mseg_curate.baseline import export_arms
from mseg_curate.core.mapping import Arm
from mseg_curate.errors import ExportError, InputError
from mseg_curate.preview import CELL_WIDTH_PX, GAP_PX, LINE_PX, draw_preview, palette
from mseg_curate.store import Store

NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def arms(loop: Any, tmp_path: Path) -> dict[str, Path]:
    """Two exports of the small loop: all of the split classes is ignored, or kept as a set."""
    with Store.open(loop.store) as store:
        return export_arms(store, tmp_path / "arms", arms=[Arm.IGNORED, Arm.PARTIAL], now=NOW)


def test_the_palette_tells_classes_from_each_other_and_from_ignore_and_sets() -> None:
    """194 classes get 194 colours, none of them black or white."""
    colours = {tuple(colour) for colour in palette(194).tolist()}
    assert len(colours) == 194
    assert not colours & {(0, 0, 0), (255, 255, 255)}


def test_each_export_has_a_column(arms: dict[str, Path], tmp_path: Path) -> None:
    """The sheet is one column wider than there are exports, and ignored and set pixels have their colours."""
    done = draw_preview(arms, tmp_path / "sheet.png", images=3)
    with Image.open(done.path) as picture:
        sheet = np.asarray(picture)
    assert sheet.shape[1] == 3 * (CELL_WIDTH_PX + GAP_PX) + GAP_PX
    assert done.images == done.differing == 3
    body = sheet[LINE_PX + GAP_PX :]
    ignored, partial = (
        body[:100, GAP_PX + n * (CELL_WIDTH_PX + GAP_PX) :][:, :CELL_WIDTH_PX] for n in (1, 2)
    )
    assert (ignored == 0).all(axis=2).any()
    assert (partial == 255).all(axis=2).any()
    assert not (ignored == 255).all(axis=2).any()


def test_images_that_do_not_differ_fill_up(arms: dict[str, Path], tmp_path: Path) -> None:
    """One export alone differs from nothing, and its images are shown all the same."""
    done = draw_preview({"ignored": arms["ignored"]}, tmp_path / "sheet.png", images=2)
    assert (done.images, done.differing) == (2, 0)


def test_a_dataset_can_be_chosen(arms: dict[str, Path], tmp_path: Path) -> None:
    """`dataset` limits the images; an unknown one is an error that names those there are."""
    done = draw_preview(arms, tmp_path / "sheet.png", images=50, dataset="zoo")
    assert done.images == 3
    with pytest.raises(InputError, match="coarse, zoo"):
        draw_preview(arms, tmp_path / "sheet.png", dataset="farm")


def test_exports_of_other_images_are_refused(
    arms: dict[str, Path], loop: Any, tmp_path: Path
) -> None:
    """Exports that do not show the same training images cannot stand side by side."""
    with Store.open(loop.store) as store:
        from mseg_curate.export import write_export  # noqa: PLC0415

        fewer = write_export(
            store, tmp_path / "fewer", arm=Arm.IGNORED, datasets=["coarse"], now=NOW
        )
    with pytest.raises(ExportError, match="different images"):
        draw_preview({**arms, "fewer": fewer.path}, tmp_path / "sheet.png")


def test_the_command_names_the_arms_by_their_folders(
    arms: dict[str, Path], tmp_path: Path, call_cli: Callable[..., Any]
) -> None:
    """`preview` draws the folders given and says how many images differ."""
    sheet = tmp_path / "sheet.png"
    done = call_cli("preview", *arms.values(), "--out", sheet, "--images", 2)
    assert done.code == 0
    assert sheet.is_file()
    assert "differ in 2 of them" in done.out
