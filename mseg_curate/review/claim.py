"""Leases: an annotator is given masks, keeps them for some minutes, and gives them back."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from mseg_curate.clock import iso_of
from mseg_curate.errors import ReviewError
from mseg_curate.review.items import Item, Person, item_of, require_person, require_task
from mseg_curate.store import Connection, Store, leases
from mseg_curate.store.gold import GoldRow, drawable_gold, note_exposure
from mseg_curate.store.queue import settle_everywhere
from mseg_curate.store.tasks import TaskRow, default_class

__all__ = ["MOST_AT_ONCE", "claim_masks", "release_leases", "renew_leases"]

MOST_AT_ONCE = 64
"""A page holds no more masks than this: those that it hoards are kept from others."""


def claim_masks(
    store: Store,
    person_id: int,
    *,
    task: str,
    count: int,
    client: str,
    held: Sequence[str],
    now: float,
    rng: Random,
    mode: leases.ReviewMode = "single",
    class_name: str = "",
) -> list[Item]:
    """Lease up to `count` masks of a task to one browser tab (`client`) of an annotator.

    Leases that the tab has and does not name in `held` come first: it was reloaded. Gold is mixed in at the rate of
    the task. Fewer masks than asked for, or none, mean that there is nothing else for this annotator now. In a grid
    only masks suggested as `class_name` come. Raises ReviewError (forbidden, paused, unknown_task, task_closed).
    """
    known = {bytes.fromhex(token) for token in held}
    with store.writing() as connection:
        person = require_person(connection, person_id, mode=mode)
        row = require_task(connection, task)
        of_class = _class_of_grid(connection, row, class_name) if mode == "grid" else None
        lane = mode if of_class is None else f"grid:{of_class[0]}"
        desk = _Desk(connection, person, row, mode=mode, lane=lane, client=client, now=now, rng=rng)
        own = leases.own_leases(
            connection, row.id, annotator_id=person.id, lane=lane, client=client, now=now
        )
        room = min(count, MOST_AT_ONCE - len(known))
        items = [
            item_of(
                connection, lease.mask_id, token=lease.token, expires_at=lease.expires_at, now=now
            )
            for lease in own
            if lease.token not in known
        ][: max(0, room)]
        settle_everywhere(connection, leases.forget_expired(connection, now=now), now=now)
        while len(items) < room:
            item = desk.next_item(of_class)
            if item is None:
                break
            items.append(item)
    return items


def _class_of_grid(connection: Connection, task: TaskRow, class_name: str) -> tuple[int, int]:
    ids = dict(zip(task.candidates, task.candidate_ids, strict=True))
    if class_name not in ids:
        raise ReviewError(
            f"{class_name!r} is no candidate of the task {task.name}", reason="invalid"
        )
    default = default_class(connection, task.id)
    return ids[class_name], default if default is not None else task.candidate_ids[0]


class _Desk:
    """Hands one annotator one mask after the other."""

    def __init__(
        self,
        connection: Connection,
        person: Person,
        task: TaskRow,
        *,
        mode: leases.ReviewMode,
        lane: str,
        client: str,
        now: float,
        rng: Random,
    ) -> None:
        self.connection = connection
        self.person = person
        self.task = task
        self.mode = mode
        self.lane = lane
        self.client = client
        self.now = now
        self.rng = rng
        self.gold: list[GoldRow] | None = None

    def next_item(self, of_class: tuple[int, int] | None) -> Item | None:
        """Lease the next mask, gold or not; None where there is none."""
        token = self.rng.randbytes(16)
        mask_id = None
        if self.mode != "adjudication":
            mask_id = self._draw_gold(token, of_class)
        if mask_id is None:
            mask_id = self._claim(token, of_class)
        if mask_id is None:
            return None
        until = self.now + self.task.options.lease_s
        return item_of(self.connection, mask_id, token=token, expires_at=until, now=self.now)

    def _claim(self, token: bytes, of_class: tuple[int, int] | None) -> int | None:
        lease_s = self.task.options.lease_s
        if self.mode == "adjudication":
            return leases.claim_contested(
                self.connection,
                self.task.id,
                annotator_id=self.person.id,
                token=token,
                client=self.client,
                now=self.now,
                lease_s=lease_s,
            )
        return leases.claim_slot(
            self.connection,
            self.task.id,
            annotator_id=self.person.id,
            token=token,
            mode=self.mode,
            lane=self.lane,
            client=self.client,
            now=self.now,
            lease_s=lease_s,
            of_class=of_class,
        )

    def _draw_gold(self, token: bytes, of_class: tuple[int, int] | None) -> int | None:
        """Lease a gold mask at the rate of the task; practice comes before everything else."""
        options = self.task.options
        if self.gold is None:
            # Within one transaction only this desk draws.
            self.gold = drawable_gold(
                self.connection,
                self.task.id,
                annotator_id=self.person.id,
                cap=options.gold_cap,
                now=self.now,
                of_class=of_class,
            )
        training = [row for row in self.gold if row.kind == "training"]
        if training:
            drawn = self.rng.choice(training)
        elif self.gold and self.rng.random() < options.gold_rate:
            drawn = self.rng.choice(self.gold)
        else:
            return None
        self.gold.remove(drawn)
        self._lease_gold(drawn, token)
        return drawn.mask_id

    def _lease_gold(self, gold: GoldRow, token: bytes) -> None:
        note_exposure(
            self.connection, gold.id, self.person.id, mode=self.mode, now=iso_of(self.now)
        )
        leases.grant_lease(
            self.connection,
            token=token,
            task_id=self.task.id,
            mask_id=gold.mask_id,
            annotator_id=self.person.id,
            slot_id=None,
            gold_id=gold.id,
            mode=self.mode,
            lane=self.lane,
            client=self.client,
            now=self.now,
            lease_s=self.task.options.lease_s,
        )


def renew_leases(
    store: Store, person_id: int, *, client: str, held: Sequence[str], now: float
) -> list[str]:
    """Extend the live leases of a browser tab; returns the tokens of those that still live."""
    with store.writing() as connection:
        tokens = [bytes.fromhex(token) for token in held]
        renewed = leases.renew_leases(connection, person_id, client=client, tokens=tokens, now=now)
    return [token.hex() for token in renewed]


def release_leases(store: Store, person_id: int, *, client: str, held: Sequence[str]) -> None:
    """Give leases of a browser tab back to the queue, so that others need not wait for them to expire."""
    with store.writing() as connection:
        tokens = [bytes.fromhex(token) for token in held]
        masks = leases.release_leases(connection, person_id, client=client, tokens=tokens)
        # At the beginning of time every other lease lives: those that ran out are the next claim's to see to.
        settle_everywhere(connection, masks, now=0.0)
