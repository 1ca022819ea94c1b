"""Exercise 05c-1: a page that survives a quiet day."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exercises_05.common import Rows, at, chance, event, mixed, run_on, same_fields, shown
from helpers import shop
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

STARTER = """
page = ...  # a pipeline for a collection like events

ex1.check()
"""
SOLUTION = """
bought = {"$match": {"eventType": "purchase"}}
parts = {
    "visitors": [{"$group": {"_id": "$userId"}}, {"$count": "n"}],
    "revenue": [bought, {"$group": {"_id": None, "cents": {"$sum": "$value"}}}],
    "best": [
        bought,
        {"$group": {"_id": "$productId", "sold": {"$sum": 1}}},
        {"$sort": {"sold": -1, "_id": 1}},
        {"$limit": 1},
    ],
}


def first(part, field):
    row = {"row": {"$first": f"${part}"}}
    return {"$let": {"vars": row, "in": f"$$row.{field}"}}


page = [
    {"$facet": parts},
    {
        "$project": {
            "visitors": {"$ifNull": [first("visitors", "n"), 0]},
            "revenue": {"$ifNull": [first("revenue", "cents"), 0]},
            "best": {"$ifNull": [first("best", "_id"), None]},
        }
    },
]

ex1.check()
"""
ONE_GROUP = """
page = [
    {
        "$group": {
            "_id": None,
            "who": {"$addToSet": "$userId"},
            "revenue": {"$sum": {"$cond": [{"$eq": ["$eventType", "purchase"]}, "$value", 0]}},
        }
    },
    {"$project": {"_id": 0, "visitors": {"$size": "$who"}, "revenue": 1, "best": None}},
]

ex1.check()
"""


def true_page(rows: Rows) -> dict[str, Any]:
    """Compute the page without a pipeline."""
    bought = [row for row in rows if row["eventType"] == "purchase"]
    sold = Counter(row["productId"] for row in bought)
    best = min(sold, key=lambda product: (-sold[product], product)) if sold else None
    revenue = sum(row["value"] for row in bought)
    return {"visitors": len({row["userId"] for row in rows}), "revenue": revenue, "best": best}


@told_apart
def check(mg: Place, page: Any) -> None:
    """Compare with a loop: chance, ties, no purchases, no events, the section's."""
    views = [event(user, "page_view") | {"productId": 3} for user in (1, 1, 2)]
    products = (9, 4, 9, 4, 7)
    ties = [at(1, shop.OPENING, "purchase", productId=n, value=5) for n in products]
    searches = [row | {"productId": 2} for row in mixed(6, 60, 6)]
    many = {
        "busy days": chance(6, 200, 9, 3),
        "a tie": ties,
        "searches that have a value": searches,
    }
    sets = {**many, "no purchases": views, "no events": [], "the section's events": None}
    for (name, _), (found, events) in zip(
        sets.items(), run_on(mg, "page", page, [*many.values(), views, []]), strict=True
    ):
        wanted = true_page(events)
        if len(found) != 1:
            raise Incorrect(
                f"For {name}, your pipeline gives {len(found)} documents instead of one."
            )
        row = dict.fromkeys(wanted) | found[0]  # a field without a value may be missing
        same_fields([row], [wanted])
        for field, value in wanted.items():
            if row[field] != value:
                counts = field == "visitors" and row[field] is None and "$count" in repr(page)
                raise Incorrect(
                    f"For {name}, `{field}` should be {value!r}; it is {shown(row[field])}."
                    + (" MongoDB's $count over nothing gives no document." if counts else "")
                )


LISTS = """
bought = {"$match": {"eventType": "purchase"}}
sold = {"$group": {"_id": "$productId", "n": {"$sum": 1}}}
page = [
    {
        "$facet": {
            "who": [{"$group": {"_id": "$userId"}}],
            "bought": [bought],
            "best": [bought, sold, {"$sort": {"n": -1, "_id": 1}}],
        }
    },
    {"$set": {"top": {"$first": "$best"}}},
    {
        "$project": {
            "visitors": {"$size": "$who"},
            "revenue": {"$sum": {"$map": {"input": "$bought", "in": "$$this.value"}}},
            "best": "$top._id",
        }
    },
]

ex1.check()
"""


EXERCISE = Exercise(
    title="A page that survives a quiet day",
    minutes=20,
    prompt="Write a $facet that gives one document, with zeros when nothing happened.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Three parts in $facet, each a small pipeline; then one $project.",
        'The first row of a part, as a variable: {"$let": {"vars": {"row": {"$first": '
        '"$visitors"}}, "in": "$$row.n"}}.',
        "Around it, $ifNull with what stands there on a quiet day.",
    ],
    wrong=[
        (
            changed(
                SOLUTION,
                '{"$ifNull": [first("revenue", "cents"), 0]}',
                'first("revenue", "cents")',
            ),
            "For no purchases, `revenue`",
        ),
        (
            changed(
                SOLUTION,
                '{"$ifNull": [first("visitors", "n"), 0]}',
                'first("visitors", "n")',
            ),
            "$count over nothing gives no document",
        ),
        (ONE_GROUP, "For busy days, `best`"),
        (changed(SOLUTION, '{"sold": -1, "_id": 1}', '{"sold": -1, "_id": -1}'), "For a tie"),
        (
            changed(SOLUTION, '"revenue": [bought, ', '"revenue": ['),
            "For busy days, `revenue`",
        ),
    ],
    right=[LISTS],
    equal={
        "b9870867": "twice the number sold has the same order",
        "0413c2e5": "only the first row is read",
        "7e07489f": "only the first row is read",
        "34fcd162": "with one row the first is the last",
        "49d4aabc": "`best` may be missing",
    },
    praise="The quiet day is now a case of its own, and it has a test.",
)
