"""What the checks of lesson 05 leave behind, and what they say to code that ends otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from drill import contents

from helpers import outline
from helpers.commands.trial import Trial
from helpers.exercises import Exercise


def exercise(number: str, place: int) -> Exercise:
    found: Exercise = outline.load(outline.find(number).exercises[place - 1]).EXERCISE
    return found


OWN_DATA = {
    "05-3": ("05", 3, ("ex3_events", "ex3_sales")),
    "05f-1": ("05f", 1, ("ex1_events", "ex1_live")),
    "05g-1": ("05g", 1, ("ex1_records", "ex1_days")),
}


@pytest.mark.parametrize(("number", "place", "names"), OWN_DATA.values(), ids=OWN_DATA)
def test_a_check_leaves_the_learners_rows(number: str, place: int, names: tuple[str, str]) -> None:
    """Right or wrong: documents, indexes and settings are what they were, the learner's too."""
    one = exercise(number, place)
    with Trial(outline.find(number)) as trial:
        trial.answer(place, one.starter)
        mg = trial.task(place).servers["mg"]
        with mg.connect() as client:
            db: Any = client.get_default_database()
            db[names[0]].insert_one({"_id": "the learner's own"})
            db[names[1]].create_index(["a", "b"], name="the learner's own")
            before = contents(mg.url)()
            options = [db[name].options() for name in names]
            indexes = [db[name].index_information() for name in names]
            kept = trial.shell.user_ns.copy()
            outcomes = []
            for source in (one.solution, one.wrong[0][0], one.solution):
                trial.shell.user_ns.update(kept)
                begin = f"ex{place}.start()"
                outcomes.append(trial.answer(place, source.replace(begin, "pass")).outcome)
                assert contents(mg.url)() == before
                assert [db[name].index_information() for name in names] == indexes
                assert [db[name].options() for name in names] == options
            assert outcomes == ["correct", "incorrect", "correct"]


ENDS = {
    "SystemExit": "raise SystemExit(3)",
    "CancelledError": 'raise __import__("asyncio").CancelledError',
    "BaseException": "raise BaseException(object())",
    "a dump": "db.command('no such command')",
}


def test_what_the_learners_code_raises_is_the_learners() -> None:
    """Whatever it is: told in words, without an address and without the server's answer."""
    starter = exercise("05", 3).starter
    with Trial(outline.find("05")) as trial:
        for words, statement in ENDS.items():
            found = trial.answer(3, starter.replace("return ...", statement))
            assert found.outcome == "incorrect", found.text
            assert f"raised {words}" in found.text or words == "a dump"
            assert "0x" not in found.text and "full error" not in found.text
            assert len(found.text) < 250


def test_values_that_cannot_be_compared() -> None:
    """Lists, documents and texts in place of numbers are wrong, and no trouble of the check."""
    solution = exercise("05", 1).solution
    kinds = ('["$_id"]', '{"a": "$_id"}', '{"$toString": "$_id"}', '{"$literal": None}', "True")
    with Trial(outline.find("05")) as trial:
        for kind in kinds:
            cell = solution.replace('"userId": "$_id"', f'"userId": {kind}')
            found = trial.answer(1, cell)
            assert found.outcome == "incorrect", (kind, found.text)
