"""Exercise 04b-1: a codec."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed

STARTER = '''
def encode(value):
    """Return the value as JSON text, or raise TypeError."""
    return ...


def decode(text):
    """Return what was encoded."""
    return ...


ex1.check()
'''
SOLUTION = '''
KINDS = {
    "$decimal": (Decimal, str, Decimal),
    "$datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "$uuid": (uuid.UUID, str, uuid.UUID),
}


def tag(value):
    for name, (kind, to_text, _) in KINDS.items():
        if isinstance(value, kind):
            return {name: to_text(value)}
    raise TypeError(f"the cache cannot store a {type(value).__name__}")


def untag(found):
    (name, *more) = found or [""]
    return KINDS[name][2](found[name]) if name in KINDS and not more else found


def encode(value):
    """Return the value as JSON text, or raise TypeError."""
    text = json.dumps(value, default=tag)
    if decode(text) != value:
        raise TypeError("it would come back changed")
    return text


def decode(text):
    """Return what was encoded."""
    return json.loads(text, object_hook=untag)


ex1.check()
'''


def check(encode: Callable[..., Any], decode: Callable[..., Any]) -> None:
    """Send values of every type there and back; then values that JSON would change."""
    moment = datetime(2025, 3, 24, 12, 30, 0, 123456, tzinfo=UTC)
    name = uuid.UUID(int=61)
    plain: list[Any] = [None, True, 0, 1.5, "", "1.10", [], {"a": [1, {"b": None}]}]
    own = [Decimal("1.10"), moment, name, datetime(2025, 3, 24)]
    deep = [{"rows": [{"price": Decimal("0.1"), "at": moment, "id": name}]}, [own, own]]
    for value in [*plain, *own, *deep]:
        text = encode(value)
        if not isinstance(text, str):
            raise Incorrect(f"encode({value!r}) returned {type(text).__name__}, not a text.")
        try:
            json.loads(text)
        except ValueError:
            raise Incorrect(f"encode({value!r}) returned a text that is not JSON.") from None
        again = decode(text)
        if again != value or type(again) is not type(value) or repr(again) != repr(value):
            raise Incorrect(f"{value!r} came back as {again!r}.")
    raw = getattr(encode, "__wrapped__", encode)
    alike = json.loads(encode(Decimal("1.10")))  # a customer's text may look like your tag
    try:
        text = raw(alike)
    except TypeError:
        text = ""
    if text and type(again := decode(text)) is not type(alike):
        raise Incorrect(f"encode() accepted {alike!r}, which came back as {again!r}.")
    for value in [("a", 1), {1: "one"}, {"rows": [(1, 2)]}, {1, 2}, object]:
        shown = repr(value) if value is not object else "a class"
        try:
            raw(value)
        except TypeError:
            continue
        raise Incorrect(f"encode() accepted {shown}, which would come back changed.")


EXERCISE = Exercise(
    title="A codec",
    minutes=16,
    prompt="Write encode and decode for Decimal, datetime and UUID, on top of JSON.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Extend tag and untag above: a tag of its own for each type.",
        "datetime.isoformat and datetime.fromisoformat, str and uuid.UUID belong together.",
        "encode knows the value: let it decode its own text and compare.",
    ],
    wrong=[
        (
            changed(
                STARTER,
                'TypeError."""\n    return ...',
                'TypeError."""\n    return json.dumps(value, default=str)',
                'encoded."""\n    return ...',
                'encoded."""\n    return json.loads(text)',
            ),
            "came back as '1.10'",
        ),
        (
            changed(
                SOLUTION,
                "    if decode(text) != value:\n"
                '        raise TypeError("it would come back changed")\n',
                "",
            ),
            "encode() accepted",
        ),
        (
            changed(SOLUTION, "(Decimal, str, Decimal)", "(Decimal, float, Decimal)"),
            "encode(Decimal) raised",
        ),
        (
            changed(
                STARTER,
                'TypeError."""\n    return ...',
                'TypeError."""\n    import pickle\n\n    return pickle.dumps(value).hex()',
                'encoded."""\n    return ...',
                'encoded."""\n    return __import__("pickle").loads(bytes.fromhex(text))',
            ),
            "that is not JSON",
        ),
    ],
    praise="What goes in comes out, or is refused in your tests.",
)
