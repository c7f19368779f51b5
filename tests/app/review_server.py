"""The real server on a small store of drawn photos, and how people and tests speak to it."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from app.tokens import mint_link
from mseg_curate.annotators import set_role, sign_in_person
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import import_mapping
from mseg_curate.store import Store
from mseg_curate.tasks import TaskOptions, make_task

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

ROOT = Path(__file__).parents[2]
NOW = "2026-01-01T00:00:00+00:00"
BOSS = "boss"
CLASSES = ("cat", "dog", "cow")
START_S = 60.0
Role = Literal["annotator", "curator", "admin"]


# --- a store ------------------------------------------------------------------------------------------


def make_review_store(folder: Path, *, classes: Sequence[str] = CLASSES) -> Path:
    """Make a store whose taxonomy has `classes`, with the admin BOSS, so that nobody else becomes one.

    Every lease that is ever granted is written down by a trigger, so that a test can tell which mask a lease meant.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(("ground", *classes, "unlabeled"))
    taxonomy = folder / "taxonomy.tsv"
    taxonomy.write_text("universal\n" + "".join(f"{n}\n" for n in names), encoding="utf-8")
    path = folder / "store.db"
    create_store(path, taxonomy_path=taxonomy, now=NOW)
    with Store.open(path) as store:
        sign_in_person(store, BOSS, now=time.time())
        set_role(store, BOSS, role="admin", by="test", now=time.time())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE granted (token BLOB, mask_id INTEGER, annotator_id INTEGER);"
            "CREATE TRIGGER note_grant AFTER INSERT ON lease BEGIN "
            "INSERT INTO granted VALUES (NEW.token, NEW.mask_id, NEW.annotator_id); END;"
        )
    return path


def add_question(
    path: Path,
    name: str,
    *,
    photos: int = 4,
    grid: tuple[int, int] = (3, 4),
    size_hw: tuple[int, int] = (240, 320),
    suffix: str = "jpg",
    classes: Sequence[str] = CLASSES,
    definitions: Mapping[str, str] | None = None,
    options: TaskOptions | None = None,
) -> int:
    """Draw a dataset of `photos` × rows × columns blobs and make the task of its name; returns how many masks."""
    folder = path.parent / name
    for number in range(photos):
        labels = draw_blobs(size_hw, grid, seed=number)
        save_picture(folder / "labels" / f"p{number}.png", labels)
        save_picture(folder / "images" / f"p{number}.{suffix}", draw_photo(labels, seed=number))
    return add_drawn_folder(path, name, classes=classes, definitions=definitions, options=options)


def add_drawn_folder(
    path: Path,
    name: str,
    *,
    classes: Sequence[str] = CLASSES,
    definitions: Mapping[str, str] | None = None,
    options: TaskOptions | None = None,
) -> int:
    """Add the folder `name` beside the store: label 0 is ground, 1 is `thing`, which must be split."""
    folder = path.parent / name
    keys = sorted(file.stem for file in (folder / "labels").iterdir())
    (folder / "classes.tsv").write_text("id\tname\n0\tground\n1\tthing\n", encoding="utf-8")
    (folder / "train.txt").write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
    mapping = path.parent / f"{name}.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\nground\tkeep\tground\t\n"
        f"thing\tsplit\t{classes[0]}\t{{{', '.join(classes)}}}\n",
        encoding="utf-8",
    )
    with Store.open(path) as store:
        add_dataset(store, name, folder=folder, role="train", now=NOW)
        import_mapping(store, name, path=mapping, author="test", note="", now=NOW)
        made = make_task(
            store,
            name,
            dataset=name,
            source_class="thing",
            options=options,
            definitions=definitions,
            now=NOW,
        )
    return made.task.masks


def draw_blobs(
    size_hw: tuple[int, int], grid: tuple[int, int], *, seed: int
) -> npt.NDArray[np.uint8]:
    """Draw one ellipse in each field of a grid: a label map of 0 and 1 whose blobs do not touch."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size_hw, np.uint8)
    field_h, field_w = size_hw[0] / grid[0], size_hw[1] / grid[1]
    for row in range(grid[0]):
        for column in range(grid[1]):
            axes = (field_w * rng.uniform(0.2, 0.42), field_h * rng.uniform(0.2, 0.42))
            middle = ((column + 0.5) * field_w, (row + 0.5) * field_h)
            angle = float(rng.uniform(-10, 10))
            cv2.ellipse(labels, (middle, (axes[0] * 2, axes[1] * 2), angle), 1, -1)
    return labels


def draw_photo(
    labels: npt.NDArray[np.uint8], *, seed: int, grain: float = 6
) -> npt.NDArray[np.uint8]:
    """Draw what has the weight of a photo: soft shapes, other colours where the labels are 1, and grain."""
    rng = np.random.default_rng([seed, 1])
    height, width = labels.shape
    coarse = rng.integers(40, 200, (9, 16, 3), np.uint8)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    soft += labels[..., None] * rng.uniform(-60, 60, 3)
    soft += rng.normal(0, grain, (height, width, 1)).astype(np.float32)
    return np.clip(soft, 0, 255).astype(np.uint8)


def save_picture(path: Path, pixels: npt.NDArray[np.uint8], *, quality: int = 88) -> None:
    """Write pixels in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if path.suffix == ".jpg":
        picture.save(path, quality=quality)
    else:
        picture.save(path)


def ask(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Return the rows of a query on a store, read by a connection of its own."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(statement, values).fetchall()


def change(path: Path, statement: str, *values: object) -> None:
    """Change a store behind the server's back."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.execute(statement, values)


# --- the server ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class ReviewServer:
    """`streamlit run app/main.py` on one store and a port of its own; it can be killed and started again."""

    store: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.port = self.port or _free_port()

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.store.parent / "server.log"

    def start(self) -> None:
        """Start, and return once the server says that it is well."""
        command = [sys.executable, "-m", "streamlit", "run", "app/main.py"]
        command += ["--server.port", str(self.port), "--server.address", "127.0.0.1"]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "MSEG_CURATE_DB": str(self.store),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._await_health()

    def _await_health(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.05)
        log = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"the server on port {self.port} did not start: {log}")

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def rss_bytes(self) -> int:
        """Return how much memory the server holds."""
        assert self.process is not None
        return rss_of(self.process.pid)


def rss_of(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(store: Path) -> Iterator[ReviewServer]:
    """Serve a store for as long as the block runs."""
    server = ReviewServer(store)
    server.start()
    try:
        yield server
    finally:
        server.kill()


# --- people at the server -----------------------------------------------------------------------------


def sign_in(page: Page, server: ReviewServer, name: str) -> None:
    """Sign in as people do: by the field 'Your name' and Enter."""
    page.goto(f"{server.url}/")
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Your name").press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()


def admit(
    context: BrowserContext, server: ReviewServer, name: str, *, role: Role = "annotator"
) -> int:
    """Give a browser profile the cookie of a person, who is made where there is none; returns the person's id."""
    with Store.open(server.store) as store:
        person = sign_in_person(store, name, now=time.time())
        if role != person.role:
            set_role(store, name, role=role, by="test", now=time.time())
    token = mint_link(server.store, person.id, now=time.time())
    answer = context.request.get(f"{server.url}/review/link/{token}", max_redirects=0)
    assert answer.status == 303, answer.text()
    assert "problem" not in answer.headers["location"]
    return person.id


def open_page(
    context: BrowserContext, server: ReviewServer, place: str = "", *, task: str = ""
) -> Page:
    """Open a page of the app in a new tab: '' is Review, else its address, such as grid."""
    page = context.new_page()
    page.goto(f"{server.url}/{place}" + (f"?task={task}" if task else ""))
    return page


def open_review(
    context: BrowserContext, server: ReviewServer, *, task: str, place: str = ""
) -> Page:
    """Open a page with a pane, and return once its first mask is painted."""
    page = open_page(context, server, place, task=task)
    wait(page, "pane.state === 'ready'")
    return page


def wait(page: Page, condition: str) -> None:
    """Wait until a condition on the pane's counters (`pane`) holds."""
    page.wait_for_function(
        f"(() => {{ const pane = window.__msegPane; return Boolean(pane && ({condition})); }})()"
    )


def await_whole(page: Page) -> None:
    """Wait until a page's script has run to its end and what it shows is there."""
    page.wait_for_function(
        "document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]') && "
        "!document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner]')"
    )


def read(page: Page, name: str) -> int:
    """Return one of the pane's counters."""
    return int(page.evaluate(f"window.__msegPane.{name}"))


def leases_painted(page: Page) -> list[str]:
    """Return the leases in the order in which their masks were painted."""
    return [str(lease) for lease in page.evaluate("window.__msegPane.painted.map((e) => e.lease)")]


# --- what the store says ------------------------------------------------------------------------------


def masks_of(store: Path, leases: Sequence[str]) -> list[int]:
    """Return which masks leases were granted for."""
    granted = {
        bytes(token).hex(): mask for token, mask in ask(store, "SELECT token, mask_id FROM granted")
    }
    return [int(granted[lease]) for lease in leases]


def masks_decided(store: Path, person: int, *, mode: str = "single") -> list[int]:
    """Return the masks of a person's decisions in the order in which they were stored; undone ones, too."""
    found = ask(
        store,
        "SELECT mask_id FROM decision WHERE annotator_id = ? AND mode = ? AND outcome <> 'withdrawn' ORDER BY id",
        person,
        mode,
    )
    return [int(mask) for (mask,) in found]


def faults(store: Path) -> list[str]:
    """Recount a store: masks over their redundancy, people twice on one mask, slots and decisions that disagree."""
    standing = (
        "decision AS d WHERE d.outcome <> 'withdrawn' AND d.mode IN ('single', 'grid') "
        "AND NOT EXISTS (SELECT 1 FROM decision AS later WHERE later.supersedes_id = d.id)"
    )
    checks = {
        "masks with more decisions than the most their task asks for": (
            f"SELECT d.mask_id FROM {standing} "
            "AND NOT EXISTS (SELECT 1 FROM gold AS g WHERE g.mask_id = d.mask_id AND g.task_id = d.task_id) "
            "GROUP BY d.task_id, d.mask_id HAVING count(*) > (SELECT max_redundancy FROM task WHERE id = d.task_id)"
        ),
        "people with two standing decisions on one mask": (
            f"SELECT d.mask_id FROM {standing} GROUP BY d.annotator_id, d.mask_id HAVING count(*) > 1"
        ),
        "decisions replaced twice": (
            "SELECT supersedes_id FROM decision WHERE supersedes_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
        ),
        "slots that name a decision of another mask or person": (
            "SELECT s.id FROM task_slot AS s JOIN decision AS d ON d.id = s.decision_id "
            "WHERE d.mask_id <> s.mask_id OR d.annotator_id <> s.annotator_id"
        ),
    }
    return [what for what, query in checks.items() if ask(store, query)]
