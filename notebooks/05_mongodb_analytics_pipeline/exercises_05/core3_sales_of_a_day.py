"""Exercise 05-3: sales of a day."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from bson import ObjectId

from exercises_05.common import KINDS, Rows, kept, shown
from helpers import shop
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

STARTER = '''
ex3.start()  # makes ex3_events and ex3_sales anew


def rebuild(date):
    """Make ex3_sales right for one day, UTC; date is a datetime.date."""
    return ...


ex3.check()
'''
BODY = """\
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
SOLUTION = STARTER.replace("    return ...\n", BODY)
OWN_ONLY = changed(
    BODY,
    '"revenue": 1',
    '"revenue": 1, "run": {"$literal": run}',
    BODY[BODY.index("    sold = db") :],
    '    mine = {"$exists": True, "$ne": run}\n'
    '    db.ex3_sales.delete_many({"day": day, "run": mine})\n',
    "    within =",
    '    run = __import__("bson").ObjectId()\n    within =',
)
DELETE_INSERT = """\
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


def prepare(mg: Place) -> None:
    """Make both collections anew: some sales of three days, and no summary yet."""
    with mg.connect(tzinfo=UTC) as client:
        play = Shop(client.get_default_database(), 3)
        for number in range(40):
            moment = shop.OPENING + timedelta(minutes=play.rng.randrange(3 * 1440))
            kind = KINDS[number % 3]
            value = play.rng.randint(1, 9) * 100 if kind == "purchase" else 0
            play.add(moment, play.rng.randint(1, 5), kind, value)


def compare_day(shop_: Shop, day: datetime, when: str) -> None:
    """Compare one day of ex3_sales with the truth."""
    true = shop_.truth(day)
    stored = {product: row for (d, product), row in shop_.stored().items() if d == day}
    for product, (sold, revenue) in true.items():
        if product not in stored:
            right_shape(shop_)
            raise Incorrect(f"{when}, product {product} of {day:%d %B} is missing in ex3_sales.")
        row = stored[product]
        if row.get("sold") != sold or row.get("revenue") != revenue:
            raise Incorrect(
                f"{when}, product {product} of {day:%d %B} was sold {sold} times for {revenue} "
                f"cents; ex3_sales has {shown(row.get('sold'))} and {shown(row.get('revenue'))}."
            )
    if stale := sorted(stored.keys() - true.keys()):
        raise Incorrect(
            f"{when}, product {stale[0]} is still in ex3_sales, but was not sold on {day:%d %B}."
        )
    right_shape(shop_)


def right_shape(shop_: Shop) -> None:
    """Look for documents that belong to no day and product."""
    rows = list(shop_.sales.find())
    if not rows and shop_.rows:
        raise Incorrect("rebuild() was called, and ex3_sales is empty.")
    for row in rows:
        day = row.get("day")
        if not isinstance(day, datetime) or day.time() != time():
            raise Incorrect(f"`day` should be a datetime, midnight UTC: {shown(day)}.")
        if not isinstance(row["_id"], ObjectId):
            raise Incorrect(
                f"A document's `_id` is {shown(row['_id'])}. Only one document of the collection "
                "can have it, so that of another day gets lost, or is refused. Leave `_id` out."
            )


@told_apart
def check(mg: Place, rebuild: Callable[[date], Any]) -> None:
    """Play a shop: late, changed and deleted events, other days, notes, midnights."""
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        with kept(db, "ex3_events", "ex3_sales"):
            story(Shop(db, 1), rebuild, shop.OPENING)
            # On a day when clocks change and a month ends, in another order of chance.
            chance(Shop(db, 2), rebuild, datetime(2025, 3, 29, tzinfo=UTC))


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
        others = [row for row in shop_.sales.find(sort={"_id": 1}) if row["day"] != day]
        rebuild(day.date())
        compare_day(shop_, day, "After many changes")
        if others != [row for row in shop_.sales.find(sort={"_id": 1}) if row["day"] != day]:
            raise Incorrect(f"A run for {day:%d %B} has changed documents of another day.")


IN_PYTHON = STARTER.replace(
    "    return ...\n",
    """\
    day = datetime(date.year, date.month, date.day, tzinfo=UTC)
    found = {}
    within = {"$gte": day, "$lt": day + timedelta(days=1)}
    for e in db.ex3_events.find({"timestamp": within}):
        if e["eventType"] == "purchase":
            sold, revenue = found.get(e["productId"], (0, 0))
            found[e["productId"]] = sold + 1, revenue + e["value"]
    for row in db.ex3_sales.find({"day": day}):
        if row["productId"] not in found:
            db.ex3_sales.delete_one({"_id": row["_id"]})
    for product, (sold, revenue) in found.items():
        values = {"$set": {"sold": sold, "revenue": revenue}}
        db.ex3_sales.update_one({"day": day, "productId": product}, values, upsert=True)
""",
)
WITH_ZEROS = STARTER.replace(
    "    return ...\n",
    """\
    day = datetime(date.year, date.month, date.day, tzinfo=UTC)
    within = {"$gte": day, "$lt": day + timedelta(days=1)}
    there = [{"$match": {"day": day}}, {"$project": {"_id": 0, "productId": 1}}]
    totals = {"sold": {"$sum": "$one"}, "revenue": {"$sum": "$value"}}
    stages = [
        {"$match": {"timestamp": within, "eventType": "purchase"}},
        {"$set": {"one": 1}},
        {"$unionWith": {"coll": "ex3_sales", "pipeline": there}},
        {"$group": {"_id": "$productId", **totals}},
        {"$project": {"_id": 0, "day": day, "productId": "$_id", "sold": 1, "revenue": 1}},
        {"$merge": {"into": "ex3_sales", "on": ["productId", "day"]}},
    ]
    db.ex3_events.aggregate(stages)
    db.ex3_sales.delete_many({"day": day, "sold": 0})
""",
)


EXERCISE = Exercise(
    title="Sales of a day",
    minutes=12,
    prompt="Write rebuild(date): one day of ex3_sales is right, whatever happened.",
    starter=STARTER,
    solution=SOLUTION,
    cells=("setup", "load"),
    check=check,
    prepare=prepare,
    hints=[
        "Begin like refresh: $match the day and the purchases, $group by productId, $merge.",
        "After $merge, delete what the day should not have: by a stamp, or by a list of the "
        "products that were sold.",
        "If the pipeline gives no document at all, every document of the day is stale.",
    ],
    wrong=[
        (
            changed(
                SOLUTION,
                BODY[BODY.index("    sold = db") :],
                "",
            ),
            "After events were deleted",
        ),
        (STARTER.replace("    return ...\n", OWN_ONLY), "that another job had left"),
        (changed(SOLUTION, '": day}, "prod', '": str(day)}, "prod'), "midnight UTC: '2025"),
        (changed(SOLUTION, '"_id": 0, ', ""), "Leave `_id` out."),
        (changed(SOLUTION, BODY, "    list(db.ex3_events.find())\n"), "ex3_sales is empty"),
        (
            changed(SOLUTION, '"on": ["day", "productId"]', '"on": ["productId"]'),
            "raised OperationFailure",
        ),
        (changed(SOLUTION, '"$lt": day', '"$lte": day'), "With sales at both midnights"),
        (STARTER.replace("    return ...\n", DELETE_INSERT), "note on a document is gone"),
        (
            changed(SOLUTION, '"whenMatched": "merge"', '"whenMatched": "keepExisting"'),
            "After a late purchase",
        ),
        (
            changed(SOLUTION, 'delete_many({"day": day, ', "delete_many({"),
            "has changed documents of 24",
        ),
        (changed(SOLUTION, ', "eventType": "purchase"}},\n', "}},\n"), "first run, product"),
    ],
    right=[IN_PYTHON, WITH_ZEROS],
    equal={
        "7c05b37b": "PyMongo takes a time without a zone as UTC",
        "db64f443": "a date is a constant without $literal too",
        "c7598b12": "merge is the default of whenMatched",
    },
    praise="New, late and deleted events: one function for all, safe to run again.",
)
