"""The sampler, the cache and resizing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from baselines.data import (
    SampleCache,
    Sampler,
    prepare_ahead,
    read_photo,
    resize_image,
    resize_nearest,
    weigh_datasets,
)
from baselines.exports import read_export
from mseg_curate.errors import ExportError, InputError
from mseg_curate.files import sha256_of

WriteExport = Callable[..., Path]


@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(0, 7))
def test_a_draw_depends_on_seed_step_and_slot_alone(seed: int, step: int, slot: int) -> None:
    """Asking for draws in any order, of any sampler with the same seed, gives the same."""
    first, second = (Sampler([5, 3], seed=seed, batch=8) for _ in range(2))
    second.draw_batch(step // 2)
    assert first.draw(step, slot) == second.draw(step, slot) == first.draw_batch(step)[slot]


WEIGHTS = st.lists(st.fractions(Fraction(1, 9), 40, max_denominator=9), min_size=1, max_size=5)


@settings(deadline=None, max_examples=40)
@given(WEIGHTS, st.integers(0, 400), st.integers(1, 40))
def test_every_dataset_gets_its_share(weights: list[Fraction], start: int, batch: int) -> None:
    """From the first draw on, each dataset was drawn its share of the times, within as many as there are datasets.

    None waits longer than a round of its own, and after a whole period the shares are exact.
    """
    sampler = Sampler([10**6] * len(weights), seed=0, batch=batch, weights=weights)
    total = sum(sampler.weights)
    counts = Counter[int]()
    for turn in range(min(2 * total, 300)):
        drawn = sampler.draw(*divmod(turn, batch))
        counts[drawn.dataset] += 1
        for dataset, weight in enumerate(sampler.weights):
            due = Fraction((turn + 1) * weight, total)
            assert abs(counts[dataset] - due) <= max(1, len(weights) / 2)
        if (turn + 1) % total == 0:
            rounds = (turn + 1) // total
            assert [counts[n] for n in range(len(weights))] == [
                rounds * weight for weight in sampler.weights
            ]
    shares = [Fraction(weight, total) for weight in sampler.weights]
    assert shares == [weight / sum(weights) for weight in weights]
    # Asked for in the middle, the order is the same.
    later = [sampler.draw(*divmod(start + turn, batch)) for turn in range(batch)]
    steps = [
        draw
        for step in range(start // batch, start // batch + 2)
        for draw in sampler.draw_batch(step)
    ]
    assert later == steps[start % batch : start % batch + batch]


def test_a_weighed_dataset_repeats_no_sample_within_a_round() -> None:
    """Weights change how often a dataset comes, not that its samples take turns."""
    weights = weigh_datasets("a=2.5,b=0.5", ("a", "b"), (4, 3))
    draws = [
        draw
        for s in range(24)
        for draw in Sampler([4, 3], seed=1, batch=6, weights=weights).draw_batch(s)
    ]
    for dataset, size, times in ((0, 4, 120), (1, 3, 24)):
        seen = [draw.index for draw in draws if draw.dataset == dataset]
        assert len(seen) == times
        assert all(
            sorted(seen[at : at + size]) == list(range(size)) for at in range(0, times, size)
        )


def test_weights_are_read_exactly() -> None:
    """Equal, by size, or given for every dataset."""
    names, sizes = ("a", "b=c"), (30, 10)
    assert weigh_datasets("equal", names, sizes) == (1, 1)
    assert weigh_datasets("size", names, sizes) == (30, 10)
    assert weigh_datasets("b=c=0.1, a=1/3", names, sizes) == (Fraction(1, 3), Fraction(1, 10))


@pytest.mark.parametrize(
    "setting",
    [
        "a=1",
        "a=1,b=c=0",
        "a=1,b=c=-2",
        "a=1,b=c=nan",
        "a=1,b=c=",
        "a=1,a=2,b=c=1",
        "a=1,d=2",
        "sizes",
        "",
    ],
)
def test_weights_that_do_not_fit_are_refused(setting: str) -> None:
    """Each dataset needs one weight above 0; nothing else is taken."""
    with pytest.raises(InputError, match="dataset_weights"):
        weigh_datasets(setting, ("a", "b=c"), (30, 10))


@pytest.mark.parametrize("threads", [0, 1, 3, 9])
def test_what_is_prepared_ahead_comes_in_order(threads: int) -> None:
    """Batches come in the order of their steps, each prepared once, and an error comes at its step."""
    made: list[int] = []

    def prepare(step: int) -> int:
        made.append(step)
        if step == 15:
            raise ExportError("broken")
        return step * step

    came: list[tuple[int, int]] = []
    with pytest.raises(ExportError, match="broken"):
        came.extend(prepare_ahead(prepare, steps=range(3, 20), threads=threads))
    del came[12:]
    ahead = list(prepare_ahead(prepare, steps=range(3, 12), threads=threads))
    assert ahead == [(step, step * step) for step in range(3, 12)]
    assert sorted(made[-9:]) == list(range(3, 12))


def test_datasets_weigh_the_same_and_samples_come_once_per_round() -> None:
    """Datasets take turns whatever their size; within one, nothing repeats before all came."""
    sampler = Sampler([7, 50, 3], seed=1, batch=6)
    draws = [draw for step in range(35) for draw in sampler.draw_batch(step)]
    assert set(Counter(draw.dataset for draw in draws).values()) == {70}
    smallest = [draw.index for draw in draws if draw.dataset == 2]
    assert all(sorted(smallest[at : at + 3]) == [0, 1, 2] for at in range(0, 69, 3))
    large = [draw.index for draw in draws if draw.dataset == 1]
    assert sorted(large[:50]) == list(range(50))


def test_seeds_and_slots_differ() -> None:
    """Another seed gives another order; no two slots share an augmentation."""
    one, two = (Sampler([40], seed=seed, batch=40).draw_batch(0) for seed in (0, 1))
    assert [draw.index for draw in one] != [draw.index for draw in two]
    assert len({draw.augmentation_seed for draw in one + two}) == 80


def test_arms_share_sampling(tmp_path: Path, write_export: WriteExport) -> None:
    """The cache of every arm serves the same pixels for the same draws."""
    caches = [
        SampleCache(read_export(write_export(tmp_path / arm, arm=arm)), base_px=32, limit_mib=1)
        for arm in ("relabeled", "unrelabeled", "ignored", "partial")
    ]
    for draw in Sampler([6, 3], seed=3, batch=6).draw_batch(5):
        samples = [cache.load(draw.dataset, draw.index) for cache in caches]
        assert all(torch.equal(sample.image, samples[0].image) for sample in samples)


def test_the_cache_keeps_what_fits_and_serves_the_rest(export_dir: Path) -> None:
    """A sample within the limit is decoded once; beyond it, every time, with equal pixels."""
    export = read_export(export_dir)
    roomy = SampleCache(export, base_px=32, limit_mib=1)
    assert roomy.load(0, 1) is roomy.load(0, 1)
    none = SampleCache(export, base_px=32, limit_mib=0)
    first, second = none.load(0, 1), none.load(0, 1)
    assert first is not second
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.labels, roomy.load(0, 1).labels)
    assert first.size_hw == (32, 45)
    assert first.image.dtype == torch.uint8
    assert first.labels.dtype == torch.int16


def test_sizes_that_differ_are_an_error(export_dir: Path) -> None:
    """An image that is not of its label map's size is refused when it is loaded."""
    export = read_export(export_dir)
    first = export.train[0]
    Image.new("RGB", (10, 10)).save(first.samples[0].image)
    sample = replace(first.samples[0], image_sha256=sha256_of(first.samples[0].image))
    export = replace(export, train=(replace(first, samples=(sample,)),))
    with pytest.raises(ExportError, match="differ in size"):
        SampleCache(export, base_px=32, limit_mib=1).load(0, 0)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30))
def test_resized_labels_are_labels_that_were_there(h: int, w: int, height: int, width: int) -> None:
    """No label is invented, and pixels come from where their centre lies."""
    labels = np.arange(h * w, dtype=np.int16).reshape(h, w)
    resized = resize_nearest(labels, (height, width))
    for y, x in ((0, 0), (height - 1, width - 1), (height // 2, width // 2)):
        row, column = int((y + 0.5) * h / height), int((x + 0.5) * w / width)
        assert resized[y, x] == labels[row, column]


def test_images_are_averaged_when_they_shrink() -> None:
    """Fine stripes become grey, not one of their colours; an equal size is a copy."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = resize_image(stripes, (4, 4))[:, 1:-1, 1:-1]
    assert inner.float().sub(127.5).abs().max() < 2
    assert torch.equal(resize_image(stripes, (16, 16)), torch.from_numpy(stripes).permute(2, 0, 1))


def test_a_photo_that_changed_after_the_export_is_refused(export_dir: Path) -> None:
    """A photo is what was exported, to the byte, or it is neither trained nor tested on."""
    export = read_export(export_dir)
    sample = export.train[0].samples[0]
    pixels = np.array(read_photo(sample))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(sample.image)
    with pytest.raises(
        ExportError, match=rf"{sample.image.name}: the image changed after the export"
    ):
        SampleCache(export, base_px=40, limit_mib=1).load(0, 0)
