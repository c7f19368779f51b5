"""Fixtures shared by all tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mseg_curate.cli import main
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import import_mapping
from mseg_curate.store import Store
from mseg_curate.tasks import make_task


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real datasets beside a development checkout; skips where it is missing."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real datasets are not beside this checkout ({folder} is missing)")
    return folder


# --- the small loop: two training datasets that must be split, one test dataset ---------------------

NOW = "2026-01-01T00:00:00+00:00"
LOOP_UNIVERSAL = ("ground", "cat", "dog", "bird", "tree", "rock", "unseen")
LOOP_CLASSES: Mapping[str, Mapping[int, str]] = {
    "coarse": {
        0: "void (ignore)", 1: "floor", 2: "animal", 3: "plant", 4: "bush", 5: "blob",
    },
    "zoo": {3: "floor", 7: "cat", 9: "stone", 255: "unlabelled (ignore)", 300: "beast"},
    "held_out": {0: "outside (ignore)", 10: "floor", 20: "pet", 30: "bird", 40: "nothing"},
}  # fmt: skip
LOOP_MAPPINGS = {
    "coarse": (
        "floor\tkeep\tground\t\nanimal\tsplit\tcat\t{cat, dog, bird}\nplant\tmerge\ttree\t\n"
        "bush\tmerge\ttree\t\nblob\tignore\t\t\n"
    ),
    "zoo": (
        "floor\tkeep\tground\t\ncat\tkeep\tcat\t\nstone\tkeep\trock\t\n"
        "beast\tsplit\tdog\t{dog, bird}\n"
    ),
    "held_out": "floor\ttest\tground\t\npet\ttest\t{cat, dog}\t\nbird\ttest\tbird\t\nnothing\ttest\t\t\n",
}
LOOP_SPLITS = {
    "coarse": {"train": ("a", "b", "c")},
    "zoo": {"train": ("pen/a", "pen/b"), "val": ("c",)},
    "held_out": {"test": ("a", "b")},
}
LOOP_ROLES = {"coarse": "train", "zoo": "train", "held_out": "test"}
LabelMaps = dict[str, npt.NDArray[np.uint16]]


@dataclass(frozen=True)
class Loop:
    """Dataset folders and the store they were added to; label maps are kept as they were drawn."""

    root: Path
    store: Path
    label_maps: Mapping[str, LabelMaps]
    segments: Mapping[str, LabelMaps]

    def split_of(self, dataset: str, key: str) -> str:
        """Return the split that lists an image."""
        return next(s for s, keys in LOOP_SPLITS[dataset].items() if key in keys)


def write_dataset_folder(
    folder: Path,
    label_maps: Mapping[str, npt.NDArray[np.generic]],
    *,
    classes: Mapping[int, str],
    splits: Mapping[str, Sequence[str]] | None = None,
    segments: Mapping[str, npt.NDArray[np.generic]] | None = None,
    seed: int = 0,
) -> Path:
    """Write a dataset folder with random photos; label maps above 255 become 16-bit PNGs."""
    rng = np.random.default_rng(seed)
    for key, label_map in label_maps.items():
        photo = rng.integers(0, 256, (*label_map.shape, 3), np.uint8)
        _save_png(folder / "images" / f"{key}.png", photo)
        wide = label_map.max() > 255
        _save_png(
            folder / "labels" / f"{key}.png", label_map.astype(np.uint16 if wide else np.uint8)
        )
    for key, segment_map in (segments or {}).items():
        _save_png(folder / "segments" / f"{key}.png", segment_map.astype(np.uint16))
    rows = "".join(f"{i}\t{name}\n" for i, name in classes.items())
    (folder / "classes.tsv").write_text(f"id\tname\n{rows}", encoding="utf-8")
    for split, keys in (splits or {}).items():
        (folder / f"{split}.txt").write_text("".join(f"{k}\n" for k in keys), encoding="utf-8")
    return folder


def _save_png(path: Path, pixels: npt.NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def draw_label_maps(
    dataset: str, *, seed: int = 0, size_hw: tuple[int, int] = (12, 16)
) -> LabelMaps:
    """Draw blocks and specks of random classes for every image of a dataset of the loop."""
    rng = np.random.default_rng([seed, len(dataset)])
    ids = np.array(list(LOOP_CLASSES[dataset]), np.uint16)
    drawn: LabelMaps = {}
    for keys in LOOP_SPLITS[dataset].values():
        for key in keys:
            height, width = size_hw
            blocks = rng.choice(ids, (-(-height // 4), -(-width // 4)))
            label_map = np.kron(blocks, np.ones((4, 4), np.uint16))[:height, :width]
            specks = rng.random(size_hw) < 0.15
            label_map[specks] = rng.choice(ids, size_hw)[specks]
            drawn[key] = label_map
    return drawn


def make_loop_folder(
    root: Path, dataset: str, *, seed: int = 0, size_hw: tuple[int, int] = (12, 16)
) -> tuple[LabelMaps, LabelMaps]:
    """Write one dataset of the loop with its mapping file; `zoo` alone has native segments."""
    label_maps = draw_label_maps(dataset, seed=seed, size_hw=size_hw)
    segments: LabelMaps = {}
    if dataset == "zoo":
        rng = np.random.default_rng([seed, 9])
        segments = {
            key: np.kron(rng.integers(0, 900, (2, 2)), np.ones(size_hw)).astype(np.uint16)[
                size_hw[0] // 3 :, size_hw[1] // 3 :
            ][: size_hw[0], : size_hw[1]]
            for key in label_maps
        }
    write_dataset_folder(
        root / dataset,
        label_maps,
        classes=LOOP_CLASSES[dataset],
        splits=LOOP_SPLITS[dataset],
        segments=segments,
        seed=seed + len(dataset),
    )
    text = "class\trelation\tuniversal\tcandidates\n" + LOOP_MAPPINGS[dataset]
    (root / f"{dataset}.mapping.tsv").write_text(text, encoding="utf-8")
    return label_maps, segments


def make_loop(root: Path, *, seed: int = 0, size_hw: tuple[int, int] = (12, 16)) -> Loop:
    """Write the folders, make the store, add and map the datasets, and make both tasks."""
    taxonomy = root / "taxonomy.tsv"
    taxonomy.write_text("universal\n" + "\n".join(LOOP_UNIVERSAL) + "\n", encoding="utf-8")
    path = root / "store.db"
    create_store(path, taxonomy_path=taxonomy, now=NOW)
    label_maps, segments = {}, {}
    with Store.open(path) as store:
        for name, role in LOOP_ROLES.items():
            label_maps[name], segments[name] = make_loop_folder(
                root, name, seed=seed, size_hw=size_hw
            )
            add_dataset(store, name, folder=root / name, role=role, now=NOW)
            mapping = root / f"{name}.mapping.tsv"
            import_mapping(store, name, path=mapping, author="test", note="", now=NOW)
        make_task(store, "animals", dataset="coarse", source_class="animal", now=NOW)
        make_task(store, "beasts", dataset="zoo", source_class="beast", now=NOW)
    return Loop(root, path, label_maps, segments)


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """The small loop up to its tasks, without decisions."""
    return make_loop(tmp_path)


@pytest.fixture
def build_loop() -> Callable[..., Loop]:
    """The function that makes the small loop in a folder."""
    return make_loop


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    """The function that writes a dataset folder."""
    return write_dataset_folder


@dataclass(frozen=True)
class Called:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one error message: its first line, and the indented lines of its problems."""
        first, *rest = self.err.splitlines()
        assert first.startswith("mseg-curate: ")
        assert all(line.startswith("  ") for line in rest)
        assert "Traceback" not in self.err
        return self.err


@pytest.fixture
def call_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Called]:
    """A function that runs `mseg-curate` with some words in this process."""

    def call(*words: str | Path) -> Called:
        monkeypatch.setattr(sys, "argv", ["mseg-curate", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Called(code, captured.out, captured.err)

    return call


# --- a small store of one split class, and the folder it was made from ------------------------------

SMALL_TAXONOMY = "universal\nground\ncat\ndog\ncow\nsky\nunlabeled\n"
FARM_CLASSES = "id\tname\n0\tground\n1\tanimal\n2\tsky\n255\tignore\n"
FARM_MAPPING = (
    "class\trelation\tuniversal\tcandidates\n"
    "ground\tkeep\tground\t\nanimal\tsplit\tcat\t{cat, dog, cow}\nsky\tkeep\tsky\t\n"
)
# Animals are 1: two components in `a`, one that touches itself by corners in `b`, none in `c`.
FARM_LABELS = {
    "a": [[0, 1, 1, 0, 0, 0, 2, 2], [0, 1, 1, 0, 1, 0, 2, 2], [0, 0, 0, 0, 1, 0, 2, 255]],
    "b": [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 2]],
    "c": [[0, 0], [2, 0]],
}

WriteDataset = Callable[..., Path]


@pytest.fixture(scope="session")
def write_dataset() -> WriteDataset:
    """Write a dataset folder: `labels` and `segments` are arrays by image id, `lists` the text of split lists.

    Labels of dtype uint16 become 16-bit PNGs, those of shape (H, W, 3) RGB ones; photos are noise of their size.
    """

    def write(
        root: Path,
        labels: Mapping[str, npt.ArrayLike],
        *,
        classes: str | None,
        segments: Mapping[str, npt.ArrayLike] | None = None,
        lists: Mapping[str, str] | None = None,
    ) -> Path:
        rng = np.random.default_rng(0)
        for kind, maps in (("labels", labels), ("segments", segments or {})):
            for key, values in maps.items():
                pixels = np.asarray(values)
                path = root / kind / f"{key}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                wide = pixels.dtype == np.uint16
                Image.fromarray(pixels if wide else pixels.astype(np.uint8)).save(path)
        for key, values in labels.items():
            photo = rng.integers(0, 256, (*np.asarray(values).shape[:2], 3), dtype=np.uint8)
            path = root / "images" / f"{key}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo).save(path)
        if classes is not None:
            (root / "classes.tsv").write_text(classes, encoding="utf-8")
        for name, text in (lists or {}).items():
            (root / f"{name}.txt").write_text(text, encoding="utf-8")
        return root

    return write


@pytest.fixture(scope="session")
def _small_store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small_store")
    (folder / "taxonomy.tsv").write_text(SMALL_TAXONOMY, encoding="utf-8")
    create_store(folder / "store.db", taxonomy_path=folder / "taxonomy.tsv", now=NOW)
    return folder / "store.db"


@pytest.fixture(scope="session")
def _mseg_store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mseg_store") / "store.db"
    create_store(path, now=NOW)
    return path


@pytest.fixture
def small_store(_small_store_file: Path, tmp_path: Path) -> Iterator[Store]:
    """A store of the classes ground, cat, dog, cow and sky, without datasets."""
    shutil.copyfile(_small_store_file, tmp_path / "store.db")
    with Store.open(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
def mseg_store(_mseg_store_file: Path, tmp_path: Path) -> Iterator[Store]:
    """A store of the taxonomy that ships with mseg-curate, with its declared datasets, without pixels."""
    shutil.copyfile(_mseg_store_file, tmp_path / "mseg.db")
    with Store.open(tmp_path / "mseg.db") as store:
        yield store


@pytest.fixture
def farm(write_dataset: WriteDataset, tmp_path: Path) -> Path:
    """A training dataset of three images whose class `animal` must be split; 255 is ignored."""
    lists = {"train": "a\nb\n", "val": "c\n"}
    return write_dataset(tmp_path / "farm", FARM_LABELS, classes=FARM_CLASSES, lists=lists)


@pytest.fixture
def farm_store(small_store: Store, farm: Path, tmp_path: Path) -> Store:
    """A store with the dataset farm, its mapping, and the task `kinds`: masks a/0, a/1 and b/0."""
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    mapping = tmp_path / "farm.tsv"
    mapping.write_text(FARM_MAPPING, encoding="utf-8")
    import_mapping(small_store, "farm", path=mapping, author="curator", note="", now=NOW)
    make_task(small_store, "kinds", dataset="farm", source_class="animal", now=NOW)
    return small_store
