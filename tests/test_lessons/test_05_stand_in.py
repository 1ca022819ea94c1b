"""Answers of lesson 05 that are right on MongoDB, and that only its stand-in refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from helpers import outline
from helpers.commands.trial import Trial
from helpers.exercises import CouldNotCheck, Incorrect
from helpers.exercises.cells import changed
from helpers.exercises.stand_in import Rewriting, told_apart
from helpers.kinds.mongodb import is_mongodb
from helpers.outline import Notebook


def solution(number: str, place: int) -> str:
    source: str = outline.load(outline.find(number).exercises[place - 1]).EXERCISE.solution
    return source


SPENT = '"purchases": {"$sum": 1}, "spent": {"$sum": "$value"}}},'
LISTED = '"purchases": {"$sum": 1}, "e": {"$push": {"v": "$value"}}}},'
SPENDERS = changed(
    solution("05", 1), SPENT, LISTED + '\n    {"$set": {"spent": {"$sum": "$e.v"}}},'
)
FAIR = """
weight = {"page_view": 1, "click": 5, "purchase": 10}
cases = [{"case": {"$eq": ["$eventType", k]}, "then": w} for k, w in weight.items()]
view = {"$cond": [{"$eq": ["$eventType", "page_view"]}, 1, 0]}
more = {"$switch": {"branches": cases[1:], "default": 0}}
fair = [
    {"$match": {"eventType": {"$in": list(weight)}}},
    {"$group": {"_id": "$userId", "e": {"$push": {"v": view, "m": more}}}},
    {"$set": {"score": {"$add": [{"$min": [20, {"$sum": "$e.v"}]}, {"$sum": "$e.m"}]}}},
    {"$project": {"_id": 0, "userId": "$_id", "score": 1}},
    {"$sort": {"score": -1, "userId": 1}},
]

ex2.check()
"""
REBUILD = changed(
    solution("05", 3),
    '"revenue": {"$sum": "$value"}}',
    '"e": {"$push": {"v": "$value"}}}',
    '        {"$project": {"_id": 0, "day"',
    '        {"$set": {"revenue": {"$sum": "$e.v"}}},\n        {"$project": {"_id": 0, "day"',
)
PAUSES = changed(
    solution("05a", 1),
    "pauses = [\n",
    'pauses = [\n    {"$replaceWith": {"$unsetField": {"field": "value", "input": "$$ROOT"}}},\n',
)
LOYAL = """
monday = {"unit": "week", "startOfWeek": "monday"}
week = {"$dateTrunc": {"date": "$timestamp", **monday}}
after = {"$dateAdd": {"startDate": "$cohort", "unit": "week", "amount": 1}}
loyal = [
    {"$group": {"_id": "$userId", "cohort": {"$min": week}, "e": {"$push": {"w": week}}}},
    {"$set": {"came": {"$cond": [{"$in": [after, "$e.w"]}, 1, 0]}}},
    {"$group": {"_id": "$cohort", "customers": {"$sum": 1}, "returned": {"$sum": "$came"}}},
    {"$project": {"_id": 0, "cohort": "$_id", "customers": 1, "returned": 1}},
    {"$sort": {"cohort": 1}},
]

ex1.check()
"""
VISITORS = changed(
    solution("05c", 1), 'first("visitors", "n")', '{"$arrayElemAt": ["$visitors.n", 0]}'
)
REVENUE = changed(
    solution("05c", 1),
    '{"$ifNull": [first("revenue", "cents"), 0]}',
    '{"$sum": "$revenue.cents"}',
)
DOCUMENTS = changed(
    solution("05c", 1),
    "page = [\n",
    'page = [\n    {"$unionWith": {"pipeline": [{"$documents": [{"eventType": "none"}]}]}},\n'
    '    {"$match": {"eventType": {"$ne": "none"}}},\n',
)
LITERAL = changed(solution("05e", 1), '"timezone": zone', '"timezone": {"$literal": zone}')
FIELD = changed(
    solution("05e", 1),
    '"timezone": zone',
    '"timezone": "$tz"',
    "    return [\n",
    '    return [\n        {"$set": {"tz": zone}},\n',
)
LISTS = "does not follow a path into a list"
RIGHT = "on MongoDB this is right. Here, "
CASES = {
    "list-in-spenders": ("05", 1, SPENDERS, [LISTS, RIGHT, '"input": "$e", "in": "$$this.v"']),
    "list-in-fair": ("05", 2, FAIR, [LISTS, RIGHT]),
    "list-in-rebuild": ("05", 3, REBUILD, [LISTS, RIGHT]),
    "unknown-operator": ("05a", 1, PAUSES, ["does not know $unsetField"]),
    "list-in-loyal": ("05b", 1, LOYAL, [LISTS, RIGHT]),
    "element-of-a-list": ("05c", 1, VISITORS, [LISTS, RIGHT]),
    "sum-of-a-list": ("05c", 1, REVENUE, [LISTS, RIGHT]),
    "documents": ("05c", 1, DOCUMENTS, ["$documents in $unionWith", RIGHT]),
    "zone-as-literal": ("05e", 1, LITERAL, ["a time zone only as a text", RIGHT]),
    "zone-as-field": ("05e", 1, FIELD, ["a time zone only as a text", RIGHT]),
}


@pytest.mark.parametrize(("number", "place", "cell", "words"), CASES.values(), ids=CASES)
def test_right_on_mongodb(number: str, place: int, cell: str, words: list[str]) -> None:
    """The stand-in says what it cannot, and how to write it; MongoDB accepts."""
    notebook: Notebook = outline.find(number)
    with Trial(notebook) as trial:
        found = trial.answer(place, cell)
        [server] = trial.task(place).servers.values()
        if is_mongodb(server.url):
            assert found.outcome == "correct", found.text
            return
        assert found.outcome == "not checked", found.text
        assert [word for word in words if word not in " ".join(found.text.split())] == []


WRONG = {
    "list-and-wrong-order": ("05", 1, changed(SPENDERS, '"spent": -1', '"spent": 1'), "Not yet"),
    "zone-and-no-match": (
        "05e",
        1,
        changed(LITERAL, '        {"$match": {"eventType": "purchase"}},\n', ""),
        "Not yet",
    ),
}


@pytest.mark.parametrize(("number", "place", "cell", "words"), WRONG.values(), ids=WRONG)
def test_wrong_everywhere(number: str, place: int, cell: str, words: str) -> None:
    """What is wrong on MongoDB too is wrong, however it is written."""
    with Trial(outline.find(number)) as trial:
        found = trial.answer(place, cell)
        assert found.outcome == "incorrect" and words in found.text, found.text


def test_constants_are_no_expressions() -> None:
    """Texts in a condition, in $literal and in $unwind stay as they are."""
    stages: list[Any] = [
        {"$match": {"a": "$b.c", "$expr": {"$eq": ["$a", 1]}}},
        {"$set": {"a": {"$literal": "$b.c"}}},
        {"$unwind": "$b.c"},
    ]
    assert Rewriting().stages(stages) == stages


class Far:
    """A place that nobody asks."""

    url = "mongodb://127.0.0.1:1/"


def test_an_answer_without_a_difference_is_checked_once() -> None:
    """No server is asked, and the reason is the check's own."""
    calls: list[int] = []

    def check(mg: Any) -> None:
        calls.append(1)
        raise Incorrect("because")

    checked: Callable[..., None] = told_apart(check)
    with pytest.raises(Incorrect, match="because"):
        checked(mg=Far())
    assert calls == [1]
    assert issubclass(CouldNotCheck, Exception)
