"""Exercise 05-1: the ten best spenders."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from exercises_05.common import Rows, event, mixed, run_on, same_fields
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

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


def check(mg: Place, spenders: Any) -> None:
    """Compare with a loop: on the shop's events, and on others with ties and few buyers."""
    ties = [event(user, "purchase", 500) for user in (9, 3, 14, 1, 12, 5, 7, 2, 11, 4, 6, 13)]
    few = [event(1, "page_view"), event(2, "purchase", 100), event(3, "click")]
    sets = (mixed(1, 300, 40), ties, few)
    for found, events in run_on(mg, "spenders", spenders, sets):
        compare_spenders(found, events, true_spenders(events))


def compare_spenders(found: Rows, rows: Rows, wanted: Rows) -> None:
    """Say in words where a ranking of spenders is not the one that is wanted."""
    if not found:
        raise Incorrect("Your pipeline gives no documents.")
    same_fields(found, wanted)
    buyers = {row["userId"] for row in rows if row["eventType"] == "purchase"}
    for row in found:
        if row["userId"] not in buyers:
            raise Incorrect(f"Customer {row['userId']} never bought anything, but is in the list.")
    if len(found) > 10:
        raise Incorrect(f"Your pipeline gives {len(found)} customers, not ten.")
    if len({row["userId"] for row in found}) < len(found):
        raise Incorrect("A customer is in the list twice.")
    true = {user: [0, 0] for user in buyers}
    for row in rows:
        if row["eventType"] == "purchase":
            true[row["userId"]][0] += 1
            true[row["userId"]][1] += row["value"]
    for row in found:
        count, spent = true[row["userId"]]
        if row["purchases"] != count:
            raise Incorrect(
                f"Customer {row['userId']} made {count} purchases; your pipeline says "
                f"{row['purchases']!r}. A purchase is an event with eventType purchase."
            )
        if row["spent"] != spent:
            raise Incorrect(
                f"Customer {row['userId']} spent {spent} cents; your pipeline says "
                f"{row['spent']!r}."
            )
    if found == wanted:
        return
    if [row["spent"] for row in found] == [row["spent"] for row in wanted]:
        raise Incorrect("Of customers who spent the same, the smaller userId comes first.")
    if sorted(row["spent"] for row in found) == sorted(row["spent"] for row in wanted):
        raise Incorrect("These are the right amounts, but the highest should come first.")
    raise Incorrect("These are not the ten highest amounts. $limit keeps the first that come.")


EXERCISE = Exercise(
    title="The ten best spenders",
    minutes=8,
    prompt="Write a pipeline that gives the ten customers who spent most.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "$match the purchases, $group by userId with two $sum, $sort, $limit.",
        'The sort needs two fields: {"spent": -1, "_id": 1}.',
        '{"$project": {"_id": 0, "userId": "$_id", "purchases": 1, "spent": 1}} renames.',
    ],
    wrong=[
        (
            changed(SOLUTION, '    {"$match": {"eventType": "purchase"}},\n', ""),
            "A purchase is an event",
        ),
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
    praise="The money stays in whole cents all the way; no float, no rounding.",
)
