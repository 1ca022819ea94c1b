"""Exercise 02d-1: the size of a pool."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from exercises_02.common import shown
from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed

STARTER = '''
def pool_size(rate, held, processes, max_connections, reserve):
    """Return pool_size for one process; raise ValueError if all together do not fit."""
    return ...


ex1.check()
'''
BODY = """\
    each = max(1, math.ceil(1.5 * rate * held / processes))
    if each * processes > max_connections - reserve:
        raise ValueError("make the transactions shorter, or put a pooler in front")
    return each
"""
SOLUTION = "\nimport math\n\n" + STARTER.replace("    return ...\n", BODY)


FITS: list[tuple[tuple[Any, ...], int, str]] = [
    ((200, 0.02, 2, 100, 10), 3, "4 are busy, 6 with half as many again, 3 in each process"),
    ((100, 0.03, 4, 100, 10), 2, "4.5 in four processes are more than one in each"),
    ((1000, 0.04, 6, 100, 10), 10, "60 in six processes"),
    ((110, 0.01, 1, 100, 10), 2, "1.1 are busy, 1.65 with half as many again"),
    ((10, 0.01, 3, 100, 10), 1, "a tenth is busy, and a connection is whole"),
    ((1000, 0.06, 9, 100, 10), 10, "nine times ten are 90, which just fit"),
    ((0, 0.01, 3, 100, 10), 1, "nobody asks, but a process needs at least one connection"),
    ((5, 0, 90, 100, 10), 1, "90 processes with one each are 90, which just fit"),
]
TOO_MANY: list[tuple[tuple[Any, ...], str]] = [
    ((1000, 0.2, 4, 100, 10), "300 connections"),
    ((800, 0.08, 4, 100, 10), "they want 96 of 100, and 10 are reserved"),
    ((1000, 0.06, 7, 100, 10), "13 in each of seven processes are 91, and 90 may be used"),
    ((0, 0.01, 91, 100, 10), "91 processes with one each are 91, and 90 may be used"),
]


def generated() -> Iterator[tuple[tuple[Any, ...], int | None]]:
    """Yield arguments and the size, None where it does not fit; reckoned with fractions."""
    chance = random.Random(2)
    for _ in range(300):
        rate, processes = chance.randrange(1, 2000), chance.randrange(1, 20)
        held, limit = chance.randrange(1, 200) / 1000, chance.choice([50, 100, 300])
        reserve = chance.randrange(20)
        exact = Fraction(3, 2) * rate * Fraction(str(held)) / processes
        if exact.denominator == 1:  # floats may come out a little above, and so one higher
            continue
        size = int(exact) + 1
        fits = size * processes <= limit - reserve
        yield (rate, held, processes, limit, reserve), size if fits else None


def refused(pool_size: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Call the answer: whether it raised ValueError, and what it returned."""
    try:
        return False, pool_size(*arguments)
    except Incorrect as error:
        if isinstance(error.__cause__, ValueError):
            return True, None
        raise


def check(pool_size: Callable[..., Any]) -> None:
    """Compare with sizes that were computed by hand, with ones that do not fit, and with many."""
    for arguments, size, why in FITS:
        no, told = refused(pool_size, arguments)
        if no:
            raise Incorrect(f"pool_size{arguments} refused, but it fits: {why}.")
        if told != size:
            raise Incorrect(f"pool_size{arguments} returned {shown(told)}; it is {size}: {why}.")
        if not isinstance(told, int) or isinstance(told, bool):
            raise Incorrect(
                f"pool_size{arguments} returned {shown(told)}, a {type(told).__name__}. "
                "Connections are whole: return an int."
            )
    for arguments, why in TOO_MANY:
        no, told = refused(pool_size, arguments)
        if not no:
            raise Incorrect(
                f"pool_size{arguments} returned {shown(told)}, but this does not fit: {why}."
            )
    for arguments, wanted in generated():
        no, told = refused(pool_size, arguments)
        if no != (wanted is None) or told != wanted:
            said = "raised ValueError" if no else f"returned {shown(told)}"
            should = "raise ValueError" if wanted is None else f"return {wanted}"
            raise Incorrect(f"pool_size{arguments} {said}; it should {should}.")


EXERCISE = Exercise(
    title="The size of a pool",
    minutes=7,
    prompt="Write pool_size(rate, held, processes, max_connections, reserve).",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "On average rate * held connections are busy. Take half as many again, and at least one.",
        "Divide by the processes and round up: math.ceil.",
        "Compare processes times that with max_connections - reserve.",
    ],
    wrong=[
        (changed(SOLUTION, "math.ceil(", "int("), "more than one in each"),
        (changed(SOLUTION, " / processes)", ")"), "3 in each process"),
        (
            changed(SOLUTION, "1.5 * rate * held /", "1.5 * math.ceil(rate * held) /"),
            "1.1 are busy",
        ),
        (changed(SOLUTION, "return each", "return float(each)"), "return an int"),
        (changed(SOLUTION, " - reserve", ""), "10 are reserved"),
        (
            changed(
                SOLUTION,
                "each * processes > max_connections",
                "1.5 * rate * held > max_connections",
            ),
            "are 91",
        ),
        (
            changed(SOLUTION, "each * processes > max", "each * processes >= max"),
            "but it fits",
        ),
        (
            changed(
                SOLUTION,
                "max(1, math.ceil(1.5 * rate * held / processes))",
                "math.ceil(1.5 * rate * held / processes)",
            ),
            "at least one connection",
        ),
    ],
    equal={
        "c2fbf467": "max() does not mind in which order",
        "f644222c": "the text asks for a ValueError, not for its words",
        "b63512d7": "the text asks for a ValueError, not for its words",
    },
    praise="Every process has a connection, and all of them together fit.",
)
