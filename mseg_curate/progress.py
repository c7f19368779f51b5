"""Progress bars on stderr, and nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from os import cpu_count
from typing import TypeVar

from tqdm import tqdm

__all__ = ["map_in_threads", "track"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# Results wait in memory until the ones before them are consumed; this bounds how many.
_AHEAD_PER_WORKER = 8


def track(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Yield the items, with a bar named `what` where stderr is a terminal."""
    yield from tqdm(items, total=total, desc=what, unit="", leave=False, disable=not _is_watched())


def map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, total: int, what: str
) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order, computed in one thread per core, with a bar.

    Items are drawn in the calling thread, a few ahead. Decoding and encoding release the interpreter's lock, so
    threads scale. An exception of `work` is raised here, and no further item is begun.
    """
    workers = cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from track(_in_order(pool, work, items, workers), total=total, what=what)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
) -> Iterator[Result]:
    queue: list[Future[Result]] = []
    upcoming = iter(items)
    while True:
        while len(queue) < workers * _AHEAD_PER_WORKER:
            try:
                queue.append(pool.submit(work, next(upcoming)))
            except StopIteration:
                break
        if not queue:
            return
        wait(queue[:1], return_when=FIRST_COMPLETED)
        yield queue.pop(0).result()


def _is_watched() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
