"""Two real processes train and measure together, as torchrun starts them; afterwards one takes up what they did."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from baselines.__main__ import main
from baselines.config import EvalConfig, TrainConfig
from baselines.distributed import World
from baselines.experiment import Entry, run_entries
from baselines.results import load_results
from mseg_curate.errors import InputError

WriteExport = Callable[..., Path]
ROOT = Path(__file__).parents[2]
ARMS = ("relabeled", "partial")
SETTINGS = (
    "width=0.125", "head_channels=16", "steps=4", "batch=4", "base_px=40", "crop_px=33", "warmup=0",
    "precision=float32", "log_every=1",
)  # fmt: skip


def words(exports: dict[str, Path], out: Path) -> list[str]:
    """Return the words that both commands share."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    evaluation = (
        "--set-eval",
        "base_px=40",
        "--set-eval",
        "crop_px=41",
        "--set-eval",
        "flip=false",
    )
    shared = ["--preset", "tiny", *settings, *evaluation, "--seeds", "0", "--device", "cpu"]
    return [*shared, "--validate", "--quiet", "--out", str(out)]


def run_two(arguments: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run `python -m baselines` in two processes that know of each other, and wait for both."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "baselines", *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = []
    for process in started:
        out, err = process.communicate(timeout=240)
        found.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return found


@pytest.mark.slow
def test_two_processes_equal_one(
    tmp_path: Path,
    write_export: WriteExport,
    call_cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They end with the numbers of one process, the first one writes and prints, and its runs are taken up."""
    exports = {arm: write_export(tmp_path / "exports" / arm, arm=arm) for arm in ARMS}
    arms = [f"--arm={arm}={folder}" for arm, folder in exports.items()]
    first, second = run_two([*arms, *words(exports, tmp_path / "two")])
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Zero-shot comparison of 2 arms" in first.stdout
    assert second.stdout == ""
    alone = CliRunner().invoke(main, [*arms, *words(exports, tmp_path / "one")])
    assert alone.exit_code == 0, alone.output
    for ours, theirs in zip(
        load_results(tmp_path / "two"), load_results(tmp_path / "one"), strict=True
    ):
        assert ours.arm == theirs.arm
        assert ours.device == "2 × cpu"
        assert ours.config_sha256 == theirs.config_sha256
        assert ours.final_loss == pytest.approx(theirs.final_loss, rel=1e-4)
        counts, wanted = ours.tests["held_out"], theirs.tests["held_out"]
        assert counts.image_ids == wanted.image_ids
        np.testing.assert_array_equal(counts.truth, wanted.truth)
        # Sums in another order move a pixel at a border now and then.
        moved = np.abs(counts.confusion - wanted.confusion).sum()
        assert moved <= 0.02 * counts.truth.sum()

    monkeypatch.setattr("baselines.experiment.carry_out", _train_again)
    named = [word for arm, folder in exports.items() for word in ("--export", f"{arm}={folder}")]
    called = call_cli(
        "train-baseline", "--db", tmp_path / "none.db", *named, *words(exports, tmp_path / "two")
    )
    assert called.code == 0, called.err
    assert "2 × cpu" in called.out


def _train_again(*_: object, **__: object) -> None:
    raise AssertionError("trained again")


def test_the_store_is_of_one_process(
    tmp_path: Path, call_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train-baseline` under torchrun is refused with the way to do it; nothing is exported."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    called = call_cli("train-baseline", "--db", tmp_path / "store.db", "--out", tmp_path / "runs")
    assert called.code == 2
    assert "several processes cannot share a store" in called.err
    assert not (tmp_path / "runs").exists()


def test_processes_that_train_together_share_one_job(
    export_dir: Path,
    tmp_path: Path,
    quick_config: TrainConfig,
    quick_evaluation: EvalConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Runs cannot be spread over jobs and over processes at the same time."""
    monkeypatch.setattr("baselines.experiment.join_world", _FakeWorld)
    entry = Entry("a", export_dir, quick_config, quick_evaluation)
    with pytest.raises(InputError, match="processes that train together: expected 1, found 2"):
        run_entries([entry], tmp_path / "runs", seeds=[0], device="cpu", jobs=2)


class _FakeWorld:
    """Two processes, one of which is here."""

    def __init__(self, _: str) -> None:
        """Take the device, as `join_world` does."""

    def __enter__(self) -> World:
        return World(0, 2)

    def __exit__(self, *_: object) -> None:
        """Leave."""
