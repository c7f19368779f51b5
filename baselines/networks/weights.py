"""Weights from a local file: checked by hash, read as tensors alone, given to a network by name."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from baselines.networks.names import find_stem, has_timm_names, rename, shape_dense_layer
from baselines.networks.network import LoadedWeights, Network
from mseg_curate.errors import SHOWN_PROBLEMS, TrainingError

__all__ = [
    "RecognisedWeights",
    "check_weights",
    "list_weights",
    "load_weights",
    "recognise_weights",
]

# torch's hub and others end a file's name in the first digits of its SHA-256.
HASHED_NAME: Final = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt|safetensors)$")
# What a checkpoint of this package calls its network; the average of weights is what it evaluates.
OWN: Final = ("model.", "average.")
# Counts batches for a kind of averaging that none of the networks uses; old files have none.
UNUSED: Final = "num_batches_tracked"


# What torch's reader raises, by turns, for a file that is damaged.
DAMAGE: Final = (
    *(OSError, RuntimeError, ValueError, EOFError, struct.error, SafetensorError),
    *(LookupError, AttributeError, AssertionError, TypeError),
)


@dataclass(frozen=True)
class RecognisedWeights:
    """What a file tells about its network; None where it tells nothing."""

    stem: str | None
    normalisation: str | None


def check_weights(path: Path, *, sha256: str | None = None) -> str:
    """Return the SHA-256 of a weights file.

    Raises TrainingError where it is another than `sha256`, or than the first digits of it with
    which the file's name ends, as in `resnet50-0676ba61.pth`.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path}: no such weights file; give the path of a .pth or .safetensors"
        ) from error
    except OSError as error:
        raise TrainingError(f"{path}: weights cannot be read: {error}") from error
    named = HASHED_NAME.search(path.name)
    for expected, source in (
        (sha256, "given"),
        (named.group(1) if named else None, "the file's name"),
    ):
        if expected is not None and not found.startswith(expected.lower()):
            raise TrainingError(
                f"{path}: SHA-256 is not the one expected ({source}): expected {expected}, found "
                f"{found}; fetch the file again, or rename it if its name means something else"
            )
    return found


def recognise_weights(path: Path) -> RecognisedWeights:
    """Tell from the names and shapes in a file how its network begins and what input it expects.

    Raises TrainingError where the file cannot be read.
    """
    table = _read_weights(path)
    normalisation = None
    # MobileNetV2 travels from TensorFlow too, under torchvision's names but not under its file's.
    if has_timm_names(table) or HASHED_NAME.search(path.name):
        normalisation = "imagenet"
    return RecognisedWeights(stem=find_stem(table), normalisation=normalisation)


def load_weights(network: Network, path: Path) -> LoadedWeights:
    """Give a network the tensors of a file (.pth or .safetensors) that bear its names.

    Understood are whole networks (this package's checkpoints; PSPNet of semseg and of MSeg) and
    backbones (torchvision, timm, semseg). A backbone's tensors must all be there. Classifiers of
    another number of classes keep their random start, and so do heads that a file has not.
    Raises TrainingError for a file whose hash is not that of its name, and one that lists every
    tensor that is missing, unknown, named twice, of another shape or not of finite numbers; then
    nothing was loaded.
    """
    check_weights(path)
    table = _read_weights(path)
    ours = rename(table, network.backbone)
    given = {ours[name]: shape_dense_layer(ours[name], value) for name, value in table.items()}
    wanted = network.state_dict()
    chosen = {
        name: value
        for name, value in given.items()
        if name in wanted and wanted[name].shape == value.shape
    }
    problems = [
        *_list_missing(network, given),
        *(f"{name}: given twice" for name, times in Counter(ours.values()).items() if times > 1),
        *_list_unfit(network, wanted, given),
    ]
    if problems:
        raise TrainingError(f"{path}: weights do not fit {network.title}:{_show(problems)}")
    network.load_state_dict(chosen, strict=False)
    return LoadedWeights(
        loaded=tuple(chosen),
        random=tuple(name for name in list_weights(network) if name not in chosen),
        ignored=tuple(name for name in table if ours[name] not in chosen),
    )


def list_weights(network: Network) -> tuple[str, ...]:
    """Return the names of all tensors of a network that a file of weights is to hold."""
    return tuple(name for name in network.state_dict() if not name.endswith(UNUSED))


def _list_missing(network: Network, given: Mapping[str, Tensor]) -> list[str]:
    parts = {_first(name) for name in given}
    needed = {_first(name) for name in network.backbone_names} - {
        _first(name) for name in network.optional_names
    }
    return [
        f"{name}: missing"
        for name in list_weights(network)
        if name not in given and _first(name) in parts | needed
    ]


def _list_unfit(
    network: Network, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> list[str]:
    problems = []
    for name, value in given.items():
        if name not in wanted:
            if not name.startswith(network.ignored_names):
                problems.append(f"{name}: not part of this network")
        elif wanted[name].shape != value.shape and not _is_of_other_classes(
            network, name, wanted[name], value
        ):
            expected, found = tuple(wanted[name].shape), tuple(value.shape)
            problems.append(f"{name}: expected {expected}, found {found}")
        elif wanted[name].is_floating_point() and not value.is_floating_point():
            problems.append(f"{name}: expected {wanted[name].dtype}, found {value.dtype}")
        elif not value.float().isfinite().all():
            problems.append(f"{name}: expected finite numbers, found infinity or NaN")
    return problems


def _is_of_other_classes(network: Network, name: str, wanted: Tensor, given: Tensor) -> bool:
    """True where a classifier differs in what depends on the number of classes alone."""
    module = name.rpartition(".")[0]
    if module not in network.classifiers or wanted.ndim != given.ndim:
        return False
    for size, found in zip(wanted.shape, given.shape, strict=True):
        if size != found and (size, found) != (wanted.shape[0], given.shape[0]):
            return False
    return True


def _first(name: str) -> str:
    return name.partition(".")[0]


def _show(problems: Sequence[str]) -> str:
    shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN_PROBLEMS])
    more = len(problems) - SHOWN_PROBLEMS
    return f"{shown}\n  … and {more} more" if more > 0 else shown


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise TrainingError(
            f"{path}: no such weights file; give the path of a .pth or .safetensors"
        )
    try:
        if path.suffix == ".safetensors":
            loaded: object = _choose_own(load_file(path))
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The library's own words advise to load anything; a file that is not just tensors stays out.
        raise TrainingError(
            f"{path}: weights cannot be read: not a file of tensors alone"
        ) from error
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise TrainingError(f"{path}: weights cannot be read: {reason}") from error
    table = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(table, dict):
        raise TrainingError(f"{path}: expected a table of tensors, found {type(table).__name__}")
    strangers = [str(name) for name, value in table.items() if not _is_plain(value)]
    if strangers:
        raise TrainingError(
            f"{path}: expected a table of tensors, or one under `state_dict`; no tensors are:"
            f"{_show(strangers)}"
        )
    plain = {str(name).removeprefix("module."): value for name, value in table.items()}
    if len(plain) < len(table):
        raise TrainingError(f"{path}: names tensors twice, with and without `module.`")
    return plain


def _is_plain(value: object) -> bool:
    """False for what is no tensor, and for one that is sparse, quantised or without values."""
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_quantized and not value.is_meta


def _choose_own(table: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a checkpoint of this package, take the network and leave the optimiser."""
    own = {
        name.removeprefix(prefix): value
        for prefix in OWN
        for name, value in table.items()
        if name.startswith(prefix)
    }
    return own or table
