"""Exercises of lesson 05's sections of "Going deeper", one for each."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from helpers import shop
from helpers.exercises import Database, Exercise, Incorrect, NotAttempted, changed
from helpers.exercises.lesson_05_pipelines import (
    KINDS,
    Rows,
    event,
    mixed,
    place,
    run_on,
    same_fields,
)

DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


def at(user: int, moment: datetime, kind: str = "page_view", **more: Any) -> dict[str, Any]:
    """Return an event of a moment."""
    fields = {"userId": user, "eventType": kind, "productId": 1, "value": 0, "timestamp": moment}
    return fields | more


def chance(seed: int, count: int, users: int, days: int) -> Rows:
    """Return events of users at any second of some days, mixed up."""
    rng = random.Random(seed)
    return [
        at(
            rng.randint(1, users),
            shop.OPENING + timedelta(seconds=rng.randrange(days * 86_400)),
            rng.choice(KINDS),
            productId=rng.randint(1, 5),
            value=rng.choice((99, 250)),
        )
        for _ in range(count)
    ]


# Exercise 4: the longest pause.

STARTER_4 = """
pauses = ...  # a pipeline for a collection like events

ex4.check()
"""
SOLUTION_4 = """
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

ex4.check()
"""
BORDERS_4 = """
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

ex4.check()
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


def check_pauses(mg: Database, pauses: Any) -> None:
    """Compare with a loop: borders of minutes, single events, ties, chance, the section's."""
    noon = shop.OPENING + DAY / 2
    borders = [at(1, noon + timedelta(seconds=s)) for s in (59, 61, 180)]  # 2 s and 119 s
    single = [at(8, noon - DAY / 24), at(3, noon), at(3, noon + timedelta(minutes=5))]
    ties = [at(u, noon + timedelta(hours=h)) for u in (9, 4, 17, 2, 30, 11) for h in (0, 2)]
    between = [at(u, noon + timedelta(minutes=10 * n)) for n, u in enumerate((1, 2, 1, 2, 2, 1))]
    sets = (single, between, borders, ties, chance(4, 300, 12, 3))
    for found, events in run_on(mg, "pauses", pauses, sets):
        true = true_pauses(events)
        wanted = [
            {"userId": user, "minutes": true[user]}
            for user in sorted(true, key=lambda user: (-true[user], user))
        ]
        same_fields(found, wanted)
        for row in found:
            if row["userId"] not in true:
                raise Incorrect("A customer with a single event is in the list.")
            if row["minutes"] != true[row["userId"]]:
                raise Incorrect(pause_reason(row, events, true[row["userId"]]))
        ordered(found, wanted, "minutes")


def pause_reason(row: dict[str, Any], events: Rows, true: int) -> str:
    """Say in words what a pause should have been."""
    when = sorted(e["timestamp"] for e in events if e["userId"] == row["userId"])
    gaps = [int((b - a).total_seconds()) for a, b in itertools.pairwise(when)]
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
    if len(found) != len(wanted):
        raise Incorrect(
            f"There should be {len(wanted)} documents; your pipeline gives {len(found)}."
        )
    if [row[by] for row in found] != [row[by] for row in wanted]:
        raise Incorrect(f"The documents are not in the order of {by} that was asked for.")
    if found != wanted:
        raise Incorrect(f"Of two with the same {by}, the smaller userId comes first.")


# Exercise 5: who comes back the week after?

STARTER_5 = """
loyal = ...  # a pipeline for a collection like events

ex5.check()
"""
SOLUTION_5 = """
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

ex5.check()
"""
WITHIN_SEVEN_DAYS_5 = """
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

ex5.check()
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


def check_loyal(mg: Database, loyal: Any) -> None:
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
        days = [row["cohort"] for row in found]
        for day in days:
            if not isinstance(day, datetime):
                raise Incorrect(f"`cohort` should be a date, as $dateTrunc gives it: {day!r}.")
            if day.weekday() or day.hour or day.minute:
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


# Exercise 6: a page that survives a quiet day.

STARTER_6 = """
page = ...  # a pipeline for a collection like events

ex6.check()
"""
SOLUTION_6 = """
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

ex6.check()
"""
ONE_GROUP_6 = """
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

ex6.check()
"""


def true_page(rows: Rows) -> dict[str, Any]:
    """Compute the page without a pipeline."""
    bought = [row for row in rows if row["eventType"] == "purchase"]
    sold = Counter(row["productId"] for row in bought)
    best = min(sold, key=lambda product: (-sold[product], product)) if sold else None
    revenue = sum(row["value"] for row in bought)
    return {"visitors": len({row["userId"] for row in rows}), "revenue": revenue, "best": best}


def check_page(mg: Database, page: Any) -> None:
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
                raise Incorrect(f"For {name}, `{field}` should be {value!r}; it is {row[field]!r}.")


# Exercise 7: an index for a page.

STARTER_7 = """
ex7.start()  # makes ex7_events anew, without an index
# Your line goes here: db.ex7_events.create_index(...)

ex7.check()
"""


def indexed(*keys: str) -> str:
    """Return the starter with indexes on these lists of fields."""
    lines = [f"db.ex7_events.create_index([{key}])" for key in keys]
    place = "# Your line goes here: db.ex7_events.create_index(...)"
    return changed(STARTER_7, place, "\n".join(lines))


SOLUTION_7 = indexed('("userId", 1), ("eventType", 1), ("timestamp", -1)')


def prepare_index(mg: Database) -> None:
    """Make the collection anew, with a few events and no index."""
    with mg.connect() as client:
        events = client.get_default_database()["ex7_events"]
        events.drop()
        events.insert_many(chance(7, 50, 9, 3))


def check_index(mg: Database) -> None:
    """Look at the fields of the index, and at their order."""
    with mg.connect() as client:
        known = client.get_default_database()["ex7_events"].index_information()
    made = {name: about for name, about in known.items() if name != "_id_"}
    if not made:
        raise NotAttempted("ex7_events has no index beside the one on _id.")
    if len(made) > 1:
        raise Incorrect(f"ex7_events has {len(made)} indexes. One is enough for both queries.")
    [about] = made.values()
    fields = [field for field, _ in about["key"]]
    if any(direction not in (1, -1) for _, direction in about["key"]):
        raise Incorrect("The index should be an ordinary one: each field 1 or -1.")
    if about.keys() & {"partialFilterExpression", "sparse", "unique", "collation", "hidden"}:
        raise Incorrect("The index should be without options: for all documents and all queries.")
    if missing := [f for f in ("userId", "eventType", "timestamp") if f not in fields]:
        raise Incorrect(f"The index has no {missing[0]}; the first query needs it: {fields}.")
    if fields[0] != "userId":
        raise Incorrect(
            f"The query for all events of a customer cannot use it: it begins with {fields[0]}."
        )
    if fields.index("timestamp") < fields.index("eventType"):
        raise Incorrect(
            "The purchases come in order, but between all the customer's other events: what must "
            "be equal stands before what you sort by."
        )
    if fields.index("timestamp") != 2:
        raise Incorrect(f"Another field stands before timestamp: the sort needs a sort: {fields}.")


# Exercise 8: revenue by local day.

STARTER_8 = '''
def revenue(zone):
    """Return a pipeline: what was bought on each day of the time zone."""
    return ...


ex8.check()
'''
BODY_8 = """\
    day = {"$dateToString": {"date": "$timestamp", "format": "%Y-%m-%d", "timezone": zone}}
    return [
        {"$match": {"eventType": "purchase"}},
        {"$group": {"_id": day, "cents": {"$sum": "$value"}}},
        {"$project": {"_id": 0, "day": "$_id", "cents": 1}},
        {"$sort": {"day": 1}},
    ]
"""
SOLUTION_8 = STARTER_8.replace("    return ...\n", BODY_8)
DATE = r"\d{4}-\d\d-\d\d"


def true_revenue(rows: Rows, zone: str) -> Rows:
    """Compute the days without a pipeline."""
    cents: Counter[str] = Counter()
    for row in rows:
        if row["eventType"] == "purchase":
            cents[f"{row['timestamp'].astimezone(ZoneInfo(zone)):%Y-%m-%d}"] += row["value"]
    return [{"day": day, "cents": cents[day]} for day in sorted(cents)]


def check_revenue(mg: Database, revenue: Callable[[str], Any]) -> None:
    """Compare with Python's zones: both changes of the clocks, half hours, the far side."""
    autumn = datetime(2025, 10, 25, 20, 30, tzinfo=UTC)
    hours = [at(1, autumn + n * DAY / 24, "purchase", value=2**n) for n in range(32)]
    noon = datetime(2025, 5, 6, 12, tzinfo=UTC)
    with_view = [at(1, noon, "purchase", value=100), at(2, noon, value=50)]
    with_view.append(at(3, noon + 238 * DAY, "purchase", value=25))  # 30 December: ISO year 2026
    sets = (with_view, hours, chance(8, 200, 9, 9))
    for zone in ("Europe/Berlin", "UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"):
        for found, events in run_on(mg, "revenue", revenue(zone), sets):
            wanted = true_revenue(events, zone)
            same_fields(found, wanted)
            true = {row["day"]: row["cents"] for row in wanted}
            for row in found:
                if not isinstance(row["day"], str) or not re.fullmatch(DATE, row["day"]):
                    raise Incorrect(f"`day` should be a text like 2025-03-30: {row['day']!r}.")
                if row["cents"] != true.get(row["day"], 0):
                    raise Incorrect(
                        f"In {zone}, {true.get(row['day'], 0)} cents were spent on {row['day']}; "
                        f"your pipeline gives {row['cents']!r}."
                    )
            if sorted(row["day"] for row in found) != [row["day"] for row in wanted]:
                raise Incorrect(f"In {zone}, each day with a purchase should be there once.")
            if found != wanted:
                raise Incorrect(
                    "The days should come in order. $group gives its documents in any order: "
                    "sort after it."
                )


EXERCISES = [
    Exercise(
        number=4,
        title="The longest pause",
        prompt="Write a pipeline that gives each customer's longest pause, in minutes.",
        setup=place("05a"),
        starter=STARTER_4,
        solution=SOLUTION_4,
        check=check_pauses,
        hints=[
            "$setWindowFields, partitioned by userId and sorted by timestamp, with "
            '{"$shift": {"output": "$timestamp", "by": -1}} gives the time of the event before.',
            "The first event of a customer has none before: leave it out, then $group with $max.",
            "$dateDiff in minutes counts how often a new minute begins. $subtract gives the "
            "milliseconds that passed.",
        ],
        wrong=[
            (BORDERS_4, "[2, 119] seconds should have 1 minutes; your pipeline gives 2"),
            (changed(SOLUTION_4, '"partitionBy": "$userId", ', ""), "pipeline gives 60"),
            (
                changed(SOLUTION_4, '    {"$match": {"before": {"$ne": None}}},\n', ""),
                "single event is in the list.",
            ),
            (changed(SOLUTION_4, '"minutes": -1, "userId"', '"minutes": 1, "userId"'), "asked for"),
        ],
        praise="Set a limit for the pause, and you have cut the events into visits.",
    ),
    Exercise(
        number=5,
        title="Who comes back the week after?",
        prompt="Write a pipeline that counts, for each cohort, who came back in the next week.",
        setup=place("05b"),
        starter=STARTER_5,
        solution=SOLUTION_5,
        check=check_loyal,
        hints=[
            "Begin like `cohorts`: each event gets its week and its customer's first week.",
            "Is an event in the next week? $cond makes 1 or 0 of it. $group by cohort and customer "
            "with $max: did she come at all?",
            "A second $group by cohort counts the customers and adds up the ones.",
        ],
        wrong=[
            (changed(SOLUTION_5, ', "startOfWeek": "monday"', ""), "should be a Monday"),
            (
                changed(
                    SOLUTION_5,
                    '{"$set": {"next": {"$cond": [{"$eq": [{"$dateDiff": weeks}, 1]}, 1, 0]}}}',
                    '{"$match": {"$expr": {"$eq": [{"$dateDiff": weeks}, 1]}}},\n'
                    '    {"$set": {"next": 1}}',
                ),
                "is missing",
            ),
            (changed(SOLUTION_5, '{"$max": "$next"}', '{"$sum": "$next"}'), "gives 2."),
            (WITHIN_SEVEN_DAYS_5, "returned 0; your pipeline gives 1."),
            (changed(SOLUTION_5, '    {"$sort": {"cohort": 1}},\n', ""), "sort after it"),
            (
                changed(
                    SOLUTION_5,
                    '{"$dateDiff": weeks}',
                    '{"$subtract": [{"$isoWeek": "$week"}, {"$isoWeek": "$cohort"}]}',
                ),
                "cohort of 22 December",
            ),
            (
                changed(
                    SOLUTION_5,
                    '"cohort": "$_id", ',
                    '"cohort": {"$dateToString": {"date": "$_id", "format": "%Y-%m-%d"}}, ',
                ),
                "should be a date",
            ),
        ],
        praise="A cohort of which nobody returns is a number that somebody should see.",
    ),
    Exercise(
        number=6,
        title="A page that survives a quiet day",
        prompt="Write a $facet that gives one document, with zeros when nothing happened.",
        setup=place("05c"),
        starter=STARTER_6,
        solution=SOLUTION_6,
        check=check_page,
        hints=[
            "Three parts in $facet, each a small pipeline; then one $project.",
            'The first row of a part, as a variable: {"$let": {"vars": {"row": {"$first": '
            '"$visitors"}}, "in": "$$row.n"}}.',
            "Around it, $ifNull with what stands there on a quiet day.",
        ],
        wrong=[
            (
                changed(
                    SOLUTION_6,
                    '{"$ifNull": [first("revenue", "cents"), 0]}',
                    'first("revenue", "cents")',
                ),
                "For no purchases, `revenue`",
            ),
            (ONE_GROUP_6, "For busy days, `best`"),
            (changed(SOLUTION_6, '{"sold": -1, "_id": 1}', '{"sold": -1, "_id": -1}'), "For a tie"),
            (
                changed(SOLUTION_6, '"revenue": [bought, ', '"revenue": ['),
                "For busy days, `revenue`",
            ),
        ],
        praise="The quiet day is now a case of its own, and it has a test.",
    ),
    Exercise(
        number=7,
        title="An index for a page",
        prompt="Make one index for a customer's newest purchases and for all her events.",
        setup=place("05d"),
        starter=STARTER_7,
        solution=SOLUTION_7,
        check=check_index,
        prepare=prepare_index,
        hints=[
            "Equality, sort, range: which fields are equal to a value, and which one do you sort "
            "by?",
            "Two fields are for equality. Only one of them is in the second query: it comes first.",
        ],
        wrong=[
            (indexed('"eventType", "userId", "timestamp"'), "begins with eventType"),
            (indexed('"userId", "timestamp", "eventType"'), "what must be equal"),
            (indexed('"userId", "eventType"'), "has no timestamp"),
            (
                indexed('"userId", "eventType", "timestamp"', '"userId"'),
                "One is enough for both",
            ),
        ],
        praise="The server reads ten entries of the index, and ten documents.",
    ),
    Exercise(
        number=8,
        title="Revenue by local day",
        prompt="Write a pipeline that adds up purchases by the days of a time zone.",
        setup=place("05e"),
        starter=STARTER_8,
        solution=SOLUTION_8,
        check=check_revenue,
        hints=[
            "$dateToString takes a timezone; $group by what it gives.",
            "Only purchases: $match comes first.",
        ],
        wrong=[
            (changed(SOLUTION_8, ', "timezone": zone', ""), "your pipeline gives 15."),
            (changed(SOLUTION_8, ": zone}", ': "Europe/Berlin"}'), "In UTC, "),
            (
                changed(SOLUTION_8, '        {"$match": {"eventType": "purchase"}},\n', ""),
                "your pipeline gives 150.",
            ),
            (
                changed(
                    SOLUTION_8,
                    '        {"$sort": {"day": 1}},\n',
                    "",
                    "    return [\n",
                    '    return [\n        {"$sort": {"timestamp": 1}},\n',
                ),
                "come in order",
            ),
            (changed(SOLUTION_8, "%Y-", "%G-"), "spent on 2026-12-30"),
            (changed(SOLUTION_8, "%Y-%m-%d", "%d.%m.%Y"), "a text like 2025-03-30"),
        ],
        praise="The same moments, cut into other days: the total is equal in every zone.",
    ),
]
