"""What several exercises of lesson 05 use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.errors import OperationFailure

from helpers import shop
from helpers.exercises import Incorrect, NotAttempted, Place
from helpers.exercises.running import running

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


Rows = list[dict[str, Any]]


KINDS = ("page_view", "click", "purchase")


def run_on(mg: Place, name: str, pipeline: Any, sets: Sequence[Rows]) -> Iterator[Any]:
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
