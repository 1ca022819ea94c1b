"""Exercise 05a-1: the longest pause."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from exercises_05.common import DAY, Rows, at, chance, each_once, run_on, same_fields, same_types
from helpers import shop
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

STARTER = """
pauses = ...  # a pipeline for a collection like events

ex1.check()
"""
SOLUTION = """
before = {"$shift": {"output": "$timestamp", "by": -1}}
one_customer = {"partitionBy": "$userId", "sortBy": {"timestamp": 1}}
passed = {"$subtract": ["$timestamp", "$before"]}
pauses = [
    {"$setWindowFields": {**one_customer, "output": {"before": before}}},
    {"$match": {"before": {"$ne": None}}},
    {"$group": {"_id": "$userId", "longest": {"$max": passed}}},
    {
        "$project": {
            "_id": 0,
            "userId": "$_id",
            "minutes": {"$floor": {"$divide": ["$longest", 60000]}},
        }
    },
    {"$sort": {"minutes": -1, "userId": 1}},
]

ex1.check()
"""
BORDERS = """
before = {"$shift": {"output": "$timestamp", "by": -1}}
one_customer = {"partitionBy": "$userId", "sortBy": {"timestamp": 1}}
passed = {"$dateDiff": {"startDate": "$before", "endDate": "$timestamp", "unit": "minute"}}
pauses = [
    {"$setWindowFields": {**one_customer, "output": {"before": before}}},
    {"$match": {"before": {"$ne": None}}},
    {"$group": {"_id": "$userId", "minutes": {"$max": passed}}},
    {"$project": {"_id": 0, "userId": "$_id", "minutes": 1}},
    {"$sort": {"minutes": -1, "userId": 1}},
]

ex1.check()
"""


def true_pauses(rows: Rows) -> dict[int, int]:
    """Compute the longest pauses without a pipeline."""
    moments: dict[int, list[datetime]] = defaultdict(list)
    for row in rows:
        moments[row["userId"]].append(row["timestamp"])
    found = {}
    for user, when in moments.items():
        when.sort()
        if gaps := [b - a for a, b in itertools.pairwise(when)]:
            found[user] = int(max(gaps) // timedelta(minutes=1))
    return found


@told_apart
def check(mg: Place, pauses: Any) -> None:
    """Compare with a loop: borders of minutes, single events, ties, chance, the section's."""
    noon = shop.OPENING + DAY / 2
    borders = [at(1, noon + timedelta(seconds=s)) for s in (59, 61, 180)]  # 2 s and 119 s
    single = [at(8, noon - DAY / 24), at(3, noon), at(3, noon + timedelta(minutes=5))]
    parts = [at(1, noon + timedelta(seconds=s)) for s in (0.9, 120.1)]  # 119.2 s
    twice = [at(5, noon), at(5, noon), at(6, noon), at(6, noon + timedelta(days=40))]
    ties = [at(u, noon + timedelta(hours=h)) for u in (9, 4, 17, 2, 30, 11) for h in (0, 2)]
    between = [at(u, noon + timedelta(minutes=10 * n)) for n, u in enumerate((1, 2, 1, 2, 2, 1))]
    sets = (single, between, borders, parts, twice, ties, chance(4, 300, 12, 3))
    for found, events in run_on(mg, "pauses", pauses, sets):
        true = true_pauses(events)
        wanted = [
            {"userId": user, "minutes": true[user]}
            for user in sorted(true, key=lambda user: (-true[user], user))
        ]
        same_fields(found, wanted)
        lonely = {event["userId"] for event in events} - true.keys()
        if any(isinstance(row["userId"], int) and row["userId"] in lonely for row in found):
            raise Incorrect("A customer with a single event is in the list.")
        same_types(found, wanted)
        each_once(found, wanted, "userId", "Customer")
        for row in found:
            if row["minutes"] != true[row["userId"]]:
                raise Incorrect(pause_reason(row, events, true[row["userId"]]))
        ordered(found, wanted, "minutes")


def pause_reason(row: dict[str, Any], events: Rows, true: int) -> str:
    """Say in words what a pause should have been."""
    when = sorted(e["timestamp"] for e in events if e["userId"] == row["userId"])
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(when)]
    gaps = [round(gap) if gap == round(gap) else round(gap, 3) for gap in gaps]
    shown = f"{max(gaps)} seconds" if len(when) > 4 else f"pauses of {gaps} seconds"
    return (
        f"A customer with {'a longest pause of ' if len(when) > 4 else ''}{shown} should have "
        f"{true} minutes; your pipeline gives {row['minutes']!r}."
    )


def ordered(found: Rows, wanted: Rows, by: str) -> None:
    """Compare rows that have the right values: how many, and in which order.

    Raises:
        Incorrect: they are not the same.
    """
    if [row[by] for row in found] != [row[by] for row in wanted]:
        raise Incorrect(f"The documents are not in the order of {by} that was asked for.")
    if found != wanted:
        raise Incorrect(f"Of two with the same {by}, the smaller userId comes first.")


BY_A_LIST = """
pair = {"input": {"$range": [1, {"$size": "$when"}]}, "as": "n"}
passed = {
    "$subtract": [
        {"$arrayElemAt": ["$when", "$$n"]},
        {"$arrayElemAt": ["$when", {"$subtract": ["$$n", 1]}]},
    ]
}
pauses = [
    {"$group": {"_id": "$userId", "when": {"$push": "$timestamp"}}},
    {"$match": {"when.1": {"$exists": True}}},
    {"$set": {"when": {"$sortArray": {"input": "$when", "sortBy": 1}}}},
    {"$set": {"longest": {"$max": {"$map": {**pair, "in": passed}}}}},
    {"$set": {"userId": "$_id", "minutes": {"$toInt": {"$divide": ["$longest", 60000]}}}},
    {"$unset": ["_id", "when", "longest"]},
    {"$sort": {"minutes": -1, "userId": 1}},
]

ex1.check()
"""


EXERCISE = Exercise(
    title="The longest pause",
    minutes=15,
    prompt="Write a pipeline that gives each customer's longest pause, in minutes.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "$setWindowFields, partitioned by userId and sorted by timestamp, with "
        '{"$shift": {"output": "$timestamp", "by": -1}} gives the time of the event before.',
        "The first event of a customer has none before: leave it out, then $group with $max.",
        "$dateDiff in minutes counts how often a new minute begins. $subtract gives the "
        "milliseconds that passed.",
    ],
    wrong=[
        (BORDERS, "[2, 119] seconds should have 1 minutes; your pipeline gives 2"),
        (changed(SOLUTION, '"partitionBy": "$userId", ', ""), "pipeline gives 60"),
        (
            changed(SOLUTION, '    {"$match": {"before": {"$ne": None}}},\n', ""),
            "single event is in the list.",
        ),
        (
            changed(
                BORDERS,
                '"unit": "minute"',
                '"unit": "second"',
                '"userId": "$_id", "minutes": 1',
                '"userId": "$_id", "minutes": {"$floor": {"$divide": ["$minutes", 60]}}',
            ),
            "pauses of [119.2] seconds should have 1 minutes; your pipeline gives 2",
        ),
        (changed(SOLUTION, '"minutes": -1, "userId"', '"minutes": 1, "userId"'), "asked for"),
    ],
    right=[BY_A_LIST],
    praise="Set a limit for the pause, and you have cut the events into visits.",
)
