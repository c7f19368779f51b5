"""The command that opens the review in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from mseg_curate.cli.edge import cli, say, store_option


@cli.command()
@store_option
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    show_default="the first free one from 8501 on",
    help="The port to listen on.",
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; any other than this machine's own needs OIDC.",
)
@click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="A name under which browsers reach the server; several times for several.",
)
@click.option(
    "--base-path",
    default="",
    metavar="PATH",
    help="The path that the review lives below, where a proxy serves other things beside it, such as /masks.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def review(
    db: Path,
    port: int | None,
    address: str,
    host_names: tuple[str, ...],
    base_path: str,
    no_browser: bool,
) -> None:
    """Open the review of masks in a browser; Ctrl-C ends it."""
    from app.serve import serve_review

    try:
        serve_review(
            db,
            address=address,
            port=port,
            host_names=host_names,
            base_path=base_path,
            open_browser=not no_browser,
            say=say,
        )
    except click.Abort:
        say("the review has ended; decisions that were acknowledged are stored")
