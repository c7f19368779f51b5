"""The commands, one after the other, as a person types them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mseg_curate.store import Store

CallCli = Callable[..., Any]
Loop = Any  # the fixture of conftest.py


@pytest.fixture
def here(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Loop:
    """The small loop with its folder as the working directory and a store of its own still to be made."""
    monkeypatch.chdir(loop.root)
    monkeypatch.setenv("MSEG_CURATE_DB", "mine.db")
    return loop


def test_the_whole_loop(here: Loop, call_cli: CallCli) -> None:
    """From `init` to `verify`, each command says what it did and what comes next."""
    called = call_cli("init", "--taxonomy", "taxonomy.tsv")
    assert called.out.splitlines() == [
        "mine.db: a store of 7 universal classes and 0 dataset taxonomies",
        "next: mseg-curate dataset add NAME FOLDER --role train|test",
    ]
    for name, role, listed, classes in (
        ("coarse", "train", "train 3", 5),
        ("zoo", "train", "train 2, val 1", 4),
        ("held_out", "test", "test 2", 4),
    ):
        words = ("dataset", "add", name, name, "--role", role, "--mapping", f"{name}.mapping.tsv")
        called = call_cli(*words)
        assert (called.code, called.err) == (0, "")
        assert called.out.startswith(f"{name} ({role}) added: {listed}; {classes} classes\n")
        assert "  mapping revision " in called.out
        assert "was there already, unchanged" in call_cli(*words).out
    called = call_cli("dataset", "list")
    assert called.out.splitlines() == [
        f"coarse\ttrain\t3 images\tmapping 1\t{here.root}/coarse",
        f"held_out\ttest\t2 images\tmapping 3\t{here.root}/held_out",
        f"zoo\ttrain\t3 images\tmapping 2\t{here.root}/zoo",
    ]
    assert call_cli("mapping", "export", "coarse").out.splitlines()[1:3] == [
        "floor\tkeep\tground\t",
        "animal\tsplit\tcat\t{cat, dog, bird}",
    ]
    called = call_cli("check")
    assert called.code == 0
    assert "class 'animal' must be split and has no task" in called.out
    words = ("task", "make", "animals", "--dataset", "coarse", "--class", "animal")
    called = call_cli(*words, "--redundancy", "2")
    assert "in 3 images" in called.out
    assert (
        "candidates cat, dog, bird\nnext: mseg-curate review; `mseg-curate task describe"
        in called.out
    )
    masks = int(called.out.split()[2])
    assert call_cli("task", "list").out == f"animals\tcoarse\tanimal\t{masks} masks\topen\n"
    truth = here.root / "coarse/truth"
    truth.mkdir()
    (truth / "classes.tsv").write_text("id\tname\n6\tdog\n", encoding="utf-8")
    for key, label_map in here.label_maps["coarse"].items():
        Image.fromarray(np.full(label_map.shape, 6, np.uint8)).save(truth / f"{key}.png")
    words = ("decisions", "simulate", "animals", "--truth", truth, "--accuracy", "1")
    called = call_cli(*words, "--annotators", "2")
    assert called.out.splitlines() == [
        f"{2 * masks} simulated decisions on {masks} masks, 100.0% of them right; {2 * masks} new",
        "next: mseg-curate resolve",
    ]
    assert call_cli("decisions", "verify").out == f"{2 * masks} decisions, the hash chain holds\n"
    assert f"{masks} masks resolved, 0 contested, 0 ignored" in call_cli("resolve").out
    called = call_cli("export", "--arm", "relabeled", "--out", "out", "--images", "copy")
    assert called.code == 0
    pixels = sum(int((m == 2).sum()) for m in here.label_maps["coarse"].values())
    assert called.out.splitlines()[0] == "out: arm relabeled, 8 label maps written"
    assert f"  {pixels} px carry a decided class, as of decision {2 * masks}" in called.out
    assert (
        "(8 were there already)"
        in call_cli("export", "--arm", "relabeled", "--out", "out", "--images", "copy").out
    )
    called = call_cli("verify", "out")
    assert called.out.startswith("out: arm relabeled, complete; all ")


def test_a_decisions_file(loop: Loop, call_cli: CallCli) -> None:
    """Decisions from a file are imported once; newer ones are noted at the export."""
    path = loop.root / "decisions.csv"
    path.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\n"
        "coarse,train,a,0,animal,dog,anna\ncoarse,train,a,0,animal,cat,ben\n",
        encoding="utf-8",
    )
    db = ("--db", loop.store)
    assert call_cli("decisions", "import", path, *db).out.splitlines() == [
        "2 decisions imported, 0 were there already",
        "next: mseg-curate resolve",
    ]
    assert call_cli("decisions", "import", path, *db).out == (
        "0 decisions imported, 2 were there already\n"
    )
    called = call_cli("resolve", "--as-of", "1", *db)
    assert called.out == (
        "as of decision 1: 1 masks resolved, 0 contested, 0 ignored, 0 open under the quorum "
        "(majority(min_agreement=0.5,quorum=1))\n"
    )
    called = call_cli("export", "--arm", "relabeled", "--out", loop.root / "out", *db)
    assert "note: 1 decisions are newer; `mseg-curate resolve` takes them in" in called.out
    assert "0 masks resolved, 1 contested" in call_cli("resolve", *db).out


def test_query_prints_a_table(loop: Loop, call_cli: CallCli) -> None:
    """`query` prints a header and rows, tab-separated; NULL is empty."""
    called = call_cli(
        "query", "--db", loop.store, "SELECT name, role, NULL AS n FROM dataset ORDER BY 1"
    )
    assert called.out == "name\trole\tn\ncoarse\ttrain\t\nheld_out\ttest\t\nzoo\ttrain\t\n"


def test_draft_is_a_mapping_file(
    loop: Loop, call_cli: CallCli, write_folder: Callable[..., Path]
) -> None:
    """`mapping draft` places what it knows and leaves `?`, which an import refuses."""
    label_maps = {"a": np.array([[1, 2]], np.uint8)}
    write_folder(loop.root / "new", label_maps, classes={1: "cat", 2: "beast"})
    call_cli("dataset", "add", "new", loop.root / "new", "--role", "train", "--db", loop.store)
    called = call_cli("mapping", "draft", "new", "--db", loop.store)
    assert called.out.splitlines() == [
        "class\trelation\tuniversal\tcandidates",
        "cat\tkeep\tcat\t",
        "beast\t?\t\t",
    ]
    path = loop.root / "draft.tsv"
    path.write_text(called.out, encoding="utf-8")
    called = call_cli("mapping", "import", "new", path, "--db", loop.store)
    assert called.code == 1
    assert "found '?'" in called.message


def test_check_of_a_taxonomy_alone(call_cli: CallCli) -> None:
    """`check FILE` looks at that file and at no store."""
    path = Path(__file__).parents[2] / "taxonomy.tsv"
    called = call_cli("check", path)
    assert called.code == 0
    assert called.out.startswith(f"{path}: 194 universal classes")


def test_the_store_is_found_by_its_variable(loop: Loop, tmp_path: Path) -> None:
    """MSEG_CURATE_DB names the store, --db goes before it; as a process of its own, from another folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "mseg_curate.cli", "dataset", "list"]
    for words, variable, code in (
        ([], str(loop.store), 0),
        ([], "nowhere.db", 1),
        (["--db", str(loop.store)], "nowhere.db", 0),
    ):
        done = subprocess.run(
            [*command, *words],
            cwd=elsewhere,
            env={**os.environ, "MSEG_CURATE_DB": variable},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert ("coarse\ttrain" in done.stdout) == (code == 0)
    assert list(elsewhere.iterdir()) == []


def test_a_reader_that_leaves(loop: Loop) -> None:
    """When `head` has seen enough there is no traceback."""
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i FROM n"
    command = [sys.executable, "-m", "mseg_curate.cli", "query", "--db", str(loop.store), sql]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "i\n"
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr.read() == ""


QUICK = (
    "steps=2", "batch=2", "base_px=32", "crop_px=25", "head_channels=16", "width=0.125", "warmup=0",
    "log_every=1",
)  # fmt: skip


def test_train_baseline(
    build_loop: Callable[..., Loop],
    tmp_path: Path,
    call_cli: CallCli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`train-baseline` exports the arms, trains, stores runs and prints the comparison with the store's path."""
    pytest.importorskip("torch")
    loop = build_loop(tmp_path, size_hw=(32, 40))
    settings = [word for name in QUICK for word in ("--set", name)]
    words = ("train-baseline", "--db", loop.store, "--out", tmp_path / "runs", "--preset", "tiny")
    words += ("--arms", "relabeled, ignored", "--seeds", "3,4", *settings, "--device", "cpu")
    words += ("--set-eval", "base_px=32", "--set-eval", "crop_px=33", "--set-eval", "flip=false")
    called = call_cli(*words)
    assert called.code == 0, called.err
    assert "Zero-shot comparison of 2 arms, 2 seeds each" in called.out
    assert f"report: {tmp_path / 'runs' / 'report.md'}" in called.out
    assert f"store: {loop.store}" in called.out
    with closing(sqlite3.connect(loop.store)) as connection:
        runs = connection.execute("SELECT arm, seed, steps FROM run ORDER BY arm, seed").fetchall()
    assert runs == [("ignored", 3, 2), ("ignored", 4, 2), ("relabeled", 3, 2), ("relabeled", 4, 2)]
    manifest = json.loads((tmp_path / "runs/exports/ignored/manifest.json").read_text("utf-8"))
    assert manifest["arm"] == "ignored"
    called = call_cli(*words, "--reference", "partial")
    assert called.code == 1
    assert "expected relabeled or ignored, found partial" in called.message


def test_each_step_names_the_next(
    farm: Path, tmp_path: Path, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows nothing gets from an empty folder to resolutions by what each command says comes next."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSEG_CURATE_DB", raising=False)
    Path("t.tsv").write_text("universal\nground\ncat\ndog\nsky\n", encoding="utf-8")
    Path("farm.tsv").write_text(
        "class\trelation\tuniversal\tcandidates\nground\tkeep\tground\t\n"
        "animal\tsplit\tcat\t{cat, dog}\nsky\tsplit\tsky\t{sky, ground}\n",
        encoding="utf-8",
    )
    Path("votes.csv").write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\nfarm,train,a,0,animal,dog,anna\n",
        encoding="utf-8",
    )
    steps = [
        (["init", "--taxonomy", "t.tsv"], "mseg-curate dataset add NAME FOLDER --role train|test"),
        (["dataset", "add", "farm", farm, "--role", "train"],
         "mseg-curate mapping draft farm > farm.tsv"),
        (["mapping", "import", "farm", "farm.tsv"],
         "mseg-curate task make NAME --dataset farm --class animal, and so for 1 more"),
        (["task", "make", "animals", "--dataset", "farm", "--class", "animal"],
         "mseg-curate review; `mseg-curate task describe animals FILE` tells annotators what the candidates are"),
        (["mapping", "import", "farm", "farm.tsv"],
         "mseg-curate task make NAME --dataset farm --class sky"),
        (["resolve"], "mseg-curate review, or mseg-curate decisions import FILE"),
        (["decisions", "import", "votes.csv"], "mseg-curate resolve"),
        (["resolve"], "mseg-curate export --arm relabeled --out FOLDER"),
    ]  # fmt: skip
    assert call_cli("task", "list").code == 1
    for words, coming in steps:
        called = call_cli(*words)
        assert called.code == 0
        assert called.out.splitlines()[-1] == f"next: {coming}"
    assert call_cli("resolve", "--as-of", "1").out.count("\n") == 1


def test_empty_lists_say_what_fills_them(small_store: Store, call_cli: CallCli) -> None:
    """Where there is nothing to list, stderr says what to do; standard output stays a table for programs."""
    db = ("--db", small_store.path)
    for words, lines, aside in (
        (("task", "list"), 0, "no task yet; make one: mseg-curate task make"),
        (("annotator", "list"), 1, "nobody yet; add somebody: mseg-curate annotator add"),
        (("flag", "list"), 1, "no open flag"),
    ):
        called = call_cli(*words, *db)
        assert (called.code, called.out.count("\n")) == (0, lines)
        assert called.err.startswith(aside)
