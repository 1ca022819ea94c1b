"""Customers by their engagement, and a summary for each day. Times are UTC and aware.

    db = MongoClient(url, tz_aware=True, tzinfo=UTC)["analytics"]
    prepare(db)                                    # the indexes, once
    engagement(db, start, end)                     # the 100 most engaged, from start, before end
    refresh(db, date(2025, 3, 25))                 # makes one day of daily_stats right

`events` has userId, eventType, value (cents) and timestamp; `users` has userId, name and email.
"""

from datetime import UTC, datetime, timedelta

from bson import ObjectId

WEIGHTS = {"page_view": 1, "click": 5, "purchase": 10}
KEY = ["day", "userId", "eventType"]


def prepare(db):
    """Create the indexes; a second call changes nothing."""
    db.events.create_index(["timestamp"])
    db.users.create_index(["userId"], unique=True)
    db.daily_stats.create_index(KEY, unique=True)


def engagement(db, start, end, limit=100):
    """Return the most engaged customers: userId, score, counts of each kind, value, name, email."""
    for moment in (start, end):
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise TypeError(f"{moment!r} is no datetime with a time zone")
    ones = {kind: {"$cond": [{"$eq": ["$eventType", kind]}, 1, 0]} for kind in WEIGHTS}
    totals = {kind: {"$sum": one} for kind, one in ones.items()}
    score = {"$add": [{"$multiply": [f"${kind}", weight]} for kind, weight in WEIGHTS.items()]}
    user = {"from": "users", "localField": "_id", "foreignField": "userId", "as": "user"}
    half_open = {"$gte": start, "$lt": end}
    stages = [
        {"$match": {"timestamp": half_open, "eventType": {"$in": list(WEIGHTS)}}},
        {"$group": {"_id": "$userId", **totals, "value": {"$sum": "$value"}}},
        {"$set": {"score": score}},
        {"$sort": {"score": -1, "_id": 1}},  # a unique field last: ties have an order too
        {"$limit": limit},
        {"$lookup": user},  # only for those who are returned
        {"$set": {"userId": "$_id", "user": {"$first": "$user"}}},  # never two rows for one
        {"$set": {"name": "$user.name", "email": "$user.email"}},
        {"$unset": ["_id", "user"]},
    ]
    return list(db.events.aggregate(stages))


def refresh(db, date):
    """Make daily_stats right for one day (UTC): new, late and deleted events. One run at a time.

    Fields that others added to a document stay. A run that died is mended by the next one.
    """
    if isinstance(date, datetime):
        raise TypeError("give a date, not a datetime: a day has no hour")
    day = datetime(date.year, date.month, date.day, tzinfo=UTC)
    run = ObjectId()
    fields = {"day": {"$literal": day}, "userId": "$_id.userId", "eventType": "$_id.eventType"}
    totals = {"count": {"$sum": 1}, "totalValue": {"$sum": "$value"}}
    stages = [
        {"$match": {"timestamp": {"$gte": day, "$lt": day + timedelta(days=1)}}},
        {"$group": {"_id": {"userId": "$userId", "eventType": "$eventType"}, **totals}},
        {"$set": {**fields, "run": {"$literal": run}}},
        {"$unset": "_id"},
        {"$merge": {"into": "daily_stats", "on": KEY, "whenMatched": "merge"}},
    ]
    db.events.aggregate(stages)
    db.daily_stats.delete_many({"day": day, "run": {"$ne": run}})  # $merge never deletes
