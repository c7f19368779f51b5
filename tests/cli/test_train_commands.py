"""`train-baseline` from the store: arms without a task, the zero-shot table with an oracle, and bad input."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mseg_curate.ingest import add_dataset
from mseg_curate.manifest import read_manifest
from mseg_curate.map_classes import import_mapping
from mseg_curate.store import Store

CallCli = Callable[..., Any]
Loop = Any  # the fixture of conftest.py

NOW = "2026-01-02T00:00:00+00:00"
QUICK = (
    "steps=2", "batch=2", "base_px=32", "crop_px=25", "head_channels=16", "width=0.125", "warmup=0",
    "precision=float32",
)  # fmt: skip


def words(loop: Loop, *more: str) -> list[str | Path]:
    """Return the words of a training of two steps and one seed."""
    settings = [word for name in QUICK for word in ("--set", name)]
    evaluation = (
        "--set-eval",
        "base_px=32",
        "--set-eval",
        "crop_px=33",
        "--set-eval",
        "flip=false",
    )
    start = ["train-baseline", "--db", loop.store, "--out", loop.root / "runs", "--preset", "tiny"]
    return [*start, *settings, *evaluation, "--seeds", "0", "--device", "cpu", "--quiet", *more]


@pytest.fixture
def larger(build_loop: Callable[..., Loop], tmp_path: Path) -> Loop:
    """The small loop in pictures that can be trained on."""
    return build_loop(tmp_path, size_hw=(32, 40))


@pytest.fixture
def with_exam(larger: Loop, write_folder: Callable[..., Path]) -> Loop:
    """The loop with a second test dataset, which has a training split of its own."""
    rng = np.random.default_rng(3)
    blocks = [rng.choice([4, 7, 9], (8, 10)).astype(np.uint8) for _ in range(3)]
    label_maps = {
        key: np.kron(block, np.ones((4, 4), np.uint8))
        for key, block in zip(("one", "two", "three"), blocks, strict=True)
    }
    write_folder(
        larger.root / "exam",
        label_maps,
        classes={4: "cat", 7: "dog", 9: "floor"},
        splits={"train": ("one", "two"), "test": ("three",)},
        seed=77,
    )
    mapping = larger.root / "exam.mapping.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\ncat\ttest\tcat\t\ndog\ttest\tdog\t\n"
        "floor\ttest\tground\t\n",
        encoding="utf-8",
    )
    with Store.open(larger.store) as store:
        add_dataset(store, "exam", folder=larger.root / "exam", role="test", now=NOW)
        import_mapping(store, "exam", path=mapping, author="t", note="", now=NOW)
    return larger


def arms_in(store: Path) -> list[str]:
    """Return the arms whose runs a store holds."""
    with closing(sqlite3.connect(store)) as connection:
        return [arm for (arm,) in connection.execute("SELECT arm FROM run ORDER BY id")]


def test_an_arm_without_a_task(larger: Loop, call_cli: CallCli) -> None:
    """`without:TASK` is exported, trained, stored and reported beside the others; `auto` says what it chose."""
    pytest.importorskip("torch")
    called = call_cli(*words(larger, "--arms", "relabeled,unrelabeled,without:beasts"))
    assert called.code == 0, called.err
    assert "Zero-shot comparison of 3 arms" in called.out
    assert "without-beasts" in called.out
    assert "layout channels_last" in called.out
    assert arms_in(larger.store) == ["relabeled", "unrelabeled", "without-beasts"]
    manifest = read_manifest(larger.root / "runs/exports/without-beasts")
    assert manifest["arm"] == "without-beasts"


def test_the_zero_shot_table(with_exam: Loop, call_cli: CallCli) -> None:
    """One command exports, trains and lays out every dataset alone, both mixes and the oracle that can be."""
    pytest.importorskip("torch")
    called = call_cli(*words(with_exam, "--table", "zero-shot"))
    assert called.code == 0, called.err
    assert arms_in(with_exam.store) == [
        "only-coarse", "only-zoo", "relabeled", "unrelabeled", "oracle-exam",
    ]  # fmt: skip
    report = (with_exam.root / "runs/zero-shot.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in report.splitlines() if line.startswith("| ")]
    expected = ["coarse", "zoo", "mix", "mix without relabeling", "Oracle"]
    assert rows[2:7] == expected
    assert "No oracle" in called.out
    assert f"report: {with_exam.root}/runs/zero-shot.md" in called.out
    # A stopped or repeated table takes up what is there: nothing is exported or trained anew.
    before = sorted(
        path.stat().st_mtime_ns for path in with_exam.root.glob("runs/*/seed-0/result.json")
    )
    again = call_cli(*words(with_exam, "--table", "zero-shot"))
    assert again.code == 0
    assert again.out in called.out
    after = sorted(
        path.stat().st_mtime_ns for path in with_exam.root.glob("runs/*/seed-0/result.json")
    )
    assert before == after


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--arms", "relabeled,without:cats"],
            1,
            "no task 'cats' in the store; known: animals, beasts",
        ),
        (
            ["--arms", "oracle:held_out", "--reference", "oracle:held_out"],
            1,
            "expected train and others, found test",
        ),
        (
            ["--arms", "oracle:zoo", "--reference", "oracle:zoo"],
            1,
            "expected a test dataset, found train",
        ),
        (["--arms", "relabeled,oracle:exam"], 1, "no other arm can be held against it"),
        (["--arms", "unrelabeled,ignored"], 1, "the reference is no arm of this experiment"),
        (["--table", "zero-shot", "--reference", "unrelabeled"], 1, "a relabeled arm as"),
        (["--networks", "pspnet,unet"], 2, "networks: expected different ones of pspnet"),
        (["--arms", "relabeled,without"], 2, "unknown arm"),
        (["--arms", ","], 2, "expected some of relabeled"),
        (["--table", "ladder", "--arms", "partial"], 2, "the table ladder says which arms"),
        (["--table", "zero-shot", "--networks", "all"], 2, "a study is of one table"),
        (["--table", "ladder", "--reference", "best"], 1, "unknown arm"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    larger: Loop, call_cli: CallCli, options: list[str], code: int, message: str
) -> None:
    """Arms, tables and references that cannot be are refused before the first export."""
    called = call_cli(*words(larger, *options))
    assert called.code == code
    assert message in " ".join(called.err.split())
    assert "Traceback" not in called.err
    assert not (larger.root / "runs").exists()
