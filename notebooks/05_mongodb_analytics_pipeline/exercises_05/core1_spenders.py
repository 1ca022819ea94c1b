"""Exercise 05-1: the ten best spenders."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from exercises_05.common import Rows, event, mixed, run_on, same_fields, same_types
from helpers import shop
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

STARTER = """
spenders = ...  # [{"$match": ...}, ...]

ex1.check()
"""
SOLUTION = """
spenders = [
    {"$match": {"eventType": "purchase"}},
    {"$group": {"_id": "$userId", "purchases": {"$sum": 1}, "spent": {"$sum": "$value"}}},
    {"$sort": {"spent": -1, "_id": 1}},
    {"$limit": 10},
    {"$project": {"_id": 0, "userId": "$_id", "purchases": 1, "spent": 1}},
]

ex1.check()
"""


def true_spenders(rows: Rows) -> Rows:
    """Compute the ten best spenders without a pipeline."""
    spent: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row["eventType"] == "purchase":
            spent[row["userId"]].append(row["value"])
    best = sorted(spent, key=lambda user: (-sum(spent[user]), user))[:10]
    return [{"userId": u, "purchases": len(spent[u]), "spent": sum(spent[u])} for u in best]


@told_apart
def check(mg: Place, spenders: Any) -> None:
    """Compare with a loop: on the shop's events, and on others with ties and few buyers."""
    ties = [event(user, "purchase", 500) for user in (9, 3, 14, 1, 12, 5, 7, 2, 11, 4, 6, 13)]
    few = [event(1, "page_view"), event(2, "purchase", 100), event(3, "click")]
    free = [event(4, "purchase", 0), event(2, "purchase", 1), event(2, "purchase", 0, day=400)]
    sets = (few, free, mixed(1, 300, 40), ties)
    for found, events in run_on(mg, "spenders", spenders, sets):
        compare_spenders(found, events, true_spenders(events))


def compare_spenders(found: Rows, rows: Rows, wanted: Rows) -> None:
    """Say in words where a ranking of spenders is not the one that is wanted."""
    if not found:
        raise Incorrect("Your pipeline gives no documents.")
    same_fields(found, wanted)
    same_types(found, wanted)
    soon = [row for row in rows if row["timestamp"] <= shop.OPENING + timedelta(days=14)]
    if found != wanted and found == true_spenders(soon):
        raise Incorrect("Only the first two weeks count in your pipeline. Take all events.")
    compare_values(found, rows)
    if len(found) != len(wanted):
        raise Incorrect(
            f"{len(wanted)} customers should come out; your pipeline gives {len(found)}."
        )
    here, true = ([row["spent"] for row in one] for one in (found, wanted))
    if found == wanted:
        return
    if here == true:
        raise Incorrect("Of customers who spent the same, the smaller userId comes first.")
    if here != sorted(here, reverse=True):
        raise Incorrect("The highest `spent` should come first.")
    raise Incorrect("These are not the ten highest amounts. $limit keeps the first that come.")


def compare_values(found: Rows, rows: Rows) -> None:
    """Compare each customer's numbers."""
    true: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        if row["eventType"] == "purchase":
            true[row["userId"]][0] += 1
            true[row["userId"]][1] += row["value"]
    seen = set()
    for row in found:
        user = row["userId"]
        if user not in true:
            raise Incorrect(f"Customer {user} never bought anything, but is in the list.")
        if user in seen:
            raise Incorrect(f"Customer {user} is in the list twice.")
        seen.add(user)
        count, spent = true[user]
        if row["purchases"] != count:
            raise Incorrect(
                f"Customer {user} made {count} purchases; your pipeline says "
                f"{row['purchases']!r}. A purchase is an event with eventType purchase."
            )
        if row["spent"] != spent:
            raise Incorrect(
                f"Customer {user} spent {spent} cents on purchases; your pipeline says "
                f"{row['spent']!r}."
            )


GROUP_FIRST = """
bought = {"$cond": [{"$eq": ["$eventType", "purchase"]}, 1, 0]}
spenders = [
    {
        "$group": {
            "_id": "$userId",
            "purchases": {"$sum": bought},
            "spent": {"$sum": {"$multiply": [bought, "$value"]}},
        }
    },
    {"$match": {"purchases": {"$gte": 1}}},
    {"$set": {"userId": "$_id"}},
    {"$unset": "_id"},
    {"$sort": {"spent": -1, "userId": 1}},
    {"$limit": 10},
]

ex1.check()
"""


EXERCISE = Exercise(
    title="The ten best spenders",
    minutes=8,
    prompt="Write a pipeline that gives the ten customers who spent most.",
    starter=STARTER,
    solution=SOLUTION,
    cells=("setup", "load", "load-events", "published-pipeline"),
    check=check,
    hints=[
        "$match the purchases, $group by userId with two $sum, $sort, $limit.",
        'The sort needs two fields: {"spent": -1, "_id": 1}.',
        '{"$project": {"_id": 0, "userId": "$_id", "purchases": 1, "spent": 1}} renames.',
    ],
    wrong=[
        (
            changed(SOLUTION, '    {"$match": {"eventType": "purchase"}},\n', ""),
            "never bought anything",
        ),
        (
            changed(
                SOLUTION,
                '"eventType": "purchase"}',
                '"eventType": "purchase", "timestamp": {"$lte": end}}',
            ),
            "Only the first two weeks",
        ),
        (changed(SOLUTION, '"userId": "$_id"', '"userId": {"$toString": "$_id"}'), "a number"),
        (changed(SOLUTION, '"spent": -1', '"spent": 1'), "highest `spent` should come first"),
        (
            changed(
                SOLUTION,
                '    {"$match": {"eventType": "purchase"}},\n',
                "",
                '"purchases": {"$sum": 1}',
                '"purchases": {"$sum": {"$cond": [{"$gt": ["$value", 0]}, 1, 0]}}',
                '    {"$sort"',
                '    {"$match": {"purchases": {"$gt": 0}}},\n    {"$sort"',
            ),
            "made 2 purchases; your pipeline says 1",
        ),
        (changed(SOLUTION, "10", "100"), "10 customers should come out"),
        (changed(SOLUTION, '"spent": -1, "_id": 1', '"spent": -1'), "spent the same"),
        (
            changed(
                SOLUTION,
                '    {"$sort": {"spent": -1, "_id": 1}},\n    {"$limit": 10},\n',
                '    {"$limit": 10},\n    {"$sort": {"spent": -1, "_id": 1}},\n',
            ),
            "the first that come",
        ),
        (changed(SOLUTION, '"_id": 0, "userId": "$_id", ', ""), "no field 'userId'"),
        (changed(SOLUTION, '"_id": 0, ', ""), "a field '_id' that nobody"),
    ],
    right=[GROUP_FIRST],
    equal={
        "787efe4a": "renaming before or after $limit gives the same ten",
    },
    praise="The money stays in whole cents all the way; no float, no rounding.",
)
