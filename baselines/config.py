"""Every number of a training run and of its evaluation, with presets and the hash that compares them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from mseg_curate.errors import InputError

__all__ = [
    "AUTO",
    "BACKBONES",
    "EVALUATIONS",
    "LADDER",
    "MULTI_SCALE",
    "NETWORKS",
    "PRESETS",
    "RESNETS",
    "EvalConfig",
    "Rung",
    "TrainConfig",
    "config_sha256",
    "override",
]

RESNETS: Final = (
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet269",
)
BACKBONES: Final = (*RESNETS, "mobilenet_v2", "vgg16", "vgg16_bn")

# Which backbones a network can stand on; the first is the published one.
DILATED: Final = ("resnet50", *RESNETS, "mobilenet_v2")
NETWORKS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "pspnet": DILATED,
        "dilated_fcn": DILATED,  # the ladder's baseline: a dilated backbone and a head
        "deeplab": DILATED,
        "fcn32s": ("vgg16", "vgg16_bn"),
        "fcn16s": ("vgg16", "vgg16_bn"),
        "fcn8s": ("vgg16", "vgg16_bn"),
        "segnet": ("vgg16_bn",),
        "deconvnet": ("vgg16_bn",),
        "dilatednet": ("vgg16", "vgg16_bn"),
    }
)

# These change how a run is carried out and none of its numbers; `weights` is hashed by content.
NOT_HASHED: Final = frozenset(
    {"weights", "checkpoint_every", "cache_mib", "reader_threads", "sample_every", "tensorboard"}
)
NOT_HASHED_EVALUATION: Final = frozenset({"batch", "predictions"})

AUTO: Final = "auto"


def _choose(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        expected = ", ".join(map(str, allowed))
        raise InputError(f"unknown {name}", expected=f"one of {expected}", found=str(value))


def _at_least(name: str, value: float, least: int) -> None:
    if value < least:
        raise InputError(f"{name} is too small", expected=f"at least {least}", found=str(value))


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} is out of range", expected=f"{low} … {high}", found=str(value))


def _check_finite(config: TrainConfig | EvalConfig) -> None:
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{field.name} must be finite", found=str(value))


Config = TypeVar("Config", "TrainConfig", "EvalConfig")


@dataclass(frozen=True)
class TrainConfig:
    """One training run, apart from its seed, its arm and the machine.

    Fields that may be `auto` are settled by `baselines.auto.settle` before a run, so that hashes
    hold what was really done.
    """

    network: str = "pspnet"  # one of NETWORKS
    backbone: str = "resnet50"  # one of BACKBONES that the network can stand on
    width: float = 1.0  # multiplies the backbone's channels; 1.0 is the published network
    head_channels: int = 512  # channels of the main head; the auxiliary head has half of them
    output_stride: int = 8  # 8 or 16: input pixels per feature pixel of a dilated backbone
    stem: str = AUTO  # of a ResNet: deep (three 3 × 3), plain (one 7 × 7); auto: as the weights
    normalisation: str = (
        AUTO  # of the input: imagenet or symmetric; auto: as the backbone's weights
    )
    upsampling: str = "bilinear"  # of the FCNs: bilinear, or learned from a bilinear start
    fast_pyramid: bool = True  # contract the pyramid's part of the head before it is enlarged
    weights: Path | None = None  # weights to start from (.pth or .safetensors); None is random init
    frozen_blocks: int = 0  # the first n blocks of the backbone are neither trained nor tuned
    norm: str = "sync"  # batch norm: sync over processes, local to each, or frozen in the backbone
    steps: int = 126_300  # optimiser steps
    batch: int = 16  # crops per step, of all processes together
    accumulate: int = 1  # parts in which a process works through its share of the batch
    dataset_weights: str = "equal"  # of sampling and loss: equal, size, or NAME=W,NAME=W
    base_px: int = 512  # images are first resized to this shorter side
    crop_px: int = 473  # square crops; (crop − 1) divisible by the output stride aligns best
    optimizer: str = "sgd"  # sgd or adamw
    lr: float = 0.01  # learning rate of the backbone
    head_lr_factor: float = 10.0  # the new layers learn this many times faster
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-4  # on all parameters
    power: float = 0.9  # of the poly schedule, per step
    warmup: int = 0  # steps over which the rate rises linearly from 0
    ema: float = 0.0  # decay of the averaged weights that are evaluated; 0 evaluates the last ones
    aux_weight: float = 0.4  # of the auxiliary loss; 0 builds no auxiliary head
    dropout: float = 0.1  # of whole channels, before the last convolution of each head
    scale_min: float = 0.5  # smallest random scale
    scale_max: float = 2.0  # largest random scale
    rotate_deg: float = 10.0  # largest random rotation either way
    rotate_p: float = 0.5  # probability of rotating
    blur_p: float = 0.5  # probability of a 5 × 5 Gaussian blur
    flip_p: float = 0.5  # probability of mirroring left to right
    jitter: float = (
        0.0  # spread of random contrast and of random shifts of each colour; 0 is the paper
    )
    loss_stride: int = 1  # the loss looks at every k-th pixel of every k-th row; 1 is the paper
    precision: str = AUTO  # float32 or bfloat16 (autocast)
    layout: str = AUTO  # of images in memory: channels_last or contiguous
    compile: str = AUTO  # yes or no: torch.compile
    fused: str = AUTO  # yes or no: the optimiser's fused form
    deterministic: bool = False  # only algorithms that give the same bits on a GPU every time
    log_every: int = 20  # steps between two lines of the log; losses are read back only then
    checkpoint_every: int = 500  # steps between two checkpoints
    sample_every: int = 0  # steps between two pictures of predictions; 0 makes none
    tensorboard: bool = False  # write TensorBoard's event files beside the log
    cache_mib: int = 4096  # decoded and resized samples are kept in memory up to this
    reader_threads: int = 0  # threads that read ahead; 0 reads in the training thread

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, naming the field."""
        _choose("network", self.network, tuple(NETWORKS))
        _choose("backbone", self.backbone, BACKBONES)
        _choose(f"backbone of {self.network}", self.backbone, NETWORKS[self.network])
        _choose("output_stride", self.output_stride, (8, 16))
        _choose("stem", self.stem, (AUTO, "deep", "plain"))
        _choose("normalisation", self.normalisation, (AUTO, "imagenet", "symmetric"))
        _choose("upsampling", self.upsampling, ("bilinear", "learned"))
        _choose("norm", self.norm, ("sync", "local", "frozen"))
        _choose("optimizer", self.optimizer, ("sgd", "adamw"))
        _choose("precision", self.precision, (AUTO, "float32", "bfloat16"))
        _choose("layout", self.layout, (AUTO, "channels_last", "contiguous"))
        for name in ("compile", "fused"):
            _choose(name, getattr(self, name), (AUTO, "yes", "no"))
        for name in ("steps", "batch", "base_px", "loss_stride", "log_every", "checkpoint_every"):
            _at_least(name, getattr(self, name), 1)
        for name in ("accumulate", "sample_every", "frozen_blocks", "cache_mib", "reader_threads"):
            _at_least(name, getattr(self, name), int(name == "accumulate"))
        _at_least("crop_px", self.crop_px, 2 * self.output_stride)
        _at_least("head_channels", self.head_channels, 8)
        _check_finite(self)
        for name in ("momentum", "weight_decay", "power", "aux_weight", "rotate_deg", "jitter"):
            _at_least(name, getattr(self, name), 0)
        for name in ("lr", "head_lr_factor", "width", "scale_min", "scale_max"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0", found=str(getattr(self, name)))
        for name in ("rotate_p", "blur_p", "flip_p", "dropout"):
            _within(name, getattr(self, name), 0.0, 1.0)
        if not 0 <= self.ema < 1:
            raise InputError("ema must be at least 0 and below 1", found=str(self.ema))
        if self.scale_min > self.scale_max:
            raise InputError("scale_min is above scale_max", found=str(self.scale_min))


@dataclass(frozen=True)
class EvalConfig:
    """The zero-shot evaluation, declared before it is run.

    `base_px` with `scales` is the one that arms are compared by. `also_px` and `also_scales` declare further
    ones, each reported beside it and none chosen.
    """

    base_px: int = 512  # test images are resized to this shorter side
    also_px: tuple[int, ...] = ()  # further shorter sides that are reported too
    scales: tuple[float, ...] = (1.0,)  # multiples of the shorter side that are averaged
    also_scales: tuple[float, ...] = ()  # one further average, reported too: multi-scale
    crop_px: int = 473  # sliding square crops
    stride: float = 2 / 3  # step between crops, as a fraction of the crop
    flip: bool = True  # average with the mirrored image
    batch: int = 8  # crops per forward pass
    validate: bool = False  # evaluate the training datasets' other splits too
    predictions: bool = False  # write the predicted label maps

    def __post_init__(self) -> None:
        """Refuse what cannot be evaluated, naming the field."""
        for name in ("base_px", "crop_px", "batch"):
            _at_least(name, getattr(self, name), 1)
        for px in self.also_px:
            _at_least("also_px", px, 1)
        if self.base_px in self.also_px or len(set(self.also_px)) < len(self.also_px):
            raise InputError("also_px names a shorter side twice", found=str(self.also_px))
        for name in ("scales", "also_scales"):
            if not all(0 < scale < math.inf for scale in getattr(self, name)):
                found = str(getattr(self, name))
                raise InputError(f"{name} must be finite and above 0", found=found)
        if not self.scales:
            raise InputError("scales is empty", expected="at least one, such as 1")
        if not 0 < self.stride <= 1:
            raise InputError("stride must be above 0 and at most 1", found=str(self.stride))


# The published recipe: Zhao et al., CVPR 2017, section 5.1 (ADE20K: 100 epochs of 20,210 at 473).
_PAPER = TrainConfig()

# Two cores, real photos: MobileNetV2 from ImageNet weights. 177 = 11 · 16 + 1 gives 12 × 12
# features, which dilation 2 divides: the quick form of the dilated convolutions applies.
_SMALL = TrainConfig(
    backbone="mobilenet_v2",
    head_channels=128,
    output_stride=16,
    frozen_blocks=4,
    steps=600,
    batch=8,
    base_px=177,
    crop_px=177,
    optimizer="adamw",
    lr=5e-4,
    head_lr_factor=5.0,
    weight_decay=1e-2,
    warmup=30,
    scale_min=0.75,
    scale_max=1.5,
    blur_p=0.0,
    loss_stride=4,
    checkpoint_every=100,
    cache_mib=2048,
)

# Drawn scenes of about 96 × 128 px and continuous integration: a thin network from random init.
_TINY = TrainConfig(
    backbone="resnet10",
    width=0.25,
    head_channels=64,
    output_stride=8,
    steps=240,
    batch=16,
    base_px=96,
    crop_px=89,
    optimizer="adamw",
    lr=6e-3,
    head_lr_factor=1.0,
    weight_decay=1e-2,
    warmup=20,
    scale_min=0.8,
    scale_max=1.25,
    blur_p=0.0,
    jitter=0.2,
    loss_stride=2,
    checkpoint_every=100,
    cache_mib=512,
)

PRESETS: Final[Mapping[str, TrainConfig]] = MappingProxyType(
    {"paper": _PAPER, "small": _SMALL, "tiny": _TINY}
)
EVALUATIONS: Final[Mapping[str, EvalConfig]] = MappingProxyType(
    {
        "paper": EvalConfig(),
        "small": EvalConfig(base_px=177, crop_px=177),
        "tiny": EvalConfig(base_px=96, crop_px=97),
    }
)


# Zhao et al., section 5.1: what "multi-scale" means in the paper's tables.
MULTI_SCALE: Final = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@dataclass(frozen=True)
class Rung:
    """One row of the paper's ladder: what it changes against the full recipe, and its published row."""

    name: str
    published: str
    train: Mapping[str, object]
    evaluation: Mapping[str, object]


_PLAIN: Final = MappingProxyType(
    {"scale_min": 1.0, "scale_max": 1.0, "rotate_p": 0.0, "blur_p": 0.0, "jitter": 0.0}
)
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

# Table 4 and section 5.2 of Zhao et al. on ADE20K. `deeper` names no backbone here: see `deepen`.
LADDER: Final = (
    Rung(
        "baseline",
        "ResNet50-Baseline",
        {"network": "dilated_fcn", "aux_weight": 0.0, **_PLAIN},
        _NOTHING,
    ),
    Rung("augmented", "ResNet50+DA", {"network": "dilated_fcn", "aux_weight": 0.0}, _NOTHING),
    Rung("auxiliary", "ResNet50+DA+AL", {"network": "dilated_fcn"}, _NOTHING),
    Rung("pyramid", "ResNet50+DA+AL+PSP", {"network": "pspnet"}, _NOTHING),
    Rung("deeper", "ResNet269+DA+AL+PSP", {"network": "pspnet"}, _NOTHING),
    Rung(
        "multi-scale",
        "ResNet269+DA+AL+PSP+MS",
        {"network": "pspnet"},
        {"scales": MULTI_SCALE},
    ),
)


def config_sha256(
    config: TrainConfig, evaluation: EvalConfig, *, weights_sha256: str | None
) -> str:
    """Hash everything that two comparable runs share.

    Left out are the seed, the device, the arm, the number of jobs, every path, and the fields of
    `NOT_HASHED`, which change no number. Start weights enter by the hash of their file.
    """
    train = {name: value for name, value in asdict(config).items() if name not in NOT_HASHED}
    measured = {
        name: value
        for name, value in asdict(evaluation).items()
        if name not in NOT_HASHED_EVALUATION
    }
    shared = {"train": train, "evaluation": measured, "weights_sha256": weights_sha256}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()


_FLAGS: Final = MappingProxyType({"true": True, "false": False})
# Settings that hold several values, and of what kind each is.
LISTED: Final[Mapping[str, type]] = MappingProxyType(
    {"also_px": int, "scales": float, "also_scales": float}
)


def override(config: Config, settings: Sequence[str]) -> Config:
    """Return a copy of `config` with settings such as `steps=300` or `also_px=256,512` applied.

    Raises InputError for a line without `=`, an unknown name or a value of another type.
    """
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    changes: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in known or name == "weights":
            names = ", ".join(sorted(known.keys() - {"weights"}))
            raise InputError("unknown setting", found=setting, expected=f"NAME=VALUE of {names}")
        kind = LISTED.get(name, type(known[name]))
        try:
            changes[name] = _parse(text, kind, listed=name in LISTED)
        except (ValueError, KeyError) as error:
            raise InputError(
                f"setting {name} has a value of another type",
                expected=f"{kind.__name__}s, separated by commas"
                if name in LISTED
                else kind.__name__,
                found=repr(text),
            ) from error
    return replace(config, **changes)  # type: ignore[arg-type]


def _parse(text: str, kind: type, *, listed: bool) -> object:
    if listed:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    return _FLAGS[text] if kind is bool else kind(text)
