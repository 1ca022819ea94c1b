"""Exercise 04g-1: the last minute."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from exercises_04.common import shown
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed

STARTER = '''
def hit_ratio(before, after):
    """Return the share of hits between two INFOs, or None."""
    return ...


ex1.check()
'''
SOLUTION = STARTER.replace(
    "    return ...\n",
    """\
    hits = after["keyspace_hits"] - before["keyspace_hits"]
    misses = after["keyspace_misses"] - before["keyspace_misses"]
    if hits < 0 or misses < 0 or hits + misses == 0:
        return None
    return hits / (hits + misses)
""",
)


def check(rd: Place, hit_ratio: Callable[..., Any]) -> None:
    """Look up what is there and what is not, read INFO in between; then a table of counters."""
    with rd.connect() as redis:
        try:
            redis.set("ex1:there", 1)
            infos = [redis.info("stats")]
            for hits, misses in [(30, 10), (0, 20), (20, 0)]:
                redis.mget(["ex1:there"] * hits + ["ex1:not there"] * misses)
                infos.append(redis.info("stats"))
        finally:
            redis.delete("ex1:there")
    if hit_ratio(*infos[:2]) is ...:
        raise NotAttempted("hit_ratio() returns nothing yet.")
    for before, after in itertools.pairwise(infos):
        check_pair(hit_ratio, before, after)
    check_pair(hit_ratio, infos[1], infos[1])
    for numbers in TABLE:
        check_pair(hit_ratio, *synthetic(infos[0], *numbers))


#: Hits and misses before, hits and misses after. A restart lets every counter begin anew.
TABLE = [
    (0, 0, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
    (5, 5, 6, 6),
    (100, 900, 101, 900),
    (100, 900, 100, 901),
    (10**12, 10**12, 10**12 + 1, 10**12 + 3),
    (100, 100, 7, 130),
    (100, 100, 130, 7),
    (100, 100, 50, 500),
    (100, 100, 500, 50),
    (100, 100, 99, 101),
    (100, 100, 101, 99),
    (100, 100, 99, 100),
    (100, 100, 100, 99),
    (100, 100, 0, 0),
    *[(17 * n % 50, 29 * n % 50, 17 * n % 50 + 31 * n % 7, 29 * n % 50 + n % 5) for n in range(40)],
]


def synthetic(info: dict[str, Any], *numbers: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two whole answers of INFO stats with these counters; after a restart all are small."""
    hits, misses, hits_after, misses_after = numbers
    restarted = hits_after < hits or misses_after < misses
    others = {name: 0 for name in info if name.startswith("total_")}
    before = {**info, "keyspace_hits": hits, "keyspace_misses": misses}
    after = {**info, **(others if restarted else {})}
    return before, {**after, "keyspace_hits": hits_after, "keyspace_misses": misses_after}


def check_pair(hit_ratio: Callable[..., Any], before: Any, after: Any) -> None:
    """Compare the answer for two INFOs with what the two counters say."""
    begin, end = ((one["keyspace_hits"], one["keyspace_misses"]) for one in (before, after))
    kept = dict(before), dict(after)
    hits, misses = (b - a for a, b in zip(begin, end, strict=True))
    found = hit_ratio(before, after)
    if (before, after) != kept:
        raise Incorrect("hit_ratio() changed the INFOs that it was given.")
    told = f"From {begin[0]:,} hits and {begin[1]:,} misses to {end[0]:,} and {end[1]:,}"
    if hits < 0 or misses < 0:
        if found is not None:
            raise Incorrect(
                f"{told}: a counter is smaller than before, so both began anew: None, not "
                f"{shown(found)}."
            )
        return
    if hits + misses == 0:
        if found is not None:
            raise Incorrect(f"Nothing was looked up in between: None, not {shown(found)}.")
        return
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if not number or abs(found - hits / (hits + misses)) > 1e-6:
        raise Incorrect(
            f"{told}: {hits} hits and {misses} misses came in between, not {shown(found)}."
        )


EXERCISE = Exercise(
    title="The last minute",
    minutes=7,
    prompt="Write hit_ratio: the share of hits between two answers of INFO.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "The counters are keyspace_hits and keyspace_misses. Take differences.",
        "The share is hits / (hits + misses). When may you not divide?",
        "After a restart the counters are smaller than before.",
    ],
    wrong=[
        (
            changed(
                SOLUTION,
                ' - before["keyspace_hits"]',
                "",
                ' - before["keyspace_misses"]',
                "",
            ),
            "came in between, not",
        ),
        (changed(SOLUTION, " or hits + misses == 0", ""), "ZeroDivisionError"),
        (changed(SOLUTION, "hits < 0 or misses < 0 or ", ""), "to 7 and 130: a counter"),
        (changed(SOLUTION, "misses < 0 or ", ""), "to 130 and 7: a counter"),
        (
            changed(SOLUTION, "hits < 0 or misses < 0 or hits + misses == 0", "hits + misses <= 0"),
            "to 50 and 500",
        ),
    ],
    right=[
        changed(
            SOLUTION,
            "    if hits < 0",
            '    for name in ("total_commands_processed", "total_connections_received"):\n'
            "        if after[name] < before[name]:\n"
            "            return None\n"
            "    if hits < 0",
        ),
    ],
    praise="A graph of this, minute by minute, is the first to look at when the shop is slow.",
)
