"""Settings, presets and the hash that compares them."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from baselines.config import (
    EVALUATIONS,
    LADDER,
    NETWORKS,
    NOT_HASHED,
    NOT_HASHED_EVALUATION,
    PRESETS,
    EvalConfig,
    TrainConfig,
    config_sha256,
    override,
)
from mseg_curate.errors import InputError


def test_the_paper_preset_is_the_published_recipe() -> None:
    """Zhao et al., CVPR 2017: the numbers of the published training."""
    paper = PRESETS["paper"]
    assert (paper.backbone, paper.output_stride, paper.crop_px) == ("resnet50", 8, 473)
    assert (paper.optimizer, paper.lr, paper.momentum, paper.weight_decay) == (
        "sgd",
        0.01,
        0.9,
        1e-4,
    )
    assert (paper.head_lr_factor, paper.power, paper.warmup, paper.batch) == (10, 0.9, 0, 16)
    assert (paper.aux_weight, paper.dropout, paper.loss_stride) == (0.4, 0.1, 1)
    assert (paper.scale_min, paper.scale_max, paper.rotate_deg, paper.blur_p) == (0.5, 2, 10, 0.5)
    assert PRESETS.keys() == EVALUATIONS.keys()


@pytest.mark.parametrize("name", [field.name for field in fields(TrainConfig)])
def test_the_hash_tells_every_setting_that_changes_a_number(name: str) -> None:
    """Changing a setting changes the hash, but for those that only say how a run is carried out."""
    config, evaluation = PRESETS["tiny"], EVALUATIONS["tiny"]
    value = getattr(config, name)
    others = {
        "network": "deeplab",
        "backbone": "resnet34",
        "output_stride": 16,
        "stem": "plain",
        "normalisation": "symmetric",
        "upsampling": "learned",
        "norm": "frozen",
        "dataset_weights": "size",
        "optimizer": "sgd",
        "precision": "bfloat16",
        "layout": "contiguous",
        "compile": "no",
        "fused": "no",
        "weights": Path("other.pth"),
        "scale_max": 3.0,
    }
    if isinstance(value, bool):
        others[name] = not value
    elif isinstance(value, float) and name not in others:
        others[name] = value / 2 or 0.5
    changed = replace(config, **{name: others[name] if name in others else value + 1})
    before, after = (
        config_sha256(one, evaluation, weights_sha256=None) for one in (config, changed)
    )
    assert (before == after) == (name in NOT_HASHED)


@pytest.mark.parametrize("name", [field.name for field in fields(EvalConfig)])
def test_the_hash_tells_every_setting_of_the_evaluation(name: str) -> None:
    """The same for the evaluation: how many crops go through at once changes no number."""
    config, evaluation = PRESETS["tiny"], EVALUATIONS["tiny"]
    value = getattr(evaluation, name)
    others: dict[str, object] = {"also_px": (64,), "scales": (1.0, 2.0), "also_scales": (2.0,)}
    if isinstance(value, bool):
        others[name] = not value
    elif isinstance(value, float):
        others[name] = value / 2
    changed = replace(evaluation, **{name: others[name] if name in others else value + 1})
    before, after = (
        config_sha256(config, one, weights_sha256=None) for one in (evaluation, changed)
    )
    assert (before == after) == (name in NOT_HASHED_EVALUATION)


def test_the_hash_tells_evaluation_and_weights() -> None:
    """Another evaluation and other start weights are another configuration."""
    config = PRESETS["tiny"]
    hashes = {
        config_sha256(config, EVALUATIONS["tiny"], weights_sha256=None),
        config_sha256(config, EVALUATIONS["tiny"], weights_sha256="ab"),
        config_sha256(config, EVALUATIONS["small"], weights_sha256=None),
    }
    assert len(hashes) == 3


def test_settings_are_parsed_by_the_type_of_their_field() -> None:
    """Text becomes int, float, bool or str as the field is; the rest stays."""
    found = override(PRESETS["tiny"], ["steps=7", "lr=0.5", "optimizer=sgd"])
    assert (found.steps, found.lr, found.optimizer) == (7, 0.5, "sgd")
    kept = {"steps", "lr", "optimizer"}
    assert {k: v for k, v in asdict(found).items() if k not in kept} == {
        k: v for k, v in asdict(PRESETS["tiny"]).items() if k not in kept
    }
    assert override(EvalConfig(), ["flip=false"]).flip is False
    listed = override(EvalConfig(), ["also_px=256,720", "also_scales=0.5,1,1.5", "scales=1"])
    assert (listed.also_px, listed.also_scales, listed.scales) == (
        (256, 720),
        (0.5, 1.0, 1.5),
        (1,),
    )
    assert override(listed, ["also_px="]).also_px == ()


def test_every_network_stands_on_each_of_its_backbones() -> None:
    """What NETWORKS lists is accepted, and nothing else is."""
    for network, backbones in NETWORKS.items():
        for backbone in backbones:
            assert replace(PRESETS["paper"], network=network, backbone=backbone)
    with pytest.raises(InputError, match="unknown backbone of segnet: expected one of vgg16_bn"):
        replace(PRESETS["paper"], network="segnet")


def test_the_rungs_of_the_ladder_apply_to_every_preset() -> None:
    """Each rung is a change of settings that exist, and the last is the multi-scale evaluation."""
    for preset, evaluation in ((PRESETS[name], EVALUATIONS[name]) for name in PRESETS):
        configs = [replace(preset, **rung.train) for rung in LADDER]
        assert [config.network for config in configs[:2]] == ["dilated_fcn", "dilated_fcn"]
        assert configs[0].scale_min == configs[0].scale_max == 1.0
        assert len(replace(evaluation, **LADDER[-1].evaluation).scales) == 6


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("speed=1", "unknown setting"),
        ("steps", "unknown setting"),
        ("weights=x.pth", "unknown setting"),
        ("steps=many", "another type: expected int, found 'many'"),
        ("steps=0", "steps is too small"),
        ("backbone=vgg", "unknown backbone"),
        ("output_stride=32", "unknown output_stride"),
        ("lr=0", "lr must be above 0"),
        ("scale_min=9", "scale_min is above scale_max"),
        ("crop_px=4", "crop_px is too small"),
        ("accumulate=0", "accumulate is too small"),
        ("ema=1", "ema must be at least 0 and below 1"),
        ("flip_p=1.5", "flip_p is out of range"),
        ("norm=group", "unknown norm"),
        ("lr=nan", "lr must be finite"),
        ("scale_max=inf", "scale_max must be finite"),
        ("momentum=-0.1", "momentum is too small"),
        ("aux_weight=-1", "aux_weight is too small"),
        ("head_lr_factor=0", "head_lr_factor must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: str, message: str) -> None:
    """Each wrong setting is an InputError that names it."""
    with pytest.raises(InputError, match=message):
        override(PRESETS["tiny"], [setting])


@pytest.mark.parametrize(
    "setting",
    [
        "flip=maybe",
        "stride=0",
        "stride=1.5",
        "batch=0",
        "also_px=0",
        "also_px=64,64",
        "scales=",
        "scales=1,x",
        "scales=nan",
        "also_scales=0.5,inf",
    ],
)
def test_evaluations_that_cannot_be_are_refused(setting: str) -> None:
    """The same holds for the evaluation."""
    with pytest.raises(InputError):
        override(EvalConfig(), [setting])
