"""Exercise 05f-1: revenue, live."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from exercises_05.common import KINDS, event, kept, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import told_apart

Change = dict[str, Any]


STARTER = '''
ex1.start()  # makes ex1_events and ex1_live anew


def keep(change):
    """Bring the document of ex1_live up to date with one change of ex1_events."""
    return ...


ex1.check()
'''
BODY = """\
    if change["operationType"] == "insert":
        event, sign = change["fullDocument"], 1
    else:
        event, sign = change["fullDocumentBeforeChange"], -1
    cents = sign * event["value"] if event["eventType"] == "purchase" else 0
    update = {"$inc": {"cents": cents}, "$set": {"token": change["_id"]}}
    db.ex1_live.update_one({"_id": "revenue"}, update)
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)
ONE_UPDATE = BODY[BODY.index("    update = ") :]
TWO_UPDATES = """\
    db.ex1_live.update_one({"_id": "revenue"}, {"$inc": {"cents": cents}})
    db.ex1_live.update_one({"_id": "revenue"}, {"$set": {"token": change["_id"]}})
"""


TOKEN_OF_INSERTS = changed(
    BODY,
    ', "$set": {"token": change["_id"]}}\n',
    '}\n    if sign == 1:\n        update["$set"] = {"token": change["_id"]}\n',
)
IN_MEMORY = "seen = {}\n" + STARTER.replace(
    "    return ...\n",
    changed(
        BODY,
        'change["fullDocument"], 1\n',
        'change["fullDocument"], 1\n        seen[event["_id"]] = event\n',
        'change["fullDocumentBeforeChange"], -1',
        'seen.pop(change["documentKey"]["_id"], {"value": 0, "eventType": ""}), -1',
    ),
)


class Live:
    """A shop whose changes are handed to the learner's function, by a program that may end."""

    def __init__(self, db: Any, keep: Callable[[Change], Any]) -> None:
        """Make the two collections anew: events, and a counter with its place behind them."""
        self.events, self.live, self.keep = db.ex1_events, db.ex1_live, keep
        self.events.drop()
        self.live.drop()
        db.create_collection("ex1_events", changeStreamPreAndPostImages={"enabled": True})
        self.present: dict[int, dict[str, Any]] = {}
        self.written = 0
        self.early = [self.insert("purchase", 40), self.insert("page_view", 3)]
        with self.events.watch() as stream:
            token = stream.resume_token
        self.live.insert_one({"_id": "revenue", "cents": 40, "token": token})

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
            raise Incorrect('The document "revenue" is gone from ex1_live.')
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
                change = self.next_of(stream)
                if change["documentKey"]["_id"] == mark:
                    break
                if not self.of_a_mark(change):
                    self.keep(change)
                    handled += 1
        self.events.delete_one({"_id": mark})
        return handled

    @staticmethod
    def next_of(stream: Any) -> Change:
        """Return the next change."""
        try:
            found: Change = stream.next()
        except (StopIteration, PyMongoError, KeyError) as error:
            raise Incorrect("After your function was called, the stream has ended.") from error
        return found

    @staticmethod
    def of_a_mark(change: Change) -> bool:
        """Tell a mark of an earlier run from an event."""
        document = change.get("fullDocument") or change.get("fullDocumentBeforeChange") or {}
        return "eventType" not in document

    def compare(self, when: str) -> None:
        """Compare the counter with the events that are present."""
        true = sum(e["value"] for e in self.present.values() if e["eventType"] == "purchase")
        if (cents := self.row().get("cents")) != true:
            raise Incorrect(
                f"{when}, the purchases are worth {true} cents; `cents` is {shown(cents)}."
            )


@told_apart
def check(mg: Place, keep: Callable[[Change], Any]) -> None:
    """Play a shop, one kind of change at a time, then by chance; end the program in between."""
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        with kept(db, "ex1_events", "ex1_live"):
            story(Live(db, keep))
            by_chance(Live(db, keep))


def prepare(mg: Place) -> None:
    """Make both collections anew: two events, and the counter behind them."""
    with mg.connect(tzinfo=UTC) as client:
        Live(client.get_default_database(), lambda change: None)


def story(live: Live) -> None:
    """Change one thing at a time, so that a reason can say which; count the writes."""
    with live.live.watch(max_await_time_ms=100) as writes:
        first, beginning = live.insert("purchase", 500), live.row()["token"]
        view = live.insert("page_view", 70)
        handled = live.run(2)
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
        handled += live.run()
        live.compare("After the program was started again, and nothing was new")
        for number in live.early:
            live.delete(number)
        handled += live.run()
        live.compare("After an event was deleted that is older than the program")
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


ONLY_PURCHASES = changed(
    SOLUTION,
    "    cents = sign",
    '    if event["eventType"] != "purchase":\n        return\n    cents = sign',
)
A_PIPELINE = changed(
    SOLUTION,
    '{"$inc": {"cents": cents}, "$set": {"token": change["_id"]}}',
    '[{"$set": {"cents": {"$add": ["$cents", cents]}, "token": {"$literal": change["_id"]}}}]',
)


EXERCISE = Exercise(
    title="Revenue, live",
    minutes=8,
    prompt="Write keep(change), which keeps the revenue right and survives a restart.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        'change["operationType"] is "insert" or "delete". A delete has the event in '
        'change["fullDocumentBeforeChange"].',
        "One update_one can do both: $inc the cents, up or down, and $set the token.",
        'The token is change["_id"].',
    ],
    wrong=[
        (changed(SOLUTION, ", -1\n", ", 0\n"), "After a purchase was deleted"),
        (
            changed(SOLUTION, ' if event["eventType"] == "purchase" else 0', ""),
            "`cents` is 610",
        ),
        (changed(SOLUTION, ONE_UPDATE, TWO_UPDATES), "writes. Between two"),
        (
            changed(SOLUTION, ', "$set": {"token": change["_id"]}', ""),
            "`token` is still the first one",
        ),
        (
            changed(SOLUTION, 'change["fullDocumentBeforeChange"]', 'change["fullDocument"]'),
            "raised KeyError: 'fullDocument'",
        ),
        (changed(SOLUTION, '"token": change["_id"]', '"token": 1'), "no place in the stream"),
        (STARTER.replace("    return ...\n", TOKEN_OF_INSERTS), "and nothing was new"),
        (IN_MEMORY, "older than the program"),
        (
            changed(SOLUTION, '{"_id": "revenue"}, update', '{"_id": 1}, update, upsert=True'),
            "is 40",
        ),
    ],
    right=[ONLY_PURCHASES, A_PIPELINE],
    equal={
        "5d729650": "the collection has this one document",
        "5c512561": "one document has this _id",
    },
    praise="Each change counts once, whenever the program ends.",
)
