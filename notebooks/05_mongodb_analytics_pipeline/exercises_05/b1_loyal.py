"""Exercise 05b-1: who comes back the week after."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import time
from typing import Any

from exercises_05.common import DAY, WEEK, Rows, at, chance, run_on, same_fields, same_types
from helpers import shop
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

STARTER = """
loyal = ...  # a pipeline for a collection like events

ex1.check()
"""
SOLUTION = """
monday = {"unit": "week", "startOfWeek": "monday"}
weeks = {"startDate": "$cohort", "endDate": "$week", **monday}
loyal = [
    {"$set": {"week": {"$dateTrunc": {"date": "$timestamp", **monday}}}},
    {"$setWindowFields": {"partitionBy": "$userId", "output": {"cohort": {"$min": "$week"}}}},
    {"$set": {"next": {"$cond": [{"$eq": [{"$dateDiff": weeks}, 1]}, 1, 0]}}},
    {
        "$group": {
            "_id": {"cohort": "$cohort", "userId": "$userId"},
            "came": {"$max": "$next"},
        }
    },
    {"$group": {"_id": "$_id.cohort", "customers": {"$sum": 1}, "returned": {"$sum": "$came"}}},
    {"$project": {"_id": 0, "cohort": "$_id", "customers": 1, "returned": 1}},
    {"$sort": {"cohort": 1}},
]

ex1.check()
"""
WITHIN_SEVEN_DAYS = """
monday = {"unit": "week", "startOfWeek": "monday"}
waited = {"$subtract": ["$timestamp", "$first"]}
soon = {"$and": [{"$gt": [waited, 0]}, {"$lt": [waited, 7 * 86400000]}]}
loyal = [
    {"$setWindowFields": {"partitionBy": "$userId", "output": {"first": {"$min": "$timestamp"}}}},
    {"$set": {"cohort": {"$dateTrunc": {"date": "$first", **monday}}}},
    {"$set": {"next": {"$cond": [soon, 1, 0]}}},
    {
        "$group": {
            "_id": {"cohort": "$cohort", "userId": "$userId"},
            "came": {"$max": "$next"},
        }
    },
    {"$group": {"_id": "$_id.cohort", "customers": {"$sum": 1}, "returned": {"$sum": "$came"}}},
    {"$project": {"_id": 0, "cohort": "$_id", "customers": 1, "returned": 1}},
    {"$sort": {"cohort": 1}},
]

ex1.check()
"""


def true_loyal(rows: Rows) -> Rows:
    """Compute the cohorts without a pipeline."""
    weeks: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        weeks[row["userId"]].add((row["timestamp"] - shop.OPENING).days // 7)
    cohorts = Counter(min(seen) for seen in weeks.values())
    returned = Counter(min(seen) for seen in weeks.values() if min(seen) + 1 in seen)
    return [
        {"cohort": shop.OPENING + n * WEEK, "customers": cohorts[n], "returned": returned[n]}
        for n in sorted(cohorts)
    ]


@told_apart
def check(mg: Place, loyal: Any) -> None:
    """Compare with a loop: Sundays, nobody returned, busy customers, chance, the section's."""
    noon = shop.OPENING + DAY / 2
    sunday = [at(1, noon + 6 * DAY), at(1, noon + 7 * DAY), at(2, noon + 13 * DAY)]
    quiet = [at(1, noon), at(2, noon + DAY), at(3, noon + WEEK), at(3, noon + 3 * WEEK)]
    busy = [at(1, noon + n * DAY / 4) for n in range(8)] + [
        at(1, noon + WEEK),
        at(1, noon + 8 * DAY),
    ]
    same_week = [at(1, noon), at(1, noon + 3 * DAY)]
    new_year = [at(1, noon + 39 * WEEK), at(1, noon + 40 * WEEK)]  # 22 and 29 December: weeks 52, 1
    sets = (quiet, sunday, busy, same_week, new_year, chance(5, 200, 40, 40))
    for found, events in run_on(mg, "loyal", loyal, sets):
        wanted = true_loyal(events)
        same_fields(found, wanted)
        same_types(found, wanted)
        days = [row["cohort"] for row in found]
        for day in days:
            if day.weekday() or day.time() != time():
                raise Incorrect(
                    f"`cohort` should be a Monday, 00:00 UTC, but one is {day:%A, %d %B, %H:%M}."
                )
        true = {row["cohort"]: row for row in wanted}
        if missing := sorted(true.keys() - set(days)):
            raise Incorrect(f"The cohort of {missing[0]:%d %B} is missing.")
        for row in found:
            for field in ("customers", "returned"):
                if row["cohort"] in true and row[field] != true[row["cohort"]][field]:
                    raise Incorrect(
                        f"The cohort of {row['cohort']:%d %B} should have {field} "
                        f"{true[row['cohort']][field]}; your pipeline gives {row[field]!r}."
                    )
        if found != wanted:
            raise Incorrect(
                "The cohorts should come in order of time, each once. $group gives its documents "
                "in any order, so sort after it."
            )


BY_A_LIST = """
monday = {"unit": "week", "startOfWeek": "monday"}
week = {"$dateTrunc": {"date": "$timestamp", **monday}}
after = {"$dateAdd": {"startDate": "$cohort", "unit": "day", "amount": 7}}
loyal = [
    {"$group": {"_id": "$userId", "cohort": {"$min": week}, "weeks": {"$addToSet": week}}},
    {"$set": {"came": {"$toInt": {"$in": [after, "$weeks"]}}}},
    {"$group": {"_id": "$cohort", "customers": {"$sum": 1}, "returned": {"$sum": "$came"}}},
    {"$sort": {"_id": 1}},
    {"$set": {"cohort": "$_id"}},
    {"$unset": "_id"},
]

ex1.check()
"""


EXERCISE = Exercise(
    title="Who comes back the week after?",
    minutes=15,
    prompt="Write a pipeline that counts, for each cohort, who came back in the next week.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Begin like `cohorts`: each event gets its week and its customer's first week.",
        "Is an event in the next week? $cond makes 1 or 0 of it. $group by cohort and customer "
        "with $max: did she come at all?",
        "A second $group by cohort counts the customers and adds up the ones.",
    ],
    wrong=[
        (changed(SOLUTION, ', "startOfWeek": "monday"', ""), "should be a Monday"),
        (
            changed(
                SOLUTION,
                '{"$set": {"next": {"$cond": [{"$eq": [{"$dateDiff": weeks}, 1]}, 1, 0]}}}',
                '{"$match": {"$expr": {"$eq": [{"$dateDiff": weeks}, 1]}}},\n'
                '    {"$set": {"next": 1}}',
            ),
            "is missing",
        ),
        (changed(SOLUTION, '{"$max": "$next"}', '{"$sum": "$next"}'), "gives 2."),
        (WITHIN_SEVEN_DAYS, "returned 0; your pipeline gives 1."),
        (changed(SOLUTION, '    {"$sort": {"cohort": 1}},\n', ""), "sort after it"),
        (
            changed(
                SOLUTION,
                '{"$dateDiff": weeks}',
                '{"$subtract": [{"$isoWeek": "$week"}, {"$isoWeek": "$cohort"}]}',
            ),
            "cohort of 22 December",
        ),
        (
            changed(
                SOLUTION,
                '"cohort": "$_id", ',
                '"cohort": {"$dateToString": {"date": "$_id", "format": "%Y-%m-%d"}}, ',
            ),
            "should be a date",
        ),
    ],
    right=[BY_A_LIST],
    equal={
        "393f8211": "the two sides of $eq may be exchanged",
    },
    praise="A cohort of which nobody returns is a number that somebody should see.",
)
