"""Files are replaced whole or not at all, joins stay below their root, texts are read or refused."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.errors import InputError, OutputError
from mseg_curate.files import (
    canonical_json,
    copy_file_atomically,
    find_changed,
    hold_folder,
    read_text,
    safe_join,
    sha256_of,
    sha256_of_text,
    write_bytes_atomically,
    write_text_atomically,
)

Write = Callable[[Path], str]


def write_new(path: Path) -> str:
    """Write through `write_bytes_atomically`."""
    return write_bytes_atomically(path, b"new")


def copy_new(path: Path) -> str:
    """Write through `copy_file_atomically`, from a file beside the folder of the target."""
    source = path.parents[1] / "source.bin"
    if not source.exists():
        source.write_bytes(b"new")
    return copy_file_atomically(source, path)


ways = pytest.mark.parametrize("write", [write_new, copy_new])


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file with old bytes, alone in its folder."""
    path = tmp_path / "out" / "a.bin"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


def names_in(folder: Path) -> list[str]:
    """Return the names of all files in a folder, hidden ones too."""
    return [path.name for path in folder.iterdir()]


def fail(number: int) -> Callable[..., NoReturn]:
    """Return a stand-in for a system call that fails with an error number."""

    def raise_error(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return raise_error


@ways
def test_a_file_is_written_and_hashed(write: Write, tmp_path: Path) -> None:
    """The bytes land in a folder made for them, the hash is theirs, nothing else is left."""
    path = tmp_path / "made" / "a.bin"
    assert write(path) == hashlib.sha256(b"new").hexdigest() == sha256_of(path)
    assert names_in(path.parent) == ["a.bin"]
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o444 == 0o444


@ways
def test_an_old_file_is_replaced(write: Write, target: Path) -> None:
    """A second write replaces the first."""
    write(target)
    assert target.read_bytes() == b"new"
    assert names_in(target.parent) == ["a.bin"]


@ways
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_a_failed_replace_leaves_the_old_file(
    write: Write, number: int, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the last step fails the old bytes stay, no part is left, and the error names the file."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail(number))
        with pytest.raises(OutputError) as caught:
            write(target)
    full = number in (errno.ENOSPC, errno.EDQUOT)
    expected = "no space left on the disk" if full else f"cannot be written ({os.strerror(number)})"
    assert str(caught.value).startswith(f"{target}: {expected}")
    assert target.read_bytes() == b"old"
    assert names_in(target.parent) == ["a.bin"]


class FullDisk(io.BytesIO):
    """A file on a disk that takes half of what is written."""

    def __init__(self, file: io.BufferedWriter) -> None:
        super().__init__()
        self.file = file

    def write(self, data: bytes) -> NoReturn:  # type: ignore[override]
        self.file.write(data[: len(data) // 2])
        self.file.close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@ways
def test_a_full_disk_leaves_the_old_file(
    write: Write, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that stops half-way changes nothing, leaves no part, and says what to do."""
    (target.parents[1] / "source.bin").write_bytes(b"new")
    open_file, open_handle = Path.open, os.fdopen

    def opened(path: Path, mode: str = "r", *rest: object) -> object:
        file = open_file(path, mode)
        return FullDisk(file) if "w" in mode else file  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        patch.setattr(os, "fdopen", lambda number, _: FullDisk(open_handle(number, "wb")))
        with pytest.raises(OutputError, match=r"MiB free\); free some, then run the same command"):
            write(target)
    assert target.read_bytes() == b"old"
    assert names_in(target.parent) == ["a.bin"]


@ways
def test_an_interrupt_leaves_the_old_file(
    write: Write, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before the last step changes nothing, leaves no part, and goes on as it came."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(target)
    assert target.read_bytes() == b"old"
    assert names_in(target.parent) == ["a.bin"]


def test_a_part_that_cannot_be_made_is_an_output_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without room for a new entry is reported as full."""
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", fail(errno.ENOSPC))
        with pytest.raises(OutputError, match="no space left"):
            write_new(target)
    assert target.read_bytes() == b"old"


@ways
def test_a_file_in_the_place_of_a_folder_is_an_output_error(write: Write, tmp_path: Path) -> None:
    """A path below a file cannot be written, and says so."""
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "a" / "b")


def test_a_source_that_is_gone_is_named(target: Path) -> None:
    """A copy without a source speaks of the source, not of the target."""
    gone = target.parent / "gone.jpg"
    with pytest.raises(InputError, match=r"gone\.jpg: cannot be read \(No such file"):
        copy_file_atomically(gone, target)
    assert target.read_bytes() == b"old"


def test_a_long_file_is_copied_whole(tmp_path: Path) -> None:
    """A file longer than one read comes out byte by byte, under the same hash."""
    data = bytes(range(256)) * 9_000 + b"end"
    (tmp_path / "a").write_bytes(data)
    digest = copy_file_atomically(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data
    assert digest == hashlib.sha256(data).hexdigest()


def test_texts_are_utf8(tmp_path: Path) -> None:
    """A text is written as UTF-8, line ends as they are, and hashes like its bytes."""
    digest = write_text_atomically(tmp_path / "a.txt", "Straße\r\n×")
    assert (tmp_path / "a.txt").read_bytes() == "Straße\r\n×".encode()
    assert digest == sha256_of_text("Straße\r\n×")


@pytest.mark.parametrize(("data", "text"), [(b"\xef\xbb\xbfid\r\n", "id\r\n"), (b"", "")])
def test_a_text_is_read_without_its_byte_order_mark(data: bytes, text: str, tmp_path: Path) -> None:
    """A byte-order mark is dropped, the rest stays as it is."""
    (tmp_path / "a.txt").write_bytes(data)
    assert read_text(tmp_path / "a.txt") == text


def test_a_text_that_is_none_is_refused(tmp_path: Path) -> None:
    """Missing files, folders and other bytes are InputErrors that name the path."""
    (tmp_path / "latin.txt").write_bytes(b"ab\xe4c")
    with pytest.raises(InputError, match=r"latin\.txt:byte 2: not a text file: expected UTF-8"):
        read_text(tmp_path / "latin.txt")
    with pytest.raises(InputError, match=r"none\.txt: no such file; check the path"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    "relative", ["/etc/passwd", "..", "../a", "a/../../b", "a/..", "", ".", "//a", "./.."]
)
def test_a_join_refuses_to_leave_its_root(relative: str, tmp_path: Path) -> None:
    """Absolute paths, `..` anywhere, and paths that name nothing are refused."""
    with pytest.raises(InputError, match="path leaves its folder"):
        safe_join(tmp_path, relative)


@pytest.mark.parametrize(
    ("relative", "parts"),
    [("a", ["a"]), ("a/b.png", ["a", "b.png"]), ("./a", ["a"]), ("..a/b..", ["..a", "b.."])],
)
def test_a_join_below_the_root_is_made(relative: str, parts: list[str], tmp_path: Path) -> None:
    """Paths below the root are joined, names with dots too."""
    assert safe_join(tmp_path, relative) == tmp_path.joinpath(*parts)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "...", "~", "\\.."])).map("/".join))
def test_no_join_escapes(relative: str) -> None:
    """Whatever is joined stays below the root, or is refused."""
    root = Path("/data/root")
    try:
        joined = safe_join(root, relative)
    except InputError:
        return
    assert Path(os.path.normpath(joined)).is_relative_to(root)
    assert os.path.normpath(joined) != str(root)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(), json_values, max_size=4), st.sampled_from([None, 1, 2]))
def test_equal_values_have_one_json_text(value: dict[str, object], indent: int | None) -> None:
    """The order in which keys were put in does not show, and the text reads back."""
    turned = dict(reversed(value.items()))
    text = canonical_json(value, indent=indent)
    assert canonical_json(turned, indent=indent) == text
    assert json.loads(text) == value


def test_json_without_numbers_is_refused() -> None:
    """NaN has no JSON text."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_changed_files_are_named(tmp_path: Path) -> None:
    """Of many files those are named that are missing or have other bytes, in the order given."""
    digests = {}
    for name in ("a", "b/c", "d"):
        digests[name] = write_bytes_atomically(tmp_path / name, name.encode())
    assert find_changed(tmp_path, digests) == []
    (tmp_path / "d").write_bytes(b"other")
    (tmp_path / "b" / "c").unlink()
    assert find_changed(tmp_path, digests) == ["b/c: missing", "d: changed"]


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    """What is neither file nor folder is left as it is: a file in the place of /dev/null would harm everybody."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(OutputError, match="is a device or a pipe; name a file"):
            write_bytes_atomically(path, b"new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()
    assert sorted(names_in(tmp_path)) == ["link", "pipe"]


def test_a_path_that_cannot_be_looked_at_is_an_output_error(tmp_path: Path) -> None:
    """Links that lead to each other and names that are too long are said in a sentence, as other faults are."""
    (tmp_path / "here").symlink_to("there")
    (tmp_path / "there").symlink_to("here")
    for name in ("here", "n" * 300):
        with pytest.raises(OutputError, match="cannot be written"):
            write_bytes_atomically(tmp_path / name, b"new")


def test_a_link_stays_one(target: Path, tmp_path: Path) -> None:
    """Writing through a link replaces the file that it leads to; a link to nowhere makes it."""
    for name, leads_to in (("old", target), ("new", tmp_path / "made.bin")):
        link = tmp_path / name
        link.symlink_to(leads_to)
        write_bytes_atomically(link, b"new")
        assert link.is_symlink()
        assert leads_to.read_bytes() == b"new"


# --- a folder for one process -----------------------------------------------------------------------


def test_a_held_folder_is_refused_and_let_go(tmp_path: Path) -> None:
    """A folder is made and held by one at a time; afterwards the lock is gone, whatever happened within."""
    folder = tmp_path / "new" / "out"
    holding = hold_folder(folder, ".lock", since="noon")
    with contextlib.suppress(KeyboardInterrupt), holding:
        for _ in range(2):
            assert (folder / ".lock").read_text("utf-8").endswith("since noon")
            with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* since noon; wait"):
                hold_folder(folder, ".lock", since="later").__enter__()
        raise KeyboardInterrupt
    assert names_in(folder) == []


def test_a_lock_that_nobody_holds_is_taken_over(tmp_path: Path) -> None:
    """The file that a killed process left behind does not count; its words are overwritten."""
    (tmp_path / ".lock").write_text("process 1 on nowhere since the flood " * 9, encoding="utf-8")
    with hold_folder(tmp_path, ".lock", since="noon"):
        assert "flood" not in (tmp_path / ".lock").read_text("utf-8")
    assert names_in(tmp_path) == []


def test_a_lock_removed_while_it_is_waited_for_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a file that its holder has just removed locks nothing: another file is made and locked."""
    lock, flock = tmp_path / ".lock", fcntl.flock

    def lose_the_race(handle: int, operation: int) -> None:
        flock(handle, operation)
        monkeypatch.setattr(fcntl, "flock", flock)
        lock.unlink()

    monkeypatch.setattr(fcntl, "flock", lose_the_race)
    with (
        hold_folder(tmp_path, ".lock", since="noon"),
        pytest.raises(OutputError, match="is being written"),
    ):
        hold_folder(tmp_path, ".lock", since="later").__enter__()
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    """A file in the place of the folder is named with the system's words."""
    (tmp_path / "out").write_bytes(b"")
    with (
        pytest.raises(OutputError, match=r"out/\.lock: cannot be written \(File exists\)"),
        hold_folder(tmp_path / "out", ".lock", since="noon"),
    ):
        pass
