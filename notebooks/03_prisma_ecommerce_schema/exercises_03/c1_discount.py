"""Exercise 03c-1: share a discount."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from exercises_03.common import function
from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed

STARTER = '''
def share(cents, weights):
    """Return whole cents for each weight; their sum is cents."""
    return ...


ex1.check()
'''
BODY = """\
    whole = sum(weights)
    parts = [cents * weight // whole for weight in weights]
    rest = [cents * weight % whole for weight in weights]
    largest = sorted(range(len(weights)), key=lambda n: -rest[n])
    for n in largest[: cents - sum(parts)]:
        parts[n] += 1
    return parts
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
ROUND = "    return [round(cents * weight / sum(weights)) for weight in weights]\n"
DECIMAL = BODY.replace("cents * weight // whole", "int(Decimal(cents) * weight / whole)")
LAST = """\
    whole = sum(weights)
    parts = [cents * weight // whole for weight in weights]
    parts[-1] += cents - sum(parts)
    return parts
"""
#: Another method: each part is the difference of two rounded sums.
RUNNING = """\
    ends, so_far = [0], 0
    for weight in weights:
        so_far += weight
        ends.append(cents * so_far // sum(weights))
    return [end - start for start, end in zip(ends, ends[1:])]
"""


def cases() -> Iterator[tuple[int, list[int]]]:
    """Yield cents and weights: even, uneven, with zeros, many, and beyond a float's precision."""
    yield from [(100, [1, 1]), (100, [1, 1, 1]), (0, [3, 4]), (0, [1, 0]), (1, [5]), (1, [1] * 9)]
    yield from [(200, [1, 1, 1, 0]), (5, [1] * 7), (3, [0, 0, 9]), (7, [0, 5, 0, 5, 0])]
    yield from [(99, [1, 10**6]), (1, [10**9, 1]), (10**17 + 1, [1, 1, 1])]
    rng = random.Random(6)
    for _ in range(300):
        weights = [rng.randrange(rng.choice([2, 50, 10**6])) for _ in range(rng.randint(1, 9))]
        if sum(weights):
            yield rng.choice([rng.randrange(10), rng.randrange(10_000)]), weights
    yield 10_007, [rng.randrange(1, 100) for _ in range(500)]
    yield 12_345, [10**40 + 1, 10**40, 3]
    yield 10**40 + 1, [1, 1, 1]


def check(share: Callable[..., Any]) -> None:
    """Share amounts of every kind."""
    asked = function("share", share)
    for cents, weights in cases():
        judge(cents, weights, asked(cents, list(weights)))


def judge(cents: int, weights: list[int], parts: Any) -> None:
    """Compare the parts with each sentence of the text."""
    shown = weights if len(weights) < 12 else f"[... {len(weights)} weights ...]"
    call = f"share({cents}, {shown})"
    digits = " A float has 15 to 17 digits; an int has all." * (cents > 10**15)
    if cents > 10**30:
        digits = " A Decimal computes with 28 digits; an int has all."
    if not isinstance(parts, list) or len(parts) != len(weights):
        raise Incorrect(f"{call} should return a list of {len(weights)} numbers.")
    if not all(type(part) is int for part in parts):
        kind = next(type(part).__name__ for part in parts if type(part) is not int)
        raise Incorrect(
            f"{call} returned a value of the type {kind}: whole cents are of the type int."
        )
    returned = parts if len(parts) < 12 else f"{len(parts)} parts"
    if sum(parts) != cents:
        raise Incorrect(f"{call} returned {returned}, which add up to {sum(parts)}.{digits}")
    for part, weight in zip(parts, weights, strict=True):
        if not weight and part:
            raise Incorrect(f"{call} returned {returned}: a weight of 0 gets something.")
        if abs(part * sum(weights) - cents * weight) >= sum(weights):
            raise Incorrect(
                f"{call} returned {returned}: one part is a whole cent or more away from its "
                "exact share."
            )


EXERCISE = Exercise(
    title="Share a discount",
    minutes=8,
    prompt="Share cents among weights, so that nothing is lost.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "First round every share down, with //. Then some cents are left: fewer than lines.",
        "Give one cent each to the lines with the largest remainders.",
        "cents * weight % sum(weights) is the remainder, as a whole number.",
    ],
    wrong=[
        (STARTER.replace("    return ...\n", ROUND), "which add up to 99."),
        (STARTER.replace("    return ...\n", LAST), "returned [66, 66, 66, 2]"),
        (
            changed(SOLUTION, "cents * weight // whole", "int(cents * (weight / whole))"),
            "add up to 99999999999999999. A float",
        ),
        (
            "from decimal import Decimal\n" + STARTER.replace("    return ...\n", DECIMAL),
            "A Decimal computes",
        ),
        (changed(SOLUTION, "return parts", "return [p / 1 for p in parts]"), "type int"),
        (
            changed(SOLUTION, "-rest[n])", "rest[n])"),
            "returned [67, 66, 66, 1]",
        ),
        (changed(SOLUTION, "whole = sum", "whole = 1 / 0 + sum"), "ZeroDivisionError"),
        (STARTER.replace("    return ...\n", "    raise SystemExit\n"), "raised SystemExit"),
    ],
    right=[STARTER.replace("    return ...\n", RUNNING)],
    cells=["c-setup"],
    praise="This is the method of the largest remainder; parliaments use it too.",
)
