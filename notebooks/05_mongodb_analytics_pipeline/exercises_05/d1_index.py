"""Exercise 05d-1: an index for a page."""

from __future__ import annotations

from exercises_05.common import chance
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed

STARTER = """
ex1.start()  # makes ex1_events anew, without an index
# Your line goes here: db.ex1_events.create_index(...)

ex1.check()
"""


def indexed(*keys: str) -> str:
    """Return the starter with indexes on these lists of fields."""
    lines = [f"db.ex1_events.create_index([{key}])" for key in keys]
    place = "# Your line goes here: db.ex1_events.create_index(...)"
    return changed(STARTER, place, "\n".join(lines))


SOLUTION = indexed('("userId", 1), ("eventType", 1), ("timestamp", -1)')


def prepare(mg: Place) -> None:
    """Make the collection anew, with a few events and no index."""
    with mg.connect() as client:
        events = client.get_default_database()["ex1_events"]
        events.drop()
        events.insert_many(chance(7, 50, 9, 3))


def check(mg: Place) -> None:
    """Look at the fields of the index, and at their order."""
    with mg.connect() as client:
        known = client.get_default_database()["ex1_events"].index_information()
    made = {name: about for name, about in known.items() if name != "_id_"}
    if not made:
        raise NotAttempted("ex1_events has no index beside the one on _id.")
    if len(made) > 1:
        raise Incorrect(f"ex1_events has {len(made)} indexes. One is enough for both queries.")
    [about] = made.values()
    fields = [field for field, _ in about["key"]]
    if any(direction not in (1, -1) for _, direction in about["key"]):
        raise Incorrect("The index should be an ordinary one: each field 1 or -1.")
    if about.keys() & {"partialFilterExpression", "sparse", "unique", "collation", "hidden"}:
        raise Incorrect("The index should be without options: for all documents and all queries.")
    if missing := [f for f in ("userId", "eventType", "timestamp") if f not in fields]:
        raise Incorrect(f"The index has no {missing[0]}; the first query needs it: {fields}.")
    if fields[0] != "userId":
        raise Incorrect(
            f"The query for all events of a customer cannot use it: it begins with {fields[0]}."
        )
    if fields.index("timestamp") < fields.index("eventType"):
        raise Incorrect(
            "The purchases come in order, but between all the customer's other events: what must "
            "be equal stands before what you sort by."
        )
    if fields.index("timestamp") != 2:
        raise Incorrect(
            "A field that neither query asks for stands before timestamp, so the purchases do not "
            f"come in order of time: {fields}."
        )


EXERCISE = Exercise(
    title="An index for a page",
    minutes=4,
    prompt="Make one index for a customer's newest purchases and for all her events.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "Equality, sort, range: which fields are equal to a value, and which one do you sort by?",
        "Two fields are for equality. Only one of them is in the second query: it comes first.",
    ],
    wrong=[
        (indexed('"eventType", "userId", "timestamp"'), "begins with eventType"),
        (indexed('"userId", "timestamp", "eventType"'), "what must be equal"),
        (indexed('"userId", "eventType"'), "has no timestamp"),
        (
            indexed('"userId", "eventType", "timestamp"', '"userId"'),
            "One is enough for both",
        ),
        (indexed('"userId", "eventType", "value", "timestamp"'), "that neither query asks for"),
    ],
    right=[indexed('("userId", -1), ("eventType", -1), ("timestamp", -1), ("value", 1)')],
    equal={
        "90affd72": "a field that equals a value may be stored either way",
        "0867a582": "a field that equals a value may be stored either way",
        "250cf9ce": "an index is read from either end",
    },
    praise="The server reads ten entries of the index, and ten documents.",
)
