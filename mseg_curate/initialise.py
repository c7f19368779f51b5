"""Make a store from a taxonomy: its classes, the dataset taxonomies of its columns, and their mappings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mseg_curate.core.mapping import DatasetMapping, mapping_of_column
from mseg_curate.core.taxonomy import Taxonomy, parse_class_lists, parse_taxonomy
from mseg_curate.files import read_text
from mseg_curate.store import Connection, Store
from mseg_curate.store.datasets import declare_dataset
from mseg_curate.store.taxonomies import save_mapping, save_taxonomy

__all__ = [
    "MadeStore",
    "create_store",
    "default_taxonomy_path",
    "load_taxonomy",
    "mseg_class_lists",
]

TAXONOMY_AUTHOR = "taxonomy.tsv"


@dataclass(frozen=True)
class MadeStore:
    """What `create_store` made."""

    path: Path
    classes: int
    datasets: int


def default_taxonomy_path() -> Path:
    """Return the taxonomy.tsv that ships with mseg-curate, in a checkout or in an installed wheel."""
    installed = Path(str(files("mseg_curate") / "taxonomy.tsv"))
    return installed if installed.exists() else installed.parents[1] / "taxonomy.tsv"


def mseg_class_lists() -> Mapping[str, tuple[str, ...]]:
    """Return the ordered classes of the dataset taxonomies that MSeg published."""
    path = Path(str(files("mseg_curate") / "mseg_classes.tsv"))
    return parse_class_lists(read_text(path), path=path)


def load_taxonomy(path: Path) -> tuple[Taxonomy, str]:
    """Read and parse a taxonomy in the wide layout; returns it with its text.

    Raises TaxonomyError with every fault.
    """
    text = read_text(path)
    taxonomy = parse_taxonomy(text, path=path)
    lists = mseg_class_lists()
    named = {column.name for column in taxonomy.columns}
    if named & lists.keys():
        relevant = {name: classes for name, classes in lists.items() if name in named}
        taxonomy = parse_taxonomy(text, path=path, class_lists=relevant)
    return taxonomy, text


def create_store(path: Path, *, taxonomy_path: Path | None = None, now: str) -> MadeStore:
    """Make a new store from a taxonomy (by default the one that ships with mseg-curate).

    Dataset taxonomies whose class lists are known are declared with their mappings; their pixels come later.
    Raises TaxonomyError for a faulty taxonomy and StoreError where the store exists.
    """
    source = taxonomy_path or default_taxonomy_path()
    taxonomy, text = load_taxonomy(source)
    declared = _declared_mappings(taxonomy)
    store = Store.create(
        path,
        fill=lambda connection: _fill(connection, taxonomy, text=text, declared=declared, now=now),
    )
    store.close()
    return MadeStore(path, len(taxonomy.classes), len(declared))


def _declared_mappings(taxonomy: Taxonomy) -> list[tuple[str, DatasetMapping]]:
    lists = mseg_class_lists()
    return [
        (column.role, mapping_of_column(column, lists[column.name]))
        for column in taxonomy.columns
        if column.name in lists
    ]


def _fill(
    connection: Connection,
    taxonomy: Taxonomy,
    *,
    text: str,
    declared: list[tuple[str, DatasetMapping]],
    now: str,
) -> None:
    lists = mseg_class_lists()
    save_taxonomy(connection, taxonomy, text=text, now=now)
    for role, mapping in declared:
        dataset_id = declare_dataset(
            connection, mapping.dataset, role=role, classes=list(enumerate(lists[mapping.dataset]))
        )
        save_mapping(
            connection, dataset_id, new=mapping, author=TAXONOMY_AUTHOR, note="init", now=now
        )
