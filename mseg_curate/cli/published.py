"""The command that prints published tables, and what can be recomputed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mseg_curate.cli.edge import cli, say

if TYPE_CHECKING:
    from mseg_curate.published import Published


@cli.command()
@click.argument("name", required=False)
def published(name: str | None) -> None:
    """Print a published table of results, or the list of those that are known.

    Harmonic means are recomputed from the numbers beside them.
    """
    from mseg_curate.published import TABLES, ZERO_SHOT, load_published

    if name is None:
        for known in TABLES:
            table = load_published(known)
            say(f"{known}\t{len(table.rows)} rows\t{table.title}")
        return
    table = load_published(name)
    say(table.title)
    for row in (table.columns, *table.rows):
        say("\t".join(cell or "–" for cell in row))
    say(f"source: {table.source}")
    say(f"note: {table.note}")
    say(f"licence: {table.licence}")
    if name == ZERO_SHOT:
        _recompute(table)


def _recompute(table: Published) -> None:
    """Print the harmonic means as the rows give them, and the gain with each test left out."""
    from mseg_curate.published import (
        MSEG_RELABELED,
        MSEG_UNRELABELED,
        leave_one_out_gains,
        recompute_harmonic,
    )

    say("")
    say("harmonic mean\tpublished\trecomputed")
    checks = {check.row: check for check in recompute_harmonic(table)}
    for check in checks.values():
        mark = ""
        if not check.agrees:
            why = "rounding" if check.explained else "more than rounding"
            mark = f"\tdiffers by {why}: its row allows {check.low:.2f} … {check.high:.2f}"
        say(f"{check.row}\t{check.published:.1f}\t{check.recomputed:.2f}{mark}")
    say("")
    gain = checks[MSEG_RELABELED].recomputed - checks[MSEG_UNRELABELED].recomputed
    say(f"{MSEG_RELABELED} minus {MSEG_UNRELABELED}, harmonic mean\tpoints")
    say(f"all tests\t{gain:+.2f}")
    for test, left in leave_one_out_gains(table).items():
        say(f"without {test}\t{left:+.2f}")
