"""What several exercises of lesson 05 use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.errors import OperationFailure

from helpers import shop
from helpers.exercises import Incorrect, NotAttempted, Place
from helpers.exercises.running import running

DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


Rows = list[dict[str, Any]]
KINDS = ("page_view", "click", "purchase")


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
    with running("Your pipeline"):
        try:
            return list(events.aggregate(mixed_up(pipeline) if mix else pipeline))
        except OperationFailure as error:
            raise Incorrect(f"The server refuses your pipeline: {refusal(error)}") from error


def mixed_up(pipeline: Any) -> Any:
    """Return a pipeline whose groups come in another order, also those in $facet.

    $count becomes the $group that it stands for: over nothing it gives no document, but the
    stand-in gives a 0.
    """
    stages: list[dict[str, Any]] = []
    for stage in pipeline:
        parts = stage.get("$facet") if isinstance(stage, dict) else None
        if isinstance(parts, dict) and all(isinstance(part, list) for part in parts.values()):
            stage = {"$facet": {name: mixed_up(part) for name, part in parts.items()}}
        if isinstance(stage, dict) and set(stage) == {"$count"}:
            stages += [{"$group": {"_id": None, stage["$count"]: {"$sum": 1}}}, {"$unset": "_id"}]
            continue
        stages.append(stage)
        if isinstance(stage, dict) and "$group" in stage:
            stages.append({"$sort": {"_id": -1}})
    return stages


def refusal(error: OperationFailure) -> str:
    """Return why the server refuses, without where, and without its whole answer."""
    reason = str((error.details or {}).get("errmsg", error))
    return reason.rpartition(" :: caused by :: ")[2]


@contextmanager
def kept(db: Any, *names: str) -> Iterator[None]:
    """Give the block these collections to play with; afterwards they are as they were."""
    before = {about["name"]: about for about in db.list_collections() if about["name"] in names}
    rows = {name: list(db[name].find()) for name in before}
    indexes = {name: db[name].index_information() for name in before}
    try:
        yield
    finally:
        for name in names:
            db.drop_collection(name)
            if name in before:
                db.create_collection(name, **before[name].get("options", {}))
                for called, about in indexes[name].items():
                    if called != "_id_":
                        options = {k: v for k, v in about.items() if k not in ("key", "v", "ns")}
                        db[name].create_index(about["key"], name=called, **options)
                if rows[name]:
                    db[name].insert_many(rows[name])


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


NAMES = {int: "a number", str: "a text", datetime: "a date"}


def same_types(found: Rows, wanted: Rows) -> None:
    """Compare the kinds of the values, so that they can be compared and sorted.

    Raises:
        Incorrect: a value is of another kind.
    """
    for row in found:
        for field, example in (wanted[0] if wanted else {}).items():
            value = row[field]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number if isinstance(example, int) else isinstance(value, type(example))):
                raise Incorrect(
                    f"`{field}` should be {NAMES[type(example)]}, such as "
                    f"{shown(example)}; in your documents it is {shown(value)}."
                )


def shown(value: Any) -> str:
    """Return a value as a learner reads it, short."""
    text = f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def each_once(found: Rows, wanted: Rows, field: str, what: str) -> None:
    """Compare which documents there are.

    Raises:
        Incorrect: one is missing, is there twice, or should not be there.
    """
    here, true = [row[field] for row in found], [row[field] for row in wanted]
    if missing := [value for value in true if value not in here]:
        raise Incorrect(f"{what} {shown(missing[0])} is missing in your list.")
    if double := [value for value in true if here.count(value) > 1]:
        raise Incorrect(f"{what} {shown(double[0])} is in your list twice.")
    if more := [value for value in here if value not in true]:
        raise Incorrect(f"{what} {shown(more[0])} should not be in your list.")


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
