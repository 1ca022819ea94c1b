"""Tests of engagement.py against a MongoDB database that has no events, users or daily_stats.

MONGODB_URL=mongodb://localhost:27017/engagement_tests python -m pytest test_engagement.py
"""

import os
import random
import socket
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone

import engagement as file
import pytest
from engagement import KEY, NOBODY, WEIGHTS, NoEvents, engagement, prepare, refresh
from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

URL = os.environ.get("MONGODB_URL", "mongodb://localhost:27017/engagement_tests")
NAMES = ("events", "users", "daily_stats")
DAY = timedelta(days=1)
MONDAY, TUESDAY = datetime(2025, 3, 24, tzinfo=UTC), datetime(2025, 3, 25, tzinfo=UTC)


@pytest.fixture(scope="module")
def database():
    with MongoClient(URL, tz_aware=True, tzinfo=UTC) as client:
        db = client.get_default_database("engagement_tests")
        if there := sorted(set(NAMES) & set(db.list_collection_names())):
            pytest.fail(f"the database {db.name} has {', '.join(there)} already")
        yield db
        for name in NAMES:
            db[name].drop()


@pytest.fixture
def db(database):
    for name in NAMES:
        database[name].drop()
    prepare(database)
    return database


def add(db, user, kind="purchase", moment=TUESDAY, value=100, **more):
    fields = {"userId": user, "eventType": kind, "timestamp": moment, "value": value}
    db.events.insert_one(fields | more)


def stored(db, day=TUESDAY):
    rows = db.daily_stats.find({"day": day})
    return {(row["userId"], row["eventType"]): (row["count"], row["totalValue"]) for row in rows}


def indexes(db, name):
    about = db[name].index_information().values()
    return {tuple(field for field, _ in one["key"]): one.get("unique", False) for one in about}


# The ranking


def test_a_ranking_by_hand(db):
    db.users.insert_one({"userId": 7, "name": "Ada", "email": "ada@example.com"})
    for kind, count in {"page_view": 3, "click": 2, "purchase": 1, "search": 9}.items():
        for _ in range(count):
            add(db, 7, kind, value=10)
    add(db, 8, "click", value=None)
    first, second = engagement(db, MONDAY, TUESDAY + DAY)
    counts = {"page_view": 3, "click": 2, "purchase": 1}
    person = {"name": "Ada", "email": "ada@example.com"}
    assert first == {"userId": 7, "score": 23, **counts, "value": 60, **person}
    counts = {"page_view": 0, "click": 1, "purchase": 0}
    nobody = {"name": None, "email": None}
    assert second == {"userId": 8, "score": 5, **counts, "value": 0, **nobody}


def test_a_ranking_by_chance(db):
    rng, scores = random.Random(5), Counter()
    for _ in range(300):
        user, kind = rng.randint(1, 40), rng.choice([*WEIGHTS, "search"])
        moment = MONDAY + timedelta(minutes=rng.randrange(-100, 1540))
        add(db, user, kind, moment)
        if kind in WEIGHTS and MONDAY <= moment < TUESDAY:
            scores[user] += WEIGHTS[kind]
    true = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    found = [(row["userId"], row["score"]) for row in engagement(db, MONDAY, TUESDAY)]
    assert found == true
    found = [row["userId"] for row in engagement(db, MONDAY, TUESDAY, limit=3)]
    assert found == [user for user, _ in true[:3]]


def test_a_hundred_unless_said_otherwise(db):
    db.events.insert_many(
        {"userId": n, "eventType": "click", "timestamp": MONDAY} for n in range(150)
    )
    assert len(engagement(db, MONDAY, TUESDAY)) == 100
    assert len(engagement(db, MONDAY, TUESDAY, file.MOST)) == 150
    assert len(engagement(db, MONDAY, TUESDAY, 1)) == 1


def test_the_end_does_not_count(db):
    add(db, 1, moment=MONDAY)
    add(db, 2, moment=TUESDAY)
    assert [row["userId"] for row in engagement(db, MONDAY, TUESDAY)] == [1]
    assert engagement(db, MONDAY, MONDAY) == []
    berlin = timezone(timedelta(hours=1))
    begin = datetime(2025, 3, 24, 1, tzinfo=berlin)
    assert [row["userId"] for row in engagement(db, begin, begin + DAY)] == [1]


def test_events_without_a_customer_do_not_count(db):
    add(db, None)
    db.events.insert_one({"eventType": "click", "timestamp": TUESDAY})
    db.users.insert_one({"name": "an old import without userId"})
    assert engagement(db, MONDAY, TUESDAY + DAY) == []


def test_a_customer_twice_in_users_is_one_row(db):
    db.users.drop()  # as in a database that nobody prepared
    db.users.insert_many([{"userId": 1, "name": "Ada"}, {"userId": 1, "name": "Ada again"}])
    add(db, 1)
    [row] = engagement(db, MONDAY, TUESDAY + DAY)
    assert row["name"] in ("Ada", "Ada again") and row["email"] is None


def test_a_value_that_is_no_number_counts_as_0(db):
    for value in ("12.50", None, [5], 7):
        add(db, 1, value=value)
    assert engagement(db, MONDAY, TUESDAY + DAY)[0]["value"] == 7
    refresh(db, TUESDAY.date())
    assert stored(db) == {(1, "purchase"): (4, 7)}


# Wrong arguments

EARLY = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))
LATE = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))


@pytest.mark.parametrize("wrong", ["2025-03-25", date(2025, 3, 25), datetime(2025, 3, 25), None, 5])
def test_a_moment_without_a_zone_is_refused(db, wrong):
    words = r"^start and end should be datetimes with a time zone$"
    with pytest.raises(TypeError, match=words):
        engagement(db, wrong, TUESDAY)
    with pytest.raises(TypeError, match=words):
        engagement(db, MONDAY, wrong)


@pytest.mark.parametrize(("start", "end"), [(EARLY, TUESDAY), (MONDAY, LATE)])
def test_a_moment_beyond_the_calendar_is_refused(db, start, end):
    with pytest.raises(ValueError, match=r"^start and end should be within the calendar in UTC$"):
        engagement(db, start, end)


def test_start_is_not_after_end(db):
    with pytest.raises(ValueError, match=r"^start should not be after end$"):
        engagement(db, TUESDAY, MONDAY)


@pytest.mark.parametrize("limit", [None, "5", 0, -1, True, 1.0, file.MOST + 1, 2**63])
def test_a_wrong_limit_is_refused(db, limit):
    with pytest.raises(ValueError, match=r"^limit should be a whole number from 1 to 10000$"):
        engagement(db, MONDAY, TUESDAY, limit=limit)


@pytest.mark.parametrize("day", [None, "2025-03-25", 20250325, TUESDAY, datetime(2025, 3, 25)])
def test_a_wrong_day_is_refused(db, day):
    words = r"^day should be a date, not a datetime: a day has no hour$"
    with pytest.raises(TypeError, match=words):
        refresh(db, day)


def test_the_ends_of_the_calendar(db):
    with pytest.raises(ValueError, match=r"^the calendar ends with this day$"):
        refresh(db, date.max)
    refresh(db, date.max - DAY)
    refresh(db, date.min)


def test_empty_is_true_or_false(db):
    with pytest.raises(TypeError, match=r"^empty should be True or False$"):
        refresh(db, TUESDAY.date(), empty="no")


@pytest.mark.parametrize(
    "call",
    [prepare, lambda db: engagement(db, MONDAY, TUESDAY), lambda db: refresh(db, TUESDAY.date())],
    ids=["prepare", "engagement", "refresh"],
)
def test_a_client_is_no_database(db, call):
    words = r"^db should be a database of a MongoClient, such as client\['analytics'\]$"
    for wrong in (None, db.client, db.events):
        with pytest.raises(TypeError, match=words):
            call(wrong)


# The summary


def true(db, day):
    found = {}
    for event in db.events.find({"timestamp": {"$gte": day, "$lt": day + DAY}}):
        key = event["userId"], event["eventType"]
        count, value = found.get(key, (0, 0))
        found[key] = count + 1, value + event["value"]
    return found


def test_a_day_stays_right(db):
    """New, late and deleted events, in an order of chance; other days and notes stay."""
    rng = random.Random(7)
    add(db, 0, moment=MONDAY)
    add(db, 0, moment=TUESDAY)
    add(db, 0, moment=TUESDAY + DAY)
    refresh(db, MONDAY.date())
    refresh(db, TUESDAY.date())
    db.daily_stats.update_one({"day": TUESDAY, "userId": 0}, {"$set": {"note": "kept"}})
    db.daily_stats.insert_one(
        {"day": MONDAY, "userId": 9, "eventType": "click", "count": 0, "totalValue": 0}
    )
    monday = stored(db, MONDAY)
    for _ in range(12):
        if rng.random() < 0.6:
            moment = TUESDAY + timedelta(minutes=rng.randrange(1440))
            add(db, rng.randint(1, 4), rng.choice(list(WEIGHTS)), moment, rng.randint(1, 9))
        else:
            db.events.delete_many({"userId": rng.randint(1, 4), "timestamp": {"$gte": TUESDAY}})
        refresh(db, TUESDAY.date())
        assert stored(db) == true(db, TUESDAY)
    assert stored(db, MONDAY) == monday and stored(db, TUESDAY + DAY) == {}
    assert db.daily_stats.count_documents({"note": "kept"}) == 1


def test_parts_of_the_key_that_are_missing(db):
    """Missing and None are one key; $merge would refuse it."""
    for user in (None, [1, 2], 3):
        add(db, user)
    db.events.insert_one({"timestamp": TUESDAY, "value": 5})
    db.events.insert_one({"timestamp": TUESDAY, "value": 5, "eventType": None})
    db.events.insert_one({"timestamp": TUESDAY, "value": 5, "eventType": "purchase"})
    for _ in range(2):
        refresh(db, TUESDAY.date())
        assert stored(db) == {
            (NOBODY, "purchase"): (3, 205),
            (NOBODY, NOBODY): (2, 10),
            (3, "purchase"): (1, 100),
        }


def test_two_runs_at_once_do_not_empty_the_day(db, monkeypatch):
    add(db, 1)
    add(db, 2)
    refresh(db, TUESDAY.date())
    db.events.delete_many({"userId": 2})
    delete_many, runs = Collection.delete_many, []

    def delete_late(self, *args):
        if not runs:
            runs.append("the other")
            refresh(db, TUESDAY.date())  # between $merge and delete_many of the first
        return delete_many(self, *args)

    monkeypatch.setattr(Collection, "delete_many", delete_late)
    refresh(db, TUESDAY.date())
    assert runs and stored(db) == {(1, "purchase"): (1, 100)}


def test_an_event_that_comes_between_the_two_writes_is_not_lost(db, monkeypatch):
    add(db, 1)
    add(db, 2)
    refresh(db, TUESDAY.date())
    db.events.delete_many({"userId": 2})
    delete_many, runs = Collection.delete_many, []

    def delete_late(self, *args):
        if not runs:
            runs.append("the other")
            add(db, 2)
            refresh(db, TUESDAY.date())
        return delete_many(self, *args)

    monkeypatch.setattr(Collection, "delete_many", delete_late)
    refresh(db, TUESDAY.date())
    assert runs and stored(db) == {(1, "purchase"): (1, 100), (2, "purchase"): (1, 100)}


def test_a_run_that_died_between_is_mended(db, monkeypatch):
    add(db, 1)
    refresh(db, TUESDAY.date())
    add(db, 5, moment=MONDAY)
    refresh(db, MONDAY.date())
    db.events.delete_many({"userId": 1})
    add(db, 2)
    with monkeypatch.context() as broken:
        broken.setattr(Collection, "delete_many", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            refresh(db, TUESDAY.date())
    assert stored(db) == {(1, "purchase"): (0, 0), (2, "purchase"): (1, 100)}
    refresh(db, TUESDAY.date())
    assert stored(db) == {(2, "purchase"): (1, 100)}


def test_expired_events_do_not_take_the_summary_along(db):
    add(db, 1)
    refresh(db, TUESDAY.date())
    db.events.delete_many({})
    add(db, 1, moment=MONDAY)
    add(db, 1, moment=TUESDAY + DAY)
    words = r"^2025-03-25 has a summary and no events; empty=True removes the summary$"
    with pytest.raises(NoEvents, match=words):
        refresh(db, TUESDAY.date())
    assert stored(db) == {(1, "purchase"): (1, 100)}
    refresh(db, TUESDAY.date(), empty=True)
    assert stored(db) == {}
    refresh(db, MONDAY.date())
    refresh(db, TUESDAY.date())  # no events and no summary, beside a day that has both


def test_the_previous_versions_documents(db):
    """They had the stamp of a run; it is one more field now."""
    old = {"day": TUESDAY, "userId": 1, "eventType": "purchase", "count": 9, "totalValue": 9}
    db.daily_stats.insert_many([{**old, "run": 1}, {**old, "userId": 2, "run": 1}])
    add(db, 1)
    refresh(db, TUESDAY.date())
    assert stored(db) == {(1, "purchase"): (1, 100)}


def test_it_reads_from_the_primary_and_knows_that_it_wrote(db, monkeypatch):
    seen, aggregate, delete_many = [], Collection.aggregate, Collection.delete_many

    def noting(function):
        def call(self, *args):
            seen.append((self.read_preference, self.write_concern.document))
            return function(self, *args)

        return call

    monkeypatch.setattr(Collection, "aggregate", noting(aggregate))
    monkeypatch.setattr(Collection, "delete_many", noting(delete_many))
    far = {"read_preference": ReadPreference.SECONDARY_PREFERRED}
    refresh(db.client.get_database(db.name, **far), TUESDAY.date())
    assert seen == [(ReadPreference.PRIMARY, {"w": "majority"})] * 2


# Indexes


def test_prepare_makes_the_indexes(db):
    prepare(db)
    assert indexes(db, "events") == {("_id",): False, ("timestamp",): False}
    assert indexes(db, "users") == {("_id",): False, ("userId",): True}
    assert indexes(db, "daily_stats") == {("_id",): False, tuple(KEY): True}
    db.users.insert_one({"userId": 1})
    with pytest.raises(DuplicateKeyError):
        db.users.insert_one({"userId": 1})


def old_job(day, user):
    return {"_id": {"date": day, "userId": user, "eventType": "click"}, "count": 1}


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        (
            "daily_stats",
            [old_job("2025-03-24", 1), old_job("2025-03-25", 1)],
            "^daily_stats has two documents with the same day, userId, eventType$",
        ),
        ("users", [{"userId": 1}, {"userId": 1}], "^users has two documents with the same userId$"),
    ],
    ids=["published job", "customer twice"],
)
def test_prepare_refuses_before_it_creates(database, name, rows, words):
    for one in NAMES:
        database[one].drop()
    database[name].insert_many(rows)
    database[name].insert_one({"day": TUESDAY, "userId": 3, "eventType": "click"})
    with pytest.raises(ValueError, match=words):
        prepare(database)
    assert all(set(indexes(database, one)) <= {("_id",)} for one in NAMES)
    database[name].rename("engagement_tests_renamed", dropTarget=True)
    database["engagement_tests_renamed"].drop()
    prepare(database)


def test_without_its_index_a_summary_is_refused(database):
    for one in NAMES:
        database[one].drop()
    add(database, 1)
    with pytest.raises(OperationFailure):
        refresh(database, TUESDAY.date())


# Trouble


@pytest.mark.parametrize(
    "call",
    [prepare, lambda db: engagement(db, MONDAY, TUESDAY), lambda db: refresh(db, TUESDAY.date())],
    ids=["prepare", "engagement", "refresh"],
)
def test_a_silent_server_is_not_waited_for(monkeypatch, call):
    monkeypatch.setattr(file, "SECONDS", 0.3)
    monkeypatch.setattr(file, "SECONDS_TO_PREPARE", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"mongodb://127.0.0.1:{silent.getsockname()[1]}/?directConnection=true"
        with MongoClient(url, serverSelectionTimeoutMS=9_000, connectTimeoutMS=9_000) as client:
            began = time.monotonic()
            with pytest.raises(PyMongoError) as raised:
                call(client["analytics"])
    assert raised.value.timeout and time.monotonic() - began < 6


def test_the_limits_on_time():
    assert file.SECONDS == 8 and file.SECONDS_TO_PREPARE == 600
