"""Exports that are stopped, killed, go on, and that two processes write at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mseg_curate.core.mapping import Arm, Unresolved
from mseg_curate.errors import ExportError, OutputError
from mseg_curate.export import JOURNAL
from mseg_curate.files import hold_folder, write_bytes_atomically
from mseg_curate.manifest import MANIFEST, verify_export
from tests.naive_export import (
    Loop,
    decide,
    export,
    tree,
)


def stop_after(loop: Loop, out: Path, *, labels: int) -> None:
    """Stop an export after some label maps, as a full disk would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mseg_curate.export.write_bytes_atomically", _full_after(labels))
        patch.setattr("mseg_curate.progress.cpu_count", lambda: 1)
        with pytest.raises(OutputError):
            export(loop, out)


def _full_after(count: int) -> Callable[[Path, bytes], str]:
    left = iter(range(count))

    def write(path: Path, data: bytes) -> str:
        if next(left, None) is None:
            raise OutputError(f"{path}: no space left on the disk")
        return write_bytes_atomically(path, data)

    return write


def test_a_stopped_export_goes_on(loop: Loop, tmp_path: Path) -> None:
    """What was done before a stop is kept; the rest follows, and the bytes are those of an undisturbed export."""
    decide(loop)
    stop_after(loop, tmp_path / "out", labels=3)
    assert not (tmp_path / "out" / MANIFEST).exists()
    done = export(loop, tmp_path / "out")
    assert (done.written, done.kept) == (5, 3)
    assert tree(done.path) == tree(export(loop, tmp_path / "undisturbed").path)


def test_a_file_that_changed_since_the_stop_is_written_again(loop: Loop, tmp_path: Path) -> None:
    """A label map that was damaged between the stop and the second call is not trusted."""
    stop_after(loop, tmp_path / "out", labels=3)
    damaged = next((tmp_path / "out").rglob("*.png"))
    damaged.write_bytes(b"")
    done = export(loop, tmp_path / "out")
    assert (done.written, done.kept) == (6, 2)
    assert tree(done.path) == tree(export(loop, tmp_path / "undisturbed").path)


@pytest.mark.parametrize("tail", [b'{"key": "train/coarse/labels/tr', b'{"key": "\xc3', b"\n\n"])
def test_a_journal_that_was_cut_off_is_no_hindrance(
    loop: Loop, tmp_path: Path, tail: bytes
) -> None:
    """A last line of the journal that a full disk cut off, within a character even, is passed over."""
    stop_after(loop, tmp_path / "out", labels=3)
    journal = tmp_path / "out" / JOURNAL
    journal.write_bytes(journal.read_bytes() + tail)
    done = export(loop, tmp_path / "out")
    assert done.kept == 3
    assert tree(done.path) == tree(export(loop, tmp_path / "undisturbed").path)


KILLED = """
import os, signal, sys
from pathlib import Path
from mseg_curate.core.mapping import Arm, Unresolved
from mseg_curate.export import write_export
from mseg_curate.store import Store

store, out, wanted, needle = sys.argv[1:5]
left = int(sys.argv[5])

def kill(event, arguments):
    global left
    if event in wanted.split() and needle in str(arguments[0]).removeprefix(out) != str(arguments[0]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
with Store.open(Path(store)) as opened:
    write_export(opened, Path(out), arm=Arm.RELABELED, now="later", copy_images=True)
"""


def kill_export(loop: Loop, out: Path, *, events: str, needle: str, at: int) -> None:
    """Export in a process that kills itself before its n-th such operation on a file of `out`."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(loop.store), str(out), events, needle, str(at)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_export_is_finished_by_a_second_call(loop: Loop, tmp_path: Path) -> None:
    """Killed at any file operation it has no manifest, or is whole; going on gives an undisturbed export's bytes."""
    decide(loop)
    undisturbed = tree(export(loop, tmp_path / "undisturbed", copy_images=True).path)
    out = tmp_path / "out"
    anything = "open os.mkdir os.rename os.remove"
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))
    moments = [
        (anything, "", 1),
        (anything, "", 2),
        ("os.rename", "labels", 1),
        (anything, "", int(rng.integers(3, 50))),
        ("os.rename", "images", 1),
        ("os.rename", ".part", 2),
        ("os.remove", JOURNAL, 1),
    ]
    for events, needle, at in moments:
        kill_export(loop, out, events=events, needle=needle, at=at)
        assert (out / MANIFEST).exists() == (needle == JOURNAL), moments
    assert (out / JOURNAL).exists()
    export(loop, out, copy_images=True)
    assert tree(out) == undisturbed, moments
    verify_export(out)


def test_killed_while_the_manifest_is_written(loop: Loop, tmp_path: Path) -> None:
    """Killed before the manifest has its name there is none; the second call writes no label map again."""
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mseg_curate.export.build_manifest", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(loop, out)
    assert not (out / MANIFEST).exists()
    assert export(loop, out).written == 0
    assert tree(out) == tree(export(loop, tmp_path / "undisturbed").path)


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 80 KiB; skips where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_and_goes_on(
    loop: Loop, small_disk: Path, tmp_path: Path, call_cli: Callable[..., Any]
) -> None:
    """On a full disk there is one clear line, exit code 1 and no manifest; with room it goes on."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(64 << 10))
    words = ("export", "--db", loop.store, "--arm", "ignored", "--out", small_disk / "out")
    called = call_cli(*words)
    assert called.code == 1
    assert "no space left on the disk" in called.message.lower()
    assert len(called.err.splitlines()) == 1
    assert not (small_disk / "out" / MANIFEST).exists()
    ballast.unlink()
    assert call_cli(*words).code == 0
    undisturbed = export(loop, tmp_path / "undisturbed", arm=Arm.IGNORED).path
    assert tree(small_disk / "out") == tree(undisturbed)


@pytest.mark.parametrize(
    "options",
    [
        {"arm": Arm.PARTIAL},
        {"copy_images": True},
        {"unresolved": Unresolved.SET},
        {"datasets": ["zoo"]},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("complete", [True, False])
def test_other_options_are_refused(
    loop: Loop, tmp_path: Path, options: dict[str, Any], complete: bool
) -> None:
    """A folder that holds an export of other options, whole or stopped half-way, is refused and left as it is."""
    out = tmp_path / "out"
    if complete:
        export(loop, out)
    else:
        stop_after(loop, out, labels=3)
    before = tree(out)
    with pytest.raises(ExportError, match="of other inputs or options"):
        export(loop, out, **options)
    assert tree(out) == before


# --- two at once ----------------------------------------------------------------------------------

HELD = """
import sys, time
from pathlib import Path
from mseg_curate.export import LOCK
from mseg_curate.files import hold_folder

with hold_folder(Path(sys.argv[1]), LOCK, since="today"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes into the folder `out`, until it is killed."""
    command = [sys.executable, "-c", HELD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_folder_that_is_written_by_another_is_refused(
    loop: Loop, tmp_path: Path, holder: subprocess.Popen[str], call_cli: Callable[..., Any]
) -> None:
    """The second of two exports into one folder ends with a line that names the first, until that is killed."""
    out = tmp_path / "out"
    before = tree(out)
    words = ("export", "--db", loop.store, "--arm", "ignored", "--out", out)
    called = call_cli(*words)
    assert called.code == 1
    assert len(called.message.splitlines()) == 1
    assert f"is being written by process {holder.pid} on " in called.err
    assert "since today; wait until it is done, or choose another folder" in called.err
    assert tree(out) == before
    holder.kill()
    holder.wait()
    assert call_cli(*words).code == 0
    assert tree(out) == tree(export(loop, tmp_path / "undisturbed", arm=Arm.IGNORED).path)


def test_many_exports_at_once_are_one(loop: Loop, tmp_path: Path) -> None:
    """Of exports into one folder together, one writes it, and each other finds it whole or is refused."""
    decide(loop)
    out = tmp_path / "out"

    def attempt(_: int) -> int | str:
        try:
            return export(loop, out).written
        except OutputError as error:
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        ends = list(pool.map(attempt, range(18)))
    assert ends.count(8) == 1
    refused = [end for end in ends if end not in (0, 8)]
    assert all(f"is being written by process {os.getpid()} on " in str(end) for end in refused)
    assert tree(out) == tree(export(loop, tmp_path / "undisturbed").path)


def test_an_export_that_is_whole_by_then_is_taken(loop: Loop, tmp_path: Path) -> None:
    """Who gets the folder when another has just finished the same export writes nothing, and says so."""
    out = tmp_path / "out"

    @contextmanager
    def late(*_: object, **__: object) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr("mseg_curate.export.hold_folder", hold_folder)
            export(loop, out)
        yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mseg_curate.export.hold_folder", late)
        done = export(loop, out)
    assert (done.written, done.kept) == (0, 8)
    verify_export(out)
