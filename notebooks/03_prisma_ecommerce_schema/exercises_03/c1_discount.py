"""Exercise 03c-1: share a discount."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

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


def check(share: Callable[..., Any]) -> None:
    """Try shares of every kind: even, uneven, with zeros, and beyond a float's precision."""
    rng = random.Random(6)
    cases: list[tuple[int, list[int]]] = [(100, [1, 1]), (100, [1, 1, 1]), (0, [3, 4]), (1, [5])]
    cases += [(200, [1, 1, 1, 0]), (5, [1] * 7), (3, [0, 0, 9]), (10**17 + 1, [1, 1, 1])]
    cases += [(rng.randrange(10_000), [rng.randrange(50) for _ in range(5)]) for _ in range(200)]
    cases += [(10**40 + 1, [1, 1, 1])]
    for cents, weights in cases:
        if not sum(weights):
            continue
        parts = share(cents, list(weights))
        call = f"share({cents}, {weights})"
        digits = " A float has 15 to 17 digits; an int has all." * (cents > 10**15)
        if cents > 10**30:
            digits = " A Decimal computes with 28 digits; an int has all."
        if not isinstance(parts, list) or len(parts) != len(weights):
            raise Incorrect(f"{call} should return a list of {len(weights)} numbers.")
        if not all(type(part) is int for part in parts):
            raise Incorrect(f"{call} returned {parts}: whole cents are of the type int.")
        if sum(parts) != cents:
            raise Incorrect(f"{call} returned {parts}, which add up to {sum(parts)}.{digits}")
        for part, weight in zip(parts, weights, strict=True):
            if not weight and part:
                raise Incorrect(f"{call} returned {parts}: a weight of 0 gets something.")
            if abs(part * sum(weights) - cents * weight) >= sum(weights):
                raise Incorrect(
                    f"{call} returned {parts}: one part is a whole cent or more away from its "
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
    ],
    praise="This is the method of the largest remainder; parliaments use it too.",
)
