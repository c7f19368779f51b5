"""Bad input: one clear line, exit code 1, nothing lost and nothing half written."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mseg_curate.errors import MsegCurateError, TrainingStoppedError
from mseg_curate.store.schema import SCHEMA_VERSION

CallCli = Callable[..., Any]
Loop = Any  # the fixture of conftest.py


def dump(path: Path) -> str:
    """Return everything in a store as text."""
    with closing(sqlite3.connect(path)) as connection:
        return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()


@pytest.fixture
def new_folder(loop: Loop, write_folder: Callable[..., Path]) -> Path:
    """A dataset folder that is right, and not in the store."""
    label_maps = {key: np.array([[1, 2, 2], [1, 1, 1]], np.uint8) for key in ("a", "b")}
    return write_folder(loop.root / "new", label_maps, classes={1: "floor", 2: "stone"})


def save(path: Path, pixels: object) -> None:
    """Write an array of bytes as a PNG."""
    Image.fromarray(np.array(pixels, np.uint8)).save(path)


def lose_label(folder: Path) -> None:
    """Remove a label map."""
    (folder / "labels/b.png").unlink()


def crop_label(folder: Path) -> None:
    """Make a label map smaller than its photo."""
    save(folder / "labels/b.png", [[1, 2], [1, 1]])


def use_unknown_id(folder: Path) -> None:
    """Put an id into a label map that the class table does not have."""
    save(folder / "labels/b.png", [[1, 2, 77], [1, 77, 1]])


def use_unknown_colour(folder: Path) -> None:
    """Code the labels as colours, one of which the class table does not have."""
    (folder / "classes.tsv").write_text(
        "id\tname\tcolour\n1\tfloor\t#010101\n2\tstone\t#020202\n", encoding="utf-8"
    )
    for key in ("a", "b"):
        save(folder / f"labels/{key}.png", np.full((2, 3, 3), 1))
    save(folder / "labels/b.png", [[[1, 1, 1]] * 3, [[1, 1, 1], [255, 0, 128], [2, 2, 2]]])


def cut_label(folder: Path) -> None:
    """Cut a label map off half-way."""
    data = (folder / "labels/b.png").read_bytes()
    (folder / "labels/b.png").write_bytes(data[: len(data) // 2])


def cut_photo(folder: Path) -> None:
    """Cut a photo off half-way."""
    data = (folder / "images/b.png").read_bytes()
    (folder / "images/b.png").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_label, ["labels/b.png", "no label map for images/b.png"]),
        (crop_label, ["labels/b.png", "sizes differ", "2×3", "2×2"]),
        (use_unknown_id, ["id 77 is not in classes.tsv", "2 px", "labels/b.png", "--ignore-id 77"]),
        (use_unknown_colour, ["labels/b.png", "unknown colour", "#ff0080", "row 1, column 1"]),
        (cut_label, ["labels/b.png", "damaged picture"]),
        (cut_photo, ["images/b.png", "damaged picture"]),
    ],
)
def test_a_bad_folder(
    loop: Loop,
    new_folder: Path,
    call_cli: CallCli,
    damage: Callable[[Path], None],
    words: list[str],
) -> None:
    """A fault of one pair is named with its file and what was found; the store is as it was."""
    damage(new_folder)
    before = dump(loop.store)
    called = call_cli("dataset", "add", "new", new_folder, "--role", "train", "--db", loop.store)
    assert called.code == 1
    assert called.out == ""
    for word in words:
        assert word in called.message
    assert dump(loop.store) == before


def test_all_faults_at_once(loop: Loop, new_folder: Path, call_cli: CallCli) -> None:
    """Several faults are one message with an indented line for each."""
    crop_label(new_folder)
    save(new_folder / "labels/a.png", [[9, 9, 9], [1, 1, 1]])
    called = call_cli("dataset", "add", "new", new_folder, "--role", "train", "--db", loop.store)
    assert called.code == 1
    assert len(called.message.splitlines()) == 3
    assert "2 faults" in called.err


def test_a_mapping_with_an_unknown_class(loop: Loop, call_cli: CallCli) -> None:
    """Unknown universal and dataset classes are named with their lines and the nearest names."""
    before = dump(loop.store)
    path = loop.root / "coarse.mapping.tsv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("keep\tground", "keep\tgroound"), encoding="utf-8")
    called = call_cli("mapping", "import", "coarse", path, "--db", loop.store)
    assert called.code == 1
    assert len(called.message.splitlines()) == 1
    for word in (path.name, "line 2", "'groound'", "ground"):
        assert word in called.err
    path.write_text(text.replace("floor\t", "flor\t"), encoding="utf-8")
    called = call_cli("mapping", "import", "coarse", path, "--db", loop.store)
    assert called.code == 1
    assert "unknown class 'flor'" in called.message
    assert dump(loop.store) == before


def test_a_bad_decision(loop: Loop, call_cli: CallCli) -> None:
    """A file of decisions with one bad line is refused by that line, and nothing of it is stored."""
    before = dump(loop.store)
    path = loop.root / "decisions.csv"
    path.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\n"
        "coarse,train,a,0,animal,dog,anna\ncoarse,train,a,0,animal,dgo,ben\n",
        encoding="utf-8",
    )
    called = call_cli("decisions", "import", path, "--db", loop.store)
    assert called.code == 1
    assert "line 3" in called.message
    assert "'dgo'" in called.err
    assert dump(loop.store) == before


@pytest.mark.parametrize(
    "words",
    [
        ["task", "show", "{}"],
        ["task", "make", "{}", "--dataset", "coarse", "--class", "animal"],
        ["task", "set", "animals", "--instructions", "{}"],
        ["annotator", "add", "anna", "--author", "{}", "--role", "curator"],
        ["annotator", "pause", "anna", "--note", "{}"],
        ["decisions", "export", "--task", "{}"],
        ["flag", "list", "--task", "{}"],
    ],
    ids=" ".join,
)
def test_words_that_are_no_text(loop: Loop, call_cli: CallCli, words: list[str]) -> None:
    """Bytes of the command line that are no UTF-8 are a usage error that names the place; nothing changes."""
    before = dump(loop.store)
    called = call_cli(*(word.format(os.fsdecode(b"caf\xe9")) for word in words), "--db", loop.store)
    assert called.code == 2
    assert "is no text in UTF-8" in called.err
    assert dump(loop.store) == before


def test_a_pipe_is_left_alone(loop: Loop, tmp_path: Path, call_cli: CallCli) -> None:
    """No file takes the place of a device or a pipe, whatever the user may do there."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    called = call_cli("decisions", "export", "--out", pipe, "--db", loop.store)
    assert called.code == 1
    assert "is a device or a pipe; name a file" in called.message
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("words", "column"),
    [
        (["gold", "add", "animals"], "outcome"),
        (["task", "suggest", "animals"], "class"),
        (["task", "prioritise", "animals"], "rank"),
        (["task", "example", "add", "animals"], "class"),
        (["decisions", "import"], "outcome"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_files_of_a_spreadsheet(
    loop: Loop, tmp_path: Path, call_cli: CallCli, words: list[str], column: str
) -> None:
    """Semicolons between the columns are named as what they are; a file in another encoding is told how to be saved."""
    path = tmp_path / "sheet.csv"
    path.write_text(f"split;image;segment;{column}\ntrain;a;0;cat\n", encoding="utf-8")
    before = dump(loop.store)
    called = call_cli(*words, path, "--db", loop.store)
    assert called.code == 1
    assert "expected commas between the columns, found semicolons" in called.message
    path.write_bytes(f"split,image,segment,{column}\ntrain,caf\xe9,0,cat\n".encode("latin-1"))
    called = call_cli(*words, path, "--db", loop.store)
    assert called.code == 1
    assert "save the file as UTF-8" in called.message
    assert dump(loop.store) == before


@pytest.mark.parametrize(
    "words",
    [
        ["dataset", "list"],
        ["export", "--arm", "ignored", "--out", "out"],
        ["query", "SELECT 1"],
        ["resolve"],
    ],
    ids=lambda words: words[0],
)
def test_a_store_of_a_newer_version(loop: Loop, call_cli: CallCli, words: list[str]) -> None:
    """A store of a newer schema is refused by every command, and left as it is."""
    with closing(sqlite3.connect(loop.store)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    before = loop.store.read_bytes()
    called = call_cli(*words, "--db", loop.store)
    assert called.code == 1
    assert len(called.message.splitlines()) == 1
    assert "made by a newer version" in called.err
    assert "found 99" in called.err
    assert loop.store.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"not a database at all", "sqlite"])
def test_no_store(tmp_path: Path, call_cli: CallCli, content: bytes | str | None) -> None:
    """A missing store, and a file that is none, are refused with the command that makes one."""
    path = tmp_path / "s.db"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE mine (id)")
    before = path.read_bytes() if path.exists() else None
    called = call_cli("dataset", "list", "--db", path)
    assert called.code == 1
    assert "mseg-curate init" in called.message
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_folder_that_is_no_export(loop: Loop, tmp_path: Path, call_cli: CallCli) -> None:
    """`verify` and `train-baseline` refuse a folder that is no export."""
    called = call_cli("verify", loop.root / "coarse")
    assert called.code == 1
    assert "not an export" in called.message
    pytest.importorskip("torch")
    words = (
        "train-baseline",
        "--out",
        tmp_path / "runs",
        "--export",
        f"relabeled={loop.root / 'coarse'}",
    )
    called = call_cli(*words, "--db", loop.store)
    assert called.code == 1
    assert "manifest.json" in called.message
    assert not (tmp_path / "runs").exists()


def test_init_over_a_store(loop: Loop, call_cli: CallCli) -> None:
    """`init` never replaces a file."""
    before = loop.store.read_bytes()
    called = call_cli("init", "--db", loop.store)
    assert called.code == 1
    assert "already exists" in called.message
    assert loop.store.read_bytes() == before


def test_a_damaged_taxonomy(tmp_path: Path, call_cli: CallCli) -> None:
    """A taxonomy with faults makes no store, and `check` lists them."""
    path = tmp_path / "t.tsv"
    path.write_text("universal\ncat\ncat\ndog \n", encoding="utf-8")
    for words in (("init", "--taxonomy", path, "--db", tmp_path / "s.db"), ("check", path)):
        called = call_cli(*words)
        assert called.code == 1
        assert "t.tsv" in called.message
        assert len(called.err.splitlines()) == 3
    assert not (tmp_path / "s.db").exists()


def test_no_space_for_an_export(
    loop: Loop, tmp_path: Path, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is one line that says how to go on; no manifest is left, and the next call finishes."""
    words = ("export", "--db", loop.store, "--arm", "partial", "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("mseg_curate.files.os.fchmod", _full)
        called = call_cli(*words)
    assert called.code == 1
    assert len(called.message.splitlines()) == 1
    assert "no space left on the disk" in called.err
    assert "run the same command again" in called.err
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == [".journal.jsonl"]
    assert call_cli(*words).code == 0
    assert call_cli("verify", tmp_path / "out").code == 0


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_up(path: Path) -> None:
    """Write a file until its disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_no_space_for_the_store(loop: Loop, new_folder: Path, call_cli: CallCli) -> None:
    """A store that cannot grow keeps what it has; the command says that nothing was stored."""
    folder = loop.root / "full"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        path = folder / "store.db"
        shutil.copyfile(loop.store, path)
        before = dump(path)
        with pytest.raises(OSError, match="space"):
            fill_up(folder / "ballast")
        called = call_cli("dataset", "add", "new", new_folder, "--role", "train", "--db", path)
        assert called.code == 1
        assert len(called.message.splitlines()) == 1
        (folder / "ballast").unlink()
        assert dump(path) == before
        words = ("dataset", "add", "new", new_folder, "--role", "train", "--db", path)
        assert call_cli(*words).code == 0
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_debug_shows_the_traceback(loop: Loop, tmp_path: Path, call_cli: CallCli) -> None:
    """With --debug an error is raised as it is, expected or not."""
    with pytest.raises(MsegCurateError, match="no store there"):
        call_cli("--debug", "dataset", "list", "--db", tmp_path / "none.db")
    done = subprocess.run(
        [sys.executable, "-m", "mseg_curate.cli", "--debug", "dataset", "list", "--db", "none.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_an_unexpected_error_is_one_line(
    loop: Loop, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw is one line, too, and points to --debug."""
    monkeypatch.setattr("mseg_curate.map_classes.describe_datasets", _break)
    called = call_cli("dataset", "list", "--db", loop.store)
    assert called.code == 1
    assert called.message == (
        "mseg-curate: unexpected ZeroDivisionError: broken; `mseg-curate --debug …` shows where\n"
    )


def _break(*_: object) -> None:
    raise ZeroDivisionError("broken")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TrainingStoppedError("stopped; run again")])
def test_stopping_has_its_own_exit_code(
    loop: Loop, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Ctrl-C is no error: one line that says how to go on, and exit code 130."""

    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr("mseg_curate.map_classes.describe_datasets", stop)
    called = call_cli("dataset", "list", "--db", loop.store)
    assert called.code == 130
    (line,) = called.err.strip().splitlines()
    assert line.startswith("mseg-curate: stopped")


def test_a_real_interrupt(loop: Loop, tmp_path: Path) -> None:
    """SIGINT in the middle of an export ends it with exit code 130 and one line, without a manifest."""
    code = (
        "import sys, time\nimport mseg_curate.export as export\n"
        "def wait(*_):\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "export.encode_label_png = wait\n"
        "export.map_in_threads = lambda work, items, **_: map(work, items)\n"
        "from mseg_curate.cli import main\nmain()"
    )
    words = ["export", "--db", str(loop.store), "--arm", "ignored", "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        said = process.stderr.read().strip()
        assert said == "mseg-curate: stopped; run the same command again to go on"
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM dataset",
        "INSERT INTO annotator (name) VALUES ('x')",
        "UPDATE image SET name = 'x'",
        "DROP TABLE decision",
        "CREATE TABLE mine (id)",
        "PRAGMA user_version = 7",
        "VACUUM INTO 'copy.db'",
        "ATTACH DATABASE 'other.db' AS other",
        "SELECT 1; DELETE FROM dataset",
        "WITH x AS (SELECT 1) DELETE FROM dataset",
        "SELEKT 1",
        "SELECT nothing FROM nowhere",
    ],
)
def test_query_only_reads(
    loop: Loop, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    """`query` refuses whatever writes, and says what is wrong with what it does not understand."""
    monkeypatch.chdir(loop.root)
    before = dump(loop.store), sorted(p.name for p in loop.root.iterdir())
    called = call_cli("query", "--db", loop.store, sql)
    assert called.code == 1
    assert len(called.message.splitlines()) == 1
    assert called.out == ""
    assert (dump(loop.store), sorted(p.name for p in loop.root.iterdir())) == before
    with closing(sqlite3.connect(loop.store)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset", "add", "new", "folder"], "Missing option '--role'"),
        (["dataset", "add", "new", "folder", "--role", "tests"], "'tests' is not one of"),
        (["export", "--arm", "relabelled", "--out", "x"], "unknown arm: expected relabeled, "),
        (["train-baseline", "--out", "x", "--arms", "relabeled,best"], "unknown arm: expected rel"),
        (["train-baseline", "--out", "x", "--seeds", "a"], "such as 0,1,2, found 'a'"),
        (["train-baseline", "--out", "x", "--export", "folder"], "expected ARM=DIR"),
        (["frobnicate"], "No such command"),
    ],
)
def test_a_mistyped_command(
    loop: Loop, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    """A command that cannot be parsed ends with exit code 2 and says what was expected."""
    monkeypatch.setenv("MSEG_CURATE_DB", str(loop.store))
    monkeypatch.chdir(loop.root)
    called = call_cli(*words)
    assert called.code == 2
    assert message in called.err
    assert "Traceback" not in called.err
