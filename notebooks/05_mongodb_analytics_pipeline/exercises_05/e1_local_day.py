"""Exercise 05e-1: revenue by local day."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from exercises_05.common import DAY, Rows, at, chance, run_on, same_fields, same_types, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

STARTER = '''
def revenue(zone):
    """Return a pipeline: what was bought on each day of the time zone."""
    return ...


ex1.check()
'''
BODY = """\
    day = {"$dateToString": {"date": "$timestamp", "format": "%Y-%m-%d", "timezone": zone}}
    return [
        {"$match": {"eventType": "purchase"}},
        {"$group": {"_id": day, "cents": {"$sum": "$value"}}},
        {"$project": {"_id": 0, "day": "$_id", "cents": 1}},
        {"$sort": {"day": 1}},
    ]
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
DATE = r"\d{4}-\d\d-\d\d"


def true_revenue(rows: Rows, zone: str) -> Rows:
    """Compute the days without a pipeline."""
    cents: Counter[str] = Counter()
    for row in rows:
        if row["eventType"] == "purchase":
            cents[f"{row['timestamp'].astimezone(ZoneInfo(zone)):%Y-%m-%d}"] += row["value"]
    return [{"day": day, "cents": cents[day]} for day in sorted(cents)]


@told_apart
def check(mg: Place, revenue: Callable[[str], Any]) -> None:
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
                    raise Incorrect(f"`day` should be a text like 2025-03-30: {shown(row['day'])}.")
                same_types([row], wanted)
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


TRUNCATED = STARTER.replace(
    "    return ...\n",
    """\
    day = {"$dateTrunc": {"date": "$timestamp", "unit": "day", "timezone": zone}}
    text = {"$dateToString": {"date": "$_id", "format": "%Y-%m-%d", "timezone": zone}}
    return [
        {"$match": {"eventType": "purchase"}},
        {"$group": {"_id": day, "cents": {"$sum": "$value"}}},
        {"$sort": {"_id": 1}},
        {"$project": {"_id": 0, "day": text, "cents": 1}},
    ]
""",
)


EXERCISE = Exercise(
    title="Revenue by local day",
    minutes=8,
    prompt="Write a pipeline that adds up purchases by the days of a time zone.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "$dateToString takes a timezone; $group by what it gives.",
        "Only purchases: $match comes first.",
    ],
    wrong=[
        (changed(SOLUTION, ', "timezone": zone', ""), "your pipeline gives 15."),
        (changed(SOLUTION, ": zone}", ': "Europe/Berlin"}'), "In UTC, "),
        (
            changed(SOLUTION, '        {"$match": {"eventType": "purchase"}},\n', ""),
            "your pipeline gives 150.",
        ),
        (
            changed(
                SOLUTION,
                '        {"$sort": {"day": 1}},\n',
                "",
                "    return [\n",
                '    return [\n        {"$sort": {"timestamp": 1}},\n',
            ),
            "come in order",
        ),
        (changed(SOLUTION, "%Y-", "%G-"), "spent on 2026-12-30"),
        (changed(SOLUTION, "%Y-%m-%d", "%d.%m.%Y"), "a text like 2025-03-30"),
    ],
    right=[TRUNCATED],
    praise="The same moments, cut into other days: the total is equal in every zone.",
)
