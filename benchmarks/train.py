"""How fast does the trainer learn, in what memory, and at what share of the chip's peak?

    python benchmarks/train.py [--backbone resnet50] [--crop 473] [--batch 16] [--threads 2] [--steps 20]

The step of `baselines.train` (crops cut on the device, network, loss, optimiser) with the settings that
`auto` chooses is held against the same network written plainly (plain_pspnet.py): float32, contiguous,
the loss on logits of full size, the optimiser unfused, its batches given ready-made. Before anything is
timed, both compute the same logits from the same weights. The contestants take turns in processes of
their own, so that the memory of each can be told; times are medians. The peak is what a large matrix
product reaches in the same run. Printed as Markdown; docs/results.md holds the outcome. It needs torch,
and of the rest of the tool only what a training machine has.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import numpy as np
import torch
from plain_pspnet import DEPTHS, IGNORE, PlainPspnet, plain_step
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.augment import PackedBatch, choose_augmentation, pack_batch
from baselines.auto import choose_device, describe, settle, use_algorithms
from baselines.config import PRESETS, TrainConfig
from baselines.data import CachedSample
from baselines.exports import ClassIndex, Dataset, Export, Sample
from baselines.networks import build_network
from baselines.train import Learner

CLASSES: Final = 194
EQUAL: Final = 1e-4  # largest difference of logits, relative to the largest logit
WARM_UP: Final = 3
MIB: Final = 1 << 20
PLAIN: Final = "plain"
# What turns our own trainer into a plain one, for networks that have no plain twin here.
UNTUNED: Final = {
    "precision": "float32",
    "layout": "contiguous",
    "compile": "no",
    "fused": "no",
    "fast_pyramid": False,
}


@dataclass(frozen=True)
class Contestant:
    """One way to train: `kind` is plain or ours; `is_tf32` lets a GPU round float32 factors to 19 bits."""

    name: str
    kind: str
    config: TrainConfig
    device: str
    threads: int
    is_tf32: bool = True


@dataclass(frozen=True)
class Measured:
    """The seconds of each step, and the most memory in bytes."""

    times: list[float]
    memory: int


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--backbone", choices=sorted(DEPTHS), default="resnet50")
    parser.add_argument("--crop", type=int, action="append", help="473; on a CPU 241 and 473")
    parser.add_argument("--batch", type=int, help="crops a step: 16, on a CPU 2")
    parser.add_argument("--steps", type=int, help="steps per turn: 20, on a CPU 1")
    parser.add_argument("--turns", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--threads", type=int, default=0, help="of a CPU; 0: all it has")
    parser.add_argument("--only", choices=["paper", "small"], help="of the presets")
    options = parser.parse_args()
    device = choose_device(options.device)
    on_gpu = device == "cuda"
    threads = options.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    steps = options.steps or (20 if on_gpu else 1)
    print(describe_machine(device, threads))
    peaks = {name: measure_peak(device, name) for name in ("bfloat16", "float32", "tf32")}
    shown = ", ".join(f"{name} {peak / 1e12:.2f}" for name, peak in peaks.items() if peak)
    print(f"Peak, TFLOP/s of a large matrix product: {shown}\n")
    if options.only != "small":
        for crop in options.crop or ([473] if on_gpu else [241, 473]):
            compare_paper(
                options.backbone,
                crop=crop,
                batch=options.batch or (16 if on_gpu else 2),
                machine=(device, threads),
                peaks=peaks,
                rounds=(options.turns, steps),
            )
    if options.only != "paper":
        rounds = (options.turns, steps if on_gpu else 5 * steps)
        compare_small(machine=(device, threads), peaks=peaks, rounds=rounds)


def compare_paper(
    backbone: str,
    *,
    crop: int,
    batch: int,
    machine: tuple[str, int],
    peaks: dict[str, float],
    rounds: tuple[int, int],
) -> None:
    """Hold the published recipe's step against the plain one."""
    device, threads = machine
    config = replace(PRESETS["paper"], backbone=backbone, crop_px=crop, batch=batch, blur_p=0.0)
    difference = compare_logits(config, device=device)
    forward = count_flops(PlainPspnet(backbone, classes=CLASSES), 480)
    flops = count_step_flops(PlainPspnet(backbone, classes=CLASSES), crop)
    print(
        f"### PSPNet with {backbone}, {crop} px, batches of {batch}, {CLASSES} classes\n\n"
        f"Logits of ours and of the plain one differ by {difference:.1e} of the largest. The plain network's "
        f"convolutions are {forward / 1e9:.0f} GFLOP forward at 480²; a training step at {crop} px is "
        f"{flops / 1e9:.0f} GFLOP an image, which the shares of the peak are reckoned from for both."
    )
    ours = settle(config, device=device)
    print(f"`auto` chose: {describe(config, ours)}.\n")
    contestants = [Contestant("plain, float32", PLAIN, ours, device, threads)]
    if device == "cuda":
        strict = Contestant("plain, float32 without TF32", PLAIN, ours, device, threads, False)
        contestants.append(strict)
    contestants.append(
        Contestant("ours, float32", "ours", replace(ours, precision="float32"), device, threads)
    )
    if ours.compile == "yes":
        eager = replace(ours, compile="no")
        contestants.append(Contestant("ours, not compiled", "ours", eager, device, threads))
    contestants.append(Contestant("ours, as auto chooses", "ours", ours, device, threads))
    print_table(contestants, take_turns(contestants, rounds=rounds), flops=flops, peaks=peaks)


def compare_small(
    *, machine: tuple[str, int], peaks: dict[str, float], rounds: tuple[int, int]
) -> None:
    """Hold the preset `small` with what `auto` chooses against the same without any of it."""
    device, threads = machine
    config = PRESETS["small"]
    ours = settle(config, device=device)
    network = build_network(config, classes=CLASSES, seed=0)
    flops = count_step_flops(network, config.crop_px, frozen=config.frozen_blocks)
    print(
        f"### The preset small: PSPNet with {config.backbone}, {config.crop_px} px, batches of {config.batch}\n\n"
        f"A training step is {flops / 1e9:.1f} GFLOP an image. `auto` chose: {describe(config, ours)}.\n"
    )
    contestants = [
        Contestant("untuned, float32", "ours", replace(ours, **UNTUNED), device, threads),  # type: ignore[arg-type]
        Contestant("as auto chooses", "ours", ours, device, threads),
    ]
    print_table(contestants, take_turns(contestants, rounds=rounds), flops=flops, peaks=peaks)


def describe_machine(device: str, threads: int) -> str:
    """Name the chip."""
    name = torch.cuda.get_device_name() if device == "cuda" else read_processor_name()
    cores = "" if device == "cuda" else f", {threads} thread{'s' if threads > 1 else ''}"
    return f"{name}{cores}; torch {torch.__version__}, Python {platform.python_version()}"


def read_processor_name() -> str:
    """Read the processor's name where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure_peak(device: str, name: str) -> float:
    """Return the FLOP/s of the best of ten products of square matrices; 0 where the device has no such mode."""
    if name == "tf32" and device != "cuda":
        return 0.0
    size = 8192 if device == "cuda" else 2048
    dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = min(time_call(lambda: left @ right, device) for _ in range(10))
    torch.backends.cuda.matmul.allow_tf32 = False
    return 2 * size**3 / best


def time_call(call: Callable[[], object], device: str) -> float:
    """Return the seconds that a call takes, waiting for the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def count_flops(network: nn.Module, crop: int) -> float:
    """Count the FLOP an image of the products and convolutions of a forward pass, without computing them."""
    images = torch.empty(1, 3, crop, crop, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta").eval()(images)
    return float(counter.get_total_flops())


def count_step_flops(network: nn.Module, crop: int, *, frozen: int = 0) -> float:
    """Count the FLOP an image of a training step: each product forward, and two of its size backward.

    Of the first `frozen` parts of `features` the forward pass alone. (The counter itself is wrong about
    the backward pass of depthwise convolutions: it takes them for full ones.)
    """
    # Two images: batch norm refuses to learn from a single 1 × 1 map.
    images = torch.empty(2, 3, crop, crop, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta").train()(images)
    by_module = counter.get_flop_counts()
    kept = (f"{type(network).__name__}.features.{number}" for number in range(frozen))
    forward_only = sum(sum(by_module[name].values()) for name in kept)
    return float(3 * counter.get_total_flops() - 2 * forward_only) / len(images)


def compare_logits(config: TrainConfig, *, device: str) -> float:
    """Return the largest difference between ours and the plain network in float32, relative to the largest logit.

    Both heads are compared in training, with the batch's own statistics and no dropout. Exits where
    the two are not equal.
    """
    torch.backends.cudnn.allow_tf32 = False
    ours = build_network(replace(config, dropout=0.0), classes=CLASSES, seed=0).to(device)
    plain = PlainPspnet(config.backbone, classes=CLASSES, dropout=0.0).to(device)
    plain.load_state_dict(ours.state_dict())
    side = min(config.crop_px, 241)
    images = 255 * torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    images = images.to(device)
    worst = 0.0
    with torch.no_grad():
        for is_training in (True, False):
            pairs = zip(
                ours.train(is_training)(images), plain.train(is_training)(images), strict=True
            )
            for mine, theirs in pairs:
                if mine is not None and theirs is not None:
                    worst = max(worst, float((mine - theirs).abs().max() / theirs.abs().max()))
    torch.backends.cudnn.allow_tf32 = True
    if worst > EQUAL:
        sys.exit(f"the networks differ by {worst:.1e} of the largest logit: nothing to compare")
    return worst


def take_turns(contestants: Sequence[Contestant], *, rounds: tuple[int, int]) -> list[Measured]:
    """Let each contestant, in a process of its own, take its steps turn by turn while the others wait."""
    turns, steps = rounds
    context = multiprocessing.get_context("spawn")
    workers: list[tuple[SpawnProcess, Connection]] = []
    for contestant in contestants:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(contestant, there), daemon=True)
        process.start()
        there.close()
        here.recv()  # it is warm
        workers.append((process, here))
    times: list[list[float]] = [[] for _ in contestants]
    for turn in range(turns):
        # The order turns round, so that nobody is always the one after an idle machine.
        for number in range(len(workers)) if turn % 2 == 0 else reversed(range(len(workers))):
            workers[number][1].send(steps)
            times[number] += workers[number][1].recv()
    measured = []
    for (process, connection), found in zip(workers, times, strict=True):
        connection.send(0)
        measured.append(Measured(found, int(connection.recv())))
        process.join()
    return measured


def _work(contestant: Contestant, connection: Connection) -> None:
    torch.set_num_threads(contestant.threads)
    torch.backends.cudnn.allow_tf32 = contestant.is_tf32
    before = _peak_memory("cpu")
    with use_algorithms(contestant.config, device=contestant.device):
        step = build_plain(contestant) if contestant.kind == PLAIN else build_ours(contestant)
        for number in range(WARM_UP):
            step(number)
        connection.send(True)
        number = WARM_UP
        while (steps := int(connection.recv())) > 0:
            found = []
            for _ in range(steps):
                found.append(time_call(lambda n=number: step(n), contestant.device))  # type: ignore[misc]
                number += 1
            connection.send(found)
    used = _peak_memory(contestant.device)
    connection.send(used if contestant.device == "cuda" else used - before)


def _peak_memory(device: str) -> int:
    """Return the most bytes in use so far: the tensors of a GPU, or what the process holds."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def build_plain(contestant: Contestant) -> Callable[[int], Tensor]:
    """Return the plain step, on one ready-made batch."""
    config = contestant.config
    network = PlainPspnet(config.backbone, classes=CLASSES).to(contestant.device).train()
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        foreach=False,
    )
    shape = (config.batch, config.crop_px, config.crop_px)
    images = 255 * torch.rand(shape[0], 3, *shape[1:], device=contestant.device)
    labels = torch.randint(0, CLASSES, shape, device=contestant.device)
    labels[:, :20] = IGNORE
    return lambda _: plain_step(network, optimizer, images, labels)


def build_ours(contestant: Contestant) -> Callable[[int], Tensor]:
    """Return the trainer's own step, on packed photos that lie in memory, cropped anew in each step."""
    config = contestant.config
    learner = Learner(make_export(config.batch), config, seed=0, device=contestant.device)
    rng = np.random.default_rng(0)
    base_hw = (config.base_px, config.base_px * 4 // 3)
    photos = [
        CachedSample(
            image=torch.from_numpy(rng.integers(0, 256, (3, *base_hw), np.uint8)),
            labels=torch.from_numpy(rng.integers(IGNORE, CLASSES, base_hw).astype(np.int16)),
        )
        for _ in range(config.batch)
    ]
    packed = [pack_photos(photos, config, seed, device=contestant.device) for seed in range(4)]
    return lambda step: learner.learn(step, packed[step % len(packed)])


def pack_photos(
    photos: Sequence[CachedSample], config: TrainConfig, seed: int, *, device: str
) -> PackedBatch:
    """Pack photos with an augmentation each, as reader threads do ahead of the step."""
    choices = [
        choose_augmentation(config, len(photos) * seed + number, size_hw=photo.size_hw)
        for number, photo in enumerate(photos)
    ]
    datasets = [0] * len(photos)
    return pack_batch(photos, choices, datasets=datasets, pinned=device == "cuda")


def make_export(samples: int) -> Export:
    """Make an export of one dataset without files: its photos are never loaded from it."""
    nowhere = Path()
    sample = Sample("drawn", nowhere, nowhere, (1, 1), "")
    index = ClassIndex(
        reachable=tuple(range(CLASSES)), sets=(), table=np.zeros(256, np.int16), unknown=0
    )
    train = (Dataset("drawn", (sample,) * samples),)
    return Export(nowhere, "relabeled", index, train, (), "", "", {})


def print_table(
    contestants: Sequence[Contestant],
    measured: Sequence[Measured],
    *,
    flops: float,
    peaks: dict[str, float],
) -> None:
    """Print medians and their ratio to the first contestant."""
    print(
        "| | precision | s a step | images/s | × the first | TFLOP/s | share of peak | memory, MiB |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    first = statistics.median(measured[0].times)
    for contestant, found in zip(contestants, measured, strict=True):
        step = statistics.median(found.times)
        rate = contestant.config.batch / step
        precision = name_precision(contestant)
        print(
            f"| {contestant.name} | {precision} | {step:.3f} | {rate:.2f} | {first / step:.2f} | "
            f"{rate * flops / 1e12:.3f} | {rate * flops / peaks[precision]:.1%} | {found.memory / MIB:,.0f} |"
        )
    print(flush=True)


def name_precision(contestant: Contestant) -> str:
    """Say what the convolutions are computed in."""
    if contestant.kind != PLAIN and contestant.config.precision == "bfloat16":
        return "bfloat16"
    return "tf32" if contestant.device == "cuda" and contestant.is_tf32 else "float32"


if __name__ == "__main__":
    main()
