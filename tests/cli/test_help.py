"""`--help` of every command: it works, says what each option is, and is quick."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from mseg_curate import __version__
from mseg_curate.cli import cli

CallCli = Callable[..., Any]

HEAVY = ("alembic", "cv2", "pandas", "sqlalchemy", "streamlit", "torch")


def walk(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that call it."""
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = list(walk(cli))


@pytest.mark.parametrize(
    ("words", "command"), COMMANDS, ids=[" ".join(w) or "mseg-curate" for w, _ in COMMANDS]
)
def test_help_works(call_cli: CallCli, words: tuple[str, ...], command: click.Command) -> None:
    """Every command prints its sentence and its options, and ends with exit code 0."""
    for flag in ("--help", "-h"):
        called = call_cli(*words, flag)
        assert called.code == 0
        assert called.err == ""
        assert command.help is not None
        assert "".join(command.help.split()) in "".join(called.out.split())
        for parameter in command.params:
            assert all(name in called.out for name in parameter.opts if name.startswith("--"))


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_every_option_is_explained(words: tuple[str, ...], command: click.Command) -> None:
    """No option is left without a word of help or a list of choices; no sentence lacks its end."""
    assert command.help is not None
    assert command.help.strip().endswith(".")
    plain = [
        option.opts[0]
        for option in command.params
        if isinstance(option, click.Option)
        and not option.help
        and not isinstance(option.type, click.Choice)
        and option.show_default is None
        and option.name not in ("dataset_name",)
    ]
    assert plain == []


def test_version(call_cli: CallCli) -> None:
    """`--version` prints the version of the package."""
    called = call_cli("--version")
    assert called.out == f"mseg-curate, version {__version__}\n"


def test_no_command_shows_the_help(call_cli: CallCli) -> None:
    """Without a command the help is shown, and the exit code says that nothing was done."""
    called = call_cli()
    assert called.code == 2
    assert "Usage: mseg-curate" in called.err


def loaded_after(code: str) -> set[str]:
    """Return which of the heavy packages a fresh interpreter has loaded after some code."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport json, sys\nprint()\nprint(json.dumps(list(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    return set(json.loads(done.stdout.splitlines()[-1])) & {*HEAVY, "numpy"}


def test_help_loads_nothing_heavy() -> None:
    """The help of every command loads neither torch nor SQLAlchemy nor pandas."""
    calls = [["mseg-curate", *words, "--help"] for words, _ in COMMANDS]
    code = f"import sys\nfrom mseg_curate.cli import main\nfor sys.argv in {calls!r}:\n    main()"
    assert loaded_after(code) == set()


def test_the_package_loads_nothing_heavy() -> None:
    """`import mseg_curate` loads neither torch nor streamlit, nor anything else that is slow."""
    assert loaded_after("import mseg_curate") == set()


def test_exporting_loads_no_torch() -> None:
    """Everything but training works where torch is not installed."""
    code = (
        "import sys\nsys.modules['torch'] = None\nimport mseg_curate.demo, mseg_curate.baseline, "
        "mseg_curate.export, mseg_curate.decide, mseg_curate.simulate, mseg_curate.check\n"
        "del sys.modules['torch']"
    )
    assert "torch" not in loaded_after(code)


ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for room in ("mseg_curate", "app", "baselines") for path in (ROOT / room).rglob("*.py")
)


def commands_named_in(text: str) -> set[str]:
    """Return the words behind the name of the program wherever a text tells somebody to run it."""
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return {words.strip() for words in re.findall(r"`mseg-curate((?: [a-z][a-z-]*)+)", joined)} | {
        words.strip() for words in re.findall(r"next: mseg-curate((?: [a-z][a-z-]*)+)", joined)
    }


def test_messages_name_commands_that_exist() -> None:
    """Every command that a message tells somebody to run is one of ours."""
    named = {
        (path.name, words)
        for path in SOURCES
        for words in commands_named_in(path.read_text("utf-8"))
    }
    assert len(named) > 30
    groups = {words for words, command in COMMANDS if isinstance(command, click.Group)}
    for name, words in named:
        path: tuple[str, ...] = ()
        for word in words.split():
            if path not in groups:
                break
            path = (*path, word)
        assert path in dict(COMMANDS), f"{name}: mseg-curate {words}"
