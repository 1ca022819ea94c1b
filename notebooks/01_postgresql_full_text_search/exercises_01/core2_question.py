"""Exercise 01-2: is there anything to look for."""

from __future__ import annotations

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
TYPED += ["   ", "!!!", "the", "AT&T", "it's", "The Who"]


def answer(query: str) -> str:
    """Return exercise 2's cell with this query as the answer."""
    return STARTER.replace(PLACE, f'"{query}"')


def check(pg: Place, question: object) -> None:
    """Ask for ordinary, odd and empty texts; PostgreSQL knows the answer."""
    if not isinstance(question, str):
        raise Incorrect(f"`question` is {type(question).__name__}; it should be a string of SQL.")
    if question.count("%s") != 1:
        raise Incorrect("The text goes where %s stands, and your SQL needs it exactly once.")
    for text in TYPED:
        with look(pg) as connection:
            query = "SELECT websearch_to_tsquery('english', %s)::text"
            (left,) = connection.execute(query, [text]).fetchone() or ("",)
        with reading(pg) as connection, running(f"Your SQL, for the text {text!r},"):
            (answer, *_) = connection.execute(question.encode(), [text]).fetchone() or (None,)
        if not isinstance(answer, bool):
            kind = type(answer).__name__
            raise Incorrect(f"For {text!r} your SQL returns {kind}; it should be true or false.")
        if answer and not left:
            raise Incorrect(
                f"For {text!r} the answer is true, but PostgreSQL looks for nothing: it drops stop "
                "words and signs. Name the configuration 'english', and count what is left."
            )
        if left and not answer:
            raise Incorrect(
                f"For {text!r} the answer is false, but it looks for {left}. "
                "Whether a product has the word is another question."
            )


EXERCISE = Exercise(
    title="Is there anything to look for?",
    minutes=4,
    prompt="Write SQL that says whether a search for a text looks for any word.",
    starter=STARTER,
    solution=answer("SELECT numnode(websearch_to_tsquery('english', %s)) > 0"),
    check=check,
    hints=[
        "Let PostgreSQL read the text with websearch_to_tsquery, then count what is left.",
        "numnode(query) is 0 for an empty query. Compare it with 0.",
    ],
    wrong=[
        (answer("SELECT trim(%s) <> ''"), "it drops stop words"),
        (answer("SELECT numnode(to_tsquery('english', %s)) > 0"), "raised SyntaxError"),
        (answer("SELECT numnode(websearch_to_tsquery('english', %s))"), "returns int"),
        (
            answer(
                "SELECT EXISTS (SELECT 1 FROM products WHERE search_vector @@ "
                "websearch_to_tsquery('english', %s))"
            ),
            "is another question",
        ),
    ],
    praise="Now the page can say: please enter a word. That is more help than: no results.",
)
