"""Exercise 01d-1: autocomplete."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import psycopg

from exercises_01.common import asking, function, same_database
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look
from helpers.exercises.running import shown

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
TYPED = [
    "trackb",
    "usb mode",
    "the",
    "do",
    "!usb",
    "mysql",
    "zzqqv",
    " p ",
    "",
    "  ",
    "\t\n",
    "p",
    "py",
]
TYPED += ["pyth gam", "c++", "p q", "USB", "Python3 Lib", "usb & !mode", "usb:*", "(usb", "it's"]
TYPED += ["'usb", '"usb mode"', "usb | python", "usb -mode", "100%", "%s", "\\", "php8.2-mysql"]
TYPED += ["--", "a\0b", "usb " * 30_000, "  lib", "lib  ", "Ä ö", "a" * 5_000]
MOST = 5
LONGEST = 200  # characters that prefix_query reads
#: Independent of to_tsquery and of its configurations.
RIGHT = """
    SELECT name FROM products WHERE name_words @@ %s::tsquery ORDER BY length(name), name LIMIT 5
"""
MATCHING = "SELECT name FROM products WHERE name = ANY (%s) AND name_words @@ %s::tsquery"
NAMES = "SELECT name FROM products WHERE id % 5000 = 1 AND name_words IS NOT NULL ORDER BY id"


def some(names: list[str]) -> list[str]:
    """Return what customers have typed of some names by the time they look up."""
    chance = random.Random(1)
    typed = []
    for name in chance.sample(names, min(len(names), 12)):
        words = re.findall(r"[a-z0-9]+", name.lower())[:3]
        typed.append(" ".join(word[: chance.randint(2, 4)] for word in words))
    return typed


def asked(typed: str) -> str:
    """Return the query that finds the right names: each typed word as a lexeme's beginning."""
    if len(typed.strip()) < 2:
        return ""
    return " & ".join(f"'{word}':*" for word in re.findall(r"\w+", typed[:LONGEST].lower()))


def check(pg: Place, db: object, autocomplete: Callable[[str], object]) -> None:
    """Compare the suggestions with the right ones, for text that is easy to get wrong."""
    ask = function("autocomplete", autocomplete)
    same_database(pg, db)
    with look(pg) as connection, asking(ask, pg):
        try:
            names = [name for (name,) in connection.execute(NAMES)]
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            raise NotAttempted(
                "There is no column name_words. Run the cells above first."
            ) from None
        for typed in TYPED + some(names):
            found = connection.execute(RIGHT, [asked(typed)]).fetchall()
            compare(connection, typed, ask(typed), [name for (name,) in found])


def compare(
    connection: psycopg.Connection[Any], typed: str, answer: object, right: list[str]
) -> None:
    """Incorrect unless the answer is the right names in the right order."""
    call = f"autocomplete({shown(typed)})"
    if not isinstance(answer, list):
        raise Incorrect(f"{call} is a {type(answer).__name__}; return a list of names.")
    if not all(isinstance(name, str) for name in answer):
        raise Incorrect(
            f"{call} is a list of {type(answer[0]).__name__}; each entry should be a name (str)."
        )
    if len(answer) > MOST:
        raise Incorrect(f"{call} has {len(answer):,} names; five at most.")
    if answer == right:
        return
    if len(typed.strip()) < 2:
        raise Incorrect(f"{call} is {answer}, but fewer than two characters are typed: return [].")
    if len(answer) < len(right):
        raise Incorrect(
            f"{call} has {len(answer)} names; it should have {len(right)}: {', '.join(right)}."
        )
    matching = {name for (name,) in connection.execute(MATCHING, [answer, asked(typed)])}
    if strange := [name for name in answer if name not in matching]:
        raise Incorrect(
            f"{call} has {strange[0]!r}. Each typed word must be the beginning of a word of the "
            "name, and what is typed must not work as an operator."
        )
    if len(set(answer)) < len(answer):
        raise Incorrect(f"{call} has a name twice.")
    if [len(name) for name in answer] != [len(name) for name in right]:
        raise Incorrect(f"{call} is {answer}; the shortest names come first: {right}.")
    raise Incorrect(
        f"{call} is {answer}; names of equal length come in alphabetical order: {right}."
    )


WHOLE_WORDS = changed(SOLUTION, "prefix_query(typed)", 'prefix_query(typed).replace(":* &", " &")')
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
        (changed(SOLUTION, "prefix_query(typed)", 'typed + ":*"'), "raised SyntaxError"),
        (
            changed(
                SOLUTION,
                "prefix_query(typed)",
                '" & ".join(f"{word}:*" for word in typed.split())',
            ),
            "autocomplete('!usb') has",
        ),
        (changed(SOLUTION, "'simple'", "'english'"), "autocomplete('the') has 0 names"),
        (changed(SOLUTION, "< 2", "< 3"), "autocomplete('do') has 0 names"),
        (WHOLE_WORDS, "autocomplete('pyth gam') has 0"),
        (changed(SOLUTION, "length(name), name", "name"), "the shortest names come first"),
        (changed(SOLUTION, "length(name), name", "length(name)"), "in alphabetical order"),
        (changed(SOLUTION, "LIMIT 5", "LIMIT 6"), "has 6 names"),
        (
            changed(SOLUTION, "    if len(typed.strip()) < 2:\n        return []\n", ""),
            "fewer than two characters are typed",
        ),
        (
            changed(SOLUTION, "[name for (name,) in ", "list(", "(typed)])]", "(typed)]))"),
            "is a list of tuple",
        ),
        ("autocomplete = ['usb']\n\nex1.check()", "`autocomplete` is list"),
    ],
    right=[
        changed(
            SOLUTION,
            "[name for (name,) in db.execute(SUGGEST, [prefix_query(typed)])]",
            "[row[0] for row in pg.connect().execute(SUGGEST, [prefix_query(typed.strip())])]",
        ),
        changed(
            SOLUTION,
            "ORDER BY length(name), name LIMIT 5",
            "",
            "[name for (name,) in db.execute(SUGGEST, [prefix_query(typed)])]",
            "sorted((row[0] for row in db.execute(SUGGEST, [prefix_query(typed)])), "
            "key=lambda name: (len(name), name))[:5]",
        ),
    ],
    praise="Only words get through, each as the beginning of a word.",
)
