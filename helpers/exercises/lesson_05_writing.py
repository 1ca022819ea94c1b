"""Exercises of lesson 05's sections that write: a live counter, and what $merge does on a match."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from typing import Any

from pymongo.errors import OperationFailure

from helpers.exercises import Database, Exercise, Incorrect, NotAttempted, changed, running
from helpers.exercises.lesson_05_pipelines import KINDS, event, place

Change = dict[str, Any]

# Exercise 9: revenue, live.

STARTER_9 = '''
def keep(change):
    """Bring the document of ex9_live up to date with one change of ex9_events."""
    return ...


ex9.check()
'''
BODY_9 = """\
    if change["operationType"] == "insert":
        event, sign = change["fullDocument"], 1
    else:
        event, sign = change["fullDocumentBeforeChange"], -1
    cents = sign * event["value"] if event["eventType"] == "purchase" else 0
    update = {"$inc": {"cents": cents}, "$set": {"token": change["_id"]}}
    db.ex9_live.update_one({"_id": "revenue"}, update)
"""
SOLUTION_9 = STARTER_9.replace("    return ...\n", BODY_9)
ONE_UPDATE_9 = BODY_9[BODY_9.index("    update = ") :]
TWO_UPDATES_9 = """\
    db.ex9_live.update_one({"_id": "revenue"}, {"$inc": {"cents": cents}})
    db.ex9_live.update_one({"_id": "revenue"}, {"$set": {"token": change["_id"]}})
"""


class Live:
    """A shop whose changes are handed to the learner's function, by a program that may end."""

    def __init__(self, db: Any, keep: Callable[[Change], Any]) -> None:
        """Make the two collections anew: no events, and a counter with its place in the stream."""
        self.events, self.live, self.keep = db.ex9_events, db.ex9_live, keep
        self.events.drop()
        self.live.drop()
        db.create_collection("ex9_events", changeStreamPreAndPostImages={"enabled": True})
        self.present: dict[int, dict[str, Any]] = {}
        self.written = 0
        with self.events.watch() as stream:
            token = stream.resume_token
        self.live.insert_one({"_id": "revenue", "cents": 0, "token": token})

    def insert(self, kind: str, value: int) -> int:
        """Write an event; return its number."""
        self.written += 1
        row = {"_id": self.written, **event(self.written % 7, kind, value)}
        self.present[self.written] = row
        self.events.insert_one(dict(row))
        return self.written

    def delete(self, number: int) -> None:
        """Delete an event."""
        del self.present[number]
        self.events.delete_one({"_id": number})

    def row(self) -> dict[str, Any]:
        """Return the counter's document."""
        found: dict[str, Any] | None = self.live.find_one({"_id": "revenue"})
        if found is None:
            raise Incorrect('The document "revenue" is gone from ex9_live.')
        return found

    def run(self, count: int | None = None) -> int:
        """Start the program where the token is; let it handle changes, all or some, and end it.

        Returns how many it has handled.
        """
        self.written += 1
        mark = self.written  # the last change that waits; nobody hands it to the learner
        self.events.insert_one({"_id": mark})
        try:
            stream = self.events.watch(
                resume_after=self.row().get("token"),
                full_document_before_change="required",
                max_await_time_ms=100,
            )
        except (OperationFailure, TypeError) as error:
            raise Incorrect(
                "The program cannot go on: the document's `token` is no place in the stream. "
                'Keep the `_id` of the change, change["_id"].'
            ) from error
        handled = 0
        with stream:
            while count is None or handled < count:
                change = stream.next()
                if change["documentKey"]["_id"] == mark:
                    break
                if not self.of_a_mark(change):
                    self.keep(change)
                    handled += 1
        self.events.delete_one({"_id": mark})
        return handled

    @staticmethod
    def of_a_mark(change: Change) -> bool:
        """Tell a mark of an earlier run from an event."""
        document = change.get("fullDocument") or change.get("fullDocumentBeforeChange") or {}
        return "eventType" not in document

    def compare(self, when: str) -> None:
        """Compare the counter with the events that are present."""
        true = sum(e["value"] for e in self.present.values() if e["eventType"] == "purchase")
        if (cents := self.row().get("cents")) != true:
            raise Incorrect(f"{when}, the purchases are worth {true} cents; `cents` is {cents!r}.")


def check_keep(mg: Database, keep: Callable[[Change], Any]) -> None:
    """Play a shop, one kind of change at a time, then by chance; end the program in between."""
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        try:
            story(Live(db, keep))
            by_chance(Live(db, keep))
        finally:
            for name in ("ex9_events", "ex9_live"):
                db.drop_collection(name)


def story(live: Live) -> None:
    """Change one thing at a time, so that a reason can say which; count the writes."""
    with live.live.watch(max_await_time_ms=100) as writes:
        first, beginning = live.insert("purchase", 500), live.row()["token"]
        view = live.insert("page_view", 70)
        handled = live.run(2)
        if live.row().get("cents") == 0:
            raise NotAttempted("After a purchase of 500 cents, `cents` is still 0.")
        live.compare("After a purchase and a view")
        if live.row().get("token") == beginning:
            raise Incorrect(
                "The document's `token` is still the first one. When the program comes back, it "
                "gets the same changes once more and counts them again."
            )
        live.insert("purchase", 250)
        handled += live.run()
        live.compare("After the program was started again, and a purchase came")
        live.delete(view)
        handled += live.run()
        live.compare("After a view was deleted")
        live.delete(first)
        handled += live.run()
        live.compare("After a purchase was deleted")
        live.live.insert_one({"_id": "end"})
        count = 0
        while writes.next()["documentKey"]["_id"] != "end":
            count += 1
    if count > handled:
        raise Incorrect(
            f"{handled} changes led to {count} writes. Between two writes the program may die; "
            "then a change is counted twice or never. Let one update do both."
        )


def by_chance(live: Live) -> None:
    """Forty changes; the program handles some of those that wait, ends and begins again."""
    rng = random.Random(9)
    for _ in range(8):
        for _ in range(5):
            if live.present and rng.random() < 0.4:
                live.delete(rng.choice(list(live.present)))
            else:
                live.insert(rng.choice((*KINDS, "search")), rng.randrange(1, 900))
        live.run(rng.randrange(1, 6))
    live.run()
    live.compare("After many changes and restarts")


# Exercise 10: records.

STARTER_10 = """
write = ...  # {"$merge": {"into": "ex10_records", ...}}

ex10.check()
"""
SOLUTION_10 = """
higher = {"$gt": ["$$new.best", "$best"]}
record = {
    "day": {"$cond": [higher, "$$new.day", "$day"]},
    "best": {"$max": ["$best", "$$new.best"]},
}
write = {"$merge": {"into": "ex10_records", "whenMatched": [{"$set": record}]}}

ex10.check()
"""

Records = dict[int, dict[str, Any]]


def merged_with(action: str) -> str:
    """Return the cell with a $merge that has one of the ready answers."""
    return changed(SOLUTION_10, '[{"$set": record}]', f'"{action}"')


def check_write(mg: Database, write: Any) -> None:
    """Days by chance, and before them one for each mistake, against a dict."""
    if not isinstance(write, dict) or len(write) != 1:
        raise Incorrect("`write` should be one stage: a dict with one key.")
    if set(write) == {"$out"}:
        raise Incorrect("$out would replace the whole collection, with the products of one day.")
    if set(write) != {"$merge"}:
        raise Incorrect(f"`write` should write into ex10_records; {next(iter(write))} does not.")
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        try:
            start = {
                1: {"best": 4, "day": "Monday", "note": "checked"},
                2: {"best": 9, "day": "Monday", "note": "a gift"},
                3: {"best": 5, "day": "Monday"},
                4: {"best": 2, "day": "Monday"},
            }
            play(db, write, start, [("Tuesday", {1: 6, 2: 3, 3: 5, 5: 1})])
            rng = random.Random(10)
            days = [
                (f"day {n:03}", {p: rng.randint(1, 9) for p in rng.sample(range(1, 9), 4)})
                for n in range(12)
            ]
            play(db, write, {}, days)
        finally:
            for name in ("ex10_records", "ex10_days"):
                db.drop_collection(name)


def play(db: Any, write: Any, start: Records, days: list[tuple[str, dict[int, int]]]) -> None:
    """Run each day twice, and compare after each run."""
    records, found = db.ex10_records, db.ex10_days
    records.drop()
    true = {product: dict(row) for product, row in start.items()}
    if true:
        records.insert_many([{"_id": product, **row} for product, row in true.items()])
    for day, sold in days:
        found.drop()
        found.insert_many([{"_id": p, "best": n, "day": day} for p, n in sold.items()])
        for product, best in sold.items():
            if product not in true or best > true[product]["best"]:
                true.setdefault(product, {}).update(best=best, day=day)
        for when in ("the first run", "the second run"):
            with running("Your stage"):
                try:
                    found.aggregate([write])
                except OperationFailure as error:
                    reason = (error.details or {}).get("errmsg", error)
                    raise Incorrect(f"The server refuses your stage: {reason}") from error
            stored = {row.pop("_id"): row for row in records.find()}
            compare_records(stored, true, f"After {when} for {day}")


def compare_records(stored: Records, true: Records, when: str) -> None:
    """Say in words where records are not the true ones."""
    for product, row in true.items():
        if product not in stored:
            raise Incorrect(f"{when}, product {product} is not in ex10_records.")
        for field in ("best", "day", "note"):
            if stored[product].get(field) != row.get(field):
                raise Incorrect(
                    f"{when}, `{field}` of product {product} should be {row.get(field)!r}; it is "
                    f"{stored[product].get(field)!r}."
                )
        if more := sorted(stored[product].keys() - row.keys()):
            raise Incorrect(f"{when}, product {product} has a new field {more[0]!r}.")
    if more := sorted(map(str, stored.keys() - true.keys())):
        raise Incorrect(f"{when}, ex10_records has a product {more[0]}, which nobody sold.")


EXERCISES = [
    Exercise(
        number=9,
        title="Revenue, live",
        prompt="Write keep(change), which keeps the revenue right and survives a restart.",
        setup=place("05f"),
        starter=STARTER_9,
        solution=SOLUTION_9,
        check=check_keep,
        hints=[
            'change["operationType"] is "insert" or "delete". A delete has the event in '
            'change["fullDocumentBeforeChange"].',
            "One update_one can do both: $inc the cents, up or down, and $set the token.",
            'The token is change["_id"].',
        ],
        wrong=[
            (changed(SOLUTION_9, ", -1\n", ", 0\n"), "After a purchase was deleted"),
            (
                changed(SOLUTION_9, ' if event["eventType"] == "purchase" else 0', ""),
                "After a purchase and a view",
            ),
            (changed(SOLUTION_9, ONE_UPDATE_9, TWO_UPDATES_9), "led to 8 writes"),
            (
                changed(SOLUTION_9, ', "$set": {"token": change["_id"]}', ""),
                "`token` is still the first one",
            ),
            (
                changed(SOLUTION_9, 'change["fullDocumentBeforeChange"]', 'change["fullDocument"]'),
                "raised KeyError: 'fullDocument'",
            ),
            (changed(SOLUTION_9, '"token": change["_id"]', '"token": 1'), "no place in the stream"),
        ],
        praise="Each change counts once, whenever the program ends.",
    ),
    Exercise(
        number=10,
        title="Records",
        prompt="Write the $merge stage that keeps each product's best day.",
        setup=place("05g"),
        starter=STARTER_10,
        solution=SOLUTION_10,
        check=check_write,
        hints=[
            "whenMatched can be a pipeline. In it, $best is what is there, and $$new.best what "
            "comes.",
            '{"$max": ["$best", "$$new.best"]} is the higher one. The day needs a $cond.',
        ],
        wrong=[
            (merged_with("merge"), "`best` of product 2 should be 9"),
            (merged_with("keepExisting"), "`best` of product 1 should be 6"),
            (merged_with("replace"), "`note` of product 1 should be"),
            (changed(SOLUTION_10, "$gt", "$gte"), "`day` of product 3 should be 'Monday'"),
            (
                changed(SOLUTION_10, "$$new.day", "$day"),
                "`day` of product 1 should be 'Tuesday'",
            ),
            (
                changed(SOLUTION_10, '"into"', '"whenNotMatched": "discard", "into"'),
                "product 5 is not in",
            ),
        ],
        praise="Idempotent: the higher of two numbers is the same, however often you look.",
    ),
]
