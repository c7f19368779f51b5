"""Suggestions of a trained network for the masks of a task: what is stored, how a stop is survived, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mseg_curate import suggest
from mseg_curate.core.arms import ArmChoice
from mseg_curate.decide import import_csv
from mseg_curate.errors import DatasetError, InputError, MissingExtraError, StoreError
from mseg_curate.export import write_export
from mseg_curate.images import read_image
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.suggest import Suggested, suggest_from_run

Loop = Any  # the fixture of conftest.py
CallCli = Callable[..., Any]

NOW = "2026-01-02T00:00:00+00:00"
KINDS = ("cat", "dog", "bird")
PATHS = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
_MASKS = (
    "SELECT i.split, i.name, m.segment, m.id FROM task_mask AS t JOIN mask AS m ON m.id = t.mask_id "
    "JOIN image AS i ON i.id = m.image_id WHERE t.task_id = 1 ORDER BY i.name, m.segment"
)


def ask(loop: Loop, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with Store.open(loop.store) as store:
        return run_query(store, sql)[1]


def decide_all(loop: Loop) -> None:
    """Decide every mask of the task `animals`, in turns as each of its candidates."""
    lines = ["dataset,split,image,segment,source_class,outcome,annotator"]
    lines += [
        f"coarse,{split},{name},{segment},animal,{KINDS[n % 3]},anna"
        for n, (split, name, segment, _) in enumerate(ask(loop, _MASKS))
    ]
    file = loop.root / "votes.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Store.open(loop.store) as store:
        import_csv(store, file, now=NOW)
        resolve_masks(store)


def leave_run(
    loop: Loop, arm: str = "relabeled", *, datasets: Sequence[str] = ("coarse", "zoo")
) -> Path:
    """Export an arm and write what a finished run on it leaves: weights, config.json and result.json."""
    pytest.importorskip("torch")
    from safetensors.torch import save_file  # noqa: PLC0415

    from baselines.config import EvalConfig, TrainConfig  # noqa: PLC0415
    from baselines.exports import read_export  # noqa: PLC0415
    from baselines.networks import build_network, settle_network  # noqa: PLC0415
    from baselines.results import RunResult, write_result  # noqa: PLC0415

    run_dir = Path(loop.root / "runs" / arm.replace(":", "-"))
    with Store.open(loop.store) as store:
        out = loop.root / "exports" / run_dir.name
        write_export(store, out, arm=ArmChoice.parse(arm), now=NOW)
    export = read_export(out)
    config = TrainConfig(
        backbone="resnet18", width=0.125, head_channels=16, output_stride=16, crop_px=33
    )
    network = build_network(config, classes=export.outputs, seed=1)
    run_dir.mkdir(parents=True)
    tensors = {f"model.{k}": v.contiguous() for k, v in network.state_dict().items()}
    save_file(tensors, run_dir / "checkpoint.safetensors")
    values = {
        "shared_sha256": export.shared_sha256,
        "export": str(out),
        "train": asdict(settle_network(config)) | {"weights": None},
        "evaluation": asdict(EvalConfig(base_px=24, crop_px=33, flip=False)),
    }
    (run_dir / "config.json").write_text(json.dumps(values))
    write_result(
        RunResult(
            arm=run_dir.name, seed=0, config_sha256="c", shared_sha256=export.shared_sha256,
            labels_sha256=export.labels_sha256, weights_sha256=None, device="cpu", torch_version="2",
            threads=1, steps=6, train_s=1.0, eval_s=1.0, final_loss=0.1, run_dir=run_dir, tests={},
            datasets=tuple(datasets),
        )
    )  # fmt: skip
    return run_dir


def suggest_animals(loop: Loop, run_dir: Path, **options: Any) -> tuple[Suggested, list[str]]:
    """Suggest classes for the task `animals`; returns the notes too."""
    notes: list[str] = []
    with Store.open(loop.store) as store:
        found = suggest_from_run(
            store, "animals", run_dir=run_dir, device="cpu", say=notes.append, **options
        )
    return found, notes


def test_every_mask_has_its_likeliest_candidate(loop: Loop) -> None:
    """Class and score are those of the network's mean probabilities, among the candidates; the source names the run."""
    decide_all(loop)
    run_dir = leave_run(loop)
    found, notes = suggest_animals(loop, run_dir)
    from baselines.mask_shares import average_over_masks, open_run  # noqa: PLC0415
    from mseg_curate.store.suggestions import masks_in_image  # noqa: PLC0415

    run = open_run(run_dir, device="cpu")
    expected, rest = [], []
    with Store.open(loop.store) as store, store.reading() as connection:
        for image_id, name in run_query(store, "SELECT id, name FROM image WHERE dataset_id = 1")[
            1
        ]:
            masks = masks_in_image(connection, 1, image_id, source="")
            photo = read_image(loop.root / "coarse/images" / f"{name}.png")
            means = average_over_masks(run, photo, masks=[m.mask for m in masks], names=KINDS)
            rest += (1 - means.sum(axis=1)).tolist()
            for stored, row in zip(masks, means, strict=True):
                best = int(row.argmax())
                expected.append((stored.id, KINDS[best], round(row[best] / row.sum(), 6)))
    assert expected
    assert found.rest == pytest.approx(np.mean(rest))
    stored_rows = ask(
        loop,
        "SELECT s.mask_id, u.name, s.score FROM suggestion AS s "
        "JOIN label_class AS u ON u.id = s.label_class_id ORDER BY 1",
    )
    assert [row[:2] for row in stored_rows] == [row[:2] for row in sorted(expected)]
    assert [row[2] for row in stored_rows] == pytest.approx([row[2] for row in sorted(expected)])
    assert ask(loop, "SELECT DISTINCT source FROM suggestion") == [(run.source,)]
    assert found.source == run.source
    assert (sum(found.by_class.values()), found.known) == (len(expected), 0)
    assert notes == [
        "the run was trained on 3 of the 3 photos as they are decided: it has learnt wrong decisions too, and finds "
        "fewer of them than one that was trained on other photos"
    ]


def test_a_stop_is_survived(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored image by image stays, the second call does the rest alone, and a third nothing."""
    decide_all(loop)
    run_dir = leave_run(loop)
    seen: list[str] = []
    read_photo = suggest._read_photo

    def stop_at_the_third(dataset: Any, image: Any) -> Any:
        seen.append(image.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return read_photo(dataset, image)

    monkeypatch.setattr(suggest, "_read_photo", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        suggest_animals(loop, run_dir)
    masks = len(ask(loop, _MASKS))
    (stored,) = ask(loop, "SELECT COUNT(*) FROM suggestion")[0]
    assert 0 < stored < masks
    seen.clear()
    found, _ = suggest_animals(loop, run_dir)
    assert seen == ["c"]
    assert (found.known, sum(found.by_class.values())) == (stored, masks - stored)
    again, _ = suggest_animals(loop, run_dir)
    assert (again.known, again.by_class, seen) == (masks, {}, ["c"])


def test_another_look_replaces_what_was_suggested(loop: Loop) -> None:
    """Another run, or the same one that looks in another way, suggests for all masks anew."""
    decide_all(loop)
    run_dir = leave_run(loop)
    first, _ = suggest_animals(loop, run_dir)
    second, _ = suggest_animals(loop, run_dir, settings=("flip=true", "batch=2"))
    assert second.source == first.source + ", flip=true"
    assert second.known == 0
    assert ask(loop, "SELECT DISTINCT source FROM suggestion") == [(second.source,)]


@pytest.mark.parametrize("arm", ["unrelabeled", "without:animals"])
def test_a_run_that_was_taught_the_default_is_refused(loop: Loop, arm: str) -> None:
    """Where every mask of the class was trained on as the default the run can tell nothing; nothing is stored."""
    decide_all(loop)
    run_dir = leave_run(loop, arm)
    with pytest.raises(InputError, match=r"was taught that every animal of coarse is the default"):
        suggest_animals(loop, run_dir)
    assert ask(loop, "SELECT COUNT(*) FROM suggestion") == [(0,)]


def test_a_run_that_never_saw_the_candidates_is_refused(loop: Loop) -> None:
    """With the class ignored, and one candidate named elsewhere, there is nothing to choose between."""
    decide_all(loop)
    run_dir = leave_run(loop, "ignored")
    with pytest.raises(InputError, match=r"its training labels have no pixel of dog, bird"):
        suggest_animals(loop, run_dir)


def test_candidates_that_were_never_shown_are_named(loop: Loop) -> None:
    """A run that knows some of the candidates may suggest, and says which it cannot."""
    masks = ask(loop, _MASKS)
    file = loop.root / "votes.csv"
    lines = [f"coarse,{m[0]},{m[1]},{m[2]},animal,{KINDS[n % 2]},anna" for n, m in enumerate(masks)]
    head = "dataset,split,image,segment,source_class,outcome,annotator\n"
    file.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    with Store.open(loop.store) as store:
        import_csv(store, file, now=NOW)
        resolve_masks(store)
    _, notes = suggest_animals(loop, leave_run(loop))
    assert notes[0] == "the run was never shown bird: it suggests something else for such masks"


def test_only_what_the_run_was_trained_on_counts(loop: Loop) -> None:
    """A run that was trained on other datasets alone was not shown the candidates by this one."""
    decide_all(loop)
    run_dir = leave_run(loop, datasets=("zoo",))
    with pytest.raises(InputError, match=r"no pixel of dog, bird; use a run of the arm relabeled"):
        suggest_animals(loop, run_dir)


def test_a_photo_that_changed_is_refused(loop: Loop) -> None:
    """A photo with other bytes than those that were added is named; what was suggested before is kept."""
    decide_all(loop)
    run_dir = leave_run(loop)
    path = loop.root / "coarse/images/b.png"
    Image.fromarray(255 - read_image(path)).save(path)
    with pytest.raises(DatasetError, match=r"b.png: the photo changed after its dataset was added"):
        suggest_animals(loop, run_dir)
    names = ask(
        loop,
        "SELECT DISTINCT i.name FROM suggestion AS s JOIN mask AS m ON m.id = s.mask_id "
        "JOIN image AS i ON i.id = m.image_id",
    )
    assert names == [("a",)]


def test_a_dataset_without_pixels_is_refused(loop: Loop) -> None:
    """Without the folder there is nothing to look at."""
    decide_all(loop)
    run_dir = leave_run(loop)
    with Store.open(loop.store) as store, store.writing() as connection:
        connection.exec_driver_sql("UPDATE dataset SET root = NULL WHERE name = 'coarse'")
    with pytest.raises(StoreError, match=r"coarse has no pixels yet"):
        suggest_animals(loop, run_dir)


def test_two_at_once_do_no_harm(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process was quicker with an image, there is nothing left to suggest in it."""
    decide_all(loop)
    run_dir = leave_run(loop)
    found, _ = suggest_animals(loop, run_dir)
    waiting = [(row[0], 1) for row in ask(loop, "SELECT id FROM image WHERE dataset_id = 1")]
    monkeypatch.setattr(suggest, "images_without", lambda *_, **__: waiting)
    again, _ = suggest_animals(loop, run_dir)
    assert (again.by_class, again.rest) == ({}, 0.0)
    assert ask(loop, "SELECT COUNT(*) FROM suggestion") == [(sum(found.by_class.values()),)]


def test_without_torch_it_says_what_to_install(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Suggesting from a run is refused without torch, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "baselines.mask_shares", None)
    with (
        Store.open(loop.store) as store,
        pytest.raises(MissingExtraError, match=r"pip install 'mseg-curate\[train\]'"),
    ):
        suggest_from_run(store, "animals", run_dir=loop.root)


def test_the_command_reports(loop: Loop, call_cli: CallCli) -> None:
    """Notes, the count with its source, masks by class, and where the rest of the probability went."""
    decide_all(loop)
    run_dir = leave_run(loop)
    called = call_cli(
        "task", "suggest", "--db", loop.store, "animals", "--run", run_dir, "--device", "cpu"
    )
    masks = len(ask(loop, _MASKS))
    lines = called.out.splitlines()
    assert lines[0].startswith("note: the run was trained on 3 of the 3 photos")
    assert lines[1].startswith(f"animals: {masks} masks have a suggestion from run ")
    assert lines[1].endswith(", relabeled, seed 0, pspnet with resnet18, 24 px")
    assert sum(int(line.split("\t")[1]) for line in lines[2:-1]) == masks
    assert lines[-1].endswith("% of the probability went to classes that are no candidates")
    again = call_cli("task", "suggest", "--db", loop.store, "animals", "--run", run_dir)
    assert again.out.splitlines()[-1] == f"  {masks} had it before"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a FILE, or a run with --run, one of them"),
        (("s.csv", "--run", "runs"), "give a FILE, or a run with --run, one of them"),
        (("s.csv", "--export", "x"), "--export and --set-eval go with --run"),
        (("s.csv", "--set-eval", "flip=true"), "--export and --set-eval go with --run"),
        (("--run", "runs", "--source", "net"), "--source goes with a FILE"),
    ],
)
def test_options_that_do_not_go_together(
    loop: Loop, call_cli: CallCli, words: tuple[str, ...], message: str
) -> None:
    """A call that says nothing, or two things at once, is a usage error."""
    called = call_cli("task", "suggest", "--db", loop.store, "animals", *words)
    assert called.code == 2
    assert message in called.err


def test_nothing_loads_torch_before_a_run_is_opened() -> None:
    """Importing the verb and its command loads neither torch nor the trainer."""
    code = "import sys, mseg_curate.suggest, mseg_curate.suspect, mseg_curate.cli; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | PATHS,
    )
    assert done.stdout == "False\n"
