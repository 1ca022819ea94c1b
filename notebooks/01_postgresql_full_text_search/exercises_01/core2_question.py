"""Exercise 01-2: is there anything to look for."""

from __future__ import annotations

import random
from typing import Any

import psycopg

from exercises_01.common import reading
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.looking import look
from helpers.exercises.running import running

STARTER = """
question = ...  # a string: SQL with %s for the text; true or false

ex2.check()
"""
PLACE = "...  # a string: SQL with %s for the text; true or false"


TYPED = ["chess", "zzyzx", "wireless mouse", "laptop &", '"text editor" -video', "c++", ""]
TYPED += ["   ", "!!!", "the", "AT&T", "it's", "The Who", "-video", "a", "7", "or", '"the"', '""']
TYPED += ["100%", "%s", "'", "\\", "Häuser", "猫", "x" * 300, "the and of " * 20, "\t\n", "NULL"]
#: Of these the other texts are made.
PARTS = ["the", "and", "it", "of", "not", "&", "|", "!", "(", ":*", "<->", "'", '"', "-", "%", "+"]
WORDS = ["library", "usb-c", "3.11", "Chess"]


def more() -> list[str]:
    """Return texts of stop words and signs, some with a word among them."""
    chance = random.Random(1)
    texts = [" ".join(chance.choices(PARTS, k=chance.randint(1, 5))) for _ in range(20)]
    return texts + [f"{text} {chance.choice(WORDS)}" for text in texts[:10]]


def answer(query: str) -> str:
    """Return exercise 2's cell with this query as the answer."""
    return STARTER.replace(PLACE, f'"{query}"')


def ask(connection: psycopg.Connection[Any], question: str, text: str) -> bool:
    """Return what the learner's SQL says of a text."""
    with running(f"Your SQL, for the text {text!r},"):
        try:
            row = connection.execute(question.encode(), [text]).fetchone() or (None,)
        except psycopg.errors.IndeterminateDatatype:
            raise Incorrect(
                "PostgreSQL cannot tell what the %s is. Write it without quotes: in quotes it is "
                "an ordinary text. Where no function says what it takes, write %s::text."
            ) from None
    if not isinstance(row[0], bool):
        kind = type(row[0]).__name__
        raise Incorrect(f"For {text!r} your SQL returns {kind}; it should be true or false.")
    return row[0]


def check(pg: Place, question: object) -> None:
    """Ask for ordinary, odd and empty texts; PostgreSQL knows the answer."""
    if not isinstance(question, str):
        raise Incorrect(f"`question` is {type(question).__name__}; it should be a string of SQL.")
    if question.count("%s") != 1:
        raise Incorrect("The text goes where %s stands, and your SQL needs it exactly once.")
    texts = TYPED + more()
    left: dict[str, str] = {}
    with look(pg) as connection:
        for text in texts:
            query = "SELECT websearch_to_tsquery('english', %s)::text"
            (left[text],) = connection.execute(query, [text]).fetchone() or ("",)
    with reading(pg) as connection:
        said = {text: ask(connection, question, text) for text in texts}
    if all(said[text] != bool(left[text]) for text in texts):
        raise Incorrect("Your SQL says false where a word is left, and true where none is.")
    for text in texts:
        if said[text] and not left[text]:
            raise Incorrect(
                f"For {text!r} the answer is true, but PostgreSQL looks for nothing: it drops stop "
                "words and signs. Name the configuration 'english', and count what is left."
            )
        if left[text] and not said[text]:
            raise Incorrect(
                f"For {text!r} the answer is false, but a search looks for {left[text]}. Whether "
                "a product has it does not matter."
            )


SOLUTION = answer("SELECT numnode(websearch_to_tsquery('english', %s)) > 0")
EXERCISE = Exercise(
    title="Is there anything to look for?",
    minutes=4,
    prompt="Write SQL that says whether a search for a text looks for any word.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Let PostgreSQL read the text with websearch_to_tsquery, then count what is left.",
        "numnode(query) is 0 for an empty query. Compare it with 0.",
    ],
    wrong=[
        (answer("SELECT trim(%s) <> ''"), "For '!!!' the answer is true"),
        (answer("SELECT numnode(to_tsquery('english', %s)) > 0"), "raised SyntaxError"),
        (answer("SELECT numnode(websearch_to_tsquery('english', %s))"), "returns int"),
        (SOLUTION.replace("> 0", "= 0"), "says false where a word is left"),
        (SOLUTION.replace("%s", "'%s'"), "in quotes it is an ordinary text"),
        (SOLUTION.replace("'english', ", ""), "For 'the' the answer is true"),
        (
            answer(
                "SELECT EXISTS (SELECT 1 FROM products WHERE search_vector @@ "
                "websearch_to_tsquery('english', %s))"
            ),
            "a product has it does not matter",
        ),
    ],
    right=[
        answer("SELECT length(to_tsvector('english', %s)) > 0"),
        answer("SELECT websearch_to_tsquery('english', %s)::text <> ''"),
    ],
    equal={"662c1694": "plainto_tsquery drops the same stop words and signs"},
    praise="Now the page can say: please enter a word. That is more help than: no results.",
)
