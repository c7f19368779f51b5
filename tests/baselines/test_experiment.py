"""Experiments: several arms and seeds, taken up where they were left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from baselines.__main__ import main
from baselines.config import EvalConfig, TrainConfig
from baselines.experiment import Entry, load_results, run_entries, run_experiment
from baselines.exports import read_export
from baselines.results import RunResult, group_counts
from baselines.stopping import stop_on_signals
from mseg_curate.core.compare import compare_arms
from mseg_curate.errors import ExportError, InputError, TrainingError, TrainingStoppedError
from mseg_curate.files import hash_manifest

WriteExport = Callable[..., Path]
ARMS = ("relabeled", "partial")


@pytest.fixture
def exports(tmp_path: Path, write_export: WriteExport) -> dict[str, Path]:
    """Exports of two arms that belong together."""
    return {arm: write_export(tmp_path / "exports" / arm, arm=arm) for arm in ARMS}


@pytest.fixture
def run_quickly(
    exports: dict[str, Path],
    tmp_path: Path,
    quick_config: TrainConfig,
    quick_evaluation: EvalConfig,
) -> Callable[..., list[RunResult]]:
    """Run the experiment of both arms with some options changed."""

    def run(**options: object) -> list[RunResult]:
        standard = {
            "config": quick_config,
            "evaluation": quick_evaluation,
            "seeds": [0, 1],
            "device": "cpu",
            "progress": False,
        }
        return run_experiment(exports, tmp_path / "runs", **(standard | options))  # type: ignore[arg-type]

    return run


Run = Callable[..., list[RunResult]]


def test_every_arm_runs_with_every_seed(run_quickly: Run, tmp_path: Path) -> None:
    """Results come in the order of seeds and arms, are on disk, and can be compared."""
    results = run_quickly()
    assert [(found.seed, found.arm) for found in results] == [
        (seed, arm) for seed in (0, 1) for arm in ARMS
    ]
    folder = tmp_path / "runs" / "partial" / "seed-1"
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "log.jsonl",
        "checkpoint.safetensors",
        "counts-held_out.npz",
        "result.json",
    }
    assert len({found.config_sha256 for found in results}) == 1
    loaded = load_results(tmp_path / "runs")
    assert [(found.arm, found.seed) for found in loaded] == sorted(
        (arm, seed) for arm in ARMS for seed in (0, 1)
    )
    comparison = compare_arms(group_counts(loaded), rng=np.random.default_rng(0), resamples=10)
    assert comparison.tests == ("held_out",)
    assert comparison.left_out == {"held_out": ("unseen",)}
    for found in results:
        assert found.steps == 6
        assert found.tests["held_out"].truth.sum() > 0
        assert found.torch_version == torch.__version__


def test_finished_runs_are_taken_up(run_quickly: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call trains nothing and returns the same; a new seed is trained alone."""
    first = run_quickly(seeds=[0])
    trained: list[tuple[str, int]] = []
    original = sys.modules["baselines.experiment"].carry_out  # type: ignore[attr-defined]

    def note(run: object, **options: object) -> RunResult:
        result: RunResult = original(run, **options)
        trained.append((result.arm, result.seed))
        return result

    monkeypatch.setattr("baselines.experiment.carry_out", note)
    again = run_quickly(seeds=[0])
    assert trained == []
    for before, after in zip(first, again, strict=True):
        assert vars(before) | {"tests": 0} == vars(after) | {"tests": 0}
        for array in ("predictable", "intersection", "truth", "prediction", "confusion"):
            assert np.array_equal(
                getattr(before.tests["held_out"], array), getattr(after.tests["held_out"], array)
            )
    run_quickly(seeds=[0, 1])
    assert trained == [("relabeled", 1), ("partial", 1)]


def test_runs_of_another_configuration_are_refused(
    run_quickly: Run, quick_config: TrainConfig
) -> None:
    """Neither a finished nor a begun run is taken up under other settings."""
    run_quickly(seeds=[0])
    with pytest.raises(TrainingError, match="holds another run: config_sha256 expected"):
        run_quickly(seeds=[0], config=replace(quick_config, lr=1.0))
    harmless = replace(quick_config, checkpoint_every=3, cache_mib=1, reader_threads=1)
    assert len(run_quickly(seeds=[0], config=harmless)) == 2


def test_begun_runs_of_another_configuration_are_refused(
    run_quickly: Run, quick_config: TrainConfig, tmp_path: Path
) -> None:
    """A checkpoint without a result is protected too, and config.json stays as it was."""
    run_quickly(seeds=[0])
    folder = tmp_path / "runs" / "relabeled" / "seed-0"
    (folder / "result.json").unlink()
    before = (folder / "config.json").read_text()
    with pytest.raises(TrainingError, match="holds another run"):
        run_quickly(seeds=[0], config=replace(quick_config, lr=1.0))
    assert (folder / "config.json").read_text() == before


def test_a_stopped_experiment_goes_on_to_the_same_numbers(
    run_quickly: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SIGINT in the midst ends with a checkpoint; the second call ends as an undisturbed one."""

    @contextmanager
    def interrupt(*_: object) -> Iterator[Callable[[object, int], None]]:
        done = [0]

        def advance(_: object, count: int) -> None:
            done[0] += count
            # Six steps and three images of the first run, and three steps of the second.
            if done[0] == 12:
                os.kill(os.getpid(), signal.SIGINT)

        yield advance

    with monkeypatch.context() as patch:
        patch.setattr("baselines.experiment.show_progress", interrupt)
        with pytest.raises(TrainingStoppedError, match="stopped at step 3 of 6"):
            run_quickly(seeds=[0])
    resumed = run_quickly(seeds=[0])
    (tmp_path / "runs").rename(tmp_path / "set_aside")
    whole = run_quickly(seeds=[0])
    for ours, theirs in zip(resumed, whole, strict=True):
        assert ours.final_loss == theirs.final_loss
        assert np.array_equal(
            ours.tests["held_out"].intersection, theirs.tests["held_out"].intersection
        )


def test_arms_start_and_sample_alike(run_quickly: Run, exports: dict[str, Path]) -> None:
    """An arm whose labels equal another's ends with equal numbers: nothing else differs."""
    results = run_quickly(seeds=[0])
    exports["double"] = exports["relabeled"]
    relabeled, _, double = run_quickly(seeds=[0])
    assert relabeled.final_loss == double.final_loss == results[0].final_loss
    assert np.array_equal(relabeled.tests["held_out"].confusion, double.tests["held_out"].confusion)


def test_processes_give_what_one_gives(run_quickly: Run, tmp_path: Path) -> None:
    """Spread over two processes with one thread each, the results are those of one process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = run_quickly(seeds=[0])
    finally:
        torch.set_num_threads(before)
    (tmp_path / "runs").rename(tmp_path / "set_aside")
    spread = run_quickly(seeds=[0], jobs=2)
    if spread[0].threads == 1:
        assert [found.final_loss for found in spread] == [found.final_loss for found in alone]
    assert [(found.seed, found.arm) for found in spread] == [(0, arm) for arm in ARMS]


def test_a_failure_in_a_process_names_its_run(run_quickly: Run, exports: dict[str, Path]) -> None:
    """An error in a worker comes back as one that says which arm and seed it was."""
    image = exports["partial"] / "train/first/images/scene003.png"
    image.write_bytes(b"not an image")
    with pytest.raises(TrainingError, match=r"partial, seed 0: .*scene003\.png"):
        run_quickly(seeds=[0], jobs=2)


def test_exports_that_do_not_match_are_named(run_quickly: Run, exports: dict[str, Path]) -> None:
    """Arms whose exports share less than they must are refused, both folders named."""
    path = exports["partial"] / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shared_sha256": "other"}))
    with pytest.raises(ExportError) as caught:
        run_quickly()
    for arm in ARMS:
        assert str(exports[arm]) in str(caught.value)


def change_manifests(exports: dict[str, Path], change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of every arm."""
    for folder in exports.values():
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))


def test_changed_label_maps_are_refused_before_training(
    run_quickly: Run, exports: dict[str, Path], tmp_path: Path
) -> None:
    """Label maps of training and test that are not the manifest's are all listed, with what to do."""
    changed = ("train/first/labels/scene001.png", "test/held_out/labels/scene000.png")
    for name in changed:
        Image.new("L", (56, 40)).save(exports["partial"] / name)
    with pytest.raises(
        ExportError, match=r"2 files are not what .*run mseg-curate verify"
    ) as caught:
        run_quickly()
    assert caught.value.path == exports["partial"]
    assert set(caught.value.problems) == {f"{name}: changed" for name in changed}
    assert not (tmp_path / "runs").exists()


def test_a_label_map_that_the_manifest_does_not_know_is_refused(
    run_quickly: Run, exports: dict[str, Path]
) -> None:
    """A sample of the lists whose label map has no hash is never trained on."""
    name = "train/second/labels/scene000.png"
    change_manifests(exports, lambda manifest: manifest["files"].pop(name))
    with pytest.raises(ExportError, match=f"{name}: not in the manifest"):
        run_quickly()


def test_an_export_without_a_test_is_refused(
    run_quickly: Run, exports: dict[str, Path], tmp_path: Path
) -> None:
    """Nothing is trained that nothing could be said about."""
    change_manifests(exports, lambda manifest: manifest.update(test=[]))
    with pytest.raises(ExportError, match=r"relabeled: the export has no test dataset"):
        run_quickly()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("sources", "what"),
    [
        ([[], [3], [], [3]], "no class has a source among the reachable classes"),
        ([[], [], [], [0]], "no pixel is of a class that can be predicted: expected unseen"),
    ],
)
def test_a_test_that_cannot_score_is_refused(
    run_quickly: Run,
    exports: dict[str, Path],
    tmp_path: Path,
    sources: list[list[int]],
    what: str,
) -> None:
    """A test dataset whose classes no output feeds, or none of which occurs, is named at once."""
    change_manifests(exports, lambda manifest: manifest["test"][0].update(sources=sources))
    with pytest.raises(ExportError, match=f"test dataset held_out: {what}"):
        run_quickly()
    assert not (tmp_path / "runs").exists()


def test_a_changed_manifest_is_refused(run_quickly: Run, exports: dict[str, Path]) -> None:
    """A manifest that its own hash does not fit is named, though it still says that all is shared."""

    def seal(manifest: dict[str, Any]) -> None:
        manifest["manifest_sha256"] = hash_manifest(manifest)

    change_manifests(exports, seal)
    assert read_export(exports["partial"]).arm == "partial"
    change_manifests(
        {"partial": exports["partial"]},
        lambda manifest: manifest["test"][0].update(sources=[[0], [2], [1, 4], [3]]),
    )
    with pytest.raises(ExportError, match=r"partial/manifest\.json: the manifest was changed"):
        run_quickly()


def test_arms_must_be_tested_on_the_same_files(
    run_quickly: Run, exports: dict[str, Path], tmp_path: Path
) -> None:
    """Where the test's label maps differ the arms cannot be compared, whatever hash they claim to share."""
    name = "test/held_out/labels/scene000.png"
    change_manifests(
        {"partial": exports["partial"]},
        lambda manifest: manifest["files"].update({name: "0" * 64}),
    )
    with pytest.raises(ExportError, match="arms are not tested alike") as caught:
        run_quickly()
    assert caught.value.problems == (name,)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["unrelabeled", "without-beasts", "oracle-exam"])
def test_an_export_keeps_the_name_of_its_arm(
    exports: dict[str, Path],
    tmp_path: Path,
    name: str,
    quick_config: TrainConfig,
    quick_evaluation: EvalConfig,
) -> None:
    """What verdicts go by cannot be given to another arm's export; a word of one's own can."""
    entries = [
        Entry(called, exports["partial"], quick_config, quick_evaluation)
        for called in (name, "partial-2")
    ]
    with pytest.raises(ExportError, match=f"partial: export of .* expected {name}, found partial"):
        run_entries(entries, tmp_path / "runs", seeds=[0], device="cpu", progress=False)
    (found,) = run_entries(entries[1:], tmp_path / "runs", seeds=[0], device="cpu", progress=False)
    assert found.arm == "partial-2"


def test_weights_of_unknown_datasets_are_refused_before_training(
    run_quickly: Run, quick_config: TrainConfig, tmp_path: Path
) -> None:
    """A dataset's weight under a name that is not there is found before anything is written."""
    config = replace(quick_config, dataset_weights="first=1,third=2")
    with pytest.raises(InputError, match="third=2: dataset_weights"):
        run_quickly(config=config)
    assert not (tmp_path / "runs").exists()


def test_finished_runs_without_predictions_are_told(
    run_quickly: Run, quick_evaluation: EvalConfig
) -> None:
    """Predictions that are asked for of finished runs are not silently left out."""
    pytest.importorskip("zlib_ng")
    told: list[str] = []
    run_quickly(seeds=[0], say=told.append)
    assert not any("predicted" in line for line in told)
    evaluation = replace(quick_evaluation, predictions=True)
    run_quickly(seeds=[0, 1], evaluation=evaluation, say=told.append)
    (line,) = [line for line in told if "predicted" in line]
    assert "relabeled/seed-0" in line
    assert "partial/seed-0" in line
    assert "seed-1" not in line


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_must_be_given_once(run_quickly: Run, seeds: list[int]) -> None:
    """No seed, a repeated one and a negative one are refused before anything is trained."""
    with pytest.raises(InputError, match="needs arms and seeds"):
        run_quickly(seeds=seeds)


def test_a_damaged_result_is_named(run_quickly: Run, tmp_path: Path) -> None:
    """A result without its counts is an error with the path and what to do."""
    run_quickly(seeds=[0])
    (tmp_path / "runs/partial/seed-0/counts-held_out.npz").unlink()
    with pytest.raises(TrainingError, match=r"seed-0/result\.json: result cannot be read"):
        load_results(tmp_path / "runs")


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signal handlers as they were, whatever a test does."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_signals_become_an_answer_once(handlers: None) -> None:
    """SIGTERM is answered by the question inside the block and acts as before outside."""
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert heard == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    os.kill(os.getpid(), signal.SIGTERM)
    assert len(heard) == 2


QUICK = (
    "width=0.125 head_channels=16 steps=4 batch=2 base_px=40 crop_px=33 warmup=1 precision=float32"
)


def quick_arguments(exports: dict[str, Path], out: Path) -> list[str]:
    """Return the words of `python -m baselines` for a training of four steps."""
    arguments = [f"--arm={arm}={folder}" for arm, folder in exports.items()]
    arguments += [f"--set={setting}" for setting in QUICK.split()]
    arguments += ["--set-eval=crop_px=41", "--set-eval=flip=false", "--preset=tiny"]
    return [*arguments, "--seeds=0", f"--out={out}", "--device=cpu", "--quiet"]


def test_the_command_prints_the_comparison(exports: dict[str, Path], tmp_path: Path) -> None:
    """`python -m baselines` runs the arms, says what `auto` chose and what it found, and writes the report."""
    arguments = quick_arguments(exports, tmp_path / "runs")
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 0, ran.output
    assert "Zero-shot comparison of 2 arms" in ran.stdout
    assert "held_out" in ran.stdout
    assert f"report: {tmp_path}/runs/report.md" in ran.stdout
    assert "layout channels_last" in ran.stderr
    assert (tmp_path / "runs/report.md").read_text("utf-8").startswith("# Zero-shot comparison")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--set=speed=9"], 2, "unknown setting"),
        (["--seeds=a"], 2, "such as 0,1,2, found 'a'"),
        (["--seeds=0,0"], 2, "found '0,0'"),
        (["--seeds=0,-1"], 2, "found '0,-1'"),
        (["--table=ladder", "--networks=pspnet"], 2, "a study is of one table"),
        (["--deeper-weights=x.pth"], 2, "expected --table ladder"),
        (["--weights-sha256=00"], 2, "name them with --weights"),
        (["--networks=pspnet,unet"], 2, "networks: expected different ones of pspnet"),
        (["--table=zero-shot"], 1, "expected a relabeled arm as reference, and unrelabeled"),
        (["--reference=best"], 1, "expected relabeled or partial, found best"),
        (["--weights=nowhere.pth"], 1, "nowhere.pth"),
    ],
)
def test_the_command_refuses(
    exports: dict[str, Path], tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    """What cannot be is refused in one line before anything is trained or written."""
    ran = CliRunner().invoke(main, [*quick_arguments(exports, tmp_path / "runs"), *words])
    assert ran.exit_code == code, ran.output
    assert message in " ".join(ran.stderr.split())
    assert not (tmp_path / "runs").exists()


def test_the_trainer_needs_no_store() -> None:
    """Everything of `python -m baselines` can be imported where SQLAlchemy is not installed."""
    code = (
        "import sys\nsys.modules['sqlalchemy'] = sys.modules['alembic'] = None\n"
        "import baselines.__main__, baselines.study"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
