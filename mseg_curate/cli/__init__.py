"""The command line: each command parses, calls one verb, prints. The only room that knows click.

A command imports its verb when it is called, so that `--help` stays quick.
"""

from __future__ import annotations

from mseg_curate.cli import (
    agree,
    curate,
    decide,
    evaluate,
    exports,
    flags,
    gold,
    people,
    published,
    review,
    suggest,
    tasks,
    train,
)
from mseg_curate.cli.edge import cli, main

__all__ = [
    "agree",
    "cli",
    "curate",
    "decide",
    "evaluate",
    "exports",
    "flags",
    "gold",
    "main",
    "people",
    "published",
    "review",
    "suggest",
    "tasks",
    "train",
]
