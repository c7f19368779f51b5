"""How much quicker is PSPNet's head where the pyramid is contracted before it is enlarged?

    python benchmarks/pyramid_head.py [--device cuda] [--threads 1] [--rounds 5] [--cases NAME,NAME]

Times pyramid pooling and the 3 × 3 convolution behind it, the plain way and `convolve_pyramid`, in turns in one
process, and prints the best times, their ratio, and how far the results are apart. docs/results.md holds the outcome.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.pyramid import PyramidPooling, convolve_pyramid


@dataclass(frozen=True)
class Case:
    """Features of some photos in front of the head."""

    name: str
    batch: int
    channels: int
    head_channels: int
    size_hw: tuple[int, int]


CASES = (
    Case("tiny", 16, 128, 64, (12, 12)),
    Case("small", 8, 320, 128, (12, 12)),
    Case("resnet18-473", 2, 512, 512, (60, 60)),
    Case("resnet50-177", 4, 2048, 512, (23, 23)),
    Case("resnet50-473", 2, 2048, 512, (60, 60)),
    Case("resnet50-713", 2, 2048, 512, (90, 90)),
    Case("resnet50-473-batch16", 16, 2048, 512, (60, 60)),
)


class Head(nn.Module):
    """Pyramid pooling and the head's first convolution, one way or the other."""

    def __init__(self, case: Case) -> None:
        """Make both with random weights."""
        super().__init__()
        self.ppm = PyramidPooling(case.channels)
        self.conv = nn.Conv2d(self.ppm.channels_out, case.head_channels, 3, padding=1, bias=False)

    def plain(self, x: Tensor) -> Tensor:
        """Enlarge, concatenate, convolve."""
        return F.conv2d(self.ppm(x), self.conv.weight, padding=1)

    def fast(self, x: Tensor) -> Tensor:
        """Contract, then enlarge."""
        return convolve_pyramid(x, self.ppm.pool(x), self.conv.weight)


def main() -> None:
    """Measure every case in both precisions and layouts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default="tiny,small,resnet18-473,resnet50-177,resnet50-473")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    title = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{title}, torch {torch.__version__}, {options.threads} thread(s)")
    print("| case | precision | layout | pass | plain ms | fast ms | ratio | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        if case.name in options.cases.split(","):
            for precision in ("float32", "bfloat16"):
                for layout in ("contiguous", "channels_last"):
                    measure(case, precision, layout, device, options.rounds)


def measure(case: Case, precision: str, layout: str, device: torch.device, rounds: int) -> None:
    """Print the rows of one case: forward alone, and forward with backward."""
    torch.manual_seed(0)
    memory_format = getattr(
        torch, "channels_last" if layout == "channels_last" else "contiguous_format"
    )
    head = Head(case).to(device)
    head.to(memory_format=memory_format)  # type: ignore[call-overload]
    x = torch.randn(case.batch, case.channels, *case.size_hw, device=device)
    x = x.to(memory_format=memory_format).requires_grad_()
    apart = compare(head, x, precision)
    for backward in (False, True):
        ways = [partial(run, head, way, x, precision, backward) for way in ("plain", "fast")]
        plain, fast = time_in_turns(ways, device, rounds)
        kind = "forward and backward" if backward else "forward"
        print(
            f"| {case.name} | {precision} | {layout} | {kind} | {plain * 1e3:.1f} | {fast * 1e3:.1f} | "
            f"{plain / fast:.2f} | {apart:.1e} |",
            flush=True,
        )


def run(head: Head, way: str, x: Tensor, precision: str, backward: bool) -> Tensor:
    """Compute the head's first layer once, with gradients where `backward`."""
    with torch.set_grad_enabled(backward), _autocast(precision, x.device):
        y: Tensor = getattr(head, way)(x)
    if backward:
        y.backward(y.detach())  # type: ignore[no-untyped-call]
        head.zero_grad(set_to_none=True)
        x.grad = None
    return y


def compare(head: Head, x: Tensor, precision: str) -> float:
    """Return the largest difference of both ways over the largest value."""
    head.eval()
    plain, fast = (run(head, way, x, precision, backward=False) for way in ("plain", "fast"))
    head.train()
    return float((plain - fast).abs().max() / plain.abs().max())


def time_in_turns(
    ways: Sequence[Callable[[], object]], device: torch.device, rounds: int
) -> list[float]:
    """Return the best time of each way in seconds, the ways taking turns."""
    best = [float("inf")] * len(ways)
    for number in range(rounds + 1):
        for place, way in enumerate(ways):
            _wait(device)
            start = time.perf_counter()
            way()
            _wait(device)
            taken = time.perf_counter() - start
            # The first round warms up caches and chooses kernels.
            if number > 0:
                best[place] = min(best[place], taken)
    return best


def _autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
