"""Take the screenshots of docs/screenshots: every page of the review on drawn scenes, by the real server and Chromium.

    python benchmarks/screenshots.py [--out docs/screenshots]

The store is made anew: one task with definitions, examples, gold, suggestions, the decisions of four simulated
people, and the masks they do not agree on. The same drawing every time; times and ids differ.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import BrowserContext, Page, sync_playwright

from mseg_curate.annotators import set_role, sign_in_person
from mseg_curate.gold import add_gold
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import import_mapping
from mseg_curate.review import LeasedMask, Operation, apply_operations, claim_masks, leased_mask
from mseg_curate.scenes import DrawnDatasets, draw_datasets
from mseg_curate.steer import add_examples, suggest_classes
from mseg_curate.store import Store
from mseg_curate.store.datasets import list_images
from mseg_curate.store.masks import masks_of_task
from mseg_curate.store.tasks import load_task
from mseg_curate.tasks import TaskOptions, make_task
from tests.app.conftest import CHROMIUM, FLAGS
from tests.app.review_server import NOW, ReviewServer, admit, await_whole, open_page, serving, wait

SIZE = {"width": 1280, "height": 800}
TASK = "vehicles"
CURATOR, NEWCOMER = "curator", "annotator 5"
# Share of right answers, and seconds that a decision takes.
PEOPLE = {
    "annotator 1": (0.98, 1.6),
    "annotator 2": (0.93, 1.1),
    "annotator 3": (0.9, 2.4),
    "annotator 4": (0.7, 0.8),
}
DEFINITIONS = {
    "car": "A road vehicle for a few people, with an enclosed body; vans for people, too.",
    "truck": "A vehicle built to carry goods: a cab and a box, a tank or an open bed behind it.",
    "bus": "A long vehicle with a row of windows, built to carry many people.",
    "bicycle": "Two wheels and pedals; the rider is not part of it.",
}
EXAMPLES, EVALUATION, TRAINING = 2, 14, 1
LEAST_EXAMPLE_PX = 900
Key = tuple[str, str, str, int]
# The pictures of a gallery, which has a shadow root of its own.
PICTURES = (
    "[...document.querySelectorAll('*')]"
    ".flatMap((node) => [...(node.shadowRoot?.querySelectorAll('img') ?? [])])"
)


# --- the store ----------------------------------------------------------------------------------------


def make_demo_store(folder: Path) -> Path:
    """Draw the datasets and make the store with its task, its helps and its decisions."""
    drawn = draw_datasets(folder / "datasets", images=36, test_images=4, size_hw=(360, 480))
    path = folder / "store.db"
    create_store(path, now=NOW)
    with Store.open(path) as store:
        sign_in_person(store, CURATOR, now=time.time())
        set_role(store, CURATOR, role="admin", by="the drawing", now=time.time())
        add_dataset(store, drawn.coarse.name, folder=drawn.coarse.folder, role="train", now=NOW)
        import_mapping(
            store,
            drawn.coarse.name,
            path=drawn.coarse.mapping,
            author=CURATOR,
            note="drawn",
            now=NOW,
        )
        options = TaskOptions(
            redundancy=2, max_redundancy=2, policy="majority(min_agreement=0.9,quorum=2)", gold_rate=0.15,
            gold_bar=0.85, gold_cap=40, instructions="Name the vehicle that the marked region shows.",
        )  # fmt: skip
        make_task(
            store, TASK, dataset=drawn.coarse.name, source_class=drawn.split_class, options=options,
            definitions=DEFINITIONS, now=NOW,
        )  # fmt: skip
        truths = true_answers(store, drawn)
        add_helps(store, truths, folder)
        for number, (name, (accuracy, seconds)) in enumerate(PEOPLE.items()):
            decide_some(store, drawn, name, accuracy=accuracy, seconds=seconds, seed=number)
    return path


def true_answers(store: Store, drawn: DrawnDatasets) -> dict[Key, tuple[str, int]]:
    """Return what each mask of the task shows, and its area in pixels."""
    with store.reading() as connection:
        task = load_task(connection, TASK)
        images = {image.id: image for image in list_images(connection, task.dataset_id)}
        masks = list(masks_of_task(connection, task.id))
    answers = {}
    for stored in masks:
        image, mask = images[stored.image_id], stored.mask
        truth = read_truth(drawn, image.key)
        window = truth[mask.box.top : mask.box.bottom, mask.box.left : mask.box.right][mask.crop()]
        name = truth_names(drawn)[int(np.bincount(window).argmax())]
        key = (image.split, image.sequence, image.name, mask.segment)
        answers[key] = (name if name in drawn.candidates else "none_of_these", mask.area_px)
    return answers


def read_truth(drawn: DrawnDatasets, key: str) -> npt.NDArray[np.uint8]:
    """Return the label map of the truth of one image."""
    labels = drawn.truth / "labels" if (drawn.truth / "labels").is_dir() else drawn.truth
    return np.asarray(Image.open(labels / f"{key}.png"), np.uint8)


def truth_names(drawn: DrawnDatasets) -> Mapping[int, str]:
    """Return the names of the classes of the truth."""
    lines = (drawn.truth / "classes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {int(line.split("\t")[0]): line.split("\t")[1] for line in lines}


def add_helps(store: Store, truths: Mapping[Key, tuple[str, int]], folder: Path) -> None:
    """Give the task examples, gold and suggestions."""
    large = [key for key, (_, area) in truths.items() if area >= LEAST_EXAMPLE_PX]
    examples = [
        (*key, name)
        for name in DEFINITIONS
        for key in [key for key in large if truths[key][0] == name][:EXAMPLES]
    ]
    columns = ("split", "sequence", "image", "segment")
    write_csv(folder / "examples.csv", (*columns, "class"), examples)
    add_examples(store, TASK, folder / "examples.csv")
    shown = {row[:4] for row in examples}
    free = [(*key, truths[key][0]) for key in large if key not in shown]
    for kind, gold in (("evaluation", free[:EVALUATION]), ("training", free[-TRAINING:])):
        add_gold(
            store,
            TASK,
            gold,
            kind=kind,
            note="The whole outline is in sight.",
            by=CURATOR,
            now=time.time(),
        )
    rows = [(*key, name, "0.9") for key, (name, _) in truths.items() if name in DEFINITIONS]
    write_csv(folder / "suggestions.csv", (*columns, "class", "score"), rows)
    suggest_classes(store, TASK, folder / "suggestions.csv", source="the drawing")


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def decide_some(
    store: Store, drawn: DrawnDatasets, name: str, *, accuracy: float, seconds: float, seed: int
) -> None:
    """Let a simulated person decide about a third of the task."""
    rng = random.Random(seed)
    now = time.time() - 3600
    person = sign_in_person(store, name, now=now)
    for _ in range(45):
        now += seconds * rng.uniform(0.6, 1.8)
        items = claim_masks(
            store,
            person.id,
            task=TASK,
            count=1,
            client=name.replace(" ", "-"),
            held=[],
            now=now,
            rng=rng,
        )
        if not items:
            return
        true = answer_of(drawn, leased_mask(store, person.id, items[0].lease, now=now))
        others = [candidate for candidate in DEFINITIONS if candidate != true]
        answer = true if rng.random() < accuracy else rng.choice(others)
        chosen = (
            {"outcome": "class", "class_name": answer}
            if answer in DEFINITIONS
            else {"outcome": answer}
        )
        decided = Operation(
            "decide", rng.randbytes(16).hex(), items[0].lease, milliseconds=int(seconds * 1000 * rng.uniform(0.6, 1.8)),
            **chosen,
        )  # fmt: skip
        apply_operations(store, person.id, [decided], client=name.replace(" ", "-"), now=now)


def answer_of(drawn: DrawnDatasets, leased: LeasedMask) -> str:
    """Return what a mask shows."""
    box, mask = leased.mask.box, leased.mask
    truth = read_truth(drawn, leased.image.key)[box.top : box.bottom, box.left : box.right]
    name = truth_names(drawn)[int(np.bincount(truth[mask.crop()]).argmax())]
    return name if name in DEFINITIONS else "none_of_these"


# --- the pictures -------------------------------------------------------------------------------------


def take_all(
    server: ReviewServer, annotator: BrowserContext, curator: BrowserContext, out: Path
) -> None:
    """Take every page, an annotator's as an annotator sees them."""
    page = open_page(annotator, server)
    page.get_by_label("Your name").wait_for()
    save(page, out / "sign-in.png")
    admit(annotator, server, NEWCOMER)
    page.goto(f"{server.url}/?task={TASK}")
    decide_a_few(page)
    save(page, out / "review.png")
    page.goto(f"{server.url}/grid?task={TASK}")
    wait(page, "pane.state === 'ready'")
    crops = page.get_by_role("group", name="Crops").get_by_role("button")
    for number in (4, 9):
        crops.nth(number).click()
    wait(page, "pane.marked === 2")
    save(page, out / "grid.png")
    page.close()
    admit(curator, server, CURATOR, role="admin")
    page = open_page(curator, server)
    page.get_by_role("button", name="Sign out").wait_for()
    page.goto(f"{server.url}/adjudicate?task={TASK}")
    wait(page, "pane.state === 'ready' && pane.ahead >= 2")
    page.keyboard.press("4")
    wait(page, "pane.state === 'verdict' && pane.pending === 0")
    page.get_by_role("region", name="Earlier votes").get_by_role("button").first.wait_for()
    save(page, out / "adjudicate.png")
    for place in ("tasks", "annotators"):
        page.goto(f"{server.url}/{place}")
        page.get_by_role("heading", level=1).wait_for()
        save(page, out / f"{place}.png")
    page.goto(f"{server.url}/tasks")
    page.get_by_role("button", name="Resolve all masks").click()
    page.get_by_text("masks resolved").wait_for()
    page.goto(f"{server.url}/browse")
    page.wait_for_function(f"{PICTURES}.filter((picture) => picture.naturalWidth > 0).length >= 9")
    save(page, out / "browse.png")
    page.get_by_role("list").get_by_role("button").nth(4).click()
    page.get_by_role("heading", name="Masks").wait_for()
    page.wait_for_function(f"{PICTURES}.filter((picture) => picture.naturalWidth > 0).length === 4")
    save(page, out / "browse-image.png")


def decide_a_few(page: Page) -> None:
    """Give the status bar something to say."""
    for key in "1231":
        wait(page, "pane.state === 'ready'")
        before = page.evaluate("__msegPane.painted.length")
        page.keyboard.press(key)
        wait(page, f"pane.painted.length > {before}")
    wait(page, "pane.pending === 0 && pane.ahead >= 4")


def save(page: Page, path: Path) -> None:
    """Take a picture of the window once its script has run."""
    await_whole(page)
    page.wait_for_load_state("networkidle")
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    picture.save(path, "PNG", optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KiB")


def main() -> int:
    """Make the store, serve it, and take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as play:
        store = make_demo_store(Path(made))
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        with serving(store) as server:
            take_all(
                server, browser.new_context(viewport=SIZE), browser.new_context(viewport=SIZE), out
            )
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
