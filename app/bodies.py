"""What clients send, checked by hand: JSON bodies and query words become values, or a sentence says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeVar, get_args
from urllib.parse import parse_qs

from mseg_curate.errors import InputError
from mseg_curate.review import Operation

__all__ = [
    "BodyError",
    "ClaimBody",
    "DecideBody",
    "LeasesBody",
    "read_claim",
    "read_decide",
    "read_form",
    "read_leases",
    "read_whole",
    "read_word",
]

MOST_OPERATIONS = 100
# All pages of a grid that were taken back, and still within the size of a request.
MOST_HELD = 1500
MOST_CLAIMED = 100
LONGEST_NAME = 300
LONGEST_COMMENT = 2000
LONGEST_DAY_S = 30 * 24 * 3600.0

_HEX = re.compile(r"[0-9a-f]{32}")
_CLIENT = re.compile(r"[0-9A-Za-z_-]{1,64}")
Mode = Literal["single", "grid", "adjudication"]
_MODES: tuple[Mode, ...] = get_args(Mode)
_OPERATIONS = ("decide", "undo", "skip", "except", "flag")
_OUTCOMES = ("class", "none_of_these", "unsure", "bad_mask")
_FIELDS = {field.name for field in fields(Operation)}

Body = Mapping[str, object]
Word = TypeVar("Word", bound=str)


class BodyError(InputError):
    """A request that cannot be understood; the message names the field, what was expected and what was found."""


@dataclass(frozen=True)
class ClaimBody:
    """A request for masks: `held` are the leases that the client has already."""

    task: str
    count: int
    mode: Mode
    class_name: str
    client: str
    held: tuple[str, ...]


@dataclass(frozen=True)
class DecideBody:
    """Operations to be done in their order; `task` is '' where the client does not say."""

    client: str
    task: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class LeasesBody:
    """Leases of one browser tab."""

    client: str
    held: tuple[str, ...]


def read_claim(data: bytes) -> ClaimBody:
    """Read the body of /review/claim."""
    body = _object(data, {"task", "count", "mode", "class_name", "client", "held"})
    mode = _one_of(body, "mode", _MODES, default="single")
    class_name = _text(body, "class_name", longest=LONGEST_NAME, default="")
    if class_name and mode != "grid":
        raise BodyError(
            "a class to claim from", place="class_name", expected="mode grid", found=mode
        )
    return ClaimBody(
        task=_text(body, "task", longest=LONGEST_NAME),
        count=read_whole(body.get("count"), "count", least=1, most=MOST_CLAIMED),
        mode=mode,
        class_name=class_name,
        client=_client(body),
        held=_hexes(body, "held"),
    )


def read_decide(data: bytes) -> DecideBody:
    """Read the body of /review/decide."""
    body = _object(data, {"client", "operations", "task"})
    listed = body.get("operations")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_OPERATIONS:
        raise BodyError(
            "no operations", place="operations", expected=f"a list of 1 to {MOST_OPERATIONS}"
        )
    return DecideBody(
        client=_client(body),
        task=_text(body, "task", longest=LONGEST_NAME, default=""),
        operations=tuple(_operation(entry, number) for number, entry in enumerate(listed)),
    )


def read_leases(data: bytes) -> LeasesBody:
    """Read the body of /review/renew and /review/release."""
    body = _object(data, {"client", "held"})
    return LeasesBody(client=_client(body), held=_hexes(body, "held"))


def read_form(data: bytes) -> dict[str, str]:
    """Read a form as browsers send it; of a field that comes twice the first counts."""
    try:
        pairs = parse_qs(data.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise BodyError("not a form", expected="application/x-www-form-urlencoded") from None
    return {name: values[0] for name, values in pairs.items()}


def read_word(words: Mapping[str, str], name: str) -> str:
    """Return a query parameter that must be there."""
    return _text(words, name, longest=LONGEST_NAME)


def read_whole(value: object, name: str, *, least: int, most: int) -> int:
    """Return a whole number within bounds; a text of digits is one, too."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BodyError(
            "wrong number", place=name, expected=f"{least} … {most}", found=_shown(value)
        )
    return value


def _operation(entry: object, number: int) -> Operation:
    place = f"operations[{number}]"
    if not isinstance(entry, dict):
        raise BodyError("wrong operation", place=place, expected="an object", found=_shown(entry))
    _refuse_strangers(entry, _FIELDS, place)
    op = _one_of(entry, "op", _OPERATIONS, place=place)
    outcome = _one_of(entry, "outcome", ("", *_OUTCOMES), default="", place=place)
    class_name = _text(entry, "class_name", longest=LONGEST_NAME, default="", place=place)
    if (op == "decide") != bool(outcome) or (outcome == "class") != bool(class_name):
        raise BodyError(
            "outcome and class do not fit the operation",
            place=place,
            expected="an outcome with decide alone, a class_name with outcome class alone",
            found=f"op {op}, outcome {outcome!r}, class_name {class_name[:40]!r}",
        )
    of = _text(entry, "of", longest=32, default="", place=place)
    if (op == "undo") != bool(of) or (of and not _HEX.fullmatch(of)):
        raise BodyError(
            "wrong decision to undo",
            place=f"{place}.of",
            expected="32 hex digits with undo alone",
            found=_shown(of),
        )
    milliseconds = entry.get("milliseconds")
    return Operation(
        op=op,
        uuid=_hex(entry.get("uuid"), f"{place}.uuid"),
        lease=_hex(entry.get("lease"), f"{place}.lease"),
        outcome=outcome,
        class_name=class_name,
        of=of,
        comment=_text(entry, "comment", longest=LONGEST_COMMENT, default="", place=place),
        milliseconds=None
        if milliseconds is None
        else read_whole(milliseconds, f"{place}.milliseconds", least=0, most=2**31 - 1),
        age_s=_seconds(entry.get("age_s", 0.0), f"{place}.age_s"),
    )


def _object(data: bytes, known: set[str]) -> Body:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise BodyError("not JSON", expected="a JSON object") from None
    if not isinstance(body, dict):
        raise BodyError("wrong body", expected="a JSON object", found=_shown(body))
    _refuse_strangers(body, known, None)
    return body


def _refuse_strangers(body: Body, known: set[str], place: str | None) -> None:
    strangers = sorted(body.keys() - known)
    if strangers:
        raise BodyError(
            "unknown field",
            place=place,
            expected=", ".join(sorted(known)),
            found=", ".join(strangers)[:80],
        )


def _text(
    body: Body, name: str, *, longest: int, default: str | None = None, place: str | None = None
) -> str:
    value = body.get(name, default)
    # A lone surrogate is JSON, and no text that a store can keep.
    sound = isinstance(value, str) and value.encode("utf-8", "replace").decode() == value
    if (
        not isinstance(value, str)
        or not sound
        or len(value) > longest
        or (not value and default is None)
    ):
        raise BodyError(
            "wrong text",
            place=f"{place}.{name}" if place else name,
            expected=f"a text of {'0' if default is not None else '1'} … {longest} characters",
            found=_shown(value),
        )
    return value


def _one_of(
    body: Body,
    name: str,
    allowed: tuple[Word, ...],
    *,
    default: Word | None = None,
    place: str | None = None,
) -> Word:
    value = body.get(name, default)
    for word in allowed:
        if word == value:
            return word
    raise BodyError(
        "wrong word",
        place=f"{place}.{name}" if place else name,
        expected=" | ".join(word for word in allowed if word),
        found=_shown(value),
    )


def _client(body: Body) -> str:
    value = body.get("client")
    if not isinstance(value, str) or not _CLIENT.fullmatch(value):
        raise BodyError(
            "wrong client",
            place="client",
            expected="1 … 64 letters, digits, - and _",
            found=_shown(value),
        )
    return value


def _hexes(body: Body, name: str) -> tuple[str, ...]:
    listed = body.get(name, [])
    if not isinstance(listed, list) or len(listed) > MOST_HELD:
        raise BodyError("wrong leases", place=name, expected=f"a list of at most {MOST_HELD}")
    return tuple(_hex(value, f"{name}[{number}]") for number, value in enumerate(listed))


def _hex(value: object, place: str) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise BodyError(
            "wrong id", place=place, expected="32 lower-case hex digits", found=_shown(value)
        )
    return value


def _seconds(value: object, place: str) -> float:
    # NaN lies between no bounds; an endless whole number is compared, but has no finite float to ask about.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= LONGEST_DAY_S
    ):
        raise BodyError(
            "wrong time", place=place, expected=f"0 … {LONGEST_DAY_S:.0f} s", found=_shown(value)
        )
    return float(value)


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, default=str)[:80]
