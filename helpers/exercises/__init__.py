'''What an exercise is: one file beside its notebook, which says all of it.

How to write an exercise
------------------------
1. Its file is in the lesson's folder, `exercises_05/b1_loyal.py`: the first exercise of 05b. Those
   of the core are `core1_...`, `core2_...`. The notebook's set-up cell takes what the folder has,
   `[ex1] = check.exercises("05b", mg)`. The file ends with `EXERCISE = Exercise(...)`; what it
   shares with others is in `common.py` beside it.
2. Write the notebook's exercise cell as `starter`, character by character. It runs without an
   error as it stands, and `...` marks the place of the answer (in a function: `return ...`). The
   notebook's own cells above it are its set-up, also in tests. Where they take long, `cells`
   names the few that it needs.
3. Write `check(...)`. Its parameters are names: `pg`, `rd` and `mg` are the notebook's servers,
   every other name is a value or a function from the learner's cell. It returns when the answer is
   right and raises `Incorrect("why, in words")` or `NotAttempted("what is not there yet")`.
   It looks at values or at the database, never at the answer's text. A value that is still `...`
   is found before the check starts. Run twice, it gives the same answer. It may be `async def`;
   then the cell says `await ex1.check()`.
4. An exception in a function of the learner is the learner's, and is told in words. Put
   `with running("Your query"):` around the learner's SQL, class or generator for the same effect.
   Any other exception in a check means that the check has a problem, not the answer.
5. Does the answer change the database? Then give `prepare(...)`, which brings back the state that
   the exercise starts from, and begin the cell with `ex1.start()`. Both touch only tables that
   belong to this exercise, because no other cell may depend on it or be damaged by it. Call
   `end_uncommitted(pg)` first, so that a forgotten commit cannot block the next try.
6. `solution`, each of `wrong` and each of `right` are whole cells. `wrong` pairs a cell with words
   that only its own reason contains: the mistakes that people make. `right` has answers that look
   unlike the solution and are as good.
7. `make mutants LESSON=05b` changes the solution in one place after the other. What the check
   accepts is a hole, or as good as the solution: then `equal` has its id and the reason.
8. `minutes` is how long a learner needs for it, 4 to 20. Put the starter into the notebook, and
   run tests/test_exercises.

    STARTER = """
    rows = ...  # how many rows has products?

    ex2.check()
    """
    SOLUTION = STARTER.replace(
        "...", 'pg.connect().execute("SELECT count(*) FROM products").fetchone()[0]'
    )

    def check(pg: Place, rows: object) -> None:
        with look(pg) as connection:
            (true,) = connection.execute("SELECT count(*) FROM products").fetchone()
        if rows != true:
            raise Incorrect(f"`rows` is {rows!r}, but products has {true} rows.")

    EXERCISE = Exercise(
        title="Count", minutes=4, prompt="How many rows has products?",
        starter=STARTER, check=check, solution=SOLUTION,
        hints=["An aggregate function counts rows."],
        wrong=[(STARTER.replace("...", "3"), "`rows` is 3"),
               (SOLUTION.replace("fetchone()[0]", "fetchone()"), "`rows` is (")],
        praise="count(*) reads every row; an estimate is in pg_class.reltuples.",
    )
'''

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers.kinds.place import Place

__all__ = ["CouldNotCheck", "Exercise", "Incorrect", "NotAttempted", "Place"]


class Incorrect(Exception):
    """The answer is wrong; the message is the reason, in words for the learner."""


class NotAttempted(Exception):
    """There is no answer yet; the message says what is missing."""


class CouldNotCheck(Exception):
    """Nobody can tell here; the message says why, and what to do, in words for the learner."""


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise; the module's docstring explains each field."""

    title: str
    minutes: int
    prompt: str
    starter: str
    solution: str
    hints: Sequence[str]
    wrong: Sequence[tuple[str, str]]
    check: Callable[..., Any]
    right: Sequence[str] = ()
    equal: Mapping[str, str] = field(default_factory=dict)
    cells: Sequence[str] = ()
    prepare: Callable[..., None] | None = None
    praise: str = ""
