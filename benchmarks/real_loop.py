"""The loop on real photos: is it worth telling animals apart in half of MSRC?

    python benchmarks/real_loop.py prepare --data DATA --out WORK
    python benchmarks/real_loop.py run --data DATA --out WORK

DATA holds msrc_v2, nyuv2_40, idd_lite, voc2012_animals, camvid and weights. `prepare` writes a copy of msrc_v2 in
which six animals are called `animal` in a random half of the images, and the mapping files. `run` calls
`mseg-curate`, and prints each call. docs/real-loop.md explains the steps, docs/results.md holds the outcome.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from mseg_curate.core.label_map import count_ids
from mseg_curate.files import write_bytes_atomically, write_text_atomically
from mseg_curate.images import encode_label_png, read_label
from mseg_curate.readers.class_table import read_class_table

ANIMALS = ("bird", "cat", "cow", "dog", "horse", "sheep")
ANIMAL_ID = 24
ACCURACIES = (100, 95, 80, 60)
ANNOTATORS = 3
SEEDS = "0,1,2"
WEIGHTS = "weights/mobilenet_v2_imagenet_from_int8_tflite.pth"

MSRC = """building keep building
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
IDD = """drivable keep road
non-drivable ignore
living things ignore
vehicles ignore
roadside objects ignore
far objects ignore
sky keep sky"""

# As the published sunrgbd-37 column places them; NYU's three catch-all classes are ignored.
NYU = """wall keep wall
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

CAMVID = {
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


def prepare(data: Path, out: Path) -> None:
    """Write the coarse copy of MSRC and the mapping files."""
    default = write_coarse_msrc(data / "msrc_v2", out / "msrc_animal")
    candidates = "{" + ", ".join(ANIMALS) + "}"
    split = f"animal\tsplit\t{default}\t{candidates}\n"
    write_text_atomically(out / "msrc_animal.tsv", mapping_text(MSRC) + split)
    write_text_atomically(out / "idd_lite.tsv", mapping_text(IDD))
    write_text_atomically(out / "nyuv2_40.tsv", mapping_text(NYU))
    rows = "".join(f"{name}\ttest\t{source}\t\n" for name, source in CAMVID.items())
    write_text_atomically(out / "camvid.tsv", mapping_text("") + rows)


def write_coarse_msrc(source: Path, target: Path) -> str:
    """Call the animals `animal` in a random half of the images; return the most frequent one in the other half."""
    classes = {name: i for i, name in read_class_table(source / "classes.tsv").classes}
    animal_ids = [classes[name] for name in ANIMALS]
    keys = sorted(path.stem for path in (source / "labels").glob("*.png"))
    coarse = set(np.random.default_rng(0).permutation(keys)[: len(keys) // 2].tolist())
    named: Counter[int] = Counter()
    for key in keys:
        label_map = read_label(source / "labels" / f"{key}.png")
        if key in coarse:
            label_map = np.where(np.isin(label_map, animal_ids), ANIMAL_ID, label_map).astype(
                np.uint8
            )
        else:
            named.update(count_ids(label_map))
        write_bytes_atomically(target / "labels" / f"{key}.png", encode_label_png(label_map))
    shutil.copytree(source / "images", target / "images", dirs_exist_ok=True)
    table = (source / "classes.tsv").read_text(encoding="utf-8").rstrip("\n")
    write_text_atomically(target / "classes.tsv", f"{table}\n{ANIMAL_ID}\tanimal\n")
    counts = {name: named[classes[name]] for name in ANIMALS}
    print("pixels that name the animals:", ", ".join(f"{n} {c:,}" for n, c in counts.items()))
    return max(counts, key=lambda name: counts[name])


def mapping_text(rows: str) -> str:
    """Turn `class relation universal` lines, whose class may hold blanks, into a mapping file."""
    lines = ["class\trelation\tuniversal\tcandidates"]
    for row in filter(None, rows.splitlines()):
        words = row.split()
        at = next(i for i, word in enumerate(words) if word in ("keep", "merge", "ignore"))
        universal = words[at + 1] if len(words) > at + 1 else ""
        lines.append(f"{' '.join(words[:at])}\t{words[at]}\t{universal}\t")
    return "\n".join(lines) + "\n"


def run(data: Path, out: Path, *, settings: list[str]) -> None:
    """Curate once per accuracy of the annotators, export the arms, train and compare them."""
    exports = []
    for accuracy in ACCURACIES:
        db = out / f"{accuracy}.db"
        if not db.exists():
            curate(data, out, db=db, accuracy=accuracy)
        arm = "relabeled" if accuracy == 100 else f"relabeled-{accuracy}"
        call("export", "--db", db, "--arm", "relabeled", "--out", out / "exports" / arm)
        exports += ["--export", f"{arm}={out / 'exports' / arm}"]
    for arm in ("unrelabeled", "ignored", "partial"):
        call("export", "--db", out / "100.db", "--arm", arm, "--out", out / "exports" / arm)
        exports += ["--export", f"{arm}={out / 'exports' / arm}"]
    options = [word for setting in settings for word in ("--set", setting)]
    call(
        *("train-baseline", "--db", out / "100.db", "--out", out / "runs", *exports),
        *(
            "--preset",
            "small",
            "--weights",
            data / WEIGHTS,
            "--seeds",
            SEEDS,
            "--jobs",
            "2",
            *options,
        ),
    )


def curate(data: Path, out: Path, *, db: Path, accuracy: int) -> None:
    """Make a store, bring in the five datasets, ask the annotators and resolve."""
    call("init", "--db", db)
    train = (
        ("msrc_animal", out / "msrc_animal"),
        ("nyuv2_40", data / "nyuv2_40"),
        ("idd_lite", data / "idd_lite"),
    )
    for name, folder in train:
        lists = ["--split", "train"] if folder.parent == data else []
        mapping = ["--mapping", out / f"{name}.tsv"]
        call("dataset", "add", "--db", db, name, folder, "--role", "train", *lists, *mapping)
    call(
        "dataset", "add", "--db", db, "voc2012_animals", data / "voc2012_animals", "--role", "test"
    )
    draft = call("mapping", "draft", "--db", db, "voc2012_animals")
    write_text_atomically(out / "voc2012_animals.tsv", draft)
    call("mapping", "import", "--db", db, "voc2012_animals", out / "voc2012_animals.tsv")
    mapping = ["--mapping", out / "camvid.tsv"]
    call(
        "dataset",
        "add",
        "--db",
        db,
        "camvid",
        data / "camvid",
        "--role",
        "test",
        "--split",
        "test",
        *mapping,
    )
    call("task", "make", "--db", db, "animals", "--dataset", "msrc_animal", "--class", "animal")
    crowd = [
        "--accuracy",
        str(accuracy / 100),
        "--annotators",
        "1" if accuracy == 100 else str(ANNOTATORS),
    ]
    call("decisions", "simulate", "--db", db, "animals", "--truth", data / "msrc_v2", *crowd)
    call("resolve", "--db", db)


def call(*words: str | Path) -> str:
    """Run mseg-curate, print the call and its output, and return the output."""
    arguments = [str(word) for word in words]
    print("$ mseg-curate", " ".join(arguments), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "mseg_curate.cli", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout, flush=True)
    return done.stdout


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["prepare", "run"])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the real datasets")
    parser.add_argument("--out", type=Path, required=True, help="a working folder")
    parser.add_argument(
        "--set", dest="settings", action="append", default=["steps=450"], metavar="NAME=VALUE"
    )
    options = parser.parse_args()
    if options.step == "prepare":
        prepare(options.data, options.out)
    else:
        run(options.data, options.out, settings=options.settings)


if __name__ == "__main__":
    main()
