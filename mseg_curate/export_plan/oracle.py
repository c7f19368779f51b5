"""Plans of oracles: a test dataset's own training split, in its own classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mseg_curate.core.arms import ArmChoice, Unresolved
from mseg_curate.core.label_map import LabelMap, lookup_table
from mseg_curate.core.mapping import ClassMapping, DatasetMapping, LabelSpace, Relation
from mseg_curate.errors import DatasetError, InputError, MappingError, StoreError
from mseg_curate.export_plan.plan import ExportPlan, PlannedDataset
from mseg_curate.files import canonical_json, sha256_of_text
from mseg_curate.ingest import colour_table
from mseg_curate.store import Connection
from mseg_curate.store.datasets import DatasetRow, ImageRow, list_images, load_dataset

__all__ = ["TRAIN_SPLIT", "can_have_oracle", "check_oracle", "class_index_table", "plan_oracle"]

TRAIN_SPLIT = "train"
TEST_IGNORE = 255


def plan_oracle(
    connection: Connection, *, choice: ArmChoice, copy_images: bool, datasets: Sequence[str]
) -> ExportPlan:
    """Plan the export of a test dataset that is trained on its split `train` and tested on its others.

    Its own classes take the place of the universal ones, each its own source. Raises InputError for another dataset
    than a test dataset with such splits, DatasetError where both hold the same photo.
    """
    if set(datasets) - {choice.oracle}:
        raise InputError(
            "an oracle is of one dataset", expected=choice.oracle, found=", ".join(datasets)
        )
    row, images = check_oracle(connection, choice.oracle)
    names = row.class_names
    table, colours = class_index_table(row), colour_table(row.layout)

    def plan_role(role: str, relation: Relation, chosen: Sequence[ImageRow]) -> PlannedDataset:
        entries = tuple(ClassMapping(name, relation, (name,)) for name in names)
        mapping = DatasetMapping(row.name, entries)
        return PlannedDataset(row, role, mapping, 0, tuple(chosen), table, colours)

    return ExportPlan(
        choice=choice,
        unresolved=Unresolved.IGNORE,
        copy_images=copy_images,
        space=LabelSpace(names),
        reachable=tuple(range(len(names))),
        taxonomy_sha256=sha256_of_text(canonical_json(list(names))),
        datasets=(
            plan_role("train", Relation.KEEP, [i for i in images if i.split == TRAIN_SPLIT]),
            plan_role("test", Relation.TEST, [i for i in images if i.split != TRAIN_SPLIT]),
        ),
    )


def can_have_oracle(connection: Connection, row: DatasetRow) -> bool:
    """Say whether a dataset is for testing, and has a split to train on beside one to be tested on."""
    if row.role != "test" or row.root is None:
        return False
    splits = {image.split for image in list_images(connection, row.id)}
    return TRAIN_SPLIT in splits and len(splits) > 1


def check_oracle(connection: Connection, name: str) -> tuple[DatasetRow, list[ImageRow]]:
    """Return a test dataset with its images, if an oracle of it can be trained and tested."""
    row = load_dataset(connection, name)
    if row.root is None:
        raise StoreError(
            f"dataset {name} has no pixels yet; add its folder with `mseg-curate dataset add`"
        )
    if row.role != "test":
        raise InputError(f"an oracle of dataset {name}", expected="a test dataset", found=row.role)
    images = list_images(connection, row.id)
    splits = {image.split for image in images}
    if TRAIN_SPLIT not in splits or len(splits) == 1:
        raise InputError(
            f"an oracle of dataset {name} needs a split to train on and another to be tested on",
            expected=f"{TRAIN_SPLIT} and others",
            found=", ".join(sorted(splits)),
            hint="list them in train.txt and test.txt of its folder, or leave the oracle out",
        )
    trained = {image.image_sha256: image.key for image in images if image.split == TRAIN_SPLIT}
    leaks = [
        f"{TRAIN_SPLIT}/{trained[image.image_sha256]} is {image.split}/{image.key}"
        for image in images
        if image.split != TRAIN_SPLIT and image.image_sha256 in trained
    ]
    if leaks:
        raise DatasetError(
            f"{len(leaks)} photos of {name} are in its training split and in one to test on",
            problems=leaks,
            hint="leave them out of one of the split lists",
        )
    return row, images


def class_index_table(row: DatasetRow) -> LabelMap:
    """Return the table from the class ids of a test dataset to the indices of its classes; others become 255."""
    if len(row.classes) > TEST_IGNORE:
        raise MappingError(
            f"test dataset {row.name} has {len(row.classes)} classes", expected="at most 255"
        )
    pairs = [(class_id, index) for index, (class_id, _) in enumerate(row.classes)]
    return lookup_table(pairs, dtype=np.dtype(np.uint8), ignore_label=TEST_IGNORE)
