"""The data of the real experiment: MSRC with coarse names, and what every class of five datasets means."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mseg_curate.core.label_map import count_ids
from mseg_curate.files import write_bytes_atomically, write_text_atomically
from mseg_curate.images import encode_label_png, read_label
from mseg_curate.readers.class_table import read_class_table

__all__ = ["COARSE_NAME", "CONDITIONS", "QUESTIONS", "Question", "prepare_condition"]

COARSE_NAME: Final = "msrc_coarse"
CONDITIONS: Final = ("half", "all")
HALF_SEED: Final = 0


@dataclass(frozen=True)
class Question:
    """One task: the MSRC classes that lose their names, the coarse name, and the test classes that may gain.

    `members` are MSRC names with the universal class of each; `tests[test]` are classes of a test dataset.
    """

    task: str
    coarse: str
    coarse_id: int
    members: Mapping[str, str]
    tests: Mapping[str, tuple[str, ...]]


QUESTIONS: Final = (
    Question(
        "animals",
        "animal",
        24,
        {name: name for name in ("bird", "cat", "cow", "dog", "horse", "sheep")},
        {"voc2012_animals": ("bird", "cat", "cow", "dog", "horse", "sheep")},
    ),
    Question(
        "vehicles",
        "vehicle",
        25,
        {"car": "car", "bicycle": "bicycle", "boat": "boat_ship"},
        {"voc2012_animals": ("bicycle", "boat", "car"), "camvid": ("Car", "Bicyclist")},
    ),
)

MSRC: Final = """building keep building
grass keep terrain
tree merge vegetation
cow keep cow
horse keep horse
sheep keep sheep
sky keep sky
mountain keep mountain_hill
aeroplane keep airplane
water keep water_other
face merge person
car keep car
bicycle keep bicycle
flower merge vegetation
sign keep traffic_sign
bird keep bird
book keep book
chair keep chair_other
road keep road
cat keep cat
dog keep dog
body merge person
boat keep boat_ship"""

# IDD-Lite's coarse classes hold too much to be one universal class: all arms ignore them alike.
IDD: Final = """drivable keep road
non-drivable ignore
living things ignore
vehicles ignore
roadside objects ignore
far objects ignore
sky keep sky"""

# As the published sunrgbd-37 column places them; NYU's three catch-all classes are ignored.
NYU: Final = """wall keep wall
floor keep floor
cabinet keep cabinet
bed keep bed
chair keep chair_other
sofa keep couch
table keep table
door keep door
window keep window
bookshelf keep bookshelf
picture keep painting
counter keep counter_other
blinds keep window_blind
desk keep desk
shelves keep shelf
curtain keep curtain_other
dresser keep chest_of_drawers
pillow keep pillow
mirror keep mirror
floor mat keep rug_floormat
clothes keep apparel
ceiling keep ceiling
books keep book
refridgerator keep refrigerator
television keep television
paper keep paper
towel keep towel
shower curtain keep shower_curtain
box keep box
whiteboard keep whiteboard
person keep person
night stand keep nightstand
toilet keep toilet
sink keep sink
lamp keep light_other
bathtub keep bathtub
bag keep bag
otherstructure ignore
otherfurniture ignore
otherprop ignore"""

CAMVID: Final = {
    "Sky": "sky",
    "Building": "building",
    "Pole": "pole",
    "Road": "road",
    "Pavement": "sidewalk_pavement",
    "Tree": "vegetation",
    "SignSymbol": "traffic_sign",
    "Fence": "fence",
    "Car": "car",
    "Pedestrian": "person",
    "Bicyclist": "{bicyclist, bicycle}",
}


def prepare_condition(data: Path, folder: Path, *, condition: str) -> list[str]:
    """Write the coarse copy of MSRC and all mapping files of a condition into `folder`; return what to print.

    The training images are MSRC's train and test lists together; its val list keeps every name and is validation
    alone. In the condition `half` a random half of the training images loses the names, in `all` every one.
    """
    source, target = data / "msrc_v2", folder / COARSE_NAME
    keys = sorted(_read_list(source / "train.txt") + _read_list(source / "test.txt"))
    order = np.random.default_rng(HALF_SEED).permutation(keys).tolist()
    coarse = set(order if condition == "all" else order[: len(order) // 2])
    validation = _read_list(source / "val.txt")
    named = _write_label_maps(source, target, [*keys, *validation], coarse=coarse)
    shutil.copytree(source / "images", target / "images", dirs_exist_ok=True)
    write_text_atomically(target / "train.txt", "".join(f"{key}\n" for key in keys))
    write_text_atomically(target / "val.txt", "".join(f"{key}\n" for key in validation))
    table = (source / "classes.tsv").read_text(encoding="utf-8").rstrip("\n")
    rows = "".join(f"\n{q.coarse_id}\t{q.coarse}" for q in QUESTIONS)
    write_text_atomically(target / "classes.tsv", f"{table}{rows}\n")
    # Where no training image names them any more, the original labels must say which is the default.
    train = set(keys) if condition == "all" else set(keys) - coarse
    pixels = sum((named[key] for key in train), Counter())
    return _write_mappings(
        folder, pixels, where=f"{len(train)} original" if condition == "all" else f"{len(train)}"
    )


def _write_label_maps(
    source: Path, target: Path, keys: Sequence[str], *, coarse: set[str]
) -> dict[str, Counter[str]]:
    """Write each label map, with coarse names where `coarse` says so; return its original pixels per class."""
    names = dict(read_class_table(source / "classes.tsv").classes)
    ids = {name: i for i, name in names.items()}
    original: dict[str, Counter[str]] = {}
    for key in keys:
        label_map = read_label(source / "labels" / f"{key}.png")
        original[key] = Counter(
            {names[i]: count for i, count in count_ids(label_map).items() if i in names}
        )
        if key in coarse:
            label_map = label_map.copy()
            for question in QUESTIONS:
                members = [ids[name] for name in question.members]
                label_map[np.isin(label_map, members)] = question.coarse_id
        write_bytes_atomically(target / "labels" / f"{key}.png", encode_label_png(label_map))
    return original


def _write_mappings(folder: Path, pixels: Counter[str], *, where: str) -> list[str]:
    splits, said = "", []
    for question in QUESTIONS:
        counts = {name: pixels[name] for name in question.members}
        default = max(counts, key=lambda name: counts[name])
        candidates = ", ".join(question.members.values())
        splits += f"{question.coarse}\tsplit\t{question.members[default]}\t{{{candidates}}}\n"
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        said.append(
            f"{folder.name}: default of {question.coarse} is {default}: most pixels in {where} images ({shown})"
        )
    write_text_atomically(folder / f"{COARSE_NAME}.tsv", mapping_text(MSRC) + splits)
    write_text_atomically(folder / "idd_lite.tsv", mapping_text(IDD))
    write_text_atomically(folder / "nyuv2_40.tsv", mapping_text(NYU))
    rows = "".join(f"{name}\ttest\t{source}\t\n" for name, source in CAMVID.items())
    write_text_atomically(folder / "camvid.tsv", mapping_text("") + rows)
    return said


def mapping_text(rows: str) -> str:
    """Turn `class relation universal` lines, whose class may hold blanks, into a mapping file."""
    lines = ["class\trelation\tuniversal\tcandidates"]
    for row in filter(None, rows.splitlines()):
        words = row.split()
        at = next(i for i, word in enumerate(words) if word in ("keep", "merge", "ignore"))
        universal = words[at + 1] if len(words) > at + 1 else ""
        lines.append(f"{' '.join(words[:at])}\t{words[at]}\t{universal}\t")
    return "\n".join(lines) + "\n"


def _read_list(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split()
