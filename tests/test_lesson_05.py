"""What lesson 05 sends home: final.py against loops over the same events."""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from helpers import lab, outline, shop
from helpers.base.errors import LabError
from helpers.base.paths import NOTEBOOKS
from helpers.commands import regression

FOLDER = NOTEBOOKS / "05_mongodb_analytics_pipeline"
WEIGHTS = {"page_view": 1, "click": 5, "purchase": 10}
TUESDAY = shop.OPENING + timedelta(days=1)


@pytest.fixture
def final(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file as a learner at work imports it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    sys.modules.pop("final", None)  # lesson 04 has one of that name
    yield __import__("final")
    sys.modules.pop("final", None)


@pytest.fixture(scope="module")
def mg() -> Any:
    return lab.mongodb("95")


@pytest.fixture(scope="module")
def db(mg: Any) -> Iterator[Any]:
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        shop.insert_events(db.events, 1_500, customers=60, per_day=60)
        db.events.insert_many(event(7, "purchase", day) for day in (0, 1, 2, 3))
        db.events.insert_one(event(7, "search", 0))
        people = [{"userId": c["id"], "name": c["name"], "email": "e"} for c in shop.customers(40)]
        db.users.insert_many(people)
        yield db


def event(user: int, kind: str, day: int) -> dict[str, Any]:
    """An event at the first moment of a day."""
    moment = shop.OPENING + timedelta(days=day)
    return {"userId": user, "eventType": kind, "value": 100, "timestamp": moment}


def between(db: Any, start: datetime, end: datetime) -> list[Any]:
    return [e for e in db.events.find() if start <= e["timestamp"] < end]


@pytest.mark.parametrize("days", [1, 3, 40])
def test_the_ranking_is_the_loops(final: Any, db: Any, days: int) -> None:
    start, end = shop.OPENING, shop.OPENING + timedelta(days=days)
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    values: Counter[int] = Counter()
    for e in between(db, start, end):
        if e["eventType"] in WEIGHTS:
            counts[e["userId"]][e["eventType"]] += 1
            values[e["userId"]] += e["value"]
    scores = {u: sum(n * WEIGHTS[k] for k, n in c.items()) for u, c in counts.items()}
    people = {c["id"]: c["name"] for c in shop.customers(40)}  # the others are in no collection
    wanted = [
        (u, scores[u], *(counts[u][k] for k in WEIGHTS), values[u], people.get(u))
        for u in sorted(scores, key=lambda u: (-scores[u], u))
    ]
    keys = ["userId", "score", *WEIGHTS, "value"]
    found = [
        (*(r[k] for k in keys), r.get("name")) for r in final.engagement(db, start, end, limit=1000)
    ]
    assert found == wanted
    assert [r["userId"] for r in final.engagement(db, start, end, limit=5)] == [
        row[0] for row in wanted[:5]
    ]


def test_days_add_up(final: Any, db: Any) -> None:
    """The scores of the days are together the score of all days."""
    days = [shop.OPENING + timedelta(days=n) for n in range(4)]
    parts: Counter[int] = Counter()
    for day in days:
        for row in final.engagement(db, day, day + timedelta(days=1), limit=1000):
            parts[row["userId"]] += row["score"]
    whole = final.engagement(db, days[0], days[-1] + timedelta(days=1), limit=1000)
    assert parts == {row["userId"]: row["score"] for row in whole}


def test_a_user_twice_in_users_is_one_row(final: Any, db: Any) -> None:
    db.users.drop_indexes()  # as in a database that nobody prepared
    double = db.users.insert_one({"userId": 1, "name": "again", "email": "e"})
    try:
        rows = final.engagement(db, shop.OPENING, shop.OPENING + timedelta(days=40), limit=1000)
        users = [row["userId"] for row in rows]
        assert len(users) == len(set(users))
    finally:
        db.users.delete_one({"_id": double.inserted_id})


@pytest.mark.parametrize("moment", ["2025-03-25", date(2025, 3, 25), datetime(2025, 3, 25)])
def test_a_time_without_a_zone_is_refused(final: Any, db: Any, moment: Any) -> None:
    with pytest.raises(TypeError, match="no datetime with a time zone"):
        final.engagement(db, moment, TUESDAY)


def stored(db: Any, day: datetime) -> dict[Any, Any]:
    rows = db.daily_stats.find({"day": day})
    return {(r["userId"], r["eventType"]): (r["count"], r["totalValue"]) for r in rows}


def true(db: Any, day: datetime) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for e in between(db, day, day + timedelta(days=1)):
        count, value = found.get((e["userId"], e["eventType"]), (0, 0))
        found[e["userId"], e["eventType"]] = count + 1, value + e["value"]
    return found


def test_a_day_stays_right(final: Any, db: Any) -> None:
    """New, late and deleted events, in an order of chance; other days and notes stay."""
    final.prepare(db)
    final.prepare(db)
    final.refresh(db, TUESDAY.date())
    db.daily_stats.update_one({"day": TUESDAY, "userId": 7}, {"$set": {"note": "kept"}})
    final.refresh(db, shop.OPENING.date())
    monday, rng = stored(db, shop.OPENING), random.Random(5)
    for _ in range(6):
        if rng.random() < 0.5:
            db.events.insert_one(event(rng.randint(1, 9), rng.choice(list(WEIGHTS)), 1))
        else:
            rows = between(db, TUESDAY, TUESDAY + timedelta(days=1))
            gone = rng.choice([e["userId"] for e in rows if e["userId"] != 7])
            db.events.delete_many({"userId": gone})
        final.refresh(db, TUESDAY.date())
        assert stored(db, TUESDAY) == true(db, TUESDAY)
    assert stored(db, shop.OPENING) == monday
    assert db.daily_stats.count_documents({"note": "kept"}) == 1
    db.events.delete_many({"timestamp": {"$gte": TUESDAY}})
    final.refresh(db, TUESDAY.date())
    assert stored(db, TUESDAY) == {}
    with pytest.raises(TypeError, match="a day has no hour"):
        final.refresh(db, TUESDAY)


def test_the_published_file_is_the_notebooks_pipeline() -> None:
    """published.py and the notebook's cell are the same stages."""
    cells = {cell["id"]: cell["source"] for cell in outline.find("05").cells()}
    cell = cells["published-pipeline"]
    names: dict[str, Any] = {"shop": shop, "timedelta": timedelta}
    exec(cell, names)
    asked: list[Any] = []

    class Events:
        def aggregate(self, stages: Any) -> list[Any]:
            asked.extend(stages)
            return []

    class Analytics:
        events = Events()

    file: dict[str, Any] = {}
    exec((FOLDER / "published.py").read_text(encoding="utf-8"), file)
    file["client"].close()
    file["client"] = {"analytics": Analytics()}
    file["get_user_engagement_stats"](names["start"], names["end"])
    assert asked == names["published"]


def test_the_published_javascript(mg: Any, db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scores are the loops' wrong ones; its summary begins when somebody reads the cursor."""
    monkeypatch.syspath_prepend(str(FOLDER))
    javascript = __import__("javascript").javascript
    text = (FOLDER / "published.js").read_text(encoding="utf-8")
    address = "process.env.MONGODB_URL, { monitorCommands: true }"
    program = text.replace("'mongodb://localhost:27017'", address)
    program = program.replace("client.db('analytics')", "client.db()")
    start, end = shop.OPENING, shop.OPENING + timedelta(days=3)
    kinds: dict[int, Counter[str]] = defaultdict(Counter)
    for e in db.events.find():
        if start <= e["timestamp"] <= end and e["eventType"] in WEIGHTS:
            kinds[e["userId"]][e["eventType"]] += 1
    call = f"getUserEngagementStats('{start.isoformat()}', '{end.isoformat()}')"
    rows, sent = javascript(mg, program, call)
    assert sent == ["aggregate"]
    assert {row["userId"]: (row["engagementScore"], row["totalEvents"]) for row in rows} == {
        user: (sum(WEIGHTS[k] for k in n), n.total()) for user, n in kinds.items()
    }
    reads = program.replace("  ])\n}", "  ]).toArray()\n}")
    db.daily_stats.drop()
    for source, commands in ((program, []), (reads, ["aggregate"])):
        assert javascript(mg, source, "updateDailyStats(new Date('2025-03-24'))")[1] == commands
        assert bool(db.daily_stats.count_documents({})) == bool(commands)
    db.daily_stats.drop()
    with pytest.raises(LabError, match="ReferenceError: nothing is not defined"):
        javascript(mg, program, "nothing()")


def test_cells_for_mongodb_itself_run_only_there(db: Any) -> None:
    """On the stand-in they are left out of the regression run; on MongoDB nothing is."""
    cells = [
        nbformat.v4.new_code_cell("1", metadata={"tags": tags})
        for tags in (
            [],
            ["raises-exception"],
            ["real-mongodb"],
            ["own-server", "real-mongodb"],
        )
    ]
    items: list[Any] = [SimpleNamespace(cell=cell) for cell in cells] + [SimpleNamespace()]
    deselected: list[Any] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: deselected.extend(items))
    option = SimpleNamespace(collectonly=False)
    config: Any = SimpleNamespace(option=option, hook=hook)
    before = list(items)
    regression.pytest_collection_modifyitems(config, items)
    stand_in = "secantusVersion" in db.client.admin.command("buildInfo")
    assert deselected == (before[2:4] if stand_in else [])
    assert items == [item for item in before if item not in deselected]
