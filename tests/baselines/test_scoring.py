"""From a photo to test classes, beside a naive reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from baselines import scoring
from baselines.config import MULTI_SCALE, EvalConfig, TrainConfig
from baselines.data import resize_image, shorter_side
from baselines.networks import Network, build_network, upsample_bilinear
from baselines.scoring import place_crops, predict_label_map, resolutions, score_logits


@pytest.fixture
def model(quick_config: TrainConfig) -> Network:
    """A network of random weights that is not undecided, in evaluation."""
    torch.manual_seed(0)
    network = build_network(quick_config, classes=4, seed=0)
    torch.nn.init.normal_(network.cls[4].weight, std=2.0)  # type: ignore[arg-type]
    patches = torch.stack([draw_patches(seed, (41, 41)) for seed in range(4)])
    for _ in range(8):  # batch statistics, so that the features differ from place to place
        network(patches.float())
    return network.eval()


def draw_patches(seed: int, size_hw: tuple[int, int]) -> torch.Tensor:
    """An image (3, H, W) uint8 of coloured squares of 12 pixels."""
    generator = torch.Generator().manual_seed(seed)
    cells = [side // 12 + 1 for side in size_hw]
    colours = torch.randint(0, 256, (3, *cells), generator=generator, dtype=torch.uint8)
    enlarged = colours.repeat_interleave(12, dim=1).repeat_interleave(12, dim=2)
    return enlarged[:, : size_hw[0], : size_hw[1]]


def predict_naively(
    model: Network,
    image: npt.NDArray[np.uint8],
    sources: npt.NDArray[np.float32],
    config: EvalConfig,
) -> npt.NDArray[np.int64]:
    """Follow the protocol one scale, crop and pixel-wise sum at a time, with library resizing."""
    height, width = image.shape[:2]
    base = shorter_side((height, width), config.base_px)
    total = torch.zeros(len(sources), *base)
    for scale in config.scales:
        scores = score_naively(model, image, sources, config, round(config.base_px * scale))
        total += F.interpolate(scores[None], base, mode="bilinear", align_corners=False)[0]
    scores = F.interpolate(total[None], (height, width), mode="bilinear", align_corners=False)[0]
    scores[torch.from_numpy(sources.sum(axis=1) == 0)] = -1
    return scores.argmax(dim=0).numpy()


def score_naively(
    model: Network,
    image: npt.NDArray[np.uint8],
    sources: npt.NDArray[np.float32],
    config: EvalConfig,
    px: int,
) -> torch.Tensor:
    """Average the summed probabilities over all crops of the image at a shorter side of `px`."""
    resized = resize_image(image, shorter_side((image.shape[0], image.shape[1]), px)).float()
    h, w = resized.shape[1:]
    tall, wide = max(h, config.crop_px), max(w, config.crop_px)
    top, left = (tall - h) // 2, (wide - w) // 2
    padded = model.mean[0].expand(3, tall, wide).clone()
    padded[:, top : top + h, left : left + w] = resized
    total = torch.zeros(len(sources), tall, wide)
    times = torch.zeros(tall, wide)
    step = int(np.ceil(config.crop_px * config.stride))
    ys = sorted({min(y, tall - config.crop_px) for y in range(0, tall, step)})
    xs = sorted({min(x, wide - config.crop_px) for x in range(0, wide, step)})
    for y in ys:
        for x in xs:
            place = (slice(y, y + config.crop_px), slice(x, x + config.crop_px))
            crop = padded[:, place[0], place[1]]
            views = [(crop, False), (crop.flip(2), True)] if config.flip else [(crop, False)]
            for view, flipped in views:
                with torch.no_grad():
                    logits, _ = model(view[None])
                full = F.interpolate(
                    logits, (config.crop_px,) * 2, mode="bilinear", align_corners=True
                )
                p = full.softmax(dim=1)[0]
                p = p.flip(2) if flipped else p
                for label, row in enumerate(sources):
                    for output in np.flatnonzero(row):
                        total[label, place[0], place[1]] += p[output] / len(views)
            times[place] += 1
    return (total / times)[:, top : top + h, left : left + w]


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("size_hw", [(40, 56), (30, 100), (70, 50)])
@pytest.mark.parametrize(
    ("base_px", "scales"), [(30, (1.0,)), (60, (1.0,)), (36, (0.5, 1.0, 1.75))]
)
def test_prediction_equals_the_naive_protocol(
    model: Network, size_hw: tuple[int, int], base_px: int, scales: tuple[float, ...], flip: bool
) -> None:
    """Scales, crops, mirroring, summing, resizing and argmax agree, up to ties of rounding."""
    image = draw_patches(99, size_hw).permute(1, 2, 0).numpy()
    sources = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]], dtype=torch.float32)
    config = EvalConfig(
        base_px=base_px, scales=scales, crop_px=41, stride=2 / 3, flip=flip, batch=3
    )
    found = predict_label_map(model, image, sources=sources, evaluation=config)
    expected = predict_naively(model, image, sources.numpy(), config)
    assert found.shape == size_hw
    assert 0 < (found == 0).mean() < 1
    assert (found == expected).mean() > 0.999


@pytest.mark.parametrize("block", [1, 1000, 1 << 17])
@pytest.mark.parametrize(
    ("size_in", "size_out"), [((5, 7), (33, 41)), ((1, 1), (9, 9)), ((8, 8), (8, 8))]
)
def test_scores_equal_the_softmax_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
    size_in: tuple[int, int],
    size_out: tuple[int, int],
    block: int,
) -> None:
    """Working through some rows at a time gives what enlarging, softmax and one product give."""
    monkeypatch.setattr(scoring, "BLOCK_PER_CORE", block)
    torch.manual_seed(0)
    logits = 40 * torch.randn(3, 6, *size_in)
    sources = torch.tensor([[1.0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]])
    probabilities = upsample_bilinear(logits, size_out).softmax(dim=1)
    expected = torch.einsum("kc,nchw->nkhw", sources, probabilities)
    found = score_logits(logits, sources, size_hw=size_out)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_one_scale_of_many_is_the_single_scale(model: Network) -> None:
    """Averaging over one scale alone, or twice over the same, changes no pixel."""
    image = draw_patches(5, (50, 70)).permute(1, 2, 0).numpy()
    sources = torch.eye(4)
    config = EvalConfig(base_px=48, crop_px=41, batch=4, also_px=(30,), also_scales=(1.0, 1.0))
    single, other, twice = (
        predict_label_map(model, image, sources=sources, evaluation=config, resolution=resolution)
        for resolution in resolutions(config)
    )
    assert np.array_equal(
        single, predict_label_map(model, image, sources=sources, evaluation=config)
    )
    assert np.array_equal(single, twice)
    assert not np.array_equal(single, other)


def test_a_batch_holds_crops_of_several_scales(model: Network) -> None:
    """With room for all crops there is one forward pass for all scales, and the result is the same."""
    seen: list[int] = []
    hook = model.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    image = draw_patches(5, (41, 41)).permute(1, 2, 0).numpy()
    predicted = []
    for batch in (2, 64):
        config = EvalConfig(base_px=41, scales=(0.5, 1.0, 1.5), crop_px=41, batch=batch)
        found = predict_label_map(model, image, sources=torch.eye(4), evaluation=config)
        predicted.append(found)
    hook.remove()
    assert seen == [2] * 6 + [12]
    assert (predicted[0] == predicted[1]).mean() > 0.999


def test_a_scale_is_put_away_when_it_is_done(
    model: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the scales that a batch reaches are in memory: each is resized before the next but one begins."""
    steps: list[str] = []
    prepare, resize = scoring._prepare, scoring._resize

    def note_prepare(*given: object) -> object:
        steps.append("begin")
        return prepare(*given)  # type: ignore[arg-type]

    def note_resize(scores: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
        steps.append("end")
        return resize(scores, size_hw)

    monkeypatch.setattr(scoring, "_prepare", note_prepare)
    monkeypatch.setattr(scoring, "_resize", note_resize)
    image = draw_patches(5, (41, 60)).permute(1, 2, 0).numpy()
    config = EvalConfig(base_px=41, scales=(1.0, 1.25, 1.5), crop_px=41, batch=2)
    predict_label_map(model, image, sources=torch.eye(4), evaluation=config)
    assert steps[:6] == ["begin", "begin", "end", "begin", "end", "end"]


@pytest.mark.parametrize("classes", [3, 300])
def test_the_first_of_equal_scores_wins(classes: int) -> None:
    """The running maximum is the argmax, with the smallest index among equals, beyond a byte too."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (classes, 9, 11), generator=generator) / 4
    found = scoring._argmax_resized(scores, (9, 11)).numpy()
    assert np.array_equal(found, scores.numpy().argmax(axis=0))


def test_more_classes_than_a_byte_holds_are_predicted(model: Network) -> None:
    """With 300 test classes the label map is of 16 bits and 65535 is no class."""
    sources = torch.zeros(300, 4)
    image = draw_patches(5, (41, 41)).permute(1, 2, 0).numpy()
    config = EvalConfig(base_px=41, crop_px=41)
    nothing = predict_label_map(model, image, sources=sources, evaluation=config)
    assert nothing.dtype == np.uint16
    assert (nothing == 65535).all()
    sources[299] = 1
    assert (predict_label_map(model, image, sources=sources, evaluation=config) == 299).all()


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        (EvalConfig(base_px=512), ["512 px"]),
        (EvalConfig(base_px=512, also_px=(256, 1024)), ["512 px", "256 px", "1024 px"]),
        (EvalConfig(base_px=512, also_scales=MULTI_SCALE), ["512 px", "512 px, 6 scales"]),
        (
            EvalConfig(base_px=360, scales=(0.5, 1.0), also_scales=(1.0, 2.0)),
            ["360 px, scales 0.5 1", "360 px, scales 1 2"],
        ),
        (EvalConfig(base_px=360, scales=(2.0,)), ["360 px, scales 2"]),
        (EvalConfig(base_px=360, also_scales=(1.0,)), ["360 px"]),
    ],
)
def test_every_declared_resolution_has_a_label(config: EvalConfig, labels: list[str]) -> None:
    """The declared one comes first, all others follow, and no two are called alike."""
    assert [resolution.label for resolution in resolutions(config)] == labels


@pytest.mark.parametrize(
    ("extent", "crop", "places"),
    [(177, 177, [0]), (178, 177, [0, 1]), (295, 177, [0, 118]), (296, 177, [0, 118, 119])],
)
def test_crops_cover_a_side_and_end_flush(extent: int, crop: int, places: list[int]) -> None:
    """Crops step by two thirds and the last one ends at the edge."""
    assert place_crops(extent, crop, stride=2 / 3) == places
