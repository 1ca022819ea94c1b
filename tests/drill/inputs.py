"""What people and programs pass by mistake or on purpose, and what a function should say to it."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

Kind = Literal["id", "amount", "count", "seconds", "text", "moment", "flag"]
#: A text of an exception that nobody reads to its end.
TOO_LONG = 500
DOCUMENTED = (TypeError, ValueError)


class NoOffset(tzinfo):
    """A time zone that does not know its offset: what carries it is naive all the same."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return "nowhere"


#: Wrong whatever is expected.
ANYWHERE: dict[str, Any] = {"None": None, "a list": [1], "a dict": {"a": 1}, "an object": object()}
NUMBERS: dict[str, Any] = {
    **ANYWHERE,
    "empty text": "",
    "a number as text": "1",
    "bytes": b"1",
    "bool for int": True,
    "negative": -1,
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "decimal NaN": Decimal("NaN"),
}
WHOLE: dict[str, Any] = {
    **NUMBERS,
    "a fraction": 1.5,
    "a float that is whole": 1.0,
    "a decimal": Decimal("1.5"),
    "above int4": 2**31,
    "above int8": 2**63,
    "far above int8": 10**30,
    "below int8": -(2**63) - 1,
}
BAD: dict[str, dict[str, Any]] = {
    "id": {**WHOLE, "zero": 0},
    "amount": {**WHOLE, "zero": 0},
    "count": WHOLE,
    "seconds": {**NUMBERS, "beyond every clock": 1e300},
    "text": {
        **ANYWHERE,
        "empty": "",
        "blank": " \t\n",
        "bytes": b"text",
        "a number": 7,
        "bool": True,
        "NUL": "a\0b",
        "a lone surrogate": "a\ud800b",
        "1 MB": "x" * 2**20,
    },
    "moment": {
        **ANYWHERE,
        "empty text": "",
        "a moment as text": "2025-03-24T12:00:00Z",
        "a number": 0,
        "a date": date(2025, 3, 24),
        "naive": datetime(2025, 3, 24, 12),
        "a zone without offset": datetime(2025, 3, 24, 12, tzinfo=NoOffset()),
        "before the calendar in UTC": datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
        "after the calendar in UTC": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    },
    "flag": {**ANYWHERE, "a text": "false", "a number": 1, "empty text": ""},
}
#: Right, though odd: a function that takes texts keeps each of these as it is.
ODD_TEXTS: dict[str, str] = {
    "single quote": "O'Hara",
    "double quote": 'a "b" c',
    "percent": "100 % %s %(name)s",
    "colon": "a:b :name",
    "backslash": "a\\b\\",
    "injection": "x'); DROP TABLE users; --",
    "like": "_%_",
    "dollar": "$1 $$ ${x}",
    "braces": "{0} {name}",
    "json": '{"$decimal": "1.1O", "$gt": ""}',
    "html": "<script>alert(1)</script>",
    "line ends": "a\r\nb\n",
    "outside the BMP": "😀",
    "combining": "e\u0301",
    "right to left": "\u202eabc",
    "no-break space": "\xa0",
    "the word null": "NULL",
}
#: Instants that local clocks get wrong. A day's and a year's end, a leap day, microseconds, and in
#: Berlin and Los Angeles the hour that is left out and the hour that comes twice. Compare in UTC:
#: to Python a time in an hour that comes twice is unequal to every time of another zone.
MOMENTS: tuple[datetime, ...] = (
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 12, 31, 23, 30, tzinfo=UTC),
    datetime(2025, 3, 9, 9, 30, tzinfo=UTC),
    datetime(2025, 3, 9, 10, 30, tzinfo=UTC),
    datetime(2025, 3, 30, 0, 30, tzinfo=UTC),
    datetime(2025, 3, 30, 1, 30, tzinfo=UTC),
    datetime(2025, 10, 26, 0, 30, tzinfo=UTC),
    datetime(2025, 10, 26, 1, 30, tzinfo=UTC),
    datetime(2025, 11, 2, 8, 30, tzinfo=UTC),
    datetime(2025, 11, 2, 9, 30, tzinfo=UTC),
)


def bad_inputs(kind: Kind, *, fine: Sequence[str] = ()) -> dict[str, Any]:
    """Return the wrong values for a parameter, by name.

    Args:
        kind: what is expected. `id` and `amount` begin at 1, `count` at 0; `seconds` is a number
            above or at 0; `moment` is an aware datetime.
        fine: the names of values that this function may take. A name that is not in the table
            raises ValueError, so that the list cannot rot.
    """
    if unknown := set(fine) - BAD[kind].keys():
        raise ValueError(f"no bad {kind} is named {', '.join(sorted(unknown))}")
    return {name: value for name, value in BAD[kind].items() if name not in fine}


def secrets_of(*urls: str) -> list[str]:
    """Return what of the URLs no error may show: passwords, and where the server is."""
    parts = [urlsplit(url) for url in urls]
    words = {f"{part.hostname}:{part.port}" for part in parts if part.port}
    for part in parts:
        words |= {part.password or "", unquote(part.password or "")}
    return sorted(words - {""})


def complaints(
    error: BaseException | None, documented: tuple[type[BaseException], ...], secrets: Sequence[str]
) -> list[str]:
    """Return what is wrong with an answer to a wrong value, a short sentence each."""
    if error is None:
        return ["it was accepted"]
    text, kind = str(error), type(error).__name__
    found = []
    if not isinstance(error, documented):
        found.append(f"{kind} is not documented: {' '.join(text.split())[:80]}")
    if not text.strip():
        found.append(f"{kind} says nothing")
    if len(text) > TOO_LONG:
        found.append(f"{kind} has {len(text):,} characters")
    if any(word in text or word in repr(error) for word in secrets):
        found.append(f"{kind} shows a secret or the server's address")
    if re.search(r"\b0x[0-9a-fA-F]{6,}", text):
        found.append(f"{kind} shows a memory address")
    return found


def answers(
    function: Callable[[Any], Any],
    values: Mapping[str, Any],
    *,
    with_: tuple[type[BaseException], ...] = DOCUMENTED,
    state: Callable[[], Any] | None = None,
    secrets: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Try every value, and return what is wrong with the answers by the value's name.

    See `refuses` for the arguments. A value that was refused as it should be is left out.
    """
    found: dict[str, list[str]] = {}
    before = state() if state else None
    for name, value in values.items():
        error: BaseException | None = None
        try:
            result = function(value)
            if inspect.iscoroutine(result):
                asyncio.run(_awaited(result))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as problem:
            error = problem
        wrong = complaints(error, with_, secrets)
        if state and (after := state()) != before:
            before = after
            wrong.append("something was written")
        if wrong:
            found[name] = wrong
    return found


async def _awaited(work: Coroutine[Any, Any, Any]) -> Any:
    return await work


def refuses(
    function: Callable[[Any], Any],
    values: Mapping[str, Any],
    *,
    with_: tuple[type[BaseException], ...] = DOCUMENTED,
    state: Callable[[], Any] | None = None,
    secrets: Sequence[str] = (),
) -> None:
    """Assert that a function refuses every value with one clear error, before it writes.

    Args:
        function: gets the value. When it gives a coroutine, that is run in a loop of its own.
        values: from `bad_inputs`.
        with_: the exceptions that the function documents.
        state: what is stored, in a form that can be compared: `contents(url)`. Within
            `no_writes(url)` a write that would be rolled back is seen too.
        secrets: what no error may show, from `secrets_of`.

    Raises AssertionError with a line for each value that was not refused so.
    """
    found = answers(function, values, with_=with_, state=state, secrets=secrets)
    lines = [f"{name}: {'; '.join(wrong)}" for name, wrong in found.items()]
    assert not found, f"{len(found)} of {len(values)} were not refused\n" + "\n".join(lines)
