"""Draft a mapping from what is known: names, columns of the taxonomy, and decisions that were made."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from mseg_curate.core.mapping import HEADER, ClassMapping, DatasetMapping, Relation
from mseg_curate.core.taxonomy import UNLABELED, Taxonomy, parse_taxonomy
from mseg_curate.store import Store
from mseg_curate.store.datasets import load_dataset
from mseg_curate.store.decisions import decided_classes
from mseg_curate.store.taxonomies import load_mapping, load_taxonomy_text

__all__ = ["draft_mapping"]

Row = tuple[str, str, str, str]


def draft_mapping(store: Store, dataset: str) -> str:
    """Return a mapping file that places the classes whose place is known, and leaves `?` for the others.

    A training class keeps its place in the current mapping; without one it goes by its name, where that is a
    universal class or stands in a column of the taxonomy. A class that decisions were made about becomes a split whose
    candidates are its default and the classes decided. A file with `?` in it is refused by `import_mapping`, so that
    nothing is mapped by accident.
    """
    with store.reading() as connection:
        row = load_dataset(connection, dataset)
        taxonomy = parse_taxonomy(load_taxonomy_text(connection), path="taxonomy.tsv")
        current = load_mapping(connection, row.id, dataset=dataset)
        decided = decided_classes(connection, row.id)
    if row.role == "test":
        return _format(_draft_test(row.class_names, taxonomy))
    places = _places(row.class_names, taxonomy, current[1] if current else None)
    return _format(_draft_train(places, decided))


def _places(
    class_names: Sequence[str], taxonomy: Taxonomy, current: DatasetMapping | None
) -> dict[str, ClassMapping | str | None]:
    """Return, per class, its entry in the current mapping, else a universal class, else None."""
    if current is not None:
        return {entry.source: entry for entry in current.entries}
    known = _universal_by_name(taxonomy)
    return {name: known.get(_plain(name)) for name in class_names}


def _draft_train(
    places: Mapping[str, ClassMapping | str | None], decided: Mapping[str, set[str]]
) -> list[Row]:
    targets = {name: _target(place) for name, place in places.items()}
    split = {
        name
        for name, place in places.items()
        if targets[name] and (_is_split(place) or decided.get(name, set()) - {targets[name]})
    }
    shared = Counter(target for name, target in targets.items() if target and name not in split)
    rows = []
    for name, place in places.items():
        target = targets[name]
        if name in split and target:
            candidates = dict.fromkeys(
                (*_candidates(place, target), *sorted(decided.get(name, ())))
            )
            rows.append((name, Relation.SPLIT.value, target, "{" + ", ".join(candidates) + "}"))
        elif target:
            relation = Relation.MERGE if shared[target] > 1 else Relation.KEEP
            rows.append((name, relation.value, target, ""))
        else:
            rows.append((name, Relation.IGNORE.value if place is not None else "?", "", ""))
    return rows


def _target(place: ClassMapping | str | None) -> str | None:
    if isinstance(place, ClassMapping):
        return place.targets[0] if place.targets else None
    return place


def _is_split(place: ClassMapping | str | None) -> bool:
    return isinstance(place, ClassMapping) and place.relation is Relation.SPLIT


def _candidates(place: ClassMapping | str | None, target: str) -> tuple[str, ...]:
    if isinstance(place, ClassMapping) and place.candidates:
        return place.candidates
    return (target,)


def _universal_by_name(taxonomy: Taxonomy) -> dict[str, str]:
    votes: dict[str, Counter[str]] = {}
    for column in taxonomy.columns:
        for universal, classes in column.cells:
            if column.role == "train" and universal != UNLABELED:
                for name in classes:
                    votes.setdefault(_plain(name), Counter())[universal] += 1
    known = {name: min(c.items(), key=lambda x: (-x[1], x[0]))[0] for name, c in votes.items()}
    return known | {_plain(name): name for name in taxonomy.names}


def _draft_test(class_names: Sequence[str], taxonomy: Taxonomy) -> list[Row]:
    """Sources come from the test column that knows most of the classes, then from universal names still free."""
    wanted = {_plain(name) for name in class_names}
    columns = [_sources_by_name(c.cells) for c in taxonomy.columns if c.role == "test"]
    best = max(columns, key=lambda known: len(known.keys() & wanted), default={})
    if len(best.keys() & wanted) * 2 < len(wanted):
        best = {}
    universal = {_plain(name): name for name in taxonomy.names}
    free = set(taxonomy.names) - {u for plain in wanted for u in best.get(plain, ())}
    rows = []
    for name in class_names:
        plain = _plain(name)
        sources = best.get(plain, ())
        if not sources and universal.get(plain) in free:
            sources = (universal[plain],)
        cell = "{" + ", ".join(sources) + "}" if sources else ""
        rows.append((name, Relation.TEST.value if sources else "?", cell, ""))
    return rows


def _sources_by_name(
    cells: tuple[tuple[str, tuple[str, ...]], ...],
) -> dict[str, tuple[str, ...]]:
    sources: dict[str, tuple[str, ...]] = {}
    for universal, classes in cells:
        for name in classes:
            sources[_plain(name)] = (*sources.get(_plain(name), ()), universal)
    return sources


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def _format(rows: Sequence[Row]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerows([HEADER, *rows])
    return out.getvalue()
