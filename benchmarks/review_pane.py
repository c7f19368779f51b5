"""Measure the review in a real Chromium: from the key to the next mask, memory over time, several people at once.

    python benchmarks/review_pane.py                                   # generated photos of 2048×1024
    python benchmarks/review_pane.py --data ../shared/data/nyuv2_40    # real photos of 640×480, too
    python benchmarks/review_pane.py --decisions 60 --long 200 --people 3
    python benchmarks/review_pane.py --hard                            # photos of 48 Mpx, borders of millions of steps

The real server runs on a fresh store; people press real keys through the DevTools protocol. A time runs from the time
stamp of the key event to the first animation frame after the next mask was drawn, as the pane counts it
(`window.__msegPane.keyToPaint`). `By the browser` is its own Event Timing of the same keys: to the end of the frame
that shows the mask, in steps of 8 ms, what is below 16 taken as 16. The steady pace presses the next key 150 ms after
the mask was painted. The reference is a bare page that, at each key, loads the next photo and mask by <img> and draws
them on a canvas: no prefetch, nothing stored. Fails where a decision was lost, doubled, or stored for a mask that was
not painted.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

from mseg_curate.ingest import add_dataset
from mseg_curate.map_classes import import_mapping
from mseg_curate.readers.class_table import read_class_table
from mseg_curate.show import show_mask
from mseg_curate.store import Store
from mseg_curate.store.masks import masks_of_task
from mseg_curate.store.tasks import load_task
from mseg_curate.tasks import TaskOptions, make_task
from tests.app.conftest import CHROMIUM, FLAGS
from tests.app.review_server import (
    NOW,
    ReviewServer,
    add_drawn_folder,
    admit,
    ask,
    draw_blobs,
    draw_photo,
    faults,
    leases_painted,
    make_review_store,
    masks_decided,
    masks_of,
    open_page,
    open_review,
    read,
    rss_of,
    save_picture,
    serving,
    wait,
)

PAUSE_S, BEAT_S = 0.15, 0.06
BURST = 30
WARM_UP = 20
EVERY = 100
BAR_MS, AIM_MS = 100.0, 33.0
REFERENCE_MASKS = 100
HARD_PHOTOS, HARD_KEYS, HARD_PAUSE_S = 4, 12, 2.0
HEAD = "| Keys | n | median ms | p95 ms | most ms | p95 by the browser | Verdict |\n|---|---|---|---|---|---|---|"
REAL_CLASS = "otherprop"
REAL_CANDIDATES = ("bag", "box", "bottle", "book", "table", "chair_other")
EVENTS = """
window.keyEvents = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (entry.name === 'keydown') window.keyEvents.push(entry.duration);
}).observe({ type: 'event', durationThreshold: 16 });
"""
REFERENCE = """<!doctype html><title>reference</title><canvas style="width:100%"></canvas><script>
window.keyToPaint = [];
const canvas = document.querySelector('canvas');
const load = async (path) => { const image = new Image(); image.src = path; await image.decode(); return image; };
let number = 0;
async function show(pressed) {
  const [photo, mask] = await Promise.all([load(`/photo/${number}`), load(`/mask/${number}`)]);
  number += 1;
  canvas.width = photo.width; canvas.height = photo.height;
  const context = canvas.getContext('2d');
  context.drawImage(photo, 0, 0);
  context.globalAlpha = 0.45;
  context.drawImage(mask, 0, 0);
  requestAnimationFrame(() => window.keyToPaint.push(performance.now() - pressed));
}
addEventListener('keydown', (event) => show(event.timeStamp));
</script>"""


@dataclass(frozen=True)
class Latency:
    """Milliseconds from keys to masks."""

    name: str
    milliseconds: tuple[float, ...]
    browser: tuple[float, ...] | None = None

    def row(self) -> str:
        """Return a row of the table."""
        p95 = quantile(self.milliseconds, 0.95)
        verdict = "aim met" if p95 < AIM_MS else "bar met" if p95 < BAR_MS else "over the bar"
        browser = "" if self.browser is None else f"{quantile(self.browser, 0.95):.0f}"
        return (
            f"| {self.name} | {len(self.milliseconds)} | {statistics.median(self.milliseconds):.1f} | {p95:.1f} | "
            f"{max(self.milliseconds):.1f} | {browser} | {verdict} |"
        )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# --- photos -------------------------------------------------------------------------------------------


def make_generated(folder: Path, *, masks: int, people: int) -> Path:
    """Make a store of one task `photos` on generated photos of 2048×1024 with sixty masks each."""
    store = make_review_store(folder)
    for number in range(-(-masks // 60)):
        labels = draw_blobs((1024, 2048), (6, 10), seed=number)
        save_picture(folder / "photos" / "labels" / f"p{number:03}.png", labels)
        photo = draw_photo(labels, seed=number, grain=8)
        save_picture(folder / "photos" / "images" / f"p{number:03}.jpg", photo)
    options = TaskOptions(redundancy=people + 4, max_redundancy=people + 4, gold_rate=0)
    add_drawn_folder(store, "photos", options=options)
    return store


def make_real(folder: Path, data: Path, *, people: int) -> Path:
    """Make a store of one task `photos` on the real photos of a folder whose class `otherprop` is split."""
    store = make_review_store(folder, classes=REAL_CANDIDATES)
    rows = ["class\trelation\tuniversal\tcandidates"]
    for _, name in read_class_table(data / "classes.tsv").classes:
        split = f"split\t{REAL_CANDIDATES[0]}\t{{{', '.join(REAL_CANDIDATES)}}}"
        rows.append(f"{name}\t{split}" if name == REAL_CLASS else f"{name}\tignore\t\t")
    mapping = folder / "mapping.tsv"
    mapping.write_text("\n".join(rows) + "\n", encoding="utf-8")
    options = TaskOptions(redundancy=people + 4, max_redundancy=people + 4, gold_rate=0)
    with Store.open(store) as opened:
        add_dataset(opened, "real", folder=data, role="train", now=NOW)
        import_mapping(opened, "real", path=mapping, author="bench", note="", now=NOW)
        make_task(
            opened, "photos", dataset="real", source_class=REAL_CLASS, options=options, now=NOW
        )
    return store


def make_hard(folder: Path) -> Path:
    """Make a store of one task `photos` on photos of 8000×6000 with six sieves each: of every fourth pixel a hole."""
    store = make_review_store(folder)
    rng = np.random.default_rng(1)
    for number in range(HARD_PHOTOS):
        labels = np.zeros((6000, 8000), np.uint8)
        for top, left in itertools.product((100, 3100), (100, 2700, 5300)):
            field = labels[top : top + 2800, left : left + 2500]
            field[:] = 1
            field[1:-1:2, 1:-1:2] = 0
        coarse = rng.integers(40, 200, (30, 40, 3), np.uint8)
        photo = cv2.resize(coarse, (8000, 6000), interpolation=cv2.INTER_LINEAR)
        save_picture(folder / "photos" / "labels" / f"p{number}.png", labels)
        save_picture(folder / "photos" / "images" / f"p{number}.jpg", photo.astype(np.uint8))
    add_drawn_folder(store, "photos", options=TaskOptions(gold_rate=0))
    return store


# --- keys ---------------------------------------------------------------------------------------------


def press_paced(page: Page, count: int, *, pause_s: float) -> None:
    """Press `count` keys, each `pause_s` after the mask that it decides was painted."""
    for number in range(count):
        before = read(page, "painted.length")
        page.keyboard.press("123"[number % 3])
        wait(page, f"pane.painted.length > {before}")
        time.sleep(pause_s)


def press_burst(page: Page, count: int) -> None:
    """Press `count` keys in a beat of 60 ms, whatever the page does."""
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number * BEAT_S - time.monotonic()))
        page.keyboard.press("123"[number % 3])
    wait(page, "pane.pending === 0 && pane.state === 'ready'")


def key_times(page: Page, *, start: int) -> tuple[float, ...]:
    """Return the pane's times from key to mask, without the first `start`."""
    return tuple(float(ms) for ms in page.evaluate("window.__msegPane.keyToPaint"))[start:]


def measure_keys(
    context: BrowserContext, server: ReviewServer, count: int
) -> tuple[list[Latency], list[str]]:
    """Measure the steady pace and the burst; returns the times and what was lost or doubled."""
    context.add_init_script(EVENTS)
    person = admit(context, server, "keys")
    page = open_review(context, server, task="photos")
    press_paced(page, WARM_UP, pause_s=PAUSE_S)
    page.evaluate("window.keyEvents.length = 0")
    press_paced(page, count, pause_s=PAUSE_S)
    steady = key_times(page, start=WARM_UP)
    # Event Timing leaves out what took less than 16 ms.
    slow = [float(ms) for ms in page.evaluate("window.keyEvents")][:count]
    browser = tuple(slow + [16.0] * (count - len(slow)))
    wait(page, "pane.pending === 0 && pane.ahead >= 4")
    decided = read(page, "decided")
    press_burst(page, BURST)
    burst = key_times(page, start=WARM_UP + count)
    problems = recount(server, {person: page})
    blind = BURST - (read(page, "decided") - decided)
    page.close()
    found = [
        Latency("150 ms after each mask", steady, browser),
        Latency(
            f"{BURST} keys at {BEAT_S * 1000:.0f} ms, {blind} of them before a mask was there",
            burst,
        ),
    ]
    return found, problems


def measure_hard(browser: Browser, store: Path) -> list[str]:
    """Measure keys on huge photos, one every two seconds, print the table, and return what was lost or doubled."""
    print("\n## Sieves on photos of 8000×6000\n")
    with serving(store) as server, contextlib.closing(new_context(browser)) as context:
        person = admit(context, server, "hard")
        page = open_review(context, server, task="photos")
        time.sleep(HARD_PAUSE_S)
        press_paced(page, HARD_KEYS, pause_s=HARD_PAUSE_S)
        found = Latency(f"{HARD_PAUSE_S:.0f} s after each mask", key_times(page, start=0))
        print(f"{HEAD}\n{found.row()}", flush=True)
        return recount(server, {person: page})


def recount(server: ReviewServer, people: dict[int, Page]) -> list[str]:
    """Compare what people's pages saw with what the store has; returns what was lost or doubled."""
    problems = faults(server.store)
    for person, page in people.items():
        wait(page, "pane.pending === 0")
        stored = masks_decided(server.store, person)
        counts = {read(page, "decided"), read(page, "acknowledged"), len(stored), len(set(stored))}
        if len(counts) != 1 or read(page, "refused"):
            problems.append(
                f"person {person}: decided, acknowledged, stored, distinct are {counts}"
            )
        seen = masks_of(server.store, leases_painted(page))[: len(stored)]
        if len(stored) < 2000 and stored != seen:
            problems.append(f"person {person}: masks stored are not the masks painted, in order")
    return problems


# --- the reference ------------------------------------------------------------------------------------


class _PlainFiles(http.server.BaseHTTPRequestHandler):
    def __init__(self, files: dict[str, tuple[str, bytes]], *rest: object) -> None:
        self.files = files
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        kind, data = self.files.get(self.path, ("text/html", REFERENCE.encode()))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextlib.contextmanager
def plain_server(store: Path) -> Iterator[str]:
    """Serve the first photos and masks of the task, and the bare page that shows them."""
    files: dict[str, tuple[str, bytes]] = {}
    with Store.open(store) as opened, opened.reading() as connection:
        of_task = masks_of_task(connection, load_task(connection, "photos").id)
        masks = list(itertools.islice(of_task, REFERENCE_MASKS))
    places = {
        image: Path(str(root)) / str(file)
        for image, root, file in ask(
            store,
            "SELECT i.id, d.root, i.image_file FROM image AS i JOIN dataset AS d ON d.id = i.dataset_id",
        )
    }
    for number, stored in enumerate(masks):
        files[f"/photo/{number}"] = ("image/jpeg", places[stored.image_id].read_bytes())
        files[f"/mask/{number}"] = ("image/png", show_mask(stored.mask))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_PlainFiles, files)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def measure_reference(context: BrowserContext, store: Path) -> Latency:
    """Measure the bare page at the steady pace."""
    with plain_server(store) as url:
        page = context.new_page()
        page.goto(url)
        for number in range(REFERENCE_MASKS):
            page.keyboard.press("1")
            page.wait_for_function(f"window.keyToPaint.length > {number}")
            time.sleep(PAUSE_S)
        times = tuple(float(ms) for ms in page.evaluate("window.keyToPaint"))
        page.close()
    return Latency("reference: <img> at each key", times)


# --- memory -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """MiB after so many decisions."""

    decisions: int
    heap: float
    renderer: float
    server: float
    bitmaps: int

    def row(self) -> str:
        """Return a row of the table."""
        return f"| {self.decisions} | {self.heap:.1f} | {self.renderer:.0f} | {self.server:.0f} | {self.bitmaps} |"


def measure_memory(
    browser: Browser, context: BrowserContext, server: ReviewServer, count: int
) -> tuple[list[Memory], list[str]]:
    """Decide `count` masks as fast as they are painted, and weigh page and server every hundred."""
    person = admit(context, server, "long")
    page = open_review(context, server, task="photos")
    devtools = context.new_cdp_session(page)
    found = [weigh(browser, devtools, page, server)]
    for _ in range(0, count, EVERY):
        press_paced(page, EVERY, pause_s=0)
        wait(page, "pane.pending === 0")
        found.append(weigh(browser, devtools, page, server))
    problems = recount(server, {person: page})
    page.close()
    return found, problems


def weigh(browser: Browser, devtools: CDPSession, page: Page, server: ReviewServer) -> Memory:
    """Weigh the page after garbage collection, the renderer process that is largest, and the server."""
    devtools.send("HeapProfiler.collectGarbage")
    heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
    whole = browser.new_browser_cdp_session()
    processes = whole.send("SystemInfo.getProcessInfo")["processInfo"]
    whole.detach()
    renderers = [rss_of(process["id"]) for process in processes if process["type"] == "renderer"]
    return Memory(
        read(page, "decided"), heap / 2**20, max(renderers) / 2**20, server.rss_bytes() / 2**20,
        read(page, "bitmaps"),
    )  # fmt: skip


# --- people -------------------------------------------------------------------------------------------


def measure_people(
    browser: Browser, server: ReviewServer, people: int, each: int
) -> tuple[str, list[str]]:
    """Let several people decide at once, in turns of one key each; returns a row and what was lost or doubled."""
    contexts = [new_context(browser) for _ in range(people)]
    pages: dict[int, Page] = {}
    for number, context in enumerate(contexts):
        person = admit(context, server, f"person-{number}")
        pages[person] = open_page(context, server, task="photos")
    for page in pages.values():
        wait(page, "pane.state === 'ready'")
    begun = time.monotonic()
    while min(read(page, "decided") for page in pages.values()) < each:
        for number, page in enumerate(pages.values()):
            page.keyboard.press("123"[number % 3])
    problems = recount(server, pages)
    took = time.monotonic() - begun
    times = [ms for page in pages.values() for ms in key_times(page, start=0)]
    acknowledged = sum(read(page, "acknowledged") for page in pages.values())
    stored = sum(len(masks_decided(server.store, person)) for person in pages)
    for context in contexts:
        context.close()
    row = (
        f"| {people} | {acknowledged} | {stored} | {len(problems)} | {stored / took:.0f} | "
        f"{statistics.median(times):.1f} | {quantile(times, 0.95):.1f} |"
    )
    return row, problems


def new_context(browser: Browser) -> BrowserContext:
    """Make a browser profile with a window of common size."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    return context


# --- the whole ----------------------------------------------------------------------------------------


def measure(browser: Browser, store: Path, title: str, options: argparse.Namespace) -> list[str]:
    """Measure one set of photos, print its tables, and return what was lost or doubled."""
    masks = ask(store, "SELECT count(*) FROM task_mask")[0][0]
    print(f"\n## {title}\n\n{masks:,} masks\n")
    with serving(store) as server:
        with contextlib.closing(new_context(browser)) as context:
            keys, problems = measure_keys(context, server, options.decisions)
            keys.append(measure_reference(context, store))
        print(HEAD)
        print("\n".join(latency.row() for latency in keys), flush=True)
        with contextlib.closing(new_context(browser)) as context:
            weights, more = measure_memory(browser, context, server, options.long)
        print(
            "\n| Decisions | JS heap MiB | renderer MiB | server MiB | open bitmaps |\n|---|---|---|---|---|"
        )
        print("\n".join(memory.row() for memory in weights), flush=True)
        row, most = measure_people(browser, server, options.people, each=40)
        print(
            "\n| People at once | acknowledged | stored | faults | decisions/s | median ms | p95 ms |\n"
            f"|---|---|---|---|---|---|---|\n{row}",
            flush=True,
        )
    return [f"{title}: {problem}" for problem in problems + more + most]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, help="folder of a dataset with a class `otherprop`")
    parser.add_argument("--decisions", type=int, default=300)
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument(
        "--long", type=int, default=1000, help="decisions over which memory is weighed"
    )
    parser.add_argument("--hard", action="store_true", help="measure huge photos and borders alone")
    return parser.parse_args()


def main() -> int:
    """Measure, print Markdown, and say by the exit status whether anything was lost or doubled."""
    options = parse_arguments()
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as made, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        print(f"Chromium {browser.version}, {time.strftime('%Y-%m-%d')}")
        if options.hard:
            problems += measure_hard(browser, make_hard(Path(made) / "hard"))
            return tell(problems)
        if options.data:
            store = make_real(Path(made) / "real", options.data.resolve(), people=options.people)
            problems += measure(browser, store, f"Real photos ({options.data.name})", options)
        masks = max(options.long, options.decisions + WARM_UP + BURST) + 100
        store = make_generated(Path(made) / "generated", masks=masks, people=options.people)
        problems += measure(browser, store, "Generated photos of 2048×1024", options)
        browser.close()
    return tell(problems)


def tell(problems: Sequence[str]) -> int:
    """Print what was lost or doubled; returns the exit status."""
    for problem in problems:
        print(f"FAULT: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
