"""Runs spread over processes, with one progress bar and one clean way to stop."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

import torch
from tqdm import tqdm

from baselines.runs import Run, carry_out, count_work
from baselines.stopping import stop_on_signals
from mseg_curate.errors import MsegCurateError, TrainingError, TrainingStoppedError

__all__ = ["available_cores", "show_progress", "spread"]

# A worker's messages: kind, number of the run, and a count or a text. `left` is the last one.
Message = tuple[str, int, int | str]


def available_cores() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def show_progress(runs: Sequence[Run], progress: bool) -> Iterator[Callable[[Run, int], None]]:
    """Show one bar over the steps and test images of all runs; yields what moves it on."""
    total = sum(map(count_work, runs)) if progress else 0
    # Where nobody watches, a log is better off with a line now and then.
    interval = 0.1 if sys.stderr.isatty() else 30.0
    with tqdm(
        total=total, unit="step", disable=not progress, smoothing=0.05, mininterval=interval
    ) as bar:

        def advance(run: Run, count: int) -> None:
            bar.set_description(f"{run.arm}, seed {run.seed}", refresh=False)
            bar.update(count)

        yield advance


def spread(
    runs: Sequence[Run],
    *,
    jobs: int,
    stop: Callable[[], bool],
    advance: Callable[[Run, int], None],
) -> None:
    """Carry out runs in `jobs` processes, each with its share of the cores.

    When `stop` says so, or a run fails, the others write their checkpoints and end. Raises
    TrainingStoppedError, or TrainingError that names the failed runs.
    """
    context = multiprocessing.get_context("spawn")
    tasks: Queue[tuple[int, Run] | None] = context.Queue()
    messages: Queue[Message] = context.Queue()
    halt = context.Event()
    workers = min(jobs, len(runs))
    for task in [*enumerate(runs), *[None] * workers]:
        tasks.put(task)
    threads = max(1, available_cores() // jobs)
    arguments = (tasks, messages, halt, threads, os.getpid())
    processes = [context.Process(target=_work, args=arguments) for _ in range(workers)]
    try:
        with _without_interrupts():
            for process in processes:
                process.start()
        failures = _listen(
            runs, processes, messages=messages, halt=halt, stop=stop, advance=advance
        )
    finally:
        _end(processes, halt)
        tasks.cancel_join_thread()
    if failures:
        raise TrainingError("; ".join(failures))
    if stop():
        raise TrainingStoppedError("stopped; run the same command again to go on")


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ignore SIGINT while processes start: they inherit that until they have their own answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listen(
    runs: Sequence[Run],
    processes: Sequence[SpawnProcess],
    *,
    messages: Queue[Message],
    halt: Event,
    stop: Callable[[], bool],
    advance: Callable[[Run, int], None],
) -> list[str]:
    """Pass messages on until every worker has left; return what failed."""
    failures: list[str] = []
    left = 0
    while left < len(processes):
        if stop() or failures:
            halt.set()
        try:
            kind, number, content = messages.get(timeout=0.2)
        except queue.Empty:
            dead = [process for process in processes if process.exitcode]
            if dead:
                codes = ", ".join(str(process.exitcode) for process in dead)
                failures.append(
                    f"a training process died (exit code {codes}; -9 is often memory: "
                    "use fewer jobs or a smaller cache_mib); run again to go on"
                )
                return failures
            continue
        if kind == "advance":
            advance(runs[number], int(content))
        elif kind == "failed":
            failures.append(f"{runs[number].arm}, seed {runs[number].seed}: {content}")
        else:
            left += 1
    return failures


def _end(processes: Sequence[SpawnProcess], halt: Event) -> None:
    """Let workers write their checkpoints, then insist."""
    halt.set()
    for process in processes:
        if process.pid is not None:
            process.join(timeout=60)
            if process.exitcode is None:
                process.terminate()
                process.join()


def _work(
    tasks: Queue[tuple[int, Run] | None],
    messages: Queue[Message],
    halt: Event,
    threads: int,
    parent: int,
) -> None:
    """Carry out tasks until there is none; runs in a process of its own."""
    torch.set_num_threads(threads)
    with stop_on_signals() as asked:

        def stop() -> bool:
            return asked() or halt.is_set() or os.getppid() != parent

        while not stop() and (task := tasks.get()) is not None:
            number, run = task

            def advance(count: int, number: int = number) -> None:
                messages.put(("advance", number, count))

            try:
                carry_out(run, stop=stop, advance=advance)
            except TrainingStoppedError:
                break
            except MsegCurateError as error:
                messages.put(("failed", number, str(error)))
    messages.put(("left", 0, 0))
