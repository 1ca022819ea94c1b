"""What lesson 05 sends home: engagement.py against loops, and at work, where things go wrong."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import nbformat
import pytest
from drill import Proxy, bad_inputs, callers, contents, once, paused, refuses, secrets_of, twice
from labs import passes_its_own_tests
from pymongo import MongoClient

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
    monkeypatch.syspath_prepend(str(FOLDER / "final"))
    yield __import__("engagement")
    sys.modules.pop("engagement", None)


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
    with pytest.raises(TypeError, match="datetimes with a time zone"):
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
    before = stored(db, TUESDAY)
    with pytest.raises(final.NoEvents, match="has a summary and no events"):
        final.refresh(db, TUESDAY.date())
    assert stored(db, TUESDAY) == before != {}
    final.refresh(db, TUESDAY.date(), empty=True)
    assert stored(db, TUESDAY) == {}
    with pytest.raises(TypeError, match="a day has no hour"):
        final.refresh(db, TUESDAY)


def test_the_file_passes_its_own_tests() -> None:
    passes_its_own_tests(FOLDER / "final", "test_engagement.py", MONGODB_URL=lab.mongodb("94").url)


# At work: a database of its own, with a week of events, and lines to it that are no good.


@pytest.fixture(scope="module")
def url() -> Any:
    """A database whose indexes are made and whose Tuesday is stored."""
    place = lab.mongodb("93")
    with place.connect(tzinfo=UTC) as client:
        fill(client.get_default_database())
    return place.url


def fill(db: Any) -> None:
    shop.insert_events(db.events, 400, customers=30, per_day=60)
    db.users.insert_many({"userId": n, "name": f"n{n}", "email": "e"} for n in range(30))
    db.users.create_index(["userId"], unique=True)
    db.daily_stats.create_index(["day", "userId", "eventType"], unique=True)


def opened(url: str, **options: Any) -> MongoClient[dict[str, Any]]:
    return MongoClient(url, **{"tz_aware": True, "tzinfo": UTC, **options})


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "prepare": lambda final, db: final.prepare(db),
    "engagement": lambda final, db: final.engagement(db, shop.OPENING, TUESDAY),
    "refresh": lambda final, db: final.refresh(db, TUESDAY.date()),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def test_wrong_values_are_refused(final: Any, url: str) -> None:
    """Each is a TypeError or a ValueError, before anything is written."""
    with opened(url) as client:
        db = client.get_default_database()
        known: Any = {"state": contents(url), "secrets": secrets_of(url)}
        moments, numbers = bad_inputs("moment"), bad_inputs("id")
        refuses(lambda v: final.engagement(db, v, TUESDAY), moments, **known)
        refuses(lambda v: final.engagement(db, shop.OPENING, v), moments, **known)
        refuses(lambda v: final.engagement(db, shop.OPENING, TUESDAY, v), numbers, **known)
        days = bad_inputs("moment", fine=["a date"]) | {"the last day": date.max}
        refuses(lambda v: final.refresh(db, v), days | {"a moment": TUESDAY}, **known)
        refuses(lambda v: final.refresh(db, TUESDAY.date(), v), bad_inputs("flag"), **known)
        for call in CALLS.values():
            wrong = {**bad_inputs("text"), "client": client, "collection": db.events}
            refuses(lambda v, call=call: call(final, v), wrong, **known)  # type: ignore[misc]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles"])
def test_other_time_zones(final: Any, url: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process, the client and the arguments may be in any zone, and the client naive."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with opened(url) as client:
            db = client.get_default_database()
            wanted = final.engagement(db, shop.OPENING, TUESDAY)
            day = true(db, TUESDAY)
        here = ZoneInfo(zone)
        for options in ({"tzinfo": here}, {"tz_aware": False, "tzinfo": None}):
            with opened(url, **options) as client:
                db = client.get_default_database()
                moments = shop.OPENING.astimezone(here), TUESDAY.astimezone(here)
                assert final.engagement(db, *moments) == wanted
                db.daily_stats.delete_many({})
                final.refresh(db, TUESDAY.date())
            with opened(url) as client:
                assert stored(client.get_default_database(), TUESDAY) == day
    finally:
        monkeypatch.undo()
        time.tzset()


@each_call
def test_a_long_line(final: Any, url: str, call: Callable[[Any, Any], Any]) -> None:
    """30 ms there and back: everything works, in a few round trips."""
    with Proxy(url) as proxy, opened(proxy.url) as client:
        proxy.delay(15)
        outcome = once(lambda: call(final, client.get_default_database()), 8)
    assert (outcome.answers, outcome.hanging) == (1, 0), str(outcome)


@each_call
def test_a_silent_line(
    final: Any, url: str, call: Callable[[Any, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that falls silent is given up in time, also when the pool has a connection."""
    monkeypatch.setattr(final, "SECONDS", 1)
    monkeypatch.setattr(final, "SECONDS_TO_PREPARE", 1)
    with Proxy(url) as proxy, opened(proxy.url) as client:
        db = client.get_default_database()
        call(final, db)
        proxy.stall()
        outcome = once(lambda: call(final, db), 8)
        assert (sum(outcome.errors.values()), outcome.hanging) == (1, 0), str(outcome)
        proxy.restore()
        monkeypatch.undo()
        assert once(lambda: call(final, db), 8).answers == 1


@pytest.mark.parametrize("moment", ["before", "answer_to"])
@pytest.mark.parametrize("word", [b"$merge", b"deletes"], ids=["merge", "delete"])
def test_a_line_that_breaks(final: Any, url: str, moment: str, word: bytes) -> None:
    """Whether the server had it or not: the next call makes the day right."""
    with Proxy(url) as proxy, opened(proxy.url) as client:
        db = client.get_default_database()
        db.daily_stats.delete_many({})
        db.daily_stats.insert_one(
            {"day": TUESDAY, "userId": 999, "eventType": "click", "count": 3, "totalValue": 0}
        )
        proxy.cut(**{moment: word})
        outcome = once(lambda: final.refresh(db, TUESDAY.date()), 8)
        assert outcome.hanging == 0, str(outcome)
        proxy.restore()
        final.refresh(db, TUESDAY.date())
        assert stored(db, TUESDAY) == true(db, TUESDAY)


def test_callers_while_the_server_is_restarted(final: Any) -> None:
    """Some get an error, nobody hangs, and afterwards everybody is answered."""
    place = lab.mongodb("95", "restarted", private=True)
    with place.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        fill(db)
        for call in (CALLS["engagement"], CALLS["refresh"]):
            outcome = callers(
                2, lambda call=call: call(final, db), 1, meanwhile=place.server.restart, patience=20
            )
            assert outcome.hanging == 0, str(outcome)
            assert once(lambda call=call: call(final, db), 20).answers == 1
        assert stored(db, TUESDAY) == true(db, TUESDAY)


@pytest.mark.parametrize("name", ["engagement", "refresh"])
def test_a_pause_longer_than_every_limit(
    final: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final, "SECONDS", 1)
    place = lab.mongodb("95", "paused", private=True)
    with place.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        fill(db)
        CALLS[name](final, db)
        with paused(place.server):
            outcome = once(lambda: CALLS[name](final, db), 8)
        assert (sum(outcome.errors.values()), outcome.hanging) == (1, 0), str(outcome)
        monkeypatch.undo()
        assert once(lambda: CALLS[name](final, db), 20).answers == 1
        final.refresh(db, TUESDAY.date())
        assert stored(db, TUESDAY) == true(db, TUESDAY)


TWICE = """
from datetime import UTC, date
from pymongo import MongoClient
from engagement import refresh
db = MongoClient(url, tz_aware=True, tzinfo=UTC).get_default_database()
def main():
    for _ in range(5):
        refresh(db, date(2025, 3, 25))
"""


def test_two_processes_at_once(final: Any, url: str) -> None:
    """They never empty the day: each document is there, as one of them counted it."""
    with opened(url) as client:
        db = client.get_default_database()
        final.refresh(db, TUESDAY.date())
        ended, seen = threading.Event(), []

        def watch() -> None:
            while not ended.is_set():
                seen.append(len(stored(db, TUESDAY)))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            said = twice(TWICE, url, folder=FOLDER / "final")
        finally:
            ended.set()
            watching.join()
        assert [one.error for one in said] == [None, None]
        assert stored(db, TUESDAY) == true(db, TUESDAY)
        assert set(seen) == {len(true(db, TUESDAY))}


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
