"""The exercises of lesson 05's core: best spenders, a fair score, a summary that stays right."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from helpers import shop
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    NotAttempted,
    changed,
    lesson_05_deeper,
    lesson_05_writing,
)
from helpers.exercises.lesson_05_pipelines import (
    KINDS,
    Rows,
    event,
    mixed,
    place,
    run_on,
    same_fields,
)

setup = place("05")

# Exercise 1: the ten best spenders.

STARTER_1 = """
spenders = ...  # [{"$match": ...}, ...]

ex1.check()
"""
SOLUTION_1 = """
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


def check_spenders(mg: Database, spenders: Any) -> None:
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


# Exercise 2: robots.

STARTER_2 = """
fair = ...  # a pipeline for a collection like events

ex2.check()
"""
SOLUTION_2 = """
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
TWO_WEEKS_2 = changed(
    SOLUTION_2,
    '"purchase"]}}},\n',
    '"purchase"]}}},\n'
    '    {"$match": {"timestamp": {"$lte": shop.OPENING + timedelta(days=14)}}},\n',
)
CAP_ALL_2 = """
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


def check_fair(mg: Database, fair: Any) -> None:
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
    true = {row["userId"]: row["score"] for row in wanted}
    for row in found:
        if row["userId"] not in true:
            raise Incorrect("A customer who only searched is in the list.")
    soon = [row for row in rows if row["timestamp"] <= shop.OPENING + timedelta(days=14)]
    if found != wanted and found == true_fair(soon):
        raise Incorrect("Only the first two weeks count in your pipeline. Take all events.")
    counts: dict[tuple[int, str], int] = defaultdict(int)
    for row in rows:
        counts[row["userId"], row["eventType"]] += 1
    for row in sorted(found, key=lambda row: int(row["userId"])):
        user, score = row["userId"], row["score"]
        if score != true[user]:
            n = [counts[user, kind] for kind in KINDS]
            raise Incorrect(
                f"A customer with {n[0]:,} views, {n[1]} clicks and {n[2]} purchases should have "
                f"{true[user]} points; your pipeline gives {score!r}."
            )
    if len(found) != len(wanted):
        raise Incorrect(f"{len(wanted)} customers have points; your list has {len(found)}.")
    if found != wanted:
        tied = [row["score"] for row in found] == [row["score"] for row in wanted]
        raise Incorrect(
            "Of customers with equal scores, the smaller userId comes first."
            if tied
            else "The highest score comes first."
        )


# Exercise 3: sales of a day.

STARTER_3 = '''
def rebuild(date):
    """Make ex3_sales right for one day, UTC; date is a datetime.date."""
    return ...


ex3.check()
'''
BODY_3 = """\
    day = datetime(date.year, date.month, date.day, tzinfo=UTC)
    within = {"$gte": day, "$lt": day + timedelta(days=1)}
    totals = {"sold": {"$sum": 1}, "revenue": {"$sum": "$value"}}
    stages = [
        {"$match": {"timestamp": within, "eventType": "purchase"}},
        {"$group": {"_id": "$productId", **totals}},
        {"$project": {"_id": 0, "day": {"$literal": day}, "productId": "$_id", **kept}},
        {"$merge": {"into": "ex3_sales", "on": ["day", "productId"], "whenMatched": "merge"}},
    ]
    db.ex3_events.aggregate(stages)
    sold = db.ex3_events.distinct("productId", {"timestamp": within, "eventType": "purchase"})
    db.ex3_sales.delete_many({"day": day, "productId": {"$nin": sold}})
""".replace("**kept", '"sold": 1, "revenue": 1')
SOLUTION_3 = STARTER_3.replace("    return ...\n", BODY_3)
OWN_ONLY_3 = changed(
    BODY_3,
    '"revenue": 1',
    '"revenue": 1, "run": {"$literal": run}',
    BODY_3[BODY_3.index("    sold = db") :],
    '    mine = {"$exists": True, "$ne": run}\n'
    '    db.ex3_sales.delete_many({"day": day, "run": mine})\n',
    "    within =",
    '    run = __import__("bson").ObjectId()\n    within =',
)
DELETE_INSERT_3 = """\
    day = datetime(date.year, date.month, date.day, tzinfo=UTC)
    within = {"$gte": day, "$lt": day + timedelta(days=1)}
    found = {}
    for e in db.ex3_events.find({"timestamp": within, "eventType": "purchase"}):
        one = {"day": day, "productId": e["productId"], "sold": 0, "revenue": 0}
        row = found.setdefault(e["productId"], one)
        row["sold"] += 1
        row["revenue"] += e["value"]
    db.ex3_sales.delete_many({"day": day})
    if found:
        db.ex3_sales.insert_many(found.values())
"""

Sales = dict[tuple[datetime, int], dict[str, Any]]


class Shop:
    """A few weeks of a shop: events come, change and go; the summary's truth is kept beside."""

    def __init__(self, db: Any, seed: int) -> None:
        """Make the two collections anew, empty."""
        self.events, self.sales, self.rng = db.ex3_events, db.ex3_sales, random.Random(seed)
        self.events.drop()
        self.sales.drop()
        self.sales.create_index(["day", "productId"], unique=True)
        self.rows: Rows = []

    def add(self, moment: datetime, product: int, kind: str = "purchase", value: int = 100) -> None:
        """Add an event."""
        row = {"userId": self.rng.randint(1, 9), "eventType": kind, "productId": product}
        row |= {"value": value, "timestamp": moment}
        self.rows.append(row)
        self.events.insert_one(dict(row))

    def forget(self, **fields: Any) -> None:
        """Delete the events that have these values."""
        self.rows = [row for row in self.rows if any(row[k] != v for k, v in fields.items())]
        self.events.delete_many(fields)

    def truth(self, day: datetime) -> dict[int, tuple[int, int]]:
        """Return {product: (sold, revenue)} of a day."""
        found: dict[int, tuple[int, int]] = {}
        for row in self.rows:
            if row["timestamp"].date() == day.date() and row["eventType"] == "purchase":
                sold, revenue = found.get(row["productId"], (0, 0))
                found[row["productId"]] = sold + 1, revenue + row["value"]
        return found

    def of(self, day: datetime) -> Rows:
        """Return what is in ex3_sales for a day."""
        return sorted(self.sales.find({"day": day}), key=lambda row: str(row["productId"]))

    def stored(self) -> Sales:
        """Return what is in ex3_sales."""
        return {
            (row["day"], row["productId"]): row
            for row in self.sales.find()
            if isinstance(row.get("day"), datetime)
        }


def compare_day(shop_: Shop, day: datetime, when: str) -> None:
    """Compare one day of ex3_sales with the truth."""
    true = shop_.truth(day)
    stored = {product: row for (d, product), row in shop_.stored().items() if d == day}
    for product, (sold, revenue) in true.items():
        if product not in stored:
            if shop_.sales.count_documents({}) == 0:
                raise NotAttempted("rebuild() was called, and ex3_sales is empty.")
            for row in shop_.sales.find():
                if not isinstance(row.get("day"), datetime):
                    raise Incorrect(
                        f"`day` should be a datetime, midnight UTC: {row.get('day')!r}."
                    )
            raise Incorrect(f"{when}, product {product} of {day:%d %B} is missing in ex3_sales.")
        row = stored[product]
        if row.get("sold") != sold or row.get("revenue") != revenue:
            raise Incorrect(
                f"{when}, product {product} of {day:%d %B} was sold {sold} times for {revenue} "
                f"cents; ex3_sales has {row.get('sold')!r} and {row.get('revenue')!r}."
            )
    if stale := sorted(stored.keys() - true.keys()):
        raise Incorrect(
            f"{when}, product {stale[0]} is still in ex3_sales, but was not sold on {day:%d %B}."
        )


def check_rebuild(mg: Database, rebuild: Callable[[date], Any]) -> None:
    """Play a shop: late, changed and deleted events, other days, notes, midnights."""
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        try:
            first = shop.OPENING
            story(Shop(db, 1), rebuild, first)
            # The same on a day when clocks change, in another order of chance.
            chance(Shop(db, 2), rebuild, datetime(2025, 3, 29, tzinfo=UTC))
        finally:
            for name in ("ex3_events", "ex3_sales"):
                db.drop_collection(name)


def story(shop_: Shop, rebuild: Callable[[date], Any], monday: datetime) -> None:
    """Change one thing at a time, so that a reason can say which."""
    tuesday, wednesday = monday + timedelta(days=1), monday + timedelta(days=2)
    noon = tuesday + timedelta(hours=12)
    for product, moment in ((1, noon), (1, noon), (2, noon), (3, noon), (3, monday), (4, monday)):
        shop_.add(moment, product, value=100 * product)
    shop_.add(noon, 1, "page_view", 0)
    shop_.add(noon, 9, "click", 0)
    rebuild(monday.date())
    compare_day(shop_, monday, "After the first run")
    before = shop_.of(monday)
    shop_.add(monday + timedelta(hours=1), 4)  # nobody has called rebuild for it
    rebuild(tuesday.date())
    compare_day(shop_, tuesday, "After the first run")
    if shop_.of(monday) != before:
        raise Incorrect("A run for 25 March has changed documents of 24 March.")
    rebuild(monday.date())
    if len(found := shop_.stored()) != 5:
        raise Incorrect(
            "After a second run for 24 March, ex3_sales should have 5 documents: two of that day "
            f"and three of the next. It has {len(found)}."
        )
    rebuild(tuesday.date())
    compare_day(shop_, tuesday, "After a second run")
    for moment in (tuesday, tuesday + timedelta(hours=23, minutes=59, seconds=59.999), wednesday):
        shop_.add(moment, 5, value=7)
    rebuild(tuesday.date())
    compare_day(shop_, tuesday, "With sales at both midnights")
    shop_.sales.update_one({"day": tuesday, "productId": 1}, {"$set": {"note": "on sale"}})
    shop_.add(noon, 1)
    rebuild(tuesday.date())
    compare_day(shop_, tuesday, "After a late purchase")
    if shop_.stored()[tuesday, 1].get("note") != "on sale":
        raise Incorrect("A colleague's note on a document is gone after the next run.")
    shop_.forget(productId=2)
    rebuild(tuesday.date())
    compare_day(shop_, tuesday, "After events were deleted")
    shop_.forget(timestamp=noon)
    shop_.forget(productId=5)
    rebuild(tuesday.date())
    compare_day(shop_, tuesday, "After the last event of the day was deleted")
    compare_day(shop_, monday, "After runs for another day")
    shop_.sales.insert_one({"day": tuesday, "productId": 8, "sold": 1, "revenue": 800})
    rebuild(tuesday.date())
    compare_day(shop_, tuesday, "With a document that another job had left")


def chance(shop_: Shop, rebuild: Callable[[date], Any], begin: datetime) -> None:
    """Three days, thirty changes by chance; the day that changed is rebuilt and compared."""
    rng = shop_.rng
    for _ in range(30):
        day = begin + timedelta(days=rng.randrange(3))
        if shop_.rows and rng.random() < 0.4:
            row = rng.choice(shop_.rows)
            day = row["timestamp"].replace(hour=0, minute=0, second=0, microsecond=0)
            shop_.forget(productId=row["productId"], timestamp=row["timestamp"])
        else:
            moment = day + timedelta(minutes=rng.randrange(1440))
            shop_.add(moment, rng.randint(1, 4), rng.choice(KINDS[1:]), rng.randint(1, 9) * 100)
        rebuild(day.date())
        for other in range(3):
            here = begin + timedelta(days=other)
            if here == day:
                compare_day(shop_, here, "After many changes")


EXERCISES = [
    Exercise(
        number=1,
        title="The ten best spenders",
        prompt="Write a pipeline that gives the ten customers who spent most.",
        setup=setup,
        starter=STARTER_1,
        solution=SOLUTION_1,
        check=check_spenders,
        hints=[
            "$match the purchases, $group by userId with two $sum, $sort, $limit.",
            'The sort needs two fields: {"spent": -1, "_id": 1}.',
            '{"$project": {"_id": 0, "userId": "$_id", "purchases": 1, "spent": 1}} renames.',
        ],
        wrong=[
            (
                changed(SOLUTION_1, '    {"$match": {"eventType": "purchase"}},\n', ""),
                "A purchase is an event",
            ),
            (changed(SOLUTION_1, '"spent": -1, "_id": 1', '"spent": -1'), "spent the same"),
            (
                changed(
                    SOLUTION_1,
                    '    {"$sort": {"spent": -1, "_id": 1}},\n    {"$limit": 10},\n',
                    '    {"$limit": 10},\n    {"$sort": {"spent": -1, "_id": 1}},\n',
                ),
                "the first that come",
            ),
            (changed(SOLUTION_1, '"_id": 0, "userId": "$_id", ', ""), "no field 'userId'"),
            (changed(SOLUTION_1, '"_id": 0, ', ""), "a field '_id' that nobody"),
        ],
        praise="The money stays in whole cents all the way; no float, no rounding.",
    ),
    Exercise(
        number=2,
        title="Robots",
        prompt="Score customers so that at most 20 views of each count.",
        setup=setup,
        starter=STARTER_2,
        solution=SOLUTION_2,
        check=check_fair,
        hints=[
            "Count each kind on its own in $group: $sum of a $cond that gives 1 or 0.",
            '{"$min": ["$views", 20]} is the smaller of the two numbers.',
            "Sort last, when the score is there: by score, then by userId.",
        ],
        wrong=[
            (changed(SOLUTION_2, '{"$min": ["$views", 20]}', '"$views"'), "gives 200."),
            (CAP_ALL_2, "gives 20."),
            (changed(SOLUTION_2, '"score": -1, "userId": 1', '"score": -1'), "equal scores"),
            (
                changed(
                    SOLUTION_2,
                    '    {"$match": {"eventType": {"$in": ["page_view", "click", "purchase"]}}},\n',
                    "",
                ),
                "only searched",
            ),
            (TWO_WEEKS_2, "first two weeks"),
        ],
        praise="A cap belongs to one kind, before the weights are added up.",
    ),
    Exercise(
        number=3,
        title="Sales of a day",
        prompt="Write rebuild(date): one day of ex3_sales is right, whatever happened.",
        setup=setup,
        starter=STARTER_3,
        solution=SOLUTION_3,
        check=check_rebuild,
        hints=[
            "Begin like refresh: $match the day and the purchases, $group by productId, $merge.",
            "After $merge, delete what the day should not have: by a stamp, or by a list of the "
            "products that were sold.",
            "If the pipeline gives no document at all, every document of the day is stale.",
        ],
        wrong=[
            (
                changed(
                    SOLUTION_3,
                    BODY_3[BODY_3.index("    sold = db") :],
                    "",
                ),
                "After events were deleted",
            ),
            (STARTER_3.replace("    return ...\n", OWN_ONLY_3), "that another job had left"),
            (changed(SOLUTION_3, '": day}, "prod', '": str(day)}, "prod'), "midnight UTC: '2025"),
            (changed(SOLUTION_3, '"$lt": day', '"$lte": day'), "With sales at both midnights"),
            (STARTER_3.replace("    return ...\n", DELETE_INSERT_3), "note on a document is gone"),
            (
                changed(SOLUTION_3, '"whenMatched": "merge"', '"whenMatched": "keepExisting"'),
                "After a late purchase",
            ),
            (
                changed(SOLUTION_3, 'delete_many({"day": day, ', "delete_many({"),
                "has changed documents of 24",
            ),
            (changed(SOLUTION_3, ', "eventType": "purchase"}},\n', "}},\n"), "first run, product"),
        ],
        praise="New, late and deleted events: one function for all, safe to run again.",
    ),
    *lesson_05_deeper.EXERCISES,
    *lesson_05_writing.EXERCISES,
]
