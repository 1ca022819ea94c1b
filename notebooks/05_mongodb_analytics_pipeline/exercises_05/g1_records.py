"""Exercise 05g-1: records."""

from __future__ import annotations

import random
from datetime import UTC
from typing import Any

from pymongo.errors import OperationFailure

from exercises_05.common import kept, refusal, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.running import running
from helpers.exercises.stand_in import told_apart

STARTER = """
ex1.start()  # makes ex1_records and ex1_days anew

write = ...  # {"$merge": {"into": "ex1_records", ...}}

ex1.check()
"""
SOLUTION = """
ex1.start()  # makes ex1_records and ex1_days anew

higher = {"$gt": ["$$new.best", "$best"]}
record = {
    "day": {"$cond": [higher, "$$new.day", "$day"]},
    "best": {"$max": ["$best", "$$new.best"]},
}
write = {"$merge": {"into": "ex1_records", "whenMatched": [{"$set": record}]}}

ex1.check()
"""
Records = dict[int, dict[str, Any]]


START: Records = {
    1: {"best": 4, "day": "Monday", "note": "checked"},
    2: {"best": 9, "day": "Monday", "note": "a gift"},
    3: {"best": 5, "day": "Monday"},
    4: {"best": 2, "day": "Monday"},
}
TUESDAY = {1: 6, 2: 3, 3: 5, 5: 1}


def prepare(mg: Place) -> None:
    """Make both collections anew: four records, and what a Tuesday sold."""
    with mg.connect() as client:
        db = client.get_default_database()
        for name in ("ex1_records", "ex1_days"):
            db.drop_collection(name)
        db.ex1_records.insert_many([{"_id": product, **row} for product, row in START.items()])
        db.ex1_days.insert_many(
            [{"_id": product, "best": best, "day": "Tuesday"} for product, best in TUESDAY.items()]
        )


def merged_with(action: str) -> str:
    """Return the cell with a $merge that has one of the ready answers."""
    return changed(SOLUTION, '[{"$set": record}]', f'"{action}"')


@told_apart
def check(mg: Place, write: Any) -> None:
    """Days by chance, and before them one for each mistake, against a dict."""
    if not isinstance(write, dict) or len(write) != 1:
        raise Incorrect("`write` should be one stage: a dict with one key.")
    if set(write) == {"$out"}:
        raise Incorrect("$out would replace the whole collection, with the products of one day.")
    if set(write) != {"$merge"}:
        raise Incorrect(f"`write` should write into ex1_records; {next(iter(write))} does not.")
    about = write["$merge"]
    into = about.get("into") if isinstance(about, dict) else about
    with mg.connect(tzinfo=UTC) as client:
        db = client.get_default_database()
        if into not in ("ex1_records", {"db": db.name, "coll": "ex1_records"}):
            raise Incorrect(f"`write` should write into ex1_records, not into {shown(into)}.")
        with kept(db, "ex1_records", "ex1_days"):
            play(db, write, START, [("Tuesday", TUESDAY)])
            rng = random.Random(10)
            days = [
                (f"day {n:03}", {p: rng.randint(1, 9) for p in rng.sample(range(1, 9), 4)})
                for n in range(12)
            ]
            play(db, write, {}, days)


def play(db: Any, write: Any, start: Records, days: list[tuple[str, dict[int, int]]]) -> None:
    """Run each day twice, and compare after each run."""
    records, found = db.ex1_records, db.ex1_days
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
                    raise Incorrect(f"The server refuses your stage: {refusal(error)}") from error
            stored = {row.pop("_id"): row for row in records.find()}
            compare_records(stored, true, f"After {when} for {day}")


def compare_records(stored: Records, true: Records, when: str) -> None:
    """Say in words where records are not the true ones."""
    for product, row in true.items():
        if product not in stored:
            raise Incorrect(f"{when}, product {product} is not in ex1_records.")
        for field in ("best", "day", "note"):
            if stored[product].get(field) != row.get(field):
                raise Incorrect(
                    f"{when}, `{field}` of product {product} should be {row.get(field)!r}; it is "
                    f"{shown(stored[product].get(field))}."
                )
        if more := sorted(stored[product].keys() - row.keys()):
            raise Incorrect(f"{when}, product {product} has a new field {more[0]!r}.")
    if more := sorted(map(str, stored.keys() - true.keys())):
        raise Incorrect(f"{when}, ex1_records has a product {more[0]}, which nobody sold.")


WHOLE = changed(
    SOLUTION,
    '[{"$set": record}]',
    '[{"$replaceWith": {"$cond": [higher, {"$mergeObjects": ["$$ROOT", "$$new"]}, "$$ROOT"]}}]',
)


EXERCISE = Exercise(
    title="Records",
    minutes=8,
    prompt="Write the $merge stage that keeps each product's best day.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "whenMatched can be a pipeline. In it, $best is what is there, and $$new.best what comes.",
        '{"$max": ["$best", "$$new.best"]} is the higher one. The day needs a $cond.',
    ],
    wrong=[
        (merged_with("merge"), "`best` of product 2 should be 9"),
        (merged_with("keepExisting"), "`best` of product 1 should be 6"),
        (merged_with("replace"), "`note` of product 1 should be"),
        (changed(SOLUTION, "$gt", "$gte"), "`day` of product 3 should be 'Monday'"),
        (
            changed(SOLUTION, "$$new.day", "$day"),
            "`day` of product 1 should be 'Tuesday'",
        ),
        (
            changed(SOLUTION, '"into"', '"whenNotMatched": "discard", "into"'),
            "product 5 is not in",
        ),
        (changed(SOLUTION, '"into": "ex1_records"', '"into": "records"'), "not into 'records'"),
    ],
    right=[WHOLE],
    praise="Idempotent: the higher of two numbers is the same, however often you look.",
)
