"""What a run writes down."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from baselines.journal import EVENTS_NAME, LOG_NAME, Journal
from mseg_curate.errors import InputError, MissingExtraError, OutputError


def test_lines_are_in_the_file_at_once(tmp_path: Path) -> None:
    """Each line is a JSON object with its step, readable before the journal is closed."""
    with Journal(tmp_path / "run", step=0, tensorboard=False) as journal:
        journal.write(2, loss=0.5, lr=0.1)
        text = (tmp_path / "run" / LOG_NAME).read_text()
        assert json.loads(text) == {"step": 2, "loss": 0.5, "lr": 0.1}


def test_later_and_broken_lines_are_dropped_on_the_way_back(tmp_path: Path) -> None:
    """A log that is taken up keeps what the checkpoint knows of; a line cut short by a crash goes."""
    (tmp_path / LOG_NAME).write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"step": 4, "lo')
    with Journal(tmp_path, step=4, tensorboard=False) as journal:
        journal.write(5, loss=1.0)
    lines = (tmp_path / LOG_NAME).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 5]


def test_event_files_can_be_read(tmp_path: Path) -> None:
    """TensorBoard's own reader finds every value at its step; steps after a resume replace the lost ones."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for begin, steps in ((0, (2, 4, 6)), (4, (6, 8))):
        with Journal(tmp_path, step=begin, tensorboard=True) as journal:
            for step in steps:
                journal.write(step, loss=step / (begin + 1), lr=0.1)
    events = reader.EventAccumulator(str(tmp_path / EVENTS_NAME))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/lr"}
    found = {event.step: event.value for event in events.Scalars("train/loss")}
    assert found == pytest.approx({2: 2.0, 4: 4.0, 6: 1.2, 8: 1.6})


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tensorboard the message says what to install, and no run begins."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        Journal(tmp_path, step=0, tensorboard=True)


class FullDisk(io.RawIOBase):
    """A file on a disk without space."""

    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_error(tmp_path: Path) -> None:
    """A line that cannot be written names the log, and closing the file afterwards adds no error of its own."""
    match = r"log\.jsonl: cannot be written \(No space left"
    with pytest.raises(OutputError, match=match), write_to_full_disk(tmp_path) as journal:
        journal.write(1, loss=0.5)


@contextmanager
def write_to_full_disk(run_dir: Path) -> Iterator[Journal]:
    """A journal whose disk is full from the first line on."""
    with Journal(run_dir, step=0, tensorboard=False) as journal:
        assert journal._file is not None
        journal._file.close()
        journal._file = io.TextIOWrapper(io.BufferedWriter(FullDisk()))
        yield journal


@pytest.mark.parametrize("line", [b"{}\n", b"broken}\n", b"\xff}\n"])
def test_a_log_of_something_else_is_refused(tmp_path: Path, line: bytes) -> None:
    """What no journal wrote is named and not overwritten."""
    (tmp_path / LOG_NAME).write_bytes(line)
    with pytest.raises(InputError, match=LOG_NAME), Journal(tmp_path, step=4, tensorboard=False):
        pass
    assert (tmp_path / LOG_NAME).read_bytes() == line
