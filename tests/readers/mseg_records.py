"""A few published decisions of each dataset, and folders of them as both sources have them."""

from __future__ import annotations

from pathlib import Path

from mseg_curate.readers.mseg_decisions import DecisionRow

TABLE = Path(__file__).resolve().parents[2] / "taxonomy.tsv"

INDEX_HEADER = (
    "dataset\tupstream_name\tsplit\toriginal_universal_class\trelabeled_universal_class\tfile"
)
UPSTREAM = {
    "coco-panoptic-133": "cocopanoptic-v1",
    "ade20k-150": "ade20k",
    "bdd": "bdd",
    "sunrgbd-37": "sunrgbd",
    "cityscapes-19": "cityscapes",
    "idd-39": "idd",
    "mapillary-public65": "mapillary-public65",
}

Record = tuple[str, str, str, str, str, str]
"""dataset, split, from, to, file, text of the list."""


def write_lists(folder: Path, records: list[Record]) -> None:
    """Write the text lists of some records below a folder."""
    for *_, file, text in records:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def write_folder(folder: Path, records: list[Record]) -> Path:
    """Write an index and its lists, as the published copy has them."""
    write_lists(folder / "relabeled_data", records)
    lines = [
        "\t".join([dataset, UPSTREAM.get(dataset, dataset), split, old, new, file])
        for dataset, split, old, new, file, _ in records
    ]
    (folder / "relabeled_index.tsv").write_text("\n".join([INDEX_HEADER, *lines]) + "\n")
    return folder


def write_checkout(folder: Path, records: list[Record]) -> Path:
    """Write a record table in Python and its lists, as a checkout of mseg-api has them."""
    write_lists(folder / "mseg" / "relabeled_data", records)
    calls = [
        f"\tDatasetClassUpdateRecord('{UPSTREAM.get(dataset, dataset)}', '{split}', \t'{old}',"
        f" \t\t'{new}',\t'{file}'),"
        for dataset, split, old, new, file, _ in records
    ]
    write_source(
        folder,
        "\n".join(
            [
                "from mseg.label_preparation.relabeled_data_containers import (",
                "\tDatasetClassUpdateRecord)",
                "records = [",
                "\t# dataset, split, old name, new name, list",
                *calls,
                "]",
                "",
            ]
        ),
    )
    return folder


def write_source(folder: Path, source: str) -> Path:
    """Write the text of a record table into a checkout."""
    path = folder / "mseg" / "label_preparation" / "dataset_update_records.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


RECORDS: list[Record] = [
    (
        "coco-panoptic-133",
        "train",
        "cabinet",
        "desk",
        "cocop_cabinet-merged/desk_train.txt",
        "000000024880_7237508.png\n000000024881_0.png",
    ),
    (
        "coco-panoptic-133",
        "val",
        "table",
        "desk",
        "cocop_diningtable/desk.txt",
        "000000024880_12.png\n",
    ),
    (
        "coco-panoptic-133",
        "val",
        "table",
        "table",
        "cocop_table-merged/table.txt",
        "000000024880_13.png\n",
    ),
    (
        "ade20k-150",
        "train",
        "animal_other",
        "bear",
        "ade20k_animal/bear.txt",
        "ADE_train_00000577_68.png",
    ),
    ("ade20k-150", "val", "table", "desk", "ade20k_table/desk.txt", "ADE_val_00000001_5.png"),
    (
        "ade20k-150",
        "val",
        "mountain_hill",
        "snow",
        "ade20k_snow/snow.txt",
        "ADE_val_00000001_6.png",
    ),
    ("bdd", "train", "rider_other", "bicyclist", "bdd_rider/b.txt", "0f4e8f1e-6ba53d52_11.jpg"),
    ("sunrgbd-37", "val", "light_other", "lamp", "sunrgbd_lamp/lamp.txt", "img-000001_21.jpg"),
    (
        "cityscapes-19",
        "train",
        "rider_other",
        "unlabeled",
        "cityscapes_rider/none.txt",
        "seqcologne_cologne_000115_000019_leftImg8bit_70.jpg",
    ),
    (
        "idd-39",
        "train",
        "rider_other",
        "motorcyclist",
        "idd_rider/m.txt",
        "seq32_597097_leftImg8bit_117.jpg\r\nseq173_316862_leftImg8bit_34\r\n",
    ),
    (
        "mapillary-public65",
        "train",
        "dog",
        "bird",
        "groundanimal/bird.txt",
        "mapillary_czkO_9In4u30opBy5H1uLg_259.jpg\n",
    ),
]
COCO = "coco-panoptic-133"
ROWS: list[DecisionRow] = [
    (COCO, "train", "", "000000024880", 7237508, "cabinet-merged", "cabinet", "desk"),
    (COCO, "train", "", "000000024881", 0, "cabinet-merged", "cabinet", "desk"),
    (COCO, "val", "", "000000024880", 12, "dining table", "table", "desk"),
    (COCO, "val", "", "000000024880", 13, "table-merged", "table", "table"),
    ("ade20k-150", "train", "", "ADE_train_00000577", 68, "animal", "animal_other", "bear"),
    ("ade20k-150", "val", "", "ADE_val_00000001", 5, "", "table", "desk"),
    ("ade20k-150", "val", "", "ADE_val_00000001", 6, "", "mountain_hill", "snow"),
    ("bdd", "train", "", "0f4e8f1e-6ba53d52", 11, "rider", "rider_other", "bicyclist"),
    ("sunrgbd-37", "val", "", "img-000001", 21, "lamp", "light_other", "lamp"),
    (
        "cityscapes-19",
        "train",
        "cologne",
        "cologne_000115_000019_leftImg8bit",
        70,
        "rider",
        "rider_other",
        "unlabeled",
    ),
    ("idd-39", "train", "32", "597097_leftImg8bit", 117, "rider", "rider_other", "motorcyclist"),
    ("idd-39", "train", "173", "316862_leftImg8bit", 34, "rider", "rider_other", "motorcyclist"),
    (
        "mapillary-public65",
        "train",
        "",
        "czkO_9In4u30opBy5H1uLg",
        259,
        "Ground Animal",
        "dog",
        "bird",
    ),
]
