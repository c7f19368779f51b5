"""Commands about annotators."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mseg_curate.cli.edge import add_aside, author_option, cli, say, store_option

_ROLE = click.Choice(["annotator", "curator", "admin"])
_NOTE = click.option("--note", required=True, help="The reason; others will read it.")


@cli.group()
def annotator() -> None:
    """Say who may do what, and see how annotators work."""


@annotator.command("list")
@store_option
def annotator_list(db: Path) -> None:
    """List the annotators with role, decisions, accuracy on gold, agreement and pace."""
    from mseg_curate.annotators import describe_people
    from mseg_curate.cli.words import in_one_line, share_in_words
    from mseg_curate.core.accuracy import GoldScore, estimate_share
    from mseg_curate.store import Store

    with Store.open(db) as store:
        records = describe_people(store)
    if not records:
        add_aside("nobody yet; add somebody: mseg-curate annotator add NAME --role admin")
    say(
        "name\trole\tstatus\tdecisions\taccuracy on gold (95 %)\tagreement with others\tmedian s\t"
        "decisions an hour\tgold seen\tgrid share\tlast decision\tlast event"
    )
    for record in records:
        agreement = share_in_words(estimate_share(GoldScore(record.agreed, record.compared)))
        role = record.person.role if record.kind == "person" else record.kind
        median = "–" if record.median_s is None else f"{record.median_s:.1f}"
        pace = "–" if record.per_hour is None else f"{record.per_hour:.0f}"
        say(
            f"{record.person.name}\t{role}\t{record.person.status}\t{record.decisions}\t"
            f"{share_in_words(estimate_share(record.gold))}\t{agreement}\t{median}\t{pace}\t{record.gold_seen}\t"
            f"{record.grid_share:.0%}\t{record.last_decision_at or '–'}\t{in_one_line(record.event)}"
        )


@annotator.command("add")
@store_option
@click.argument("name")
@click.option("--role", type=_ROLE, default="annotator", show_default=True)
@click.option(
    "--login", help="Who NAME is to the sign-in service: issuer and subject, with a blank between."
)
@author_option
def annotator_add(db: Path, name: str, role: str, login: str | None, author: str) -> None:
    """Add an annotator, or give NAME a role or an identity."""
    from mseg_curate.annotators import add_annotator
    from mseg_curate.store import Store

    with Store.open(db) as store:
        person = add_annotator(store, name, role=role, login=login, by=author, now=time.time())
    say(f"{person.name}: {person.role}, {person.status}")


@annotator.command("role")
@store_option
@click.argument("name")
@click.argument("role", type=_ROLE)
@click.option("--note", default="", help="The reason, if it is worth keeping.")
@author_option
def annotator_role(db: Path, name: str, role: str, note: str, author: str) -> None:
    """Make NAME an annotator, a curator or an admin."""
    from mseg_curate.annotators import set_role
    from mseg_curate.store import Store

    with Store.open(db) as store:
        person = set_role(store, name, role=role, by=author, note=note, now=time.time())
    say(f"{person.name}: {person.role}, {person.status}")


@annotator.command("pause")
@store_option
@click.argument("name")
@_NOTE
@author_option
def annotator_pause(db: Path, name: str, note: str, author: str) -> None:
    """Let NAME decide no more, until they are resumed."""
    from mseg_curate.annotators import pause_person
    from mseg_curate.store import Store

    with Store.open(db) as store:
        person = pause_person(store, name, by=author, note=note, now=time.time())
    say(f"{person.name}: {person.role}, {person.status}")


@annotator.command("resume")
@store_option
@click.argument("name")
@_NOTE
@author_option
def annotator_resume(db: Path, name: str, note: str, author: str) -> None:
    """Let NAME decide again; for the bar of a task's gold they begin anew."""
    from mseg_curate.annotators import resume_person
    from mseg_curate.store import Store

    with Store.open(db) as store:
        person = resume_person(store, name, by=author, note=note, now=time.time())
    say(f"{person.name}: {person.role}, {person.status}")


@annotator.command("reopen")
@store_option
@click.argument("name")
@click.argument("task_name", metavar="TASK")
@_NOTE
@author_option
def annotator_reopen(db: Path, name: str, task_name: str, note: str, author: str) -> None:
    """Withdraw all votes of NAME in TASK, so that others decide its masks."""
    from mseg_curate.annotators import reopen_decisions
    from mseg_curate.store import Store

    with Store.open(db) as store:
        count = reopen_decisions(store, name, task_name, by=author, note=note, now=time.time())
    say(f"{count:,} decisions of {name} in {task_name} are withdrawn")
    if count:
        say("next: mseg-curate resolve")


@annotator.command("link")
@store_option
@click.argument("name")
@click.option(
    "--url",
    default="http://127.0.0.1:8501",
    show_default=True,
    help="Where the review is served, as `mseg-curate review` prints it.",
)
def annotator_link(db: Path, name: str, url: str) -> None:
    """Print an address that signs a browser in as NAME, once, within ten minutes."""
    from mseg_curate.annotators import find_named
    from mseg_curate.errors import MissingExtraError, StoreError
    from mseg_curate.store import Store

    try:
        from app.tokens import mint_link
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the review is not installed; install it with `pip install 'mseg-curate[app]'`"
        ) from error
    with Store.open(db) as store:
        person = find_named(store, name)
        if person is None:
            raise StoreError(
                f"no annotator {name!r} in the store; add one: `mseg-curate annotator add {name!r}`"
            )
        token = mint_link(store.path, person.id, now=time.time())
    say(f"{url.rstrip('/')}/review/link/{token}")
