"""The only writer of files: atomic writes, hashes, safe joins, and JSON that is the same every time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from mseg_curate.errors import InputError, OutputError
from mseg_curate.progress import map_in_threads

__all__ = [
    "canonical_json",
    "copy_file_atomically",
    "find_changed",
    "hash_manifest",
    "hold_folder",
    "read_text",
    "safe_join",
    "sha256_of",
    "sha256_of_text",
    "write_bytes_atomically",
    "write_text_atomically",
]

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_changed(root: Path, digests: Mapping[str, str]) -> list[str]:
    """Hash files below `root` and name those whose SHA-256 is not the given one, in the order given.

    Each as `path: missing`, `path: changed` or `path: cannot be read (…)`. Raises InputError for a path that leaves
    `root`.
    """
    states = map_in_threads(
        lambda item: _state(safe_join(root, item[0]), item[1]),
        digests.items(),
        total=len(digests),
        what="verifying",
    )
    return [f"{path}: {state}" for path, state in zip(digests, states, strict=True) if state]


def _state(path: Path, digest: str) -> str | None:
    try:
        return None if sha256_of(path) == digest else "changed"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes as 64 lower-case hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_manifest(manifest: Mapping[str, object]) -> str:
    """Hash a manifest without the field that holds this hash."""
    fields = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return sha256_of_text(canonical_json(fields))


def canonical_json(value: Mapping[str, object] | list[object], *, indent: int | None = None) -> str:
    """Return the one JSON text that equal values share: sorted keys, no NaN, UTF-8 as it is."""
    return json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=(",", ": ") if indent else (",", ":"),
    )


def read_text(path: Path) -> str:
    """Read a UTF-8 text file; a byte-order mark is dropped.

    Raises InputError if the file is missing, a folder, unreadable or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", path=path, hint="check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(
            "not a text file",
            path=path,
            place=f"byte {error.start}",
            expected="UTF-8",
            hint="save the file as UTF-8",
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from error


def write_bytes_atomically(path: Path, data: bytes) -> str:
    """Write a file so that a reader, or a crash, sees the old bytes or the new ones; return the SHA-256.

    Folders above `path` are made; a link stays one, what it leads to is replaced. Raises OutputError (disk full, no
    permission, a device or pipe at `path`); nothing is left behind.
    """
    path = _writable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    except OSError as error:
        raise _output_error(path, error) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _output_error(path, error) from error
        raise
    return hashlib.sha256(data).hexdigest()


def _writable(path: Path) -> Path:
    """Return where a file of this path really goes; a device would be lost if a file took its place."""
    try:
        target = path.resolve() if path.is_symlink() else path
        is_other = target.exists() and not (target.is_file() or target.is_dir())
    except OSError as error:
        raise _output_error(path, error) from error
    except RuntimeError as error:
        # So says Python 3.11 and 3.12 where links lead to each other.
        raise OutputError(f"{path}: cannot be written ({error})") from error
    if is_other:
        raise OutputError(f"{path}: is a device or a pipe; name a file")
    return target


def write_text_atomically(path: Path, text: str) -> str:
    """Write a UTF-8 text as `write_bytes_atomically` does."""
    return write_bytes_atomically(path, text.encode())


def copy_file_atomically(source: Path, target: Path) -> str:
    """Copy a file's bytes as `write_bytes_atomically` does; return the SHA-256.

    Raises InputError for a source that cannot be opened.
    """
    digest = hashlib.sha256()
    part = target.with_name(f".{target.name}.part")
    try:
        reader = source.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=source) from error
    with reader:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as writer:
                while chunk := reader.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    writer.write(chunk)
            part.replace(target)
        except BaseException as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _output_error(target, error) from error
            raise
    return digest.hexdigest()


@contextlib.contextmanager
def hold_folder(folder: Path, name: str, *, since: str) -> Iterator[None]:
    """Keep other processes from writing into a folder: whoever locks the file `name` in it holds the folder.

    The folder is made where it is missing; the file says who holds it `since` when, and is gone afterwards. A process
    that ended, in whatever way, holds nothing, whether its file is still there or not. Raises OutputError that names
    the holder.
    """
    lock = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock_file(lock)
    except OSError as error:
        raise _output_error(lock, error) from error
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()} since {since}".encode(), 0)
        yield
    finally:
        # While the lock still holds: a file of this name that is there later is somebody else's.
        lock.unlink(missing_ok=True)
        os.close(handle)


def _lock_file(lock: Path) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, lock):
                return handle
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
            os.close(handle)
            raise OutputError(
                f"{lock.parent}: is being written by {holder}; wait until it is done, or choose another folder"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        # The holder before has removed the file between the opening and the lock.
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def safe_join(root: Path, relative: str) -> Path:
    """Join a relative POSIX path to a root that it must not leave.

    Raises InputError for an absolute path and for one with `..` in it.
    """
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise InputError(
            "path leaves its folder", path=root, found=repr(relative), expected="a path below it"
        )
    return root.joinpath(*pure.parts)


def _output_error(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        free_mib = shutil.disk_usage(folder).free / 2**20
        return OutputError(
            f"{path}: no space left on the disk ({free_mib:.1f} MiB free); "
            "free some, then run the same command again: what is done is kept"
        )
    return OutputError(f"{path}: cannot be written ({error.strerror or error})")
