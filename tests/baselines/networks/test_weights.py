"""Weights by name: semseg, MSeg, torchvision, timm and our own; hashes; what does not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from baselines.config import PRESETS, TrainConfig
from baselines.networks import (
    Network,
    build_network,
    check_weights,
    load_weights,
    settle_network,
)
from mseg_curate.errors import TrainingError

Shapes = dict[str, tuple[int, ...]]
PATH = "weights.pth"


def make_config(backbone: str, network: str = "pspnet", **settings: object) -> TrainConfig:
    """A thin network of the given kind."""
    config = TrainConfig(network=network, backbone=backbone, width=0.0625, head_channels=16)
    return replace(config, **settings)  # type: ignore[arg-type]


def number_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Give each tensor a value of its own, so that one in another's place shows."""
    return {name: torch.full(shape, float(n)) for n, (name, shape) in enumerate(shapes.items(), 1)}


def check_all_landed(network: Network, pairs: Mapping[str, Tensor]) -> None:
    """The network holds the given tensors under the given names."""
    state = network.state_dict()
    for name, value in pairs.items():
        assert torch.equal(state[name], value.view_as(state[name])), name


# --- semseg and MSeg ---------------------------------------------------------------------------------


def list_norm(name: str, channels: int) -> Shapes:
    """The tensors of a batch norm, as files from before torch 0.4.1 have them."""
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves}


def list_semseg(depths: tuple[int, ...], classes: int) -> Shapes:
    """Names and shapes of a published PSPNet on bottlenecks, by rule."""
    shapes: Shapes = {}
    for number, channels, channels_in in ((0, 64, 3), (3, 64, 64), (6, 128, 64)):
        shapes[f"layer0.{number}.weight"] = (channels, channels_in, 3, 3)
        shapes |= list_norm(f"layer0.{number + 1}", channels)
    channels_in = 128
    for stage, depth in enumerate(depths):
        inner = 64 * 2**stage
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (inner, channels_in, 1, 1)
            shapes |= list_norm(f"{name}.bn1", inner)
            shapes[f"{name}.conv2.weight"] = (inner, inner, 3, 3)
            shapes |= list_norm(f"{name}.bn2", inner)
            shapes[f"{name}.conv3.weight"] = (4 * inner, inner, 1, 1)
            shapes |= list_norm(f"{name}.bn3", 4 * inner)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * inner, channels_in, 1, 1)
                shapes |= list_norm(f"{name}.downsample.1", 4 * inner)
            channels_in = 4 * inner
    for number in range(4):
        shapes[f"ppm.features.{number}.1.weight"] = (512, 2048, 1, 1)
        shapes |= list_norm(f"ppm.features.{number}.2", 512)
    for head, channels, features in (("cls", 512, 4096), ("aux", 256, 1024)):
        shapes[f"{head}.0.weight"] = (channels, features, 3, 3)
        shapes |= list_norm(f"{head}.1", channels)
        shapes |= {f"{head}.4.weight": (classes, channels, 1, 1), f"{head}.4.bias": (classes,)}
    return shapes


@pytest.mark.parametrize(
    ("backbone", "depths"), [("resnet50", (3, 4, 6, 3)), ("resnet101", (3, 4, 23, 3))]
)
def test_semseg_checkpoints_land_whole(
    tmp_path: Path, backbone: str, depths: tuple[int, ...]
) -> None:
    """A published PSPNet of ADE20K, as DataParallel and semseg write it, fills every tensor."""
    table = number_tensors(list_semseg(depths, classes=150))
    saved = {"epoch": 100, "state_dict": {f"module.{name}": v for name, v in table.items()}}
    torch.save(saved, tmp_path / PATH)
    config = replace(PRESETS["paper"], backbone=backbone, weights=tmp_path / PATH)
    network = build_network(config, classes=150, seed=0)
    check_all_landed(network, table)
    assert set(network.start.loaded) == table.keys()
    assert network.start.random == ()
    assert network.start.ignored == ()


def thin_checkpoint(path: Path, config: TrainConfig, classes: int) -> dict[str, Tensor]:
    """Write a whole thin network as semseg does; returns its tensors."""
    table = build_network(config, classes=classes, seed=9).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in table.items()}}, path)
    return table


def test_classifiers_of_other_classes_stay_random(tmp_path: Path) -> None:
    """A head keeps all but its last convolution, which is listed as random."""
    config = make_config("resnet18")
    table = thin_checkpoint(tmp_path / PATH, config, classes=19)
    network = build_network(config, classes=5, seed=0)
    start = load_weights(network, tmp_path / PATH)
    classifiers = {"cls.4.weight", "cls.4.bias", "aux.4.weight", "aux.4.bias"}
    assert set(start.random) == classifiers
    assert set(start.ignored) == classifiers
    assert start.describe().endswith(
        "; 4 random: aux.4, cls.4; 4 in the file and not used: aux.4, cls.4"
    )
    check_all_landed(network, {n: v for n, v in table.items() if n not in classifiers})


def test_an_auxiliary_head_without_use_is_ignored(tmp_path: Path) -> None:
    """A published file fits a network that is built without that head."""
    config = make_config("resnet18")
    thin_checkpoint(tmp_path / PATH, config, classes=5)
    network = build_network(replace(config, aux_weight=0.0), classes=5, seed=0)
    start = load_weights(network, tmp_path / PATH)
    assert start.random == ()
    assert start.ignored
    assert all(name.startswith("aux.") for name in start.ignored)


def test_own_checkpoints_land_whole(tmp_path: Path) -> None:
    """Of a checkpoint the network is taken, averaged where there is an average, and no optimiser."""
    config = make_config("resnet18")
    table = build_network(config, classes=5, seed=9).state_dict()
    tensors = {f"model.{name}": value.clone() for name, value in table.items()}
    tensors["optimizer.exp_avg.cls.4.bias"] = torch.zeros(5)
    averaged = torch.full((5,), 3.0)
    save_file(tensors | {"average.cls.4.bias": averaged}, tmp_path / "checkpoint.safetensors")
    network = build_network(config, classes=5, seed=0)
    start = load_weights(network, tmp_path / "checkpoint.safetensors")
    check_all_landed(network, table | {"cls.4.bias": averaged})
    assert start.random == start.ignored == ()


# --- classifiers of torchvision, timm and semseg ------------------------------------------------------


def rename_stem(name: str, places: Mapping[str, str]) -> str:
    """Our name of a tensor in the stem, as `places` calls its module; others stay."""
    head, _, rest = name.partition(".")
    number, _, leaf = rest.partition(".")
    return f"{places[number]}.{leaf}" if head == "layer0" else name


STEMS = {
    "semseg": (
        "deep",
        {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"},
    ),
    "timm": (
        "deep",
        {
            "0": "conv1.0",
            "1": "conv1.1",
            "3": "conv1.3",
            "4": "conv1.4",
            "6": "conv1.6",
            "7": "bn1",
        },
    ),
    "torchvision": ("plain", {"0": "conv1", "1": "bn1"}),
}


@pytest.mark.parametrize("source", STEMS)
def test_resnets_of_others_land_and_settle_the_stem(tmp_path: Path, source: str) -> None:
    """The stem is found from the file; the backbone is its, ImageNet's classifier is left."""
    stem, places = STEMS[source]
    config = make_config("resnet50")
    given = build_network(replace(config, stem=stem), classes=3, seed=9)
    table = {
        name: value
        for name, value in given.state_dict().items()
        if name.startswith(given.backbone_names)
    }
    theirs = {rename_stem(name, places): value for name, value in table.items()}
    save_file(theirs | {"fc.weight": torch.zeros(10, 4)}, tmp_path / "weights.safetensors")
    config = replace(config, weights=tmp_path / "weights.safetensors")
    assert settle_network(config).stem == stem
    network = build_network(config, classes=3, seed=0)
    check_all_landed(network, table)
    assert network.start.ignored == ("fc.weight",)
    assert "cls.0.weight" in network.start.random


def walk_mobilenet_v2() -> Iterator[tuple[str, str]]:
    """Module names of MobileNetV2 up to its last block: timm's, torchvision's."""
    yield "conv_stem", "features.0.0"
    yield "bn1", "features.0.1"
    number = 1
    for stage, repeats in enumerate((1, 2, 3, 4, 3, 3, 1)):
        wide = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
        layers = ("conv_dw", "bn1", "conv_pw", "bn2") if stage == 0 else wide
        places = (
            (".0.0", ".0.1", ".1", ".2")
            if stage == 0
            else (".0.0", ".0.1", ".1.0", ".1.1", ".2", ".3")
        )
        for repeat in range(repeats):
            for layer, place in zip(layers, places, strict=True):
                yield f"blocks.{stage}.{repeat}.{layer}", f"features.{number}.conv{place}"
            number += 1


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_mobilenets_of_others_land(tmp_path: Path, source: str) -> None:
    """Every block of MobileNetV2 lands under both names; the last layer and the classifier are left."""
    config = make_config("mobilenet_v2")
    state = build_network(config, classes=3, seed=9).state_dict()
    table, unused = {}, {}
    for theirs, ours in walk_mobilenet_v2():
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            if f"{ours}.{leaf}" in state:
                table[f"{theirs if source == 'timm' else ours}.{leaf}"] = state[f"{ours}.{leaf}"]
    ends = ("conv_head", "bn2") if source == "timm" else ("features.18.0", "features.18.1")
    unused = {f"{ends[0]}.weight": torch.zeros(3, 2, 1, 1), f"{ends[1]}.bias": torch.zeros(3)}
    torch.save(table | unused | {"classifier.1.bias": torch.zeros(9)}, tmp_path / PATH)
    network = build_network(replace(config, weights=tmp_path / PATH), classes=3, seed=0)
    check_all_landed(network, {n: v for n, v in state.items() if n.startswith("features.")})
    assert len(network.start.loaded) == len(table)
    assert set(network.start.ignored) == {*unused, "classifier.1.bias"}
    expected = "imagenet" if source == "timm" else "symmetric"
    assert settle_network(replace(config, weights=tmp_path / PATH)).normalisation == expected


def test_a_hashed_name_is_torchvisions(tmp_path: Path) -> None:
    """MobileNetV2 from torch's hub expects ImageNet's normalisation, and its name holds its hash."""
    config = make_config("mobilenet_v2")
    torch.save(build_network(config, classes=3, seed=9).state_dict(), tmp_path / PATH)
    digest = hashlib.sha256((tmp_path / PATH).read_bytes()).hexdigest()
    path = (tmp_path / PATH).rename(tmp_path / f"mobilenet_v2-{digest[:8]}.pth")
    assert settle_network(replace(config, weights=path)).normalisation == "imagenet"


def make_vgg(backbone: str, source: str) -> dict[str, Tensor]:
    """A thin VGG-16 classifier of ten classes: tensors by the names of `source`."""
    torch.manual_seed(3)
    table: dict[str, Tensor] = {}
    layer, channels_in = 0, 3
    for repeats, channels in ((2, 8), (2, 8), (3, 16), (3, 32), (3, 32)):
        for _ in range(repeats):
            table[f"features.{layer}.weight"] = torch.randn(channels, channels_in, 3, 3) / 8
            table[f"features.{layer}.bias"] = torch.randn(channels) / 8
            if backbone == "vgg16_bn":
                table |= {
                    f"features.{layer + 1}.{leaf}": torch.rand(channels) + 0.5
                    for leaf in ("weight", "bias", "running_mean", "running_var")
                }
            layer += 3 if backbone == "vgg16_bn" else 2
            channels_in = channels
        layer += 1
    for place, size in ((0, (256, 32 * 7 * 7)), (3, (256, 256)), (6, (10, 256))):
        table[f"classifier.{place}.weight"] = torch.randn(size) / size[1] ** 0.5
        table[f"classifier.{place}.bias"] = torch.randn(size[0])
    return table if source == "torchvision" else name_as_timm(table)


def name_as_timm(table: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm keeps the dense layers as convolutions, and calls them otherwise."""
    renamed = {}
    for name, value in table.items():
        new, shaped = name, value
        if name.startswith("classifier."):
            _, place, leaf = name.split(".")
            new = {"0": "pre_logits.fc1.", "3": "pre_logits.fc2.", "6": "head.fc."}[place] + leaf
            if value.ndim == 2 and place != "6":
                shaped = value.view(256, -1, *((7, 7) if place == "0" else (1, 1)))
        renamed[new] = shaped
    return renamed


def classify_plainly(table: Mapping[str, Tensor], backbone: str, x: Tensor) -> Tensor:
    """Run the classifier: five blocks, three dense layers, as Simonyan and Zisserman wrote it."""
    layer = 0
    for repeats in (2, 2, 3, 3, 3):
        for _ in range(repeats):
            name = f"features.{layer}"
            x = F.conv2d(x, table[f"{name}.weight"], table[f"{name}.bias"], padding=1)
            if backbone == "vgg16_bn":
                leaves = ("running_mean", "running_var", "weight", "bias")
                mean, var, *affine = (table[f"features.{layer + 1}.{leaf}"] for leaf in leaves)
                x = F.batch_norm(x, mean, var, affine[0], affine[1])
            x = F.relu(x)
            layer += 3 if backbone == "vgg16_bn" else 2
        x = F.max_pool2d(x, 2)
        layer += 1
    x = x.flatten(1)
    for place in (0, 3):
        x = F.relu(
            F.linear(x, table[f"classifier.{place}.weight"], table[f"classifier.{place}.bias"])
        )
    return F.linear(x, table["classifier.6.weight"], table["classifier.6.bias"])


@pytest.mark.parametrize("source", ["torchvision", "timm"])
@pytest.mark.parametrize("backbone", ["vgg16", "vgg16_bn"])
def test_a_classifier_made_convolutional_gives_its_own_scores(
    tmp_path: Path, backbone: str, source: str
) -> None:
    """On 224 × 224 pixels, where fc6 sees no padding, FCN's scores are the classifier's."""
    save_file(make_vgg(backbone, source), tmp_path / "weights.safetensors")
    config = make_config(backbone, "fcn32s", weights=tmp_path / "weights.safetensors")
    network = build_network(config, classes=10, seed=0).eval()
    table = make_vgg(backbone, "torchvision")
    scores = network.get_submodule("score_fr")
    with torch.no_grad():
        scores.get_parameter("weight").copy_(table["classifier.6.weight"][:, :, None, None])
        scores.get_parameter("bias").copy_(table["classifier.6.bias"])
        seen: list[Tensor] = []
        scores.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        images = torch.rand(2, 3, 224, 224) * 255
        network(images)
        expected = classify_plainly(table, backbone, (images - network.mean) / network.std)
    assert expected.std() > 0.1
    torch.testing.assert_close(seen[0][:, :, 3, 3], expected, atol=1e-4, rtol=1e-4)


def test_dense_layers_may_be_missing_or_without_use(tmp_path: Path) -> None:
    """Features alone serve FCN, whose dense layers are then random; SegNet leaves what it has not."""
    table = make_vgg("vgg16_bn", "torchvision")
    torch.save(table, tmp_path / PATH)
    segnet = build_network(make_config("vgg16_bn", "segnet"), classes=3, seed=0)
    start = load_weights(segnet, tmp_path / PATH)
    assert {name.partition(".")[0] for name in start.ignored} == {"classifier"}
    features = {name: value for name, value in table.items() if name.startswith("features.")}
    torch.save(features, tmp_path / PATH)
    fcn = build_network(make_config("vgg16_bn", "fcn8s"), classes=3, seed=0)
    assert "fc6.weight" in load_weights(fcn, tmp_path / PATH).random
    del table["classifier.0.bias"]
    torch.save(table, tmp_path / PATH)
    with pytest.raises(TrainingError, match=r"fc6\.bias: missing"):
        load_weights(fcn, tmp_path / PATH)


@pytest.mark.real_data
def test_real_mobilenet_weights_fit(shared_data: Path) -> None:
    """ImageNet weights of MobileNetV2 load under their published names."""
    path = shared_data / "weights" / "mobilenet_v2_imagenet_from_int8_tflite.pth"
    config = replace(PRESETS["small"], weights=path)
    model = build_network(config, classes=4, seed=0)
    loaded = torch.load(path, weights_only=True)
    name = "features.17.conv.2.weight"
    assert torch.equal(model.state_dict()[name], loaded[name])
    assert settle_network(config).normalisation == "symmetric"


# --- what does not fit, and what is not what it says --------------------------------------------------


def save_backbone(path: Path, config: TrainConfig, **changes: Tensor) -> None:
    """Write the backbone of another seed as a weights file, with some entries changed."""
    source = build_network(config, classes=3, seed=9)
    table = {
        name: value
        for name, value in source.state_dict().items()
        if name.startswith(source.backbone_names)
    }
    save_file(table | changes, path)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    """Missing, unknown and misshapen names are all in the one error, and nothing is loaded."""
    config = make_config("resnet18")
    path = tmp_path / "weights.safetensors"
    changes = {"layer1.0.conv1.weight": torch.zeros(2, 2), "layer9.weight": torch.zeros(1)}
    changes["cls.0.weight"] = torch.zeros(1)
    save_backbone(path, config, **changes)
    network = build_network(config, classes=3, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(TrainingError, match="do not fit pspnet with resnet18") as caught:
        load_weights(network, path)
    assert "layer1.0.conv1.weight: expected (8, 16, 3, 3), found (2, 2)" in str(caught.value)
    assert "layer9.weight: not part of this network" in str(caught.value)
    assert "cls.1.weight: missing" in str(caught.value)
    check_all_landed(network, before)
    with pytest.raises(TrainingError, match=r"layer2\.0\.conv1\.weight: missing"):
        load_weights(build_network(make_config("resnet34"), classes=3, seed=0), _without(path))


def _without(path: Path) -> Path:
    """The same file less one stage of the backbone."""
    config = make_config("resnet34")
    save_backbone(path, config)
    source = build_network(config, classes=3, seed=9)
    table = {
        name: value
        for name, value in source.state_dict().items()
        if name.startswith(source.backbone_names) and not name.startswith("layer2.")
    }
    save_file(table, path)
    return path


def test_without_weights_all_is_random_and_named() -> None:
    """What a trainer has to say loudly is there to be said."""
    network = build_network(make_config("resnet10"), classes=3, seed=0)
    assert network.start.loaded == ()
    assert {"layer0.0.weight", "cls.4.bias"} <= set(network.start.random)
    assert not any(name.endswith("num_batches_tracked") for name in network.start.random)
    assert network.start.describe().startswith("RANDOM WEIGHTS: no file was given")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_unreadable_weights_are_one_error(tmp_path: Path, suffix: str) -> None:
    """A damaged file and a missing one raise TrainingError with the path."""
    path = tmp_path / f"weights{suffix}"
    config = make_config("resnet18", weights=path)
    with pytest.raises(TrainingError, match="no such weights file"):
        build_network(config, classes=3, seed=0)
    path.write_bytes(b"not weights at all")
    with pytest.raises(TrainingError, match="cannot be read"):
        build_network(config, classes=3, seed=0)


def test_a_file_of_other_things_is_refused(tmp_path: Path) -> None:
    """A table that holds more than tensors is named with what is none."""
    torch.save({"epoch": 3, "weight": torch.zeros(1)}, tmp_path / PATH)
    network = build_network(make_config("resnet10"), classes=3, seed=0)
    with pytest.raises(TrainingError, match="no tensors are:\n  epoch"):
        load_weights(network, tmp_path / PATH)
    torch.save([torch.zeros(1)], tmp_path / PATH)
    with pytest.raises(TrainingError, match="expected a table of tensors, found list"):
        load_weights(network, tmp_path / PATH)


def test_hashes_are_checked(tmp_path: Path) -> None:
    """The hash of a file is returned where it is as given and as its name ends, and else refused."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()
    assert check_weights(path) == digest
    assert check_weights(path, sha256=digest.upper()) == digest
    with pytest.raises(TrainingError, match="expected 00ff"):
        check_weights(path, sha256="00ff")
    named = path.rename(tmp_path / f"resnet50-{digest[:8]}.pth")
    assert check_weights(named) == digest
    named.write_bytes(b"other weights")
    with pytest.raises(TrainingError, match="the file's name"):
        check_weights(named)
    with pytest.raises(TrainingError, match="no such weights file"):
        check_weights(path)


def test_a_file_that_belies_its_name_is_not_loaded(tmp_path: Path) -> None:
    """Loading checks the hash in the name first."""
    config = make_config("resnet10")
    path = tmp_path / "resnet10-01234567.safetensors"
    save_backbone(path, config)
    with pytest.raises(TrainingError, match="SHA-256"):
        load_weights(build_network(config, classes=3, seed=0), path)


# --- hostile files ------------------------------------------------------------------------------------


class Code:
    """What a pickle would run when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)


def save_whole(path: Path, **changes: Tensor) -> dict[str, Tensor]:
    """Write a whole thin network of another seed with some tensors changed; return its tensors."""
    table = build_network(make_config("resnet10"), classes=3, seed=9).state_dict()
    torch.save(table | changes, path)
    return table


def test_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle that would call something is refused without the call."""
    monkeypatch.chdir(tmp_path)
    torch.save({"layer0.0.weight": Code()}, tmp_path / PATH)
    with pytest.raises(TrainingError, match="not a file of tensors alone"):
        load_weights(build_network(make_config("resnet10"), classes=3, seed=0), tmp_path / PATH)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"layer0.1.bias": torch.full((8,), torch.nan)}, "bias: expected finite numbers"),
        ({"layer0.1.bias": torch.zeros(8, dtype=torch.int64)}, "found torch.int64"),
        ({"layer0.1.bias": torch.zeros(8, dtype=torch.complex64)}, "found torch.complex64"),
        ({"layer0.1.bias": torch.zeros(8).to_sparse()}, "no tensors are:\n  layer0.1.bias"),
        ({"layer0.1.bias": torch.zeros(8, device="meta")}, "no tensors are:\n  layer0.1.bias"),
        ({"layer0.0.weight": torch.tensor(1.0)}, r"found \(\)"),
        ({"conv1.weight": torch.zeros(8, 3, 3, 3)}, "layer0.0.weight: given twice"),
        ({"module.layer0.1.bias": torch.zeros(8)}, "with and without `module.`"),
        ({"module.module.x": torch.zeros(8)}, "module.x: not part of this network"),
    ],
)
def test_tensors_of_another_kind_are_refused(
    tmp_path: Path, changes: dict[str, Tensor], match: str
) -> None:
    """Nothing is loaded that is not finite, not real, not dense, or there twice; settling survives it too."""
    save_whole(tmp_path / PATH, **changes)
    config = make_config("resnet10", weights=tmp_path / PATH)
    with pytest.raises(TrainingError, match=match):
        build_network(config, classes=3, seed=0)


def test_other_precisions_are_taken(tmp_path: Path) -> None:
    """Half-precision tensors become float32, also in a .safetensors with DataParallel's prefix."""
    table = save_whole(tmp_path / PATH)
    halves = {f"module.{name}": v.half() for name, v in table.items() if v.is_floating_point()}
    save_file(halves, tmp_path / "half.safetensors")
    network = build_network(make_config("resnet10"), classes=3, seed=0)
    assert load_weights(network, tmp_path / "half.safetensors").random == ()
    weight = network.state_dict()["layer0.0.weight"]
    assert torch.equal(weight, table["layer0.0.weight"].half().float())


@pytest.mark.filterwarnings("ignore")  # torch wonders aloud about some of the files
@pytest.mark.parametrize("zipped", [True, False])
def test_damage_anywhere_is_one_error(tmp_path: Path, zipped: bool) -> None:
    """Files cut short or with bytes overwritten are refused with TrainingError, or are still weights."""
    path = tmp_path / PATH
    torch.save(
        {"conv1.weight": torch.zeros(8, 3, 7, 7)}, path, _use_new_zipfile_serialization=zipped
    )
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for turn in range(120):
        data = bytearray(whole)
        if turn % 2:
            del data[rng.integers(len(data)) :]
        else:
            for place in rng.integers(min(len(data), 600), size=turn % 7 + 1):
                data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            settle_network(make_config("resnet10", weights=path))
        except TrainingError:
            refused += 1
    assert refused > 60
