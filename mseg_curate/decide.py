"""Decisions in: MSeg's published ones, a CSV file of anybody's, or those of simulated annotators."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from uuid import UUID

from mseg_curate.clock import epoch_of
from mseg_curate.core.consensus import Outcome
from mseg_curate.core.mapping import DatasetMapping, Relation
from mseg_curate.core.taxonomy import UNLABELED, parse_taxonomy
from mseg_curate.errors import DecisionError
from mseg_curate.readers.decisions_csv import CsvDecision, read_answered_csv
from mseg_curate.readers.mseg_decisions import DecisionRow, read_decisions_folder
from mseg_curate.store import Connection, Store
from mseg_curate.store.chores import finish_chores, promise_settling
from mseg_curate.store.datasets import DatasetRow, list_datasets
from mseg_curate.store.decisions import (
    NewDecision,
    annotator_id,
    append_decisions,
    current_decisions,
    known_uuids,
    latest_decision,
    mask_ids,
    stored_masks,
    verify_chain,
)
from mseg_curate.store.exchange import decisions_by_uuid, superseded_decisions
from mseg_curate.store.gold import gold_answers
from mseg_curate.store.tasks import list_tasks, newest_tasks
from mseg_curate.store.taxonomies import label_class_ids, load_mapping, load_taxonomy_text

__all__ = [
    "ImportedDecisions",
    "append_votes",
    "import_csv",
    "import_published",
    "verify_decisions",
]

PUBLISHED_ANNOTATOR = "mseg-published"
_ABSTENTIONS = {o.value for o in Outcome} - {Outcome.CLASS.value}


@dataclass(frozen=True)
class ImportedDecisions:
    """How many decisions a source holds, how many of them were new, and how many rows have no outcome yet."""

    read: int
    new: int
    unanswered: int = 0


def import_published(store: Store, folder: Path, *, now: str) -> ImportedDecisions:
    """Import the published MSeg decisions from their data folder, or from a checkout of mseg-api.

    They may come before their pixels: they are keyed by dataset, split, sequence, image and segment, and bound when
    the dataset is added. A second import adds nothing. Raises DecisionError for a bad line, and stores nothing then.
    """
    with store.reading() as connection:
        taxonomy = parse_taxonomy(load_taxonomy_text(connection), path="taxonomy.tsv")
    published = read_decisions_folder(folder, taxonomy=taxonomy)
    with store.writing() as connection:
        datasets = {row.name: row.id for row in list_datasets(connection)}
        missing = {row[0] for row in published.rows} - datasets.keys()
        if missing:
            raise DecisionError(
                "decisions of datasets that the store does not know",
                path=folder,
                expected="the taxonomy of MSeg with its columns",
                found=", ".join(sorted(missing)),
            )
        by = annotator_id(connection, PUBLISHED_ANNOTATOR, kind="legacy", now=now)
        fresh = list(_published_rows(connection, published.rows, datasets=datasets, annotator=by))
        before = latest_decision(connection)[0]
        new = append_decisions(connection, fresh)
        promise_settling(connection, after=before, now=now)
    finish_chores(store, now=epoch_of(now))
    return ImportedDecisions(len(published.rows), new)


def _published_rows(
    connection: Connection,
    rows: Sequence[DecisionRow],
    *,
    datasets: dict[str, int],
    annotator: int,
) -> Iterable[NewDecision]:
    labels = label_class_ids(connection)
    stored = known_uuids(connection)
    for dataset, group in groupby(sorted(rows, key=itemgetter(0)), key=itemgetter(0)):
        fresh = [(uuid, row) for row in group if (uuid := _published_uuid(row)) not in stored]
        keys = [row[1:6] for _, row in fresh]
        # A published list names a segment by the dataset's own id.
        masks = mask_ids(connection, datasets[dataset], keys=keys, numbering="native")
        for mask_id, (uuid, row) in zip(masks, fresh, strict=True):
            ignored = row[7] == UNLABELED
            outcome = "none_of_these" if ignored else "class"
            label = None if ignored else labels[row[7]]
            shown = labels.get(row[6])
            yield (
                uuid, mask_id, None, None, shown, outcome, label, annotator, "import", None, None, None,
            )  # fmt: skip


def _published_uuid(row: DecisionRow) -> bytes:
    """The same decision has the same UUID from either source, so that importing both adds nothing."""
    dataset, split, sequence, image, segment, _, before, after = row
    text = f"{dataset}\x1f{split}\x1f{sequence}\x1f{image}\x1f{segment}\x1f{before}\x1f{after}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def import_csv(store: Store, path: Path, *, kind: str = "person", now: str) -> ImportedDecisions:
    """Import decisions from a CSV file; a second import adds nothing.

    A later decision of an annotator on the same mask supersedes the earlier one. A file that `decisions export` wrote
    keeps which decision supersedes which, tasks of the same name, and the kinds of its annotators. Raises
    DecisionError that lists every bad line (unknown dataset, class, mask or outcome), and stores nothing then.
    """
    rows, unanswered = read_answered_csv(path)
    with store.writing() as connection:
        new = append_votes(connection, rows, path=path, kind=kind, now=now)
    finish_chores(store, now=epoch_of(now))
    return ImportedDecisions(len(rows), new, unanswered)


def append_votes(
    connection: Connection, rows: Sequence[CsvDecision], *, path: Path | None, kind: str, now: str
) -> int:
    """Append decisions of annotators of one kind (person, legacy or simulated); returns how many were new.

    Their masks are promised to be settled: the caller finishes the chores after its transaction. Raises DecisionError
    as `import_csv` does; `path` is named in it.
    """
    binder = _Binder(connection)
    masks = binder.bind(rows)
    if binder.problems:
        raise DecisionError.of(
            binder.list_problems(),
            several=f"{sum(map(len, binder.problems.values())):,} bad decisions",
            path=path,
            hint="nothing was stored",
        )
    people = {
        name: annotator_id(connection, name, kind=own_kind or kind, now=now)
        for name, own_kind in dict.fromkeys((row.annotator, row.annotator_kind) for row in rows)
    }
    stored = known_uuids(connection)
    repeats: Counter[bytes] = Counter()
    chain = _Chain(connection, rows, first_id=binder.next_decision)
    fresh: list[NewDecision] = []
    for row, mask_id in zip(rows, masks, strict=True):
        uuid = UUID(row.uuid).bytes if row.uuid else _vote_uuid(row, repeats)
        by = people[row.annotator]
        if uuid in stored:
            chain.skip(row, mask_id, by)
            continue
        stored.add(uuid)
        names_class = row.outcome not in _ABSTENTIONS
        fresh.append(
            (
                uuid,
                mask_id,
                binder.task_of(row),
                binder.revisions.get(row.dataset),
                binder.shown_to(row),
                "class" if names_class else row.outcome,
                binder.labels[row.outcome] if names_class else None,
                by,
                row.mode,
                row.milliseconds,
                row.decided_at.isoformat() if row.decided_at else None,
                chain.link(row, uuid, mask_id, by),
            )
        )
    if chain.problems:
        several = f"{len(chain.problems)} bad decisions"
        raise DecisionError.of(
            chain.problems, several=several, path=path, hint="nothing was stored"
        )
    before = latest_decision(connection)[0]
    new = append_decisions(connection, fresh)
    promise_settling(connection, after=before, now=now)
    return new


class _Chain:
    """Says which decision a new one supersedes: the one its file names, else its annotator's last on the mask.

    Where an exported file says that a decision supersedes none, it stands beside others of the file; one of an
    earlier import it still supersedes, so that nobody votes twice.
    """

    def __init__(
        self, connection: Connection, rows: Sequence[CsvDecision], *, first_id: int
    ) -> None:
        self.problems: list[str] = []
        self._next_id = first_id
        self._current = {key: d.id for key, d in current_decisions(connection).items()}
        names_others = any(row.supersedes for row in rows)
        self._known = decisions_by_uuid(connection) if names_others else {}
        self._superseded = superseded_decisions(connection) if names_others else set()
        self._gold = gold_answers(connection)
        self._of_file: set[tuple[int, int]] = set()

    def skip(self, row: CsvDecision, mask_id: int, by: int) -> None:
        """Note a decision of the file that is stored already."""
        if row.supersedes is not None:
            self._of_file.add((mask_id, by))

    def link(self, row: CsvDecision, uuid: bytes, mask_id: int, by: int) -> int | None:
        """Return what the next new decision supersedes, and take it for the last one from here on."""
        key = (mask_id, by)
        last = self._current.get(key)
        if row.supersedes:
            target = self._named(row, key)
            # Somebody has decided again since the export: the newest decision supersedes that.
            target = last if target in self._superseded else target
        else:
            target = None if row.supersedes == "" and key in self._of_file else last
        if target is not None:
            self._superseded.add(target)
            if target in self._gold:
                self.problems.append(
                    f"line {row.line}: {row.annotator!r} has made this mask gold; retire that first"
                )
        elif row.outcome == Outcome.WITHDRAWN and not row.supersedes:
            self.problems.append(
                f"line {row.line}: outcome: {row.annotator!r} has decided nothing on this mask that could be withdrawn"
            )
        self._current[key] = self._next_id
        self._known[uuid] = (self._next_id, *key)
        self._of_file.add(key)
        self._next_id += 1
        return target

    def _named(self, row: CsvDecision, key: tuple[int, int]) -> int | None:
        decision_id, *of = self._known.get(UUID(row.supersedes or "").bytes, (0, 0, 0))
        if tuple(of) == key:
            return decision_id
        self.problems.append(
            f"line {row.line}: supersedes: expected an earlier decision of {row.annotator!r} on this mask, "
            f"found {row.supersedes}"
        )
        return None


def _vote_uuid(row: CsvDecision, repeats: Counter[bytes]) -> bytes:
    """A row without a UUID of its own is known by its content, so that a second import adds nothing.

    `repeats` counts equal rows of one source: who says cat, then dog, then cat again has said cat.
    """
    parts = (
        row.dataset,
        row.split,
        row.sequence,
        row.image,
        str(row.segment),
        row.source_class,
        row.outcome,
        row.annotator,
        row.decided_at.isoformat() if row.decided_at else "",
    )
    content = "\x1f".join(parts).encode()
    uuid = hashlib.blake2b(content, digest_size=16).digest()
    repeats[uuid] += 1
    if repeats[uuid] == 1:
        return uuid
    return hashlib.blake2b(content + b"\x1f%d" % repeats[uuid], digest_size=16).digest()


class _Binder:
    """Finds the mask that each row is about, and collects the rows that are about nothing."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.problems: dict[str, list[int]] = {}
        self.labels = label_class_ids(connection)
        self.datasets = {row.name: row for row in list_datasets(connection)}
        self.revisions: dict[str, int] = {}
        self.shown: dict[tuple[str, str], int] = {}
        self.candidates: dict[tuple[str, str], tuple[str, ...]] = {}
        self.tasks = newest_tasks(connection)
        self.named_tasks = {
            (task.name, task.dataset, task.source_class): task.id for task in list_tasks(connection)
        }
        self.next_decision = latest_decision(connection)[0] + 1

    def task_of(self, row: CsvDecision) -> int | None:
        """Return the task that a row names where the store has it, else the newest one on the row's class."""
        of_class = (row.dataset, row.source_class)
        return self.named_tasks.get((row.task, *of_class), self.tasks.get(of_class))

    def shown_to(self, row: CsvDecision) -> int | None:
        """Return the class that the mask of a row carried when it was decided; a withdrawal is shown nothing."""
        withdrawn = row.outcome == Outcome.WITHDRAWN
        return None if withdrawn else self.shown.get((row.dataset, row.source_class))

    def bind(self, rows: Sequence[CsvDecision]) -> list[int]:
        """Return the mask row of each CSV row; rows with problems get 0."""
        masks = [0] * len(rows)
        by_dataset: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            if row.dataset not in self.datasets:
                known = ", ".join(n for n, d in self.datasets.items() if d.root) or "none"
                self._note(
                    row,
                    f"dataset: unknown {row.dataset!r}, known: {known}; add its folder first: "
                    f"`mseg-curate dataset add {row.dataset!r} FOLDER --role train`",
                )
            elif row.source_class not in (*self.datasets[row.dataset].class_names, ""):
                self._note(
                    row, f"source_class: dataset {row.dataset} has no class {row.source_class!r}"
                )
            elif row.outcome not in _ABSTENTIONS and row.outcome not in self.labels:
                self._note(
                    row,
                    f"outcome: expected a universal class or {', '.join(sorted(_ABSTENTIONS))}, "
                    f"found {row.outcome!r}",
                )
            else:
                by_dataset.setdefault(row.dataset, []).append(index)
        for name, indices in by_dataset.items():
            self._bind_dataset(self.datasets[name], rows, indices, masks)
        return masks

    def _bind_dataset(
        self,
        dataset: DatasetRow,
        rows: Sequence[CsvDecision],
        indices: Sequence[int],
        masks: list[int],
    ) -> None:
        self._note_mapping(dataset)
        keys = [
            (r.split, r.sequence, r.image, r.segment, r.source_class)
            for r in (rows[i] for i in indices)
        ]
        asked: set[str] = set()
        if dataset.root is None:
            found = mask_ids(self.connection, dataset.id, keys=keys)
        else:
            known = stored_masks(self.connection, dataset.id)
            found = [known.get(key, 0) for key in keys]
            asked = {key[-1] for key in known}
        for index, mask_id in zip(indices, found, strict=True):
            masks[index] = mask_id
            row = rows[index]
            candidates = self.candidates.get((dataset.name, row.source_class), ())
            if candidates and row.outcome not in (*candidates, *_ABSTENTIONS):
                self._note(
                    row,
                    f"outcome: expected a candidate of {row.source_class!r} ({', '.join(candidates)}) or "
                    f"{', '.join(sorted(_ABSTENTIONS))}, found {row.outcome!r}",
                )
            if not mask_id:
                self._note(row, _missing_mask(row, is_asked=row.source_class in asked))

    def _note_mapping(self, dataset: DatasetRow) -> None:
        found = load_mapping(self.connection, dataset.id, dataset=dataset.name)
        if found is None:
            return
        self.revisions[dataset.name] = found[0]
        self.candidates |= {(dataset.name, e.source): e.candidates for e in found[1].splits}
        for source, label in _defaults(found[1], self.labels).items():
            self.shown[dataset.name, source] = label

    def _note(self, row: CsvDecision, problem: str) -> None:
        self.problems.setdefault(problem, []).append(row.line)

    def list_problems(self) -> list[str]:
        """Return each problem once with its lines, in the order of their first ones."""
        listed = []
        for problem, lines in sorted(self.problems.items(), key=lambda item: item[1]):
            more = f" and {len(lines) - 1:,} more" if len(lines) > 1 else ""
            listed.append(f"line {lines[0]}{more}: {problem}")
        return listed


def _missing_mask(row: CsvDecision, *, is_asked: bool) -> str:
    if is_asked:
        return (
            f"no mask {row.segment} of class {row.source_class!r} in image {row.image!r} of split {row.split!r}; "
            "`mseg-curate task show` lists the masks of a task"
        )
    return (
        f"no mask of class {row.source_class!r} of dataset {row.dataset} is known; tasks find masks: `mseg-curate "
        f"task make {row.task or 'NAME'!r} --dataset {row.dataset!r} --class {row.source_class!r}`"
    )


def _defaults(mapping: DatasetMapping, labels: dict[str, int]) -> dict[str, int]:
    return {
        e.source: labels[e.targets[0]]
        for e in mapping.entries
        if e.relation in (Relation.KEEP, Relation.MERGE, Relation.SPLIT)
    }


def verify_decisions(store: Store) -> int:
    """Recompute the hash chain of all decisions and return how many there are; raises StoreError where it breaks."""
    with store.reading() as connection:
        return verify_chain(connection)
