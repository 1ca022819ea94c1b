"""Exercise 02d-1: the size of a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed

STARTER = '''
def pool_size(rate, held, processes, max_connections, reserve):
    """Return pool_size for one process; raise ValueError if all together do not fit."""
    return ...


ex1.check()
'''
BODY = """\
    each = math.ceil(1.5 * rate * held / processes)
    if each * processes > max_connections - reserve:
        raise ValueError("make the transactions shorter, or put a pooler in front")
    return each
"""
SOLUTION = "\nimport math\n\n" + STARTER.replace("    return ...\n", BODY)


def check(pool_size: Callable[..., Any]) -> None:
    """Compare with sizes that were computed by hand, and with one that does not fit."""
    for arguments, size, why in [
        ((200, 0.02, 2, 100, 10), 3, "4 are busy, 6 with half as many again, 3 in each process"),
        ((100, 0.03, 4, 100, 10), 2, "4.5 in four processes are more than one in each"),
        ((1000, 0.04, 6, 100, 10), 10, "60 in six processes"),
        ((110, 0.01, 1, 100, 10), 2, "1.1 are busy, 1.65 with half as many again"),
        ((10, 0.01, 3, 100, 10), 1, "a process needs at least one"),
        ((1000, 0.06, 9, 100, 10), 10, "nine times ten are 90, which just fit"),
    ]:
        try:
            told = pool_size(*arguments)
        except Incorrect as error:
            if isinstance(error.__cause__, ValueError):
                raise Incorrect(f"pool_size{arguments} refused, but it fits: {why}.") from None
            raise
        if told != size:
            raise Incorrect(f"pool_size{arguments} returned {told!r}; it is {size}: {why}.")
        if not isinstance(told, int):
            raise Incorrect(
                f"pool_size{arguments} returned {told!r}, a {type(told).__name__}. Connections "
                "are whole: return an int."
            )
    for arguments, why in [
        ((1000, 0.2, 4, 100, 10), "300 connections"),
        ((800, 0.08, 4, 100, 10), "they want 96 of 100, and 10 are reserved"),
        ((1000, 0.06, 7, 100, 10), "13 in each of seven processes are 91, and 90 may be used"),
    ]:
        try:
            told = pool_size(*arguments)
        except Incorrect as error:
            if isinstance(error.__cause__, ValueError):
                continue
            raise
        raise Incorrect(f"pool_size{arguments} returned {told!r}, but this does not fit: {why}.")


EXERCISE = Exercise(
    title="The size of a pool",
    minutes=7,
    prompt="Write pool_size(rate, held, processes, max_connections, reserve).",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "On average rate * held connections are busy. Take half as many again.",
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
    ],
    praise="A small pool that is always busy beats a large one that stands in line.",
)
