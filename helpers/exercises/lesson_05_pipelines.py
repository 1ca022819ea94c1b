"""What lesson 05's exercises share: run a learner's pipeline on events it has never seen."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, timedelta
from typing import Any

from pymongo.errors import OperationFailure

from helpers import shop
from helpers.exercises import Database, Incorrect, NotAttempted, running

Rows = list[dict[str, Any]]
KINDS = ("page_view", "click", "purchase")


def place(lesson: str, **events: int) -> Callable[[], dict[str, Any]]:
    """Return a setup: a database of a section, with events of the shop."""

    def setup() -> dict[str, Any]:
        from datetime import datetime

        from pymongo import MongoClient

        from helpers import check, lab

        mg = lab.mongodb(lesson)
        db = MongoClient[dict[str, Any]](mg.url, tz_aware=True, tzinfo=UTC).get_default_database()
        shop.insert_events(db.events, **{"n": 600, "customers": 60, "per_day": 40, **events})
        names: dict[str, Any] = {"mg": mg, "db": db, "lab": lab, "check": check, "shop": shop}
        return names | {"UTC": UTC, "datetime": datetime, "timedelta": timedelta}

    return setup


def run_on(mg: Database, name: str, pipeline: Any, sets: Sequence[Rows]) -> Iterator[Any]:
    """Yield (results, events): of each set, in a collection, then of the lesson's events."""
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        if not (documents := list(db.events.find())):
            raise NotAttempted("db.events is empty. Run the cells from the top to here first.")
        other = db["exercise_events"]
        try:
            for rows in sets:
                other.drop()
                if rows:
                    other.insert_many([dict(row) for row in rows])
                yield results(other, name, pipeline, mix=True), rows
        finally:
            other.drop()
        yield results(db.events, name, pipeline), documents


def results(events: Any, name: str, pipeline: Any, mix: bool = False) -> Rows:
    """Run a learner's pipeline on a collection; it must be a list of stages that only reads.

    Args:
        mix: have each $group give its documents in another order, which it may, so that an
            order that comes only from the engine is found.
    """
    if not isinstance(pipeline, list) or not all(
        isinstance(stage, dict) and len(stage) == 1 for stage in pipeline
    ):
        raise Incorrect(
            f"`{name}` should be a pipeline, not its result: a list of stages, each a dict with "
            "one key."
        )
    if any(stage.keys() & {"$out", "$merge"} for stage in pipeline):
        raise Incorrect(f"`{name}` should return its result, and not write it into a collection.")
    stages: list[dict[str, Any]] = []
    for stage in pipeline:
        stages += [stage, {"$sort": {"_id": -1}}] if mix and "$group" in stage else [stage]
    with running("Your pipeline"):
        try:
            return list(events.aggregate(stages))
        except OperationFailure as error:
            reason = (error.details or {}).get("errmsg", error)  # without the whole answer
            raise Incorrect(f"The server refuses your pipeline: {reason}") from error


def same_fields(found: Rows, wanted: Rows) -> None:
    """Compare the documents' fields.

    Raises:
        Incorrect: a field is missing, or there is one more.
    """
    fields = list(wanted[0]) if wanted else []
    for row in found:
        if missing := [field for field in fields if field not in row]:
            raise Incorrect(f"The documents have no field {missing[0]!r}: {sorted(row)}.")
        if more := sorted(set(row) - set(fields)):
            raise Incorrect(f"The documents have a field {more[0]!r} that nobody asked for.")


def event(user: int, kind: str, value: int = 0, day: int = 0) -> dict[str, Any]:
    """Return one event of the shop, at noon."""
    moment = shop.OPENING + timedelta(days=day, hours=12)
    return {"userId": user, "eventType": kind, "value": value, "timestamp": moment}


def mixed(seed: int, count: int, users: int) -> Rows:
    """Return events of users in a random but repeatable order; some have other kinds."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        kind = rng.choice((*KINDS, "search"))
        # A search has a value too: only purchases are spent money.
        value = rng.choice((99, 250, 999)) if kind in ("purchase", "search") else 0
        rows.append(event(rng.randint(1, users), kind, value, rng.randrange(20)))
    return rows
