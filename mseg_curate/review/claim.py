"""Leases: an annotator is given masks, keeps them for some minutes, and gives them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from time import perf_counter

from mseg_curate.clock import iso_of
from mseg_curate.errors import ReviewError
from mseg_curate.review.items import Item, item_of, require_person, require_task
from mseg_curate.store import Connection, Store, leases
from mseg_curate.store.chores import help_with_chores
from mseg_curate.store.gold import GoldRow, drawable_gold, note_exposure
from mseg_curate.store.leases import Claimant
from mseg_curate.store.settle import settle_everywhere
from mseg_curate.store.tasks import TaskRow

__all__ = ["MOST_AT_ONCE", "claim_masks", "release_leases", "renew_leases"]

MOST_AT_ONCE = 160
"""A page holds no more masks than this: those that it hoards are kept from others.

A grid of 48 crops may have as many shown, coming, and on their way to be stored.
"""

# What was found while others worked may be gone when it is claimed.
_SCOUTS = 5
_LONG_WALK_S = 0.02
# Of one request, however often it scouts.
_SCOUT_S = 2.0


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
    who = Claimant(0, person_id, mode, client, now, 0)
    known = {bytes.fromhex(token) for token in held}
    room = min(count, MOST_AT_ONCE - len(known))
    items: list[Item] = []
    until = perf_counter() + _SCOUT_S
    for _ in range(1 + _SCOUTS):
        with store.writing() as connection:
            help_with_chores(connection, now=now)
            require_person(connection, person_id, mode=mode)
            row = require_task(connection, task)
            who = _placed(who, row, class_name)
            desk = _Desk(connection, who, row, rng=rng)
            items += desk.hand_out(room - len(items), known=known)
        known |= {bytes.fromhex(item.lease) for item in items}
        if not desk.is_cut or not _scout(store, who, for_s=until - perf_counter()):
            break
    return items


def _placed(who: Claimant, task: TaskRow, class_name: str) -> Claimant:
    """Return who asks, with the task and the class of the grid that they ask for."""
    of_class = None
    if who.mode == "grid":
        ids = dict(zip(task.candidates, task.candidate_ids, strict=True))
        if class_name not in ids:
            raise ReviewError(
                f"{class_name!r} is no candidate of the task {task.name}", reason="invalid"
            )
        of_class = ids[class_name]
    return replace(who, task_id=task.id, lease_s=task.options.lease_s, of_class=of_class)


def _scout(store: Store, who: Claimant, *, for_s: float) -> bool:
    """Put an annotator before the next mask for them, found while others work; says whether there is one.

    After a long search in vain they rest for twenty times its length before the next. One that was too long for
    somebody who waits goes on from where it came to with their next request.
    """
    began = perf_counter()
    with store.reading() as connection:
        place, reached = leases.scout_lane(connection, who, for_s=for_s)
    took_s = perf_counter() - began
    with store.writing() as connection:
        if place is not None:
            leases.stand_before(connection, who, place)
        else:
            rest_s = 20 * took_s if reached is None and took_s > _LONG_WALK_S else 0.0
            leases.rest_lane(connection, who, at=reached, until=who.now + rest_s)
    return place is not None


class _Desk:
    """Hands one annotator one mask after the other; `is_cut` where it stopped before the end of a long queue."""

    def __init__(
        self, connection: Connection, who: Claimant, task: TaskRow, *, rng: Random
    ) -> None:
        self.connection = connection
        self.who = who
        self.task = task
        self.rng = rng
        self.is_cut = False
        self.gold: list[GoldRow] | None = None

    def hand_out(self, room: int, *, known: set[bytes]) -> list[Item]:
        """Return up to `room` masks: those that the tab has and does not know, then others."""
        own = leases.own_leases(self.connection, self.who)
        items = [
            self._item(lease.mask_id, token=lease.token, expires_at=lease.expires_at)
            for lease in own
            if lease.token not in known
        ][: max(0, room)]
        now = self.who.now
        settle_everywhere(self.connection, leases.forget_expired(self.connection, now=now), now=now)
        while len(items) < room:
            token = self.rng.randbytes(16)
            mask_id = self._draw_gold(token)
            if mask_id is None:
                mask_id, self.is_cut = leases.claim_next(self.connection, self.who, token=token)
            if mask_id is None:
                break
            items.append(self._item(mask_id, token=token, expires_at=self.who.until))
        return items

    def _item(self, mask_id: int, *, token: bytes, expires_at: float) -> Item:
        return item_of(
            self.connection, mask_id, token=token, expires_at=expires_at, now=self.who.now
        )

    def _draw_gold(self, token: bytes) -> int | None:
        """Lease a gold mask at the rate of the task; practice comes before everything else."""
        if self.who.mode == "adjudication":
            return None
        options = self.task.options
        if self.gold is None:
            # Within one transaction only this desk draws.
            self.gold = drawable_gold(
                self.connection,
                self.task.id,
                annotator_id=self.who.annotator_id,
                cap=options.gold_cap,
                now=self.who.now,
                of_class=self.who.of_class,
            )
        training = [row for row in self.gold if row.kind == "training"]
        if training:
            drawn = self.rng.choice(training)
        elif self.gold and self.rng.random() < options.gold_rate:
            drawn = self.rng.choice(self.gold)
        else:
            return None
        self.gold.remove(drawn)
        who = self.who
        note_exposure(
            self.connection, drawn.id, who.annotator_id, mode=who.mode, now=iso_of(who.now)
        )
        leases.grant_lease(
            self.connection, who, token=token, mask_id=drawn.mask_id, gold_id=drawn.id
        )
        return drawn.mask_id


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
