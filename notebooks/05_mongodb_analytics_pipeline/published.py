# published.js in Python with PyMongo, stage for stage
from datetime import timedelta

from pymongo import MongoClient

client = MongoClient("mongodb://localhost:27017", connect=False)


def size_of(kind):
    chosen = {"$filter": {"input": "$events", "cond": {"$eq": ["$$this.type", kind]}}}
    return {"$size": chosen}


def get_user_engagement_stats(start, end):
    db = client["analytics"]
    counts = {"count": {"$sum": 1}, "totalValue": {"$sum": "$value"}}
    pushed = {"type": "$_id.eventType", "count": "$count", "value": "$totalValue"}
    user = {"from": "users", "localField": "_id", "foreignField": "userId", "as": "userInfo"}
    score = [
        {"$multiply": [size_of("page_view"), 1]},
        {"$multiply": [size_of("click"), 5]},
        {"$multiply": [size_of("purchase"), 10]},
    ]
    kept = {"events": 1, "totalEvents": 1, "engagementScore": 1}
    named = {"userId": "$_id", "userName": "$userInfo.name", "userEmail": "$userInfo.email"}
    kinds = {"$in": ["page_view", "click", "purchase"]}
    stages = [
        {"$match": {"timestamp": {"$gte": start, "$lte": end}, "eventType": kinds}},
        {"$group": {"_id": {"userId": "$userId", "eventType": "$eventType"}, **counts}},
        {
            "$group": {
                "_id": "$_id.userId",
                "events": {"$push": pushed},
                "totalEvents": {"$sum": "$count"},
            }
        },
        {"$lookup": user},
        {"$unwind": {"path": "$userInfo", "preserveNullAndEmptyArrays": True}},
        {"$addFields": {"engagementScore": {"$add": score}}},
        {"$project": {**named, **kept}},
        {"$sort": {"engagementScore": -1}},
        {"$limit": 100},
    ]
    return list(db.events.aggregate(stages))


def update_daily_stats(date):
    db = client["analytics"]
    day = {"$dateToString": {"format": "%Y-%m-%d", "date": "$timestamp"}}
    key = {"date": day, "userId": "$userId", "eventType": "$eventType"}
    totals = {"count": {"$sum": 1}, "totalValue": {"$sum": "$value"}}
    write = {"into": "daily_stats", "on": "_id", "whenMatched": "replace"}
    db.events.aggregate(
        [
            {"$match": {"timestamp": {"$gte": date, "$lt": date + timedelta(days=1)}}},
            {"$group": {"_id": key, **totals}},
            {"$merge": {**write, "whenNotMatched": "insert"}},
        ]
    )
