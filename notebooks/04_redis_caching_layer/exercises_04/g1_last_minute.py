"""Exercise 04g-1: the last minute."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

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
    """Look up what is there and what is not, and read INFO in between."""
    with rd.connect() as redis:
        redis.set("ex1:there", 1)
        infos = [redis.info("stats")]
        for hits, misses in [(30, 10), (0, 20), (20, 0)]:
            redis.mget(["ex1:there"] * hits + ["ex1:not there"] * misses)
            infos.append(redis.info("stats"))
        redis.delete("ex1:there")
    if hit_ratio(*infos[:2]) is ...:
        raise NotAttempted("hit_ratio() returns nothing yet.")
    for before, after in itertools.pairwise(infos):
        hits = after["keyspace_hits"] - before["keyspace_hits"]
        misses = after["keyspace_misses"] - before["keyspace_misses"]
        right, found = hits / (hits + misses), hit_ratio(before, after)
        if not isinstance(found, int | float) or abs(found - right) > 1e-6:
            raise Incorrect(f"{hits} hits and {misses} misses came in between, not {found!r}.")
    if (found := hit_ratio(infos[1], infos[1])) is not None:
        raise Incorrect(f"Nothing was looked up in between: None, not {found!r}.")
    if (found := hit_ratio(infos[3], infos[0])) is not None:
        raise Incorrect(f"The counters went down, so Redis was restarted: None, not {found!r}.")
    begin = {"keyspace_hits": 100, "keyspace_misses": 100}
    for change in ({"keyspace_hits": 7}, {"keyspace_misses": 7}):
        after = {"keyspace_hits": 130, "keyspace_misses": 130} | change
        if (found := hit_ratio(begin, after)) is not None:
            raise Incorrect(
                f"From {begin} to {after}: one counter is smaller than before, so both began "
                f"anew: None, not {found!r}."
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
            "came in between",
        ),
        (changed(SOLUTION, " or hits + misses == 0", ""), "ZeroDivisionError"),
        (changed(SOLUTION, "hits < 0 or misses < 0 or ", ""), "The counters went down"),
        (changed(SOLUTION, "misses < 0 or ", ""), "began anew"),
    ],
    praise="A graph of this, minute by minute, is the first to look at when the shop is slow.",
)
