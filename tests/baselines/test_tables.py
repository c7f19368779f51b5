"""Tables: what each row trains, that no training is done twice, and what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from baselines.config import LADDER, MULTI_SCALE, NETWORKS, RESNETS, EvalConfig, TrainConfig
from baselines.experiment import Entry, run_entries
from baselines.predict import resolutions
from baselines.recipe import Recipe, Study, choose_study, make_recipe
from baselines.results import RunResult
from baselines.study import conduct
from baselines.tables import (
    Row,
    deepen,
    ladder_table,
    network_table,
    rows_of,
    zero_shot_table,
)
from baselines.train import TrainOutcome, train
from mseg_curate.core.metrics import mean_iou
from mseg_curate.errors import ExportError, InputError, TrainingError

WriteExport = Callable[..., Path]


@pytest.fixture
def recipe(quick_config: TrainConfig, quick_evaluation: EvalConfig) -> Recipe:
    """A recipe of a few steps with one seed."""
    config = replace(quick_config, steps=2, precision="float32", warmup=0)
    return Recipe(config, quick_evaluation, (0,), device="cpu", progress=False)


@pytest.fixture
def exports(tmp_path: Path, write_export: WriteExport) -> dict[str, Path]:
    """Two arms that belong together."""
    return {
        arm: write_export(tmp_path / "exports" / arm, arm=arm)
        for arm in ("relabeled", "unrelabeled")
    }


# --- the ladder ------------------------------------------------------------------------------------


def test_the_rungs_are_those_of_the_paper(tmp_path: Path) -> None:
    """From the paper's recipe each rung adds one part; the last two go to 269 layers and share a training."""
    table = ladder_table(tmp_path, recipe=make_recipe("paper"))
    by_name = {entry.name: entry for entry in table.entries}
    assert list(by_name) == ["baseline", "augmented", "auxiliary", "pyramid", "deeper"]
    shown = [
        (
            config.network,
            config.backbone,
            config.aux_weight,
            config.scale_max,
            config.rotate_deg > 0,
        )
        for config in (entry.config for entry in table.entries)
    ]
    assert [row[:4] for row in shown] == [
        ("dilated_fcn", "resnet50", 0.0, 1.0),
        ("dilated_fcn", "resnet50", 0.0, 2.0),
        ("dilated_fcn", "resnet50", 0.4, 2.0),
        ("pspnet", "resnet50", 0.4, 2.0),
        ("pspnet", "resnet269", 0.4, 2.0),
    ]
    assert by_name["pyramid"].config == make_recipe("paper").config
    assert [row.name for row in table.rows] == [rung.name for rung in LADDER]
    assert table.rows[-2] == Row("deeper", "deeper")
    assert table.rows[-1].entry == "deeper"
    assert by_name["deeper"].evaluation.also_scales == MULTI_SCALE
    labels = [found.label for found in resolutions(by_name["deeper"].evaluation)]
    assert table.rows[-1].resolution == labels[-1]
    assert table.notes == ()


@pytest.mark.parametrize(
    ("backbone", "deeper"),
    [
        ("resnet10", "resnet18"),
        ("resnet18", "resnet34"),
        ("resnet34", "resnet50"),
        ("resnet50", "resnet269"),
        ("resnet101", "resnet152"),
        ("resnet152", "resnet269"),
        ("resnet269", None),
        ("mobilenet_v2", None),
        ("vgg16_bn", None),
    ],
)
def test_what_is_deeper(backbone: str, deeper: str | None) -> None:
    """50 layers become 269 as in the paper, others the next published depth, and some have none."""
    assert deepen(backbone) == deeper
    assert deeper is None or RESNETS.index(deeper) > RESNETS.index(backbone)


def test_without_a_deeper_backbone_the_rung_is_left_out_and_said(tmp_path: Path) -> None:
    """On MobileNetV2 the last rung is the pyramid at several scales, and the notes say both."""
    table = ladder_table(tmp_path, recipe=make_recipe("small"))
    assert [row.name for row in table.rows] == [r.name for r in LADDER if r.name != "deeper"]
    assert table.rows[-1].entry == "pyramid"
    assert table.entries[-1].evaluation.also_scales == MULTI_SCALE
    assert "No rung deeper: no published backbone is deeper than mobilenet_v2." in table.notes
    assert "multi-scale is pyramid at several scales." in table.notes


def test_the_deeper_backbone_needs_weights_of_its_own(tmp_path: Path) -> None:
    """Weights of one depth fit no other: without those of the deeper one its rung is left out."""
    recipe = make_recipe("paper", weights=tmp_path / "r50.pth", weights_sha256="ab")
    table = ladder_table(tmp_path, recipe=recipe)
    assert "give those with --deeper-weights" in table.notes[0]
    assert {entry.weights_sha256 for entry in table.entries} == {"ab"}
    deep = tmp_path / "r269.pth"
    table = ladder_table(tmp_path, recipe=recipe, deeper_weights=deep)
    assert table.entries[-1].config.weights == deep
    assert table.entries[-1].weights_sha256 is None
    assert table.notes == ()


def test_the_ladder_trains_once_for_two_rungs(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six rows come of five trainings; the last two rows are the same network at one and at several scales."""
    trained: list[str] = []

    def note(*arguments: object, **options: object) -> TrainOutcome:
        trained.append(str(json.loads(str(options["identity"]))["arm"]))
        return train(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("baselines.runs.train", note)
    found = conduct(Study("ladder"), exports, tmp_path / "runs", recipe=recipe)
    assert found is not None
    assert trained == ["baseline", "augmented", "auxiliary", "pyramid", "deeper"]
    table = ladder_table(exports["relabeled"], recipe=recipe)
    rows, _ = rows_of(table, found.results)
    assert list(rows) == [rung.name for rung in LADDER]
    result = next(result for result in found.results if result.arm == "deeper")
    assert rows["deeper"] == [result.tests]
    assert rows["multi-scale"] == [next(iter(result.others.values()))]
    text = (tmp_path / "runs/ladder.md").read_text("utf-8")
    for rung in LADDER:
        assert rung.name in text
        assert rung.published in text
    again = conduct(Study("ladder"), exports, tmp_path / "runs", recipe=recipe)
    assert again is not None
    assert again.summary.text == found.summary.text
    assert len(trained) == 5


# --- the zero-shot table ----------------------------------------------------------------------------


def test_the_rows_of_the_zero_shot_table(recipe: Recipe, exports: dict[str, Path]) -> None:
    """Each dataset alone in the reference arm, the mix, and the mix without relabeling, all configured alike."""
    table = zero_shot_table(exports, recipe=recipe)
    assert [(row.name, row.entry) for row in table.rows] == [
        ("first", "only-first"),
        ("second", "only-second"),
        ("mix", "relabeled"),
        ("mix without relabeling", "unrelabeled"),
    ]
    assert [(entry.name, entry.export_dir, entry.datasets) for entry in table.entries] == [
        ("only-first", exports["relabeled"], ("first",)),
        ("only-second", exports["relabeled"], ("second",)),
        ("relabeled", exports["relabeled"], ()),
        ("unrelabeled", exports["unrelabeled"], ()),
    ]
    assert {entry.config for entry in table.entries} == {recipe.config}
    assert {entry.truth_dir for entry in table.entries} == {exports["relabeled"]}
    assert table.notes[0].startswith("No oracle")


def test_weights_by_name_are_those_of_the_mix(recipe: Recipe, exports: dict[str, Path]) -> None:
    """A dataset alone weighs what it weighs; only the mixes take weights by name."""
    config = replace(recipe.config, dataset_weights="first=1,second=2")
    table = zero_shot_table(exports, recipe=replace(recipe, config=config))
    weights = [entry.config.dataset_weights for entry in table.entries]
    assert weights == ["equal", "equal", "first=1,second=2", "first=1,second=2"]


def make_oracle(folder: Path, write_export: WriteExport) -> Path:
    """Make an export the oracle of its own test: each test class is its own source."""
    write_export(folder, arm="relabeled")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    classes = manifest["test"][0]["classes"]
    manifest["test"][0]["sources"] = [[number] for number in range(len(classes))]
    manifest |= {"universal_classes": classes, "reachable": list(range(len(classes)))}
    manifest |= {"arm": "oracle-held_out", "shared_sha256": "its own"}
    path.write_text(json.dumps(manifest))
    for label in (folder / "train").glob("*/labels/*.png"):
        assert label.is_file()
    return folder


def test_an_oracle_is_a_row_of_its_test(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path, write_export: WriteExport
) -> None:
    """An export named oracle-… becomes the oracle of its test dataset, and none is missing."""
    exports["oracle-held_out"] = make_oracle(tmp_path / "oracle", write_export)
    table = zero_shot_table(exports, recipe=recipe)
    assert table.rows[-1] == Row("oracle held_out", "oracle-held_out", test="held_out")
    assert table.notes == ()


def test_an_oracle_of_another_test_is_refused(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path, write_export: WriteExport
) -> None:
    """An oracle that was tested on other label maps than the mix cannot stand beside it."""
    folder = make_oracle(tmp_path / "oracle", write_export)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["test/held_out/labels/scene000.png"] = "0" * 64
    path.write_text(json.dumps(manifest))
    exports["oracle-held_out"] = folder
    with pytest.raises(ExportError, match="tested on other images, labels or classes"):
        zero_shot_table(exports, recipe=recipe)


def test_an_oracle_is_no_other_arm(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path, write_export: WriteExport
) -> None:
    """An export that is tested alike but is no oracle cannot stand in the oracle's row."""
    exports["oracle-held_out"] = write_export(tmp_path / "oracle")
    with pytest.raises(ExportError, match="expected oracle-held_out, found relabeled"):
        zero_shot_table(exports, recipe=recipe)


@pytest.mark.parametrize(
    ("kind", "arms", "reference", "message"),
    [
        ("arms", ["relabeled", "oracle-exam"], "relabeled", "no other arm can be held against"),
        ("arms", ["unrelabeled"], "relabeled", "no arm of this experiment"),
        ("zero-shot", ["relabeled", "unrelabeled"], "unrelabeled", "a relabeled arm as reference"),
        ("zero-shot", ["oracle-exam", "unrelabeled"], "oracle-exam", "a relabeled arm as"),
        ("ladder", ["relabeled"], "partial", "expected relabeled, found partial"),
    ],
)
def test_arms_that_make_no_study(kind: str, arms: list[str], reference: str, message: str) -> None:
    """Whether a study can be made of its arms is known before they are exported."""
    Study("arms").check_arms(["oracle-exam"], reference="oracle-exam")
    with pytest.raises(InputError, match=message):
        Study(kind).check_arms(arms, reference=reference)


@pytest.mark.parametrize("networks", [(), ("pspnet", "unet"), ("pspnet", "pspnet")])
def test_networks_must_be_there(networks: tuple[str, ...]) -> None:
    """No network, an unknown one and one named twice make no study."""
    with pytest.raises(InputError, match="networks: expected different ones of pspnet"):
        Study("networks", networks)


@pytest.mark.parametrize("kind", ["zero-shot", "ladder", "networks"])
def test_every_resolution_is_reported(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """What was declared beside the first resolution stands in the report of every table, in a table of its own."""
    evaluation = replace(recipe.evaluation, also_px=(24,))
    study = Study(kind, ("pspnet",) if kind == "networks" else ())
    found = conduct(
        study, exports, tmp_path / "runs", recipe=replace(recipe, evaluation=evaluation)
    )
    assert found is not None
    block = found.summary.markdown.partition("## mIoU in percent at 24 px, strict")[2]
    rows = [line.split("|")[1:3] for line in block.partition("##")[0].splitlines() if line][2:]
    last = found.results[-1]
    score = mean_iou(
        last.others["24 px"]["held_out"].confusion,
        predictable=last.others["24 px"]["held_out"].predictable,
    )
    name = {"zero-shot": "mix without relabeling", "networks": "pspnet"}.get(kind, last.arm)
    assert [f" {name} ", f" {100 * score.value:.1f} "] in rows
    assert not any("multi-scale" in row[0] for row in rows)


def test_the_zero_shot_table_needs_both_mixes(recipe: Recipe, exports: dict[str, Path]) -> None:
    """Without the arm that was not relabeled there is nothing to hold the mix against."""
    with pytest.raises(
        InputError, match="as reference, and unrelabeled, found reference relabeled"
    ):
        zero_shot_table({"relabeled": exports["relabeled"]}, recipe=recipe)


def test_arms_and_table_share_their_runs(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the arms were compared, the table trains the single datasets alone; both reports stand side by side."""
    out = tmp_path / "runs"
    assert conduct(Study(), exports, out, recipe=recipe) is not None
    trained: list[tuple[str, ...]] = []

    def note(export: object, *arguments: object, **options: object) -> TrainOutcome:
        trained.append(tuple(dataset.name for dataset in export.train))  # type: ignore[attr-defined]
        return train(export, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("baselines.runs.train", note)
    found = conduct(Study("zero-shot"), exports, out, recipe=recipe)
    assert found is not None
    assert "at 24 px, strict" not in found.summary.text
    assert trained == [("first",), ("second",)]
    assert [result.datasets for result in found.results] == [
        ("first",), ("second",), ("first", "second"), ("first", "second"),
    ]  # fmt: skip
    assert "mix without relabeling" in found.summary.text
    assert {path.name for path in out.glob("*.md")} == {"report.md", "zero-shot.md"}


# --- networks ---------------------------------------------------------------------------------------


def test_networks_stand_on_what_they_can(tmp_path: Path) -> None:
    """A network keeps the given backbone where it can; else it has its own, and neither weights nor frozen blocks."""
    recipe = make_recipe("small", weights=tmp_path / "m.pth")
    table = network_table(tmp_path, ["pspnet", "fcn8s", "segnet"], recipe=recipe)
    shown = [
        (
            entry.config.network,
            entry.config.backbone,
            entry.config.weights,
            entry.config.frozen_blocks,
        )
        for entry in table.entries
    ]
    assert shown == [
        ("pspnet", "mobilenet_v2", tmp_path / "m.pth", 4),
        ("fcn8s", "vgg16", None, 0),
        ("segnet", "vgg16_bn", None, 0),
    ]
    assert table.notes == (
        "fcn8s stands on vgg16, from random weights.",
        "segnet stands on vgg16_bn, from random weights.",
    )


def test_all_networks_are_one_word(tmp_path: Path) -> None:
    """`all` is every network of the seed."""
    study = choose_study(None, networks="all")
    assert study == Study("networks", tuple(NETWORKS))
    table = network_table(tmp_path, study.networks, recipe=make_recipe("paper"))
    assert [entry.name for entry in table.entries] == list(NETWORKS)


def test_networks_are_laid_out_beside_their_published_rows(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path
) -> None:
    """The table has a row per network with its scores and what its authors published."""
    study = choose_study(None, networks="pspnet,dilated_fcn")
    found = conduct(study, exports, tmp_path / "runs", recipe=recipe)
    assert found is not None
    head, rule, pspnet, plain = [
        line for line in found.summary.markdown.splitlines() if line.startswith("|")
    ]
    assert head.count("|") == rule.count("|") == pspnet.count("|") == plain.count("|")
    assert pspnet.endswith("| 41.68 | 82.6 | 78.4 |")
    assert plain.endswith("| 37.23 | – | – |")
    assert "ade20k: ADE20K, validation set" in found.summary.text


# --- entries ---------------------------------------------------------------------------------------


def test_an_entry_of_one_dataset_trains_on_it_alone(
    recipe: Recipe, exports: dict[str, Path], tmp_path: Path
) -> None:
    """The photos of the other dataset are never read, and the result says what was trained on."""
    for path in (exports["relabeled"] / "train/first/images").iterdir():
        path.write_bytes(b"no photo")
    entry = Entry("alone", exports["relabeled"], recipe.config, recipe.evaluation, ("second",))

    def run(entry: Entry) -> list[RunResult]:
        return run_entries([entry], tmp_path / "runs", seeds=[0], device="cpu", progress=False)

    (result,) = run(entry)
    assert result.datasets == ("second",)
    assert run(entry)[0].train_s == result.train_s
    with pytest.raises(TrainingError, match="holds another run: datasets"):
        run(replace(entry, datasets=("first",)))
    with pytest.raises(InputError, match="expected different ones of first, second, found third"):
        run(replace(entry, name="other", datasets=("third",)))


def test_rows_need_results(recipe: Recipe, exports: dict[str, Path]) -> None:
    """A row without a result is an error, not an empty row."""
    with pytest.raises(TrainingError, match="row first: no results of only-first"):
        rows_of(zero_shot_table(exports, recipe=recipe), [])
