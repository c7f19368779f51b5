"""What all commands share: the group, common options, and the edge where errors become one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import TypeVar

import click

from mseg_curate import __version__
from mseg_curate.core.arms import ArmChoice
from mseg_curate.errors import InputError, MsegCurateError, TrainingStoppedError

__all__ = [
    "ARMS",
    "FILE",
    "FOLDER",
    "add_aside",
    "author_option",
    "cli",
    "main",
    "now",
    "parse_arm",
    "say",
    "store_option",
]

Command = TypeVar("Command", bound=Callable[..., None])

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
ARMS = ("relabeled", "unrelabeled", "ignored", "partial")


def parse_arm(_: click.Context, param: click.Parameter | None, text: str) -> ArmChoice:
    """Read an arm; what is none is a usage error."""
    try:
        return ArmChoice.parse(text)
    except InputError as error:
        raise click.BadParameter(str(error), param=param) from error


def main() -> None:
    """Run the command line: an expected error is one line on stderr and exit code 1."""
    try:
        cli.main(prog_name="mseg-curate", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        fail("stopped; run the same command again to go on", code=130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MsegCurateError as error:
        if "--debug" in sys.argv:
            raise
        fail(str(error), code=130 if isinstance(error, TrainingStoppedError) else 1)
    except BrokenPipeError:
        # Whoever read our output has seen enough, `head` say.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        fail(f"unexpected {type(error).__name__}: {error}; `mseg-curate --debug …` shows where")


def fail(message: str, *, code: int = 1) -> None:
    click.echo(f"mseg-curate: {message}", err=True)
    sys.exit(code)


def say(line: str) -> None:
    click.echo(line)


def add_aside(line: str) -> None:
    """Tell whoever watches what to do about an empty answer; standard output holds the answer alone."""
    click.echo(line, err=True)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def store_option(command: Command) -> Command:
    return click.option(
        "--db",
        type=FILE,
        default=Path("mseg-curate.db"),
        envvar="MSEG_CURATE_DB",
        show_default=True,
        show_envvar=True,
        help="The store: an SQLite file.",
    )(command)


def author_option(command: Command) -> Command:
    return click.option(
        "--author", default=getuser, show_default="your login", help="Who makes this change."
    )(command)


def mask_options(command: Command) -> Command:
    """Name one mask of a task: split, sequence, image and segment."""
    segment = click.IntRange(0, 2**63 - 1)
    for option in (
        click.option("--segment", type=segment, required=True, help="The number of the mask."),
        click.option("--image", required=True, help="The name of the image."),
        click.option(
            "--sequence", default="", help="The image's sub-folder, where it lies in one."
        ),
        click.option("--split", required=True, help="The split of the image."),
    ):
        command = option(command)
    return command


class _Command(click.Command):
    """A command that takes words of text only: bytes that are no UTF-8 name nothing in a store."""

    def invoke(self, ctx: click.Context) -> object:
        for param in self.params:
            value = ctx.params.get(param.name or "")
            if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise click.BadParameter("is no text in UTF-8", ctx=ctx, param=param)
        return super().invoke(ctx)


class _Group(click.Group):
    command_class = _Command
    group_class = type


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="mseg-curate")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Unify segmentation datasets whose classes disagree, and measure what relabeling is worth."""
