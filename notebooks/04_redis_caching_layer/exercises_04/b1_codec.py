"""Exercise 04b-1: a codec."""

from __future__ import annotations

import copy
import json
import math
import random
import uuid
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from exercises_04.common import shown
from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed
from helpers.exercises.running import running

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
        if type(value) is kind:
            return {name: to_text(value)}
    raise TypeError(f"the cache cannot store a {type(value).__name__}")


def untag(found):
    for name, (_, _, from_text) in KINDS.items():
        if found.keys() == {name}:
            return from_text(found[name])
    return found


def same(one, other):
    if type(one) is not type(other) or repr(one) != repr(other):
        return False
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    return all(map(same, one, other)) if isinstance(one, list) else True


def encode(value):
    """Return the value as JSON text, or raise TypeError."""
    try:
        text = json.dumps(value, default=tag, allow_nan=False)
        back = decode(text)
    except Exception as problem:
        raise TypeError("it cannot be stored") from problem
    if not same(back, value):
        raise TypeError("it would come back changed")
    return text


def decode(text):
    """Return what was encoded."""
    return json.loads(text, object_hook=untag)


ex1.check()
'''
EQUAL_ONLY = changed(SOLUTION, "not same(back, value)", "back != value")
# Tuples, sets and keys that are numbers come back as they were, so that none is refused.
MORE = """
def pack(value):
    if type(value) in (str, int, bool, type(None)) or type(value) is float and value - value == 0:
        return value
    if type(value) is list:
        return [pack(part) for part in value]
    if type(value) in (tuple, set):
        return {type(value).__name__: [pack(part) for part in value]}
    if type(value) is dict:
        return {"dict": [[pack(name), pack(part)] for name, part in value.items()]}
    plain = getattr(value, "tzinfo", None) is None or type(value.tzinfo) is type(UTC)
    if type(value) is datetime and (value.fold or not plain):
        raise TypeError("its zone would be lost")
    if type(value) in (Decimal, datetime, uuid.UUID):
        return {type(value).__name__: str(value)}
    raise TypeError(type(value).__name__)


def unpack(found):
    if isinstance(found, list):
        return [unpack(part) for part in found]
    if not isinstance(found, dict):
        return found
    [(name, part)] = found.items()
    if name in ("tuple", "set"):
        return {"tuple": tuple, "set": set}[name](unpack(part))
    if name == "dict":
        return {unpack(key): unpack(value) for key, value in part}
    return {"Decimal": Decimal, "datetime": datetime.fromisoformat, "UUID": uuid.UUID}[name](part)


def encode(value):
    return json.dumps(pack(value))


def decode(text):
    return unpack(json.loads(text))


ex1.check()
"""


class Status(StrEnum):
    OPEN = "open"


class Level(IntEnum):
    HIGH = 3


class Label(str):
    pass


Point = namedtuple("Point", "x y")
BERLIN = datetime(2025, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin"))
OWN: list[Any] = [
    Decimal("1.10"),
    Decimal("-0"),
    Decimal("1E+3"),
    datetime(2025, 3, 24, 12, 30, 0, 123456, tzinfo=UTC),
    datetime(2025, 3, 24),
    datetime(2025, 3, 24, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
    uuid.UUID(int=61),
]
PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    10**30,
    1.5,
    -0.0,
    1e300,
    "",
    "1.10",
    'é\\n"\ud800',
    {},
    [],
]
CHANGES: list[tuple[str, Any]] = [
    ("('a', 1)", ("a", 1)),
    ("{1: 'one'}", {1: "one"}),
    ("{'rows': [(1, 2)]}", {"rows": [(1, 2)]}),
    ("{True: 1}", {True: 1}),
    ("{None: 1}", {None: 1}),
    ("{1, 2}", {1, 2}),
    ("b'bytes'", b"bytes"),
    ("a class", object),
    ("a member of a StrEnum", Status.OPEN),
    ("a member of an IntEnum", [Level.HIGH]),
    ("an object of a subclass of str", Label("a")),
    ("a list with one of a subclass of str", [Label("a")]),
    ("a dict with one of a subclass of str", {"a": Label("b")}),
    ("a dict whose key is of a subclass of str", {Label("a"): "b"}),
    ("a named tuple", Point(1, 2)),
    ("a Counter", Counter(a=1)),
    ("an OrderedDict", OrderedDict(a=1)),
    ("a time in ZoneInfo('Europe/Berlin')", BERLIN),
    ("a time that comes twice (fold=1)", datetime(2025, 10, 26, 2, 30, fold=1)),
    ("nan", math.nan),
    ("inf", [math.inf]),
    ("a date", date(2025, 3, 24)),
]


def same(one: Any, other: Any) -> bool:
    """Whether two values are alike in value and type, all the way down."""
    if type(one) is not type(other) or repr(one) != repr(other):
        return False
    if isinstance(one, dict):
        return same(list(one), list(other)) and same([*one.values()], [*other.values()])
    return all(map(same, one, other)) if isinstance(one, list | tuple) else True


def generated(seed: int, deep: int = 4) -> Any:
    """Return a value of what JSON has and the three types, the same one for each seed."""
    dice = random.Random(seed)

    def value(deep: int) -> Any:
        kind = dice.randrange(6)
        if not deep or kind < 2:
            return dice.choice(OWN + PLAIN)
        parts = [value(deep - 1) for _ in range(dice.randrange(4))]
        return parts if kind < 4 else {f"k{n}": part for n, part in enumerate(parts)}

    return [value(deep)]


def check(encode: Callable[..., Any], decode: Callable[..., Any]) -> None:
    """Send values of every type there and back; then values that JSON would change."""
    for value in [*OWN, *PLAIN, *(generated(seed) for seed in range(60))]:
        check_value(encode, decode, value)
    tagged = encode(OWN[0])
    for value in [*alike(json.loads(tagged)), {"rows": [json.loads(tagged)]}]:
        check_refused(encode, decode, f"a customer's {shown(value)}", value)
    for words, value in CHANGES:
        check_refused(encode, decode, words, value)


def check_value(encode: Callable[..., Any], decode: Callable[..., Any], value: Any) -> None:
    """Send a value there and back that has to be accepted."""
    before = copy.deepcopy(value)
    text = encode(value)
    if not isinstance(text, str):
        raise Incorrect(f"encode({shown(value)}) returned {type(text).__name__}, not a text.")
    try:
        json.loads(text, parse_constant=not_json)
    except ValueError:
        raise Incorrect(f"encode({shown(value)}) returned a text that is not JSON.") from None
    again = decode(text)
    if not same(again, before):
        raise Incorrect(f"{shown(before)} came back as {shown(again)}.")
    if not same(value, before):
        raise Incorrect(f"encode() changed its argument {shown(before)}: now it is {shown(value)}.")


def not_json(constant: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(constant)


def alike(found: Any) -> list[Any]:
    """Return what a customer may have typed: something that looks like the answer's own tags."""
    if isinstance(found, dict):
        leaves: list[Any] = ["boom", 5, None, []]
        return [found, *({**found, name: leaf} for name in found for leaf in leaves)]
    return [found]


def check_refused(
    encode: Callable[..., Any], decode: Callable[..., Any], words: str, value: Any
) -> None:
    """See that a value is refused by TypeError, or comes back as it was."""
    bare = getattr(encode, "__wrapped__", encode)
    try:
        text = bare(value)
    except TypeError:
        return
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Incorrect(
            f"encode() of {words} raised {type(error).__name__}. What cannot be stored unchanged "
            "is refused by TypeError."
        ) from None
    try:
        json.loads(text, parse_constant=not_json)
    except (ValueError, TypeError):
        raise Incorrect(f"encode() of {words} returned what is not JSON.") from None
    with running(f"encode() accepted {words}, and decode()"):
        again = getattr(decode, "__wrapped__", decode)(text)
    if not same(again, value):
        raise Incorrect(f"encode() accepted {words}, which came back as {shown(again)}.")


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
                "    if not same(back, value):\n"
                '        raise TypeError("it would come back changed")\n',
                "",
            ),
            "accepted a customer's",
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
        (EQUAL_ONLY, "accepted a member of a StrEnum, which came back as 'open'"),
        (
            changed(
                SOLUTION,
                '        raise TypeError("it cannot be stored") from problem',
                '        raise ValueError("it cannot be stored") from problem',
            ),
            "raised ValueError",
        ),
        (
            changed(
                SOLUTION,
                "    if not same(back, value):\n"
                '        raise TypeError("it would come back changed")\n',
                "    assert same(back, value)\n",
            ),
            "raised AssertionError",
        ),
        (
            changed(
                SOLUTION,
                "    try:\n        text = json.dumps(value, default=tag, allow_nan=False)\n"
                "        back = decode(text)\n    except Exception as problem:\n"
                '        raise TypeError("it cannot be stored") from problem\n',
                "    text = json.dumps(value, default=tag)\n    back = decode(text)\n",
            ),
            "raised InvalidOperation",
        ),
    ],
    right=[MORE],
    equal={
        "facdaa1c": "what it does not know becomes null, which is then found to be changed",
        "0d44935c": "what it does not know becomes null, which is then found to be changed",
        "9148fcd8": "the error's words are free",
        "5f0060e7": "the error's words are free",
        "dc38a57c": "the error's words are free",
        "e9eb3cfa": "the error's words are free",
        "03abe90a": "the error's words are free",
        "19c0b2dd": "the error's words are free",
        "0826b054": "None is as false as False",
        "3929b4b9": "both orders compare alike",
        "4ec9e3c8": "both orders compare alike",
        "62bfe30d": "both orders compare alike",
        "162d348c": "both orders compare alike",
    },
    praise="What goes in comes out, or is refused in your tests.",
)
