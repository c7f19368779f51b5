"""Pictures of predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from baselines.auto import settle
from baselines.config import TrainConfig
from baselines.data import SampleCache
from baselines.exports import IGNORE, read_export
from baselines.networks import build_network
from baselines.pictures import choose_examples, colour_classes, draw_samples, paint_labels

WriteExport = Callable[..., Path]


def test_photo_truth_and_prediction_stand_side_by_side(
    tmp_path: Path, write_export: WriteExport, quick_config: TrainConfig
) -> None:
    """One row per training dataset; photo and truth are those of its first image; the network is left as it was."""
    export = read_export(write_export(tmp_path / "export", arm="partial"))
    config = settle(replace(quick_config, crop_px=33), device="cpu")
    cache = SampleCache(export, base_px=40, limit_mib=8)
    examples = choose_examples(export, cache, crop_px=33)
    model = build_network(config, classes=export.outputs, seed=0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    draw_samples(tmp_path / "p.png", model, examples=examples, export=export, crop_px=33)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    picture = np.asarray(Image.open(tmp_path / "p.png"))
    assert picture.shape == (2 * 33, 3 * 33, 3)
    colours = colour_classes(export.outputs, export.index.sets)
    for row in (0, 1):
        sample = cache.load(row, 0)
        top, left = (sample.size_hw[0] - 33) / 2, (sample.size_hw[1] - 33) / 2
        window = (slice(int(top), int(top) + 33), slice(int(left), int(left) + 33))
        photo = picture[33 * row : 33 * row + 33, :33]
        # The middle lies between two pixels where the sizes differ by an odd number.
        pixels = sample.image[(slice(None), *window)].permute(1, 2, 0).numpy().astype(float)
        assert np.abs(photo - pixels).mean() < 25
        truth = picture[33 * row : 33 * row + 33, 33:66]
        painted = paint_labels(sample.labels[window], colours)
        assert (truth == painted).all(axis=2).mean() > 0.85
        prediction = picture[33 * row : 33 * row + 33, 66:].reshape(-1, 3)
        assert {tuple(colour) for colour in prediction} <= {tuple(c) for c in colours[:-1]}


def test_colours_tell_classes_apart() -> None:
    """No two of MSeg's 194 classes share a colour, none is black, and a set mixes its members."""
    colours = colour_classes(194, sets=((3, 5),))
    assert len({tuple(colour) for colour in colours}) == 195
    assert colours.any(axis=1).all()
    mean = (colours[3].astype(float) + colours[5]) / 2
    assert np.abs(colours[194] - mean).max() <= 1


def test_ignored_pixels_are_black() -> None:
    """Ignored pixels are black, others have their class's colour."""
    painted = paint_labels(torch.tensor([[IGNORE, 1]]), colour_classes(2))
    assert not painted[0, 0].any()
    assert (painted[0, 1] == colour_classes(2)[1]).all()
