"""Customers by their engagement, and a summary for each day. Times are UTC and aware.

    db = MongoClient(url, tz_aware=True, tzinfo=UTC)["analytics"]
    prepare(db)                                    # the indexes, once
    engagement(db, start, end)                     # the 100 most engaged, from start, before end
    refresh(db, date(2025, 3, 25))                 # makes one day of daily_stats right

`events` has userId, eventType, value (cents) and timestamp; `users` has userId, name and email.
A value that is missing or no number counts as 0.

No function waits for ever: after SECONDS, or the caller's own shorter `pymongo.timeout`, it
raises a PyMongoError, as it does when the server is away. Each may then be called again. A wrong
argument is a TypeError or a ValueError, before anything is asked or written.
"""

from datetime import UTC, date, datetime, timedelta

import pymongo
from pymongo import ReadPreference, WriteConcern
from pymongo.database import Database

WEIGHTS = {"page_view": 1, "click": 5, "purchase": 10}
KEY = ["day", "userId", "eventType"]
NOBODY = "unknown"  # in daily_stats: the customer or the kind of events that have none
SECONDS, SECONDS_TO_PREPARE = 8, 600
MOST = 10_000  # customers in a ranking


class NoEvents(ValueError):
    """A day has a summary and no events any more. Nothing was changed."""


def prepare(db):
    """Create the indexes, within SECONDS_TO_PREPARE; a second call changes nothing.

    Raises ValueError, before it creates any, when two documents of `users` or `daily_stats` have
    the same key. So it is after the published job, whose documents have no `day`: rename that
    collection, and refresh the days that you need.
    """
    _checked(db)
    with pymongo.timeout(SECONDS_TO_PREPARE):
        for name, key in {"users": ["userId"], "daily_stats": KEY}.items():
            same = {"_id": {field: f"${field}" for field in key}, "n": {"$sum": 1}}
            double = [{"$group": same}, {"$match": {"n": {"$gt": 1}}}, {"$limit": 1}]
            if list(db[name].aggregate(double)):
                raise ValueError(f"{name} has two documents with the same {', '.join(key)}")
        db.users.create_index(["userId"], unique=True)
        db.daily_stats.create_index(KEY, unique=True)
        db.events.create_index(["timestamp"])


def engagement(db, start, end, limit=100):
    """Return the most engaged customers: userId, score, counts of each kind, value, name, email.

    The highest score comes first, of equal ones the smaller userId. Events without a customer do
    not count. Who is not in `users` has None as name and email; who is there twice is one row.

    Args:
        start, end: datetimes with a time zone, of any zone. An event at `end` does not count.
        limit: how many at most, from 1 to MOST.
    """
    _checked(db)
    start, end = _moment(start), _moment(end)
    if end < start:
        raise ValueError("start should not be after end")
    if type(limit) is not int or not 1 <= limit <= MOST:
        raise ValueError(f"limit should be a whole number from 1 to {MOST}")
    ones = {kind: {"$cond": [{"$eq": ["$eventType", kind]}, 1, 0]} for kind in WEIGHTS}
    totals = {kind: {"$sum": one} for kind, one in ones.items()}
    score = {"$add": [{"$multiply": [f"${kind}", weight]} for kind, weight in WEIGHTS.items()]}
    user = {"from": "users", "localField": "_id", "foreignField": "userId", "as": "user"}
    wanted = {
        "timestamp": {"$gte": start, "$lt": end},
        "eventType": {"$in": list(WEIGHTS)},
        "userId": {"$ne": None},  # nor missing: $lookup would find a user without a userId
    }
    stages = [
        {"$match": wanted},
        {"$group": {"_id": "$userId", **totals, "value": {"$sum": "$value"}}},
        {"$set": {"score": score}},
        {"$sort": {"score": -1, "_id": 1}},  # a unique field last: ties have an order too
        {"$limit": limit},
        {"$lookup": user},  # only for those who are returned
        {"$set": {"userId": "$_id", "user": {"$first": "$user"}}},  # never two rows for one
        {"$set": {field: {"$ifNull": [f"$user.{field}", None]} for field in ("name", "email")}},
        {"$unset": ["_id", "user"]},
    ]
    with pymongo.timeout(SECONDS):
        return list(db.events.aggregate(stages))


def refresh(db, day, empty=False):
    """Make daily_stats right for one day (UTC): new, late and deleted events.

    Fields that others added to a document stay. A run that died, or whose answer got lost, is
    mended by the next one. Two runs at once leave each document as one of them counted it; when
    events changed meanwhile, run it again. For a moment a reader may see documents with a count
    of 0. Needs the indexes that `prepare` makes, else MongoDB refuses (OperationFailure).

    Args:
        day: a date.
        empty: remove the summary of a day that has no events any more. Without it that raises
            NoEvents: the events may have expired. Of a day whose events have expired in part
            nobody knows: keep them longer than you refresh their days.
    """
    _checked(db)
    if not isinstance(day, date) or isinstance(day, datetime):
        raise TypeError("day should be a date, not a datetime: a day has no hour")
    if type(empty) is not bool:
        raise TypeError("empty should be True or False")
    if day == date.max:
        raise ValueError("the calendar ends with this day")
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    within = {"timestamp": {"$gte": begin, "$lt": begin + timedelta(days=1)}}
    stored = [{"$match": {"day": begin}}, {"$project": {"_id": 0, "userId": 1, "eventType": 1}}]
    key = {"userId": _known("$userId"), "eventType": _known("$eventType")}
    totals = {"count": {"$sum": "$one"}, "totalValue": {"$sum": "$value"}}
    stages = [
        {"$match": within},
        {"$set": {"one": 1}},
        {"$unionWith": {"coll": "daily_stats", "pipeline": stored}},  # each counts as 0 events
        {"$group": {"_id": key, **totals}},
        {"$set": {"day": {"$literal": begin}, **{name: f"$_id.{name}" for name in key}}},
        {"$unset": "_id"},
        {"$merge": {"into": "daily_stats", "on": KEY, "whenMatched": "merge"}},
    ]
    # A secondary may not have the newest events, and a write that nobody acknowledges may fail.
    sure = {"read_preference": ReadPreference.PRIMARY, "write_concern": WriteConcern("majority")}
    db = db.client.get_database(db.name, **sure)
    with pymongo.timeout(SECONDS):
        if not empty and not db.events.find_one(within) and db.daily_stats.find_one({"day": begin}):
            raise NoEvents(f"{day} has a summary and no events; empty=True removes the summary")
        db.events.aggregate(stages)
        db.daily_stats.delete_many({"day": begin, "count": 0})  # $merge never deletes


def _known(field):
    """Return an expression for a part of the key: $merge takes none that is missing or a list."""
    return {"$cond": [{"$isArray": [field]}, NOBODY, {"$ifNull": [field, NOBODY]}]}


def _checked(db):
    if not isinstance(db, Database):
        raise TypeError("db should be a database of a MongoClient, such as client['analytics']")


def _moment(moment):
    """Return a datetime in UTC. PyMongo would take one without a time zone as UTC, too."""
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise TypeError("start and end should be datetimes with a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("start and end should be within the calendar in UTC") from None
