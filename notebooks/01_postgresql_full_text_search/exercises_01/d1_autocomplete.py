"""Exercise 01d-1: autocomplete."""

from __future__ import annotations

from collections.abc import Callable

from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.looking import look

START = """
def autocomplete(typed):
    return ...  # a list of names


ex1.check()
"""
SOLUTION = '''
SUGGEST = """
    SELECT name FROM products WHERE name_words @@ to_tsquery('simple', %s)
    ORDER BY length(name), name LIMIT 5
"""


def autocomplete(typed):
    if len(typed.strip()) < 2:
        return []
    return [name for (name,) in db.execute(SUGGEST, [prefix_query(typed)])]


ex1.check()
'''
# Typed text, and what is wrong when the answer to it is another than the five right names.
CASES = {
    "trackb": "",
    "usb mode": "Each typed word must be the beginning of a word of the name.",
    "do": "'do' is a stop word in English, but a customer may be typing 'docker'.",
    "!usb": "What is typed must not work as an operator.",
    "mysql": "Many names have a part that begins with 'mysql'.",
    "zzqqv": "No name has such a word.",
    " p ": "One letter is too short for a query.",
    "": "Nothing was typed.",
}
EXPECTED = """
    SELECT name FROM products WHERE name_words @@ %s::tsquery
    ORDER BY length(name), name LIMIT 5
"""


def check(pg: Place, autocomplete: Callable[[str], object]) -> None:
    """Compare the suggestions with the right ones, for text that is easy to get wrong."""
    with look(pg) as connection:
        for typed, reason in CASES.items():
            words = typed.strip("! ").split()
            query = " & ".join(f"'{word}':*" for word in words)
            rows = connection.execute(EXPECTED, [query]).fetchall()
            right = [name for (name,) in rows] if len(typed.strip()) > 1 else []
            answer = autocomplete(typed)
            call = f"autocomplete({typed!r})"
            if not isinstance(answer, list):
                raise Incorrect(f"{call} is a {type(answer).__name__}; return a list of names.")
            if not all(isinstance(name, str) for name in answer):
                kind = type(answer[0]).__name__
                raise Incorrect(f"{call} is a list of {kind}; each entry should be a name (str).")
            if len(answer) > 5:
                raise Incorrect(f"{call} has {len(answer):,} names; five at most.")
            if sorted(answer) == sorted(right) and answer != right:
                raise Incorrect(f"{call} has the right names, but not the shortest first.")
            if answer != right:
                raise Incorrect(f"{call} is {answer}, but should be {right}. {reason}".strip())


EXERCISE = Exercise(
    title="Autocomplete",
    minutes=8,
    prompt="Write autocomplete(typed): at most five names, the shortest first, then "
    "alphabetical; each typed word begins a word of the name; an empty list for fewer "
    "than two characters.",
    starter=START,
    solution=SOLUTION,
    check=check,
    hints=[
        "The query: WHERE name_words @@ to_tsquery('simple', %s), with prefix_query(typed) as "
        "the parameter.",
        "ORDER BY length(name), name LIMIT 5. Each row is a tuple of one name.",
        "Look at len(typed.strip()) before you ask the database.",
    ],
    wrong=[
        (
            SOLUTION.replace("prefix_query(typed)", 'typed + ":*"'),
            "raised SyntaxError",
        ),
        (
            SOLUTION.replace(
                "prefix_query(typed)", '" & ".join(f"{word}:*" for word in typed.split())'
            ),
            "work as an operator",
        ),
        (SOLUTION.replace("'simple'", "'english'"), "is a stop word in English"),
        (
            SOLUTION.replace("    if len(typed.strip()) < 2:\n        return []\n", ""),
            "One letter is too short",
        ),
        (
            SOLUTION.replace("[name for (name,) in ", "list(").replace("(typed)])]", "(typed)]))"),
            "is a list of tuple",
        ),
    ],
    praise="Only words get through, each as the beginning of a word.",
)
