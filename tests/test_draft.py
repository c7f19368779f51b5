"""Drafting a mapping from names, the taxonomy and decisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mseg_curate.decide import import_csv
from mseg_curate.draft import draft_mapping
from mseg_curate.errors import MappingError
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import import_mapping
from mseg_curate.store import Store

NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """A store of the MSeg taxonomy."""
    create_store(tmp_path / "store.db", now=NOW)
    return tmp_path / "store.db"


def _add(
    store: Store, folder: Path, write_folder: Callable[..., Path], *, role: str, names: list[str]
) -> None:
    labels = {"a": np.arange(len(names), dtype=np.uint8)[None]}
    write_folder(folder, labels, classes=dict(enumerate(names)))
    add_dataset(store, folder.name, folder=folder, role=role, now=NOW)


def _rows(text: str) -> dict[str, list[str]]:
    return {line.split("\t")[0]: line.split("\t")[1:] for line in text.splitlines()[1:]}


def test_known_names_are_placed_and_others_left_open(
    store_path: Path, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    """Universal names and names of published columns get a place, others a `?`, and the file is refused as it is."""
    with Store.open(store_path) as store:
        names = ["Tree", "bush", "tvmonitor", "gizmo", "cow"]
        _add(store, tmp_path / "mine", write_folder, role="train", names=names)
        text = draft_mapping(store, "mine")
        rows = _rows(text)
        assert rows["Tree"][:2] == ["keep", "vegetation"]
        assert rows["cow"][:2] == ["keep", "cow"]
        assert rows["gizmo"][0] == "?"
        (tmp_path / "draft.tsv").write_text(text, encoding="utf-8")
        with pytest.raises(MappingError, match="gizmo"):
            import_mapping(store, "mine", path=tmp_path / "draft.tsv", author="a", note="", now=NOW)


def test_a_test_dataset_takes_the_sources_of_the_column_that_knows_it(
    store_path: Path, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    """VOC's classes are fed as the published column says, each universal class feeding one of them."""
    names = ["background", "chair", "person", "sofa"]
    with Store.open(store_path) as store:
        _add(store, tmp_path / "voc", write_folder, role="test", names=names)
        rows = _rows(draft_mapping(store, "voc"))
    assert rows["chair"][1] == "{chair_other, armchair, swivel_chair, stool, seat}"
    assert rows["sofa"][1] == "{couch}"
    fed = [name for row in rows.values() for name in row[1].strip("{}").split(", ")]
    assert len(fed) == len(set(fed))


def test_decided_classes_become_a_split(store_path: Path, tmp_path: Path) -> None:
    """A class that decisions were made about is drafted as a split of its default and the classes decided."""
    votes = tmp_path / "votes.csv"
    votes.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\n"
        "bdd,train,a,1,rider,bicyclist,ann\nbdd,train,a,2,rider,motorcyclist,ann\n"
        "bdd,train,a,3,rider,none_of_these,ann\n",
        encoding="utf-8",
    )
    with Store.open(store_path) as store:
        import_csv(store, votes, now=NOW)
        text = draft_mapping(store, "bdd")
        (tmp_path / "bdd.tsv").write_text(text, encoding="utf-8")
        done = import_mapping(store, "bdd", path=tmp_path / "bdd.tsv", author="a", note="", now=NOW)
    default = _rows(text)["rider"][1]
    assert set(done.splits[0].candidates) == {default, "bicyclist", "motorcyclist"}
    assert done.splits[0].targets == (default,)
    assert _rows(text)["car"][:2] == ["keep", "car"]


def test_a_current_mapping_is_kept(store_path: Path) -> None:
    """Without decisions the draft of a mapped dataset says what its mapping says."""
    from mseg_curate.map_classes import export_mapping  # noqa: PLC0415

    with Store.open(store_path) as store:
        assert draft_mapping(store, "idd-39") == export_mapping(store, "idd-39")
