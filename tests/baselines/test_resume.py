"""Processes that really die, anywhere, and go on as if they had not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from baselines.config import TrainConfig

ROOT = Path(__file__).parents[2]
WriteExport = Callable[..., Path]

# Loads torch once; every training is then a forked process of its own, which dies without a word:
#   call      os._exit at the n-th call of any function, counted over the whole training
#   writing   os._exit at the n-th call inside the writing of some checkpoint
#   signal    SIGKILL from outside after a while
FORKS = """
import hashlib, json, os, random, signal, sys, time, traceback
from pathlib import Path
import torch
import torch._dynamo  # optimisers load it in their first step, each process anew
from safetensors.torch import load_file
import baselines.train
from baselines.config import TrainConfig
from baselines.exports import read_export

torch.set_num_threads(1)
task = json.loads(sys.argv[1])
rng = random.Random(task["seed"])
out = Path(task["out"])
export = read_export(Path(task["export"]))

def count_calls(limit, only=None):
    left = [limit]
    def watch(frame, event, argument):
        if event in ("call", "c_call") and (only is None or inside[0]):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
    inside = [False]
    if only is not None:
        original = baselines.train.write_checkpoint
        def write(*arguments, **options):
            inside[0] = True
            original(*arguments, **options)
            inside[0] = False
        baselines.train.write_checkpoint = write
    sys.setprofile(watch)
    return left

def run(run_dir, config, kind=None, limit=10**9, wait=None):
    child = os.fork()
    if child == 0:
        try:
            left = count_calls(limit, kind if kind == "writing" else None) if kind in ("call", "writing") else None
            baselines.train.train(export, run_dir, config=config, seed=3, identity="{}", device="cpu")
            sys.setprofile(None)
            if left:
                (run_dir / "calls.json").write_text(json.dumps(limit - left[0]))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if wait is not None:
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "killed"
    code = os.waitstatus_to_exitcode(status)
    if code == 1:
        sys.exit("a training failed")
    return "killed" if code == 9 else "finished"

def read_end(run_dir):
    tensors = load_file(run_dir / "checkpoint.safetensors")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return digest.hexdigest(), [(line["step"], line["loss"], line["lr"]) for line in lines]

kills = {"call": 0, "writing": 0, "signal": 0}
problems = []
for name, values in task["configs"].items():
    config = TrainConfig(**values)
    whole = out / name / "whole"
    started = time.perf_counter()
    assert run(whole, config) == "finished"
    lasted = time.perf_counter() - started
    expected = read_end(whole)
    totals = {}
    for kind in ("call", "writing"):
        run(out / name / kind, config, kind)
        totals[kind] = json.loads((out / name / kind / "calls.json").read_text())
        if read_end(out / name / kind) != expected:
            problems.append(f"{name}: two whole runs differ")
    before = dict(kills)
    for number in range(1000):
        if all(kills[kind] - before[kind] >= task["kills"][kind] for kind in kills):
            break
        run_dir = out / name / f"killed-{number}"
        story = []
        for _ in range(5):
            kind = min(kills, key=lambda kind: (kills[kind] - before[kind]) / task["kills"][kind])
            if kind == "signal":
                ended = run(run_dir, config, wait=rng.uniform(0, lasted))
            else:
                ended = run(run_dir, config, kind, rng.randint(1, totals[kind]))
            kills[kind] += ended == "killed"
            story.append((kind, ended))
        run(run_dir, config)
        if read_end(run_dir) != expected:
            problems.append(f"{name}: {story}")
        left = [path.name for path in run_dir.iterdir() if path.name.endswith(".part")]
        if left:
            problems.append(f"{name}: left behind {left}")
print(json.dumps({"kills": kills, "problems": problems}))
"""


def test_killed_anywhere_a_run_ends_with_the_same_bits(
    tmp_path: Path, write_export: WriteExport, quick_config: TrainConfig
) -> None:
    """A hundred deaths, at any call, inside the writing of checkpoints and by SIGKILL, change no bit of the end."""
    small = replace(
        quick_config,
        backbone="resnet10",
        head_channels=8,
        precision="float32",
        base_px=33,
        steps=4,
        log_every=3,
        checkpoint_every=1,
    )
    configs = {
        "adamw": small,
        "sgd": replace(small, optimizer="sgd", checkpoint_every=2, fused="no"),
        "average": replace(small, batch=4, ema=0.9, accumulate=2, reader_threads=2, sample_every=2),
        "bfloat16": replace(small, precision="bfloat16", ema=0.5, dataset_weights="size"),
    }
    export = write_export(tmp_path / "export", size_hw=(33, 40), arm="partial")
    seed = int.from_bytes(os.urandom(4))
    task = {
        "seed": seed,
        "export": str(export),
        "out": str(tmp_path / "runs"),
        "configs": {name: asdict(config) for name, config in configs.items()},
        "kills": {"call": 8, "writing": 9, "signal": 8},
    }
    done = subprocess.run(
        [sys.executable, "-c", FORKS, json.dumps(task)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == [], f"seed {seed}"
    assert sum(found["kills"].values()) >= 100
