"""The exception tree: what is drawn, exported and raised is the same, and messages read alike."""

from __future__ import annotations

import inspect
import re

import pytest

from mseg_curate import errors
from mseg_curate.errors import ImageError, InputError, MsegCurateError, StoreError


def drawn_tree() -> dict[str, str | None]:
    """Read each class and its parent off the drawing in the module's docstring."""
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<bars>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: {2,}|$)", line)
        if found:
            depth = len(found["bars"]) // 4
            above[depth:] = [found["name"]]
            parents[found["name"]] = above[depth - 1] if depth else None
    return parents


def test_the_drawing_is_the_tree() -> None:
    """Every class stands in the docstring below its parent, and nothing else does."""
    classes = {
        name: cls.__bases__[0].__name__ if cls is not MsegCurateError else None
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, Exception)
    }
    assert drawn_tree() == classes


def test_all_names_every_exception() -> None:
    """`__all__` lists every exception, sorted, and nothing else."""
    assert errors.__all__ == sorted(drawn_tree())


@pytest.mark.parametrize("name", errors.__all__)
def test_every_exception_says_what_it_means(name: str) -> None:
    """Every exception has a docstring of its own and descends from the base."""
    cls = getattr(errors, name)
    assert issubclass(cls, MsegCurateError)
    assert cls.__doc__ not in (None, *(base.__doc__ for base in cls.__bases__))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, "wrong size"),
        ({"path": "a.png"}, "a.png: wrong size"),
        ({"path": "a.tsv", "place": 7}, "a.tsv:7: wrong size"),
        ({"place": 7}, "7: wrong size"),
        ({"expected": "1×2"}, "wrong size: expected 1×2"),
        ({"found": "3×4"}, "wrong size: found 3×4"),
        ({"hint": "mend it"}, "wrong size; mend it"),
        (
            {"path": "a.tsv", "place": 7, "expected": "1×2", "found": "3×4", "hint": "mend it"},
            "a.tsv:7: wrong size: expected 1×2, found 3×4; mend it",
        ),
        ({"hint": "mend them", "problems": ["x", "y"]}, "wrong size; mend them\n  x\n  y"),
    ],
)
def test_the_message_has_one_form(known: dict[str, object], message: str) -> None:
    """A message reads `path:place: what: expected …, found …; hint`, unknown parts left out."""
    error = InputError("wrong size", **known)  # type: ignore[arg-type]
    assert str(error) == message


def test_a_long_list_is_cut_in_the_message_alone() -> None:
    """The message shows twenty problems and says how many more; the error keeps them all."""
    error = InputError("many", problems=[f"fault {i}" for i in range(23)])
    lines = str(error).splitlines()
    assert lines[0] == "many"
    assert lines[1:21] == [f"  fault {i}" for i in range(20)]
    assert lines[21:] == ["  … and 3 more"]
    assert len(error.problems) == 23


def test_the_parts_stay_readable_on_the_error() -> None:
    """A caller reads what, where, expected, found and hint off the exception."""
    error = ImageError("torn", path="a.png", place=3, expected="b", found="c", hint="d")
    parts = (error.what, error.path, error.place, error.expected, error.found, error.hint)
    assert parts == ("torn", "a.png", 3, "b", "c", "d")
    assert error.problems == ()


def test_input_errors_are_not_store_errors() -> None:
    """A caller can tell faulty input from a store that cannot do what was asked."""
    assert not issubclass(InputError, StoreError)
    assert not issubclass(StoreError, InputError)
