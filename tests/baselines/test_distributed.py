"""Several processes that train one network, really started, over gloo on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from baselines.config import TrainConfig
from baselines.distributed import (
    BatchDropout,
    World,
    agree,
    join_world,
    share_batch,
    share_bytes,
    sum_over_world,
    synchronise_norms,
)
from mseg_curate.errors import TrainingError

ROOT = Path(__file__).parents[2]
WriteExport = Callable[..., Path]

# One process loads torch, then forks all others: each of them is a process of its own, with the
# environment that torchrun gives, and without the seconds of loading.
FORKS = """
import hashlib, json, os, socket, sys, traceback
from pathlib import Path
import numpy as np
import torch
import torch._dynamo  # optimisers load it in their first step, each process anew
from baselines.config import TrainConfig
from baselines.data import SampleCache
from baselines.distributed import *
from baselines.distributed import sum_tensor, synchronise_norms
from baselines.exports import read_export
from baselines.train import train
from mseg_curate.errors import MsegCurateError, TrainingStoppedError

torch.set_num_threads(1)
task = json.loads(sys.argv[1])

def note(name, value):
    Path(task["out"], f"{name}-{world.size}-{world.rank}.json").write_text(json.dumps(value))

for size in task["sizes"]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
            try:
                with join_world("cpu") as world:
                    exec(task["body"])
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        sys.exit(f"{size} processes ended with {codes}")
"""


def run_processes(body: str, out: Path, *, sizes: Sequence[int], **task: object) -> None:
    """Run `body` in worlds of these sizes, one after another; fails where a process fails."""
    text = json.dumps({"body": body, "out": str(out), "sizes": sizes, **task})
    done = subprocess.run(
        [sys.executable, "-c", FORKS, text],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def read(out: Path, name: str, size: int) -> list[Any]:
    """What every process of a world of `size` noted under `name`."""
    return [json.loads((out / f"{name}-{size}-{rank}.json").read_text()) for rank in range(size)]


TRAIN = """
seen = []
load = SampleCache.load
def watch(self, dataset, index):
    seen.append((dataset, index))
    return load(self, dataset, index)
SampleCache.load = watch
for run in task["runs"]:
    seen.clear()
    export = read_export(Path(task["export"]))
    asked = iter(range(1, 1000))
    at = run.get("stop") if world.rank == world.size - 1 else None
    try:
        outcome = train(
            export, Path(task["out"], f"of-{size}", run["name"]), config=TrainConfig(**run["config"]), seed=3,
            identity="{}", device="cpu", world=world, stop=lambda: at is not None and next(asked) >= at,
        )
        values = outcome.model.state_dict().values()
        state = hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()
    except MsegCurateError as error:
        state = str(error)
    note(run["name"] + run.get("suffix", ""), {"seen": list(seen), "state": state})
"""


def settings(config: TrainConfig, **changes: object) -> dict[str, object]:
    """A configuration as JSON: a minute network in float32."""
    small: dict[str, object] = {
        "backbone": "resnet10",
        "precision": "float32",
        "batch": 6,
        "steps": 4,
        "checkpoint_every": 2,
        "log_every": 2,
        "dropout": 0.3,
        "ema": 0.5,
        "optimizer": "sgd",
        "lr": 0.01,
        "dataset_weights": "first=2,second=1",
        "deterministic": True,
    }
    return asdict(replace(config, **(small | changes)))  # type: ignore[arg-type]


def test_one_two_and_four_processes_compute_the_same(
    tmp_path: Path, write_export: WriteExport, quick_config: TrainConfig
) -> None:
    """Samples come in one order, and weights and losses end equal up to rounding, also after a stop."""
    export = write_export(tmp_path / "export", arm="partial")
    whole = settings(quick_config)
    frozen = settings(quick_config, norm="frozen", dataset_weights="size")
    runs = [
        {"name": "whole", "config": whole},
        # The last process alone is asked to stop, and all do.
        {"name": "stopped", "config": whole, "stop": 3, "suffix": "-first"},
        {"name": "stopped", "config": whole},
        {"name": "frozen", "config": frozen},
        {"name": "divided", "config": settings(quick_config, accumulate=3)},
    ]
    run_processes(TRAIN, tmp_path, sizes=(1, 2, 4), export=str(export), runs=runs)
    for name in ("whole", "stopped", "frozen"):
        order = read(tmp_path, name, 1)[0]["seen"]
        alone = load_file(tmp_path / "of-1" / name / "checkpoint.safetensors")
        for size in (2, 4):
            noted = read(tmp_path, name, size)
            # To the last bit, the batch statistics included.
            assert all(other["state"] == noted[0]["state"] for other in noted)
            seen = [iter(other["seen"]) for other in noted]
            merged = [next(seen[n % 6 % size]) for n in range(len(order))]
            assert merged == order
            path = tmp_path / f"of-{size}" / name
            together = load_file(path / "checkpoint.safetensors")
            for key, value in alone.items():
                torch.testing.assert_close(together[key], value, atol=2e-5, rtol=2e-4)
            assert read_losses(path) == pytest.approx(
                read_losses(tmp_path / "of-1" / name), rel=1e-4
            )
    for size in (1, 2, 4):
        first, stopped = (
            load_file(tmp_path / f"of-{size}" / name / "checkpoint.safetensors")
            for name in ("whole", "stopped")
        )
        differ = [name for name, value in first.items() if not torch.equal(value, stopped[name])]
        assert differ == [], f"{size} processes"
        said = read(tmp_path, "stopped-first", size)
        assert all("stopped at step 3 of 4" in noted["state"] for noted in said)
    refused = read(tmp_path, "divided", 4)
    assert all(
        "at least 4 processes × 3 parts × 1 crops, found 6" in noted["state"] for noted in refused
    )


def read_losses(run_dir: Path) -> list[float]:
    """The losses of a log."""
    lines = (run_dir / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


NORMS = """
torch.manual_seed(0)
data = torch.randn(5, 3, 4, 4, dtype=torch.float64) * 3 + 100
outer = torch.randn_like(data)
share = slice(0, 2) if world.rank == 0 else slice(2, 5)
results = {}
for name in ("whole", "shared"):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).double()
    torch.nn.init.normal_(model[0].weight)
    torch.nn.init.uniform_(model[1].weight)
    if name == "shared":
        synchronise_norms(model, world)
        assert type(model[1]).__name__ == "WorldBatchNorm"
    part = slice(None) if name == "whole" else share
    x = data[part].clone().requires_grad_()
    (model(x) * torch.cat([outer, outer[:, :1]], 1)[part]).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    if name == "shared":
        gradients = [sum_tensor(gradient.clone(), world) for gradient in gradients]
        gathered = torch.zeros_like(data)
        gathered[part] = x.grad
        seen = sum_tensor(gathered, world)
    else:
        seen = x.grad
    model.eval()
    results[name] = [seen, *gradients, *model.state_dict().values(), model(data)]
for whole, shared in zip(results["whole"], results["shared"], strict=True):
    torch.testing.assert_close(shared.double(), whole.double(), rtol=1e-6, atol=1e-7)
counts = sum_over_world(np.array([[world.rank + 1, 2**40]]), world)
note("talk", [counts.tolist(), agree(world.rank == 1, world), agree(False, world),
              str(share_bytes(b"abc" if world.is_first else None, world)), share_bytes(None, world)])
"""


def test_statistics_and_messages_are_shared(tmp_path: Path) -> None:
    """Batch norm over unequal shares equals that over the whole batch, both ways; all get the same answers."""
    run_processes(NORMS, tmp_path, sizes=(2,))
    said = read(tmp_path, "talk", 2)
    assert said[0] == said[1] == [[[3, 2**41]], True, False, "b'abc'", None]


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun a process is a world of its own, and shared things are its own."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_world("cpu") as world:
        assert world == World() == World(rank=0, size=1)
        assert world.is_first
    counts = np.array([3, 4])
    assert sum_over_world(counts, world) is counts
    assert agree(True, world)
    assert share_bytes(b"x", world) == b"x"
    model = nn.Sequential(nn.BatchNorm2d(2))
    synchronise_norms(model, world)
    assert type(model[0]) is nn.BatchNorm2d


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WORLD_SIZE without the rest of torchrun's variables says what is missing."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(TrainingError, match="MASTER_ADDR"), join_world("cpu"):
        pass


def test_dropout_drops_the_same_in_parts() -> None:
    """Every part of a batch drops the channels that the whole drops, and the rest is enlarged."""
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Dropout2d(0.5)))
    (dropout,) = share_batch(model)
    assert isinstance(model[1][0], BatchDropout)
    dropout.batch = 8
    x = torch.ones(8, 16, 2, 2)
    outputs = []
    for slots in (torch.arange(8), torch.tensor([1, 3, 5]), torch.tensor([0])):
        dropout.slots = slots
        torch.manual_seed(4)
        outputs.append(model(x[slots]))
    assert torch.equal(outputs[1], outputs[0][[1, 3, 5]])
    assert torch.equal(outputs[2], outputs[0][:1])
    assert set(outputs[0].unique().tolist()) == {0.0, 2.0}
    assert torch.equal(outputs[0][..., :1, :1].expand(8, 16, 2, 2), outputs[0])
    model.eval()
    assert torch.equal(model(x), x)
