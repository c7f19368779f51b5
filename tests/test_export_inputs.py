"""What an export refuses, and what the store keeps of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mseg_curate.core.mapping import Arm
from mseg_curate.errors import (
    DatasetError,
    ExportError,
    InputError,
    MappingError,
    StoreError,
)
from mseg_curate.ingest import add_dataset
from mseg_curate.manifest import MANIFEST
from mseg_curate.map_classes import import_mapping
from mseg_curate.store import Store
from tests.naive_export import (
    NOW,
    Loop,
    decide,
    export,
    read_ids,
    tree,
)


def test_a_changed_label_map_is_refused(loop: Loop, tmp_path: Path) -> None:
    """A source label map that is not the one that was added stops the export, by its name."""
    path = loop.root / "coarse/labels/b.png"
    Image.fromarray(read_ids(path)[::-1].copy()).save(path)
    with pytest.raises(DatasetError, match=r"labels/b\.png: label map was changed"):
        export(loop, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()
    path.unlink()
    with pytest.raises(DatasetError, match=r"labels/b\.png: label map cannot be read"):
        export(loop, tmp_path / "out")


def test_a_changed_photo_is_refused(loop: Loop, tmp_path: Path) -> None:
    """A photo that is not the one that was added is not copied; restored, the export goes on."""
    path = loop.root / "zoo/images/pen/b.png"
    before = path.read_bytes()
    path.write_bytes(before + b"more")
    with pytest.raises(ExportError, match=r"pen/b\.png: photo was changed"):
        export(loop, tmp_path / "out", copy_images=True)
    path.unlink()
    with pytest.raises(InputError, match=r"pen/b\.png: cannot be read"):
        export(loop, tmp_path / "out", copy_images=True)
    assert not (tmp_path / "out" / MANIFEST).exists()
    path.write_bytes(before)
    out = export(loop, tmp_path / "out", copy_images=True).path
    assert tree(out) == tree(export(loop, tmp_path / "undisturbed", copy_images=True).path)


def test_a_resolution_outside_the_candidates_is_refused(loop: Loop, tmp_path: Path) -> None:
    """A mask resolved to a class that is no candidate any more is an error, before any file is written."""
    decide(loop)
    mapping = loop.root / "coarse.mapping.tsv"
    mapping.write_text(
        mapping.read_text(encoding="utf-8").replace("cat\t{cat, dog, bird}", "dog\t{dog, bird}"),
        encoding="utf-8",
    )
    with Store.open(loop.store) as store:
        import_mapping(store, "coarse", path=mapping, author="t", note="", now=NOW)
    with pytest.raises(MappingError, match="'cat', which is no candidate of 'animal'") as caught:
        export(loop, tmp_path / "out")
    assert caught.value.expected == "dog, bird"
    assert not (tmp_path / "out").exists()
    assert export(loop, tmp_path / "partial", arm=Arm.PARTIAL).written == 8


def test_datasets_without_a_mapping_are_listed(
    loop: Loop, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    """All datasets that lack a mapping are named at once, with the command that drafts one."""
    pixels = {"a": np.ones((4, 4), np.uint8)}
    with Store.open(loop.store) as store:
        for name in ("new1", "new2"):
            folder = write_folder(tmp_path / name, pixels, classes={1: "thing"})
            add_dataset(store, name, folder=folder, role="train", now=NOW)
    with pytest.raises(MappingError, match="2 datasets have no mapping") as caught:
        export(loop, tmp_path / "out")
    assert [p.partition(":")[0] for p in caught.value.problems] == ["new1", "new2"]
    assert "mseg-curate mapping draft new1" in caught.value.problems[0]
    assert export(loop, tmp_path / "out", datasets=["coarse", "zoo", "held_out"]).written == 8


def test_nothing_to_train_on_is_refused(loop: Loop, tmp_path: Path) -> None:
    """An export of test datasets alone, or of an unknown one, is refused."""
    with pytest.raises(StoreError, match="no training dataset has pixels"):
        export(loop, tmp_path / "out", datasets=["held_out"])
    with pytest.raises(StoreError, match="no dataset 'nobody'"):
        export(loop, tmp_path / "out", datasets=["nobody"])
    assert not (tmp_path / "out").exists()


def test_the_store_remembers_each_export_once(loop: Loop, tmp_path: Path) -> None:
    """Exports are rows of the store with their hashes; doing one again adds none."""
    done = [export(loop, tmp_path / arm, arm=arm) for arm in Arm]
    export(loop, tmp_path / Arm.PARTIAL, arm=Arm.PARTIAL)
    with closing(sqlite3.connect(loop.store)) as connection:
        rows = connection.execute(
            "SELECT arm, manifest_sha256, labels_sha256 FROM export"
        ).fetchall()
    assert rows == [(d.arm, d.manifest_sha256, d.labels_sha256) for d in done]


def test_resolved_masks_without_pixels_are_counted(loop: Loop, tmp_path: Path) -> None:
    """A mask that is resolved but was found by no task is not painted, and the export says how many there are."""
    decide(loop)
    assert export(loop, tmp_path / "all").unbound_masks == 0
    with closing(sqlite3.connect(loop.store)) as connection:
        (resolved,) = connection.execute("SELECT COUNT(*) FROM resolution").fetchone()
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM mask_geometry")
        connection.execute("UPDATE mask SET area_px = NULL")
        connection.commit()
    done = export(loop, tmp_path / "none")
    assert done.unbound_masks == resolved > 0
    assert "decided_px" not in done.counts
