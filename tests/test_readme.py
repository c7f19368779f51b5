"""The commands of the README and of the pages beside it: each is one that exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from mseg_curate.cli import cli
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Programs of others that a reader has or was told to install.
OTHERS = {"git", "pip", "python", "cd", "torchrun"}


def commands_of(page: Path) -> list[str]:
    """Return the commands of a page's console blocks, those over several lines joined."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```console\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if line.strip().startswith("$ ")]


COMMANDS = [(page, command) for page in PAGES for command in commands_of(page)]


def parse(words: list[str]) -> click.Context:
    """Parse the words of a `mseg-curate` command as it would itself, without running it."""
    command: click.Command = cli
    context = click.Context(cli, info_name="mseg-curate", help_option_names=["-h", "--help"])
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"no command {name!r}"
        command = found
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=name, parent=context)
    return command.make_context(command.name, words, parent=context)


def test_there_are_commands() -> None:
    """The README shows a session."""
    assert sum(page.name == "README.md" for page, _ in COMMANDS) >= 5


@pytest.mark.parametrize(
    ("page", "command"), COMMANDS, ids=[f"{p.name}: {c[:40]}" for p, c in COMMANDS]
)
def test_the_command_exists(page: Path, command: str) -> None:
    """A command of ours parses with its options, a target of make is in the Makefile, others are known programs."""
    program, *words = shlex.split(command, comments=True)
    if program == "mseg-curate":
        if ">" in words:
            words = words[: words.index(">")]
        assert "|" not in words, "a pipe hides a second command from this test"
        parse(words)
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert words
        assert all(re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE) for word in words)
    elif program == "python" and words[0].endswith(".py"):
        assert (ROOT / words[0]).is_file()
    else:
        assert program in OTHERS, f"{page.name}: unknown program {program!r}"


def test_the_queries_run(mseg_store: Store) -> None:
    """Every query of a page runs on a store and gives the columns that it shows."""
    queries = [shlex.split(command) for _, command in COMMANDS if " query " in command]
    assert queries
    for words in queries:
        header, _ = run_query(mseg_store, words[-1])
        assert header


@pytest.mark.parametrize(
    "wrong", ["frobnicate", "dataset remove x", "export --arms relabeled --out x"]
)
def test_a_wrong_command_would_be_noticed(wrong: str) -> None:
    """This test's parser refuses unknown commands and options."""
    with pytest.raises((AssertionError, click.UsageError)):
        parse(wrong.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file or folder of the repository."""
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def spans_of(page: Path) -> list[str]:
    """Return the commands that stand within the sentences and tables of a page, outside of its blocks."""
    text = re.sub(
        r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return re.findall(r"`(mseg-curate [^`]+)`", text)


SPANS = [(page, span) for page in PAGES for span in spans_of(page)]


@pytest.mark.parametrize(("page", "span"), SPANS, ids=[f"{p.name}: {s[:50]}" for p, s in SPANS])
def test_the_command_in_a_sentence_exists(page: Path, span: str) -> None:
    """A command that a sentence or a table names is one of ours, and has the options it is shown with."""
    words = shlex.split(span.partition(" > ")[0])[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith(("-", "…")):
        found = command.commands.get(words.pop(0))
        assert found is not None, f"{page.name}: no command {span!r}"
        command = found
    known = {name for param in command.params for name in param.opts} | {"-h", "--help"}
    assert {word for word in words if word.startswith("-")} <= known, span
