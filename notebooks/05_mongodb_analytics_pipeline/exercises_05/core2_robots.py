"""Exercise 05-2: robots."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from exercises_05.common import KINDS, Rows, event, mixed, run_on, same_fields, same_types
from helpers import shop
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

STARTER = """
fair = ...  # a pipeline for a collection like events

ex2.check()
"""
SOLUTION = """
def how_many(kind):
    return {"$sum": {"$cond": [{"$eq": ["$eventType", kind]}, 1, 0]}}


fair = [
    {"$match": {"eventType": {"$in": ["page_view", "click", "purchase"]}}},
    {
        "$group": {
            "_id": "$userId",
            "views": how_many("page_view"),
            "clicks": how_many("click"),
            "purchases": how_many("purchase"),
        }
    },
    {
        "$project": {
            "_id": 0,
            "userId": "$_id",
            "score": {
                "$add": [
                    {"$min": ["$views", 20]},
                    {"$multiply": [5, "$clicks"]},
                    {"$multiply": [10, "$purchases"]},
                ]
            },
        }
    },
    {"$sort": {"score": -1, "userId": 1}},
]

ex2.check()
"""
TWO_WEEKS = changed(
    SOLUTION,
    '"purchase"]}}},\n',
    '"purchase"]}}},\n'
    '    {"$match": {"timestamp": {"$lte": shop.OPENING + timedelta(days=14)}}},\n',
)
CAP_ALL = """
weight = {
    "$switch": {
        "branches": [
            {"case": {"$eq": ["$eventType", "page_view"]}, "then": 1},
            {"case": {"$eq": ["$eventType", "click"]}, "then": 5},
            {"case": {"$eq": ["$eventType", "purchase"]}, "then": 10},
        ],
        "default": 0,
    }
}
fair = [
    {"$match": {"eventType": {"$in": ["page_view", "click", "purchase"]}}},
    {"$group": {"_id": "$userId", "points": {"$sum": weight}}},
    {"$project": {"_id": 0, "userId": "$_id", "score": {"$min": ["$points", 20]}}},
    {"$sort": {"score": -1, "userId": 1}},
]

ex2.check()
"""


def true_fair(rows: Rows) -> Rows:
    """Compute the fair scores without a pipeline."""
    views: dict[int, int] = defaultdict(int)
    score: dict[int, int] = defaultdict(int)
    for row in rows:
        user, kind = row["userId"], row["eventType"]
        if kind == "page_view":
            views[user] += 1
            score[user] += views[user] <= 20
        elif kind in KINDS:
            score[user] += 5 if kind == "click" else 10
    best = sorted(score, key=lambda user: (-score[user], user))
    return [{"userId": user, "score": score[user]} for user in best]


@told_apart
def check(mg: Place, fair: Any) -> None:
    """Compare with a loop: on customers chosen to be told apart, on chance and on the shop."""
    robot = [event(1, "page_view") for _ in range(200)]
    buyer = [event(2, "purchase", 100) for _ in range(30)]
    clicker = [event(3, "click") for _ in range(30)]
    person = [event(4, "page_view") for _ in range(20)] + [event(4, "click")]
    searcher = [event(5, "search") for _ in range(3)] + [event(4, "search")]
    ties = [event(user, "purchase", 1) for user in range(120, 0, -1)]
    told_apart = [*robot, *buyer, *clicker, *person]
    sets = (told_apart, searcher + person, ties, mixed(2, 400, 9))
    for found, events in run_on(mg, "fair", fair, sets):
        compare_fair(found, events)


def compare_fair(found: Rows, rows: Rows) -> None:
    """Say in words where scores are not the ones that are wanted."""
    wanted = true_fair(rows)
    if not found:
        raise Incorrect("Your pipeline gives no documents.")
    same_fields(found, wanted)
    same_types(found, wanted)
    soon = [row for row in rows if row["timestamp"] <= shop.OPENING + timedelta(days=14)]
    if found != wanted and found == true_fair(soon):
        raise Incorrect("Only the first two weeks count in your pipeline. Take all events.")
    compare_scores(found, wanted, rows)
    if found != wanted:
        tied = [row["score"] for row in found] == [row["score"] for row in wanted]
        raise Incorrect(
            "Of customers with equal scores, the smaller userId comes first."
            if tied
            else "The highest score comes first."
        )


def compare_scores(found: Rows, wanted: Rows, rows: Rows) -> None:
    """Compare each customer's score, and who is there."""
    counts: dict[tuple[int, str], int] = defaultdict(int)
    for row in rows:
        counts[row["userId"], row["eventType"]] += 1

    def customer(user: int) -> str:
        n = [counts[user, kind] for kind in KINDS]
        return f"customer with {n[0]:,} views, {n[1]} clicks and {n[2]} purchases"

    true = {row["userId"]: row["score"] for row in wanted}
    for row in sorted(found, key=lambda row: float(row["userId"])):
        user, score = row["userId"], row["score"]
        if user not in true:
            if any(row["userId"] == user for row in rows):
                raise Incorrect("A customer who only searched is in the list.")
            raise Incorrect(f"The list has a customer {user}, of whom there is no event.")
        if score != true[user]:
            raise Incorrect(
                f"A {customer(user)} should have {true[user]} points; your pipeline gives "
                f"{score!r}."
            )
    here = [row["userId"] for row in found]
    if missing := sorted(true.keys() - set(here)):
        raise Incorrect(
            f"{len(wanted)} customers have points; your list has {len(found)}. A "
            f"{customer(missing[0])} is missing."
        )
    if double := [user for user in true if here.count(user) > 1]:
        raise Incorrect(f"Customer {double[0]} is in the list twice.")


BY_KIND = """
capped = {"$cond": [{"$eq": ["$_id.kind", "page_view"]}, {"$min": ["$n", 20]}, "$n"]}
branches = [
    {"case": {"$eq": ["$_id.kind", kind]}, "then": weight}
    for kind, weight in {"page_view": 1, "click": 5, "purchase": 10}.items()
]
weight = {"$switch": {"branches": branches, "default": None}}
fair = [
    {"$group": {"_id": {"userId": "$userId", "kind": "$eventType"}, "n": {"$sum": 1}}},
    {"$set": {"points": {"$multiply": [capped, weight]}}},
    {"$match": {"points": {"$ne": None}}},
    {"$group": {"_id": "$_id.userId", "score": {"$sum": "$points"}}},
    {"$project": {"_id": 0, "userId": "$_id", "score": 1}},
    {"$sort": {"score": -1, "userId": 1}},
]

ex2.check()
"""


EXERCISE = Exercise(
    title="Robots",
    minutes=20,
    prompt="Score customers so that at most 20 views of each count.",
    starter=STARTER,
    solution=SOLUTION,
    cells=("setup", "load", "load-events", "published-pipeline"),
    check=check,
    hints=[
        "Count each kind on its own in $group: $sum of a $cond that gives 1 or 0.",
        '{"$min": ["$views", 20]} is the smaller of the two numbers.',
        "Sort last, when the score is there: by score, then by userId.",
    ],
    wrong=[
        (changed(SOLUTION, '{"$min": ["$views", 20]}', '"$views"'), "gives 200."),
        (CAP_ALL, "gives 20."),
        (changed(SOLUTION, '"score": -1, "userId": 1', '"score": -1'), "equal scores"),
        (
            changed(
                SOLUTION,
                '    {"$match": {"eventType": {"$in": ["page_view", "click", "purchase"]}}},\n',
                "",
            ),
            "only searched",
        ),
        (TWO_WEEKS, "first two weeks"),
        (
            changed(
                SOLUTION,
                '    {"$sort": {"score"',
                '    {"$match": {"score": {"$ne": 20}}},\n    {"$sort": {"score"',
            ),
            "A customer with 200 views, 0 clicks and 0 purchases is missing",
        ),
        (changed(SOLUTION, '"score": -1, "userId"', '"score": 1, "userId"'), "highest score comes"),
    ],
    right=[BY_KIND],
    equal={
        "b1d12f3f": "a sum in another order",
        "eb3e5feb": "a sum in another order",
    },
    praise="A cap belongs to one kind, before the weights are added up.",
)
