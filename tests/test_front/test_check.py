"""Exercises as a learner meets them: outcomes, hints, kept answers, and servers that fail."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jupyter_client.manager import KernelManager

from helpers import check, lab, outline
from helpers.base.errors import LabError
from helpers.exercises import Exercise, Incorrect, NotAttempted, answers
from helpers.exercises.looking import end_uncommitted, look, uncommitted
from helpers.exercises.running import running

ROOT = Path(__file__).resolve().parent.parent

# A notebook without a server: what is tested here is everything around the check.
EXERCISE = """
from helpers.exercises import Exercise, Incorrect

{check}

EXERCISE = Exercise(
    title="Sum", minutes=4, prompt="Do it.", praise="Remember it.", hints=["First.", "Second."],
    starter={starter!r}, solution={solution!r}, wrong=[({wrong!r}, "is")], check=check,
)
"""
CHECKS = {
    "core1_sum": (
        """
def check(total):
    if total != 4:
        raise Incorrect(f"`total` is {total!r}; 2 + 2 is 4.")
""",
        "total = ...\nex1.check()",
        "total = 4\nex1.check()",
    ),
    "core2_double": (
        """
def check(double):
    for number in (1, 2.5, None):
        if number is not None and double(number) != 2 * number:
            raise Incorrect(f"double({number}) is {double(number)!r}.")
""",
        "def double(number):\n    return ...\nex2.check()",
        "def double(number):\n    return number + number\nex2.check()",
    ),
    "core3_later": (
        """
async def check(later):
    if await later() != 1:
        raise Incorrect("later() must return 1.")
""",
        "async def later():\n    return ...\nawait ex3.check()",
        "async def later():\n    return 1\nawait ex3.check()",
    ),
}


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A course with the lesson 98 alone, and a state directory of its own."""
    folder = tmp_path / "98_sum" / "exercises_98"
    folder.mkdir(parents=True)
    (tmp_path / "98_sum.ipynb").write_text("{}", encoding="utf-8")
    (folder / "__init__.py").touch()
    for name, (function, starter, solution) in CHECKS.items():
        text = EXERCISE.format(check=function, starter=starter, solution=solution, wrong="")
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(outline, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("LAB_NAMESPACE", raising=False)
    monkeypatch.setattr(check._current, "source", "")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("exercises_98")]:
        del sys.modules[name]


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed since the last call, on one line."""
    return " ".join(capsys.readouterr().out.split())


# What a check says


def test_three_outcomes(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Correct with praise, wrong with its reason, and nothing there yet."""
    ex1, _, _ = check.exercises("98")
    ex1.check({"total": 4})
    assert _said(capsys) == "Correct. Remember it."
    ex1.check({"total": 5})
    assert _said(capsys) == "Not yet: `total` is 5; 2 + 2 is 4. ex1.hint() gives a hint."
    ex1.check({"total": ...})
    assert _said(capsys) == (
        "Not attempted: Write your answer in place of the `...` of `total`. "
        "ex1.hint() gives a hint."
    )
    ex1.check({})
    assert _said(capsys).startswith("Not attempted: Nothing is called `total`;")


def test_function_of_the_learner(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a learner's function raises is told in words, with the call; `...` is no answer."""
    _, ex2, _ = check.exercises("98")

    def double(number: float) -> object:
        return ...

    ex2.check({"double": double})
    assert _said(capsys).startswith("Not attempted: Write your answer in place of the `...` in")

    def broken(number: float) -> float:
        return {1: 2}[number]  # type: ignore[index]

    ex2.check({"double": broken})
    assert _said(capsys) == "Not yet: double(2.5) raised KeyError: 2.5. ex2.hint() gives a hint."


def test_async_function_of_the_learner(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exercise with asyncio has the same outcomes."""
    _, _, ex3 = check.exercises("98")

    async def later() -> int:
        raise TimeoutError("too late\nwith details")

    asyncio.run(ex3.check({"later": later}))
    assert _said(capsys).startswith("Not yet: later() raised TimeoutError: too late. ex3.hint()")

    async def unwritten() -> object:
        return ...

    asyncio.run(ex3.check({"later": unwritten}))
    assert _said(capsys).startswith("Not attempted:")


def test_hints_one_after_another(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each call gives the next hint, then the last again; the solution is code to copy."""
    ex1, _, _ = check.exercises("98")
    for _ in range(3):
        ex1.hint()
    assert _said(capsys) == "Hint 1 of 2: First. Hint 2 of 2: Second. Hint 2 of 2: Second."
    ex1.solution()
    assert capsys.readouterr().out == "total = 4\nex1.check()\n"
    assert repr(ex1) == "Exercise 1, Sum: Do it."


def test_unknown_numbers(lesson: Path) -> None:
    """A wrong number is said, and so is a notebook without exercises."""
    with pytest.raises(ValueError, match="No notebook has the number '1'"):
        check.exercises("1")
    (lesson / "97_none.ipynb").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"97_none\.ipynb has no exercises"):
        check.exercises("97")


def test_a_section_has_exercises_of_its_own(lesson: Path) -> None:
    """Numbered from 1 again; the id has the section's letter."""
    (lesson / "98_sum" / "98b_more.ipynb").write_text("{}", encoding="utf-8")
    folder = lesson / "98_sum" / "exercises_98"
    (folder / "b1_sum.py").write_bytes((folder / "core1_sum.py").read_bytes())
    (ex1,) = check.exercises("98b")
    assert (ex1.id, ex1.place) == ("98b-1", 1)
    assert [task.id for task in check.exercises("98")] == ["98-1", "98-2", "98-3"]


# When something else is broken


def _exercise(checker: Any, prepare: Any = None) -> Exercise:
    return Exercise(
        title="Rows",
        minutes=4,
        prompt="Count.",
        starter="",
        solution="",
        hints=["Count."],
        wrong=[],
        check=checker,
        prepare=prepare,
    )


@pytest.fixture(scope="module")
def own() -> Any:
    """Make a database on a PostgreSQL server that these tests may pause and kill."""
    return lab.postgres("98", private=True)


def _check_one(pg: Any) -> None:
    with look(pg) as connection:
        connection.execute("SELECT 1")


def _check_count(count: Any, pg: Any) -> None:
    count()


def test_paused_server(own: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that does not answer is said so, and what to do; then the answer is checked."""
    task = check.Task("98", 1, _exercise(_check_one, prepare=_check_one), [own])
    own.server.pause()
    try:
        task.check({})
    finally:
        own.server.resume()
    assert task.result and task.result.outcome == "not checked"
    said = _said(capsys)
    assert said.startswith("Could not check: PostgreSQL does not answer.")
    assert "python -m helpers doctor" in said and "hint" not in said
    task.start()
    task.check({})
    assert task.result.outcome == "correct"


def test_killed_server(own: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A function of the learner that meets a dead server is not called wrong."""
    with own.connect() as connection:

        def count() -> None:
            connection.execute("SELECT 1")

        own.server.kill()
        check.Task("98", 1, _exercise(_check_count), [own]).check({"count": count})
        assert _said(capsys).startswith("Could not check: PostgreSQL does not answer.")
    check.Task("98", 1, _exercise(_check_one), [own]).check({})  # connects, which starts it again
    assert _said(capsys).endswith("Correct.")


def test_mistake_in_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    """A check with a mistake of its own calls no answer wrong."""
    task = check.Task("98", 1, _exercise(lambda total: total["key"]))
    task.check({"total": {}})
    assert task.result and task.result.outcome == "not checked"
    assert _said(capsys).startswith("Could not check: KeyError: 'key'.")


@pytest.fixture(scope="module")
def pg() -> Any:
    """Make a lesson's database, in a namespace that no notebook uses."""
    return lab.postgres("98")


def test_lock_of_a_forgotten_transaction(pg: Any) -> None:
    """A check that meets a learner's lock ends soon, and says whose lock it is."""

    def check_table(pg: Any) -> None:
        with look(pg) as connection:
            connection.execute("SELECT * FROM locked")

    with pg.connect() as connection:
        connection.execute("CREATE TABLE locked (id integer)")
    with pg.connect() as connection:
        connection.execute("ALTER TABLE locked ADD COLUMN more text")
        task = check.Task("98", 1, _exercise(check_table, prepare=check_table), [pg])
        task.check({})
        assert task.result and task.result.outcome == "incorrect"
        assert "transaction is still open and holds a lock" in task.result.text
        with pytest.raises(LabError, match="transaction is still open"):
            task.start()


def test_forgotten_commit_is_seen_and_ended(pg: Any) -> None:
    """Only transactions that wrote count; sessions that only read are left alone."""
    with pg.connect() as reader, pg.connect() as writer:
        reader.execute("SELECT 1")
        assert not uncommitted(pg)
        writer.execute("CREATE TABLE forgotten (id integer)")
        assert uncommitted(pg)
        end_uncommitted(pg)
        assert not uncommitted(pg)
        assert reader.execute("SELECT 2").fetchone() == (2,)
        with pytest.raises(psycopg.OperationalError):
            writer.execute("SELECT 1")


def test_wrong_sql_of_the_learner(pg: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """SQL that the server refuses is the learner's mistake, while the server answers."""

    def check_query(pg: Any, query: str) -> None:
        with look(pg) as connection, running("Your query"):
            connection.execute(query)

    check.Task("98", 1, _exercise(check_query), [pg]).check({"query": "SELEC 1"})
    assert _said(capsys).startswith(
        'Not yet: Your query raised SyntaxError: syntax error at or near "SELEC". ex1.hint()'
    )


def test_lost_connection(pg: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that the server ended is no mistake; one that the learner closed is."""
    connection = pg.connect()

    def count() -> None:
        connection.execute("SELECT 1")

    with look(pg) as other:
        pid = connection.info.backend_pid
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    check.Task("98", 1, _exercise(_check_count), [pg]).check({"count": count})
    assert _said(capsys).startswith("Could not check: A connection to the server was lost.")
    connection = pg.connect()
    connection.close()
    check.Task("98", 1, _exercise(_check_count), [pg]).check({"count": count})
    assert _said(capsys).startswith(
        "Not yet: count() raised OperationalError: the connection is closed."
    )


# Kept answers


def _kept_file(lesson: Path, number: int = 1) -> Path:
    return lesson / "state" / "answers" / "default" / f"98-{number}.json"


def test_only_attempts_are_kept(lesson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file for an untouched starter; a wrong answer never replaces a correct one."""
    ex1, _, _ = check.exercises("98")

    def run(total: object) -> answers.Answer | None:
        monkeypatch.setattr(check._current, "source", f"total = {total}\nex1.check()")
        ex1.check({"total": total})
        return answers.read("98-1")

    assert run(...) is None
    assert not (lesson / "state").exists()
    tried = [run(total) for total in (5, 4, 6, 4.0)]
    assert [(one.outcome, one.source, one.tries) for one in tried if one] == [
        ("incorrect", "total = 5\nex1.check()", 1),
        ("correct", "total = 4\nex1.check()", 2),
        ("correct", "total = 4\nex1.check()", 3),
        ("correct", "total = 4.0\nex1.check()", 4),
    ]
    assert all(datetime.fromisoformat(one.at).tzinfo for one in tried if one)
    assert [file.name for file in _kept_file(lesson).parent.iterdir()] == ["98-1.json"]
    if os.name == "posix":
        assert stat.S_IMODE(_kept_file(lesson).stat().st_mode) == 0o600


def test_learners_are_apart(lesson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each namespace keeps its own answers."""
    answers.keep("98-1", "correct", "total = 4")
    monkeypatch.setenv("LAB_NAMESPACE", "ada")
    assert answers.read("98-1") is None
    answers.keep("98-1", "incorrect", "total = 5")
    monkeypatch.delenv("LAB_NAMESPACE")
    assert kept("98-1") == ("correct", "total = 4")


def kept(exercise: str) -> tuple[str, str] | None:
    """Return the outcome and the cell that are kept."""
    answer = answers.read(exercise)
    return (answer.outcome, answer.source) if answer else None


@pytest.mark.parametrize(
    ("old", "source", "new", "now"),
    [
        ("lesson_98_ex2", "ex2.start()\nex2.check()", "98-2", "ex2.start()\nex2.check()"),
        ("lesson_98_ex5", "t = 'ex5_t'\nex5.check()", "98b-1", "t = 'ex1_t'\nex1.check()"),
    ],
)
def test_answers_of_the_older_numbers_are_carried_over(
    lesson: Path, old: str, source: str, new: str, now: str
) -> None:
    """Once; an answer under the new number is never replaced by it."""
    file = _kept_file(lesson).with_name(f"{old}.json")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"outcome": "correct", "source": source}), encoding="utf-8")
    assert kept(new) == ("correct", now)
    assert not file.exists()
    file.write_text(json.dumps({"outcome": "incorrect", "source": "later"}), encoding="utf-8")
    assert kept(new) == ("correct", now)


@pytest.mark.parametrize(
    "damage",
    [b"", b'{"outcome": "corr', b"\xff\xfe", b"[]", b'{"outcome": "x", "source": 1}', b"null"],
)
def test_damaged_file_is_set_aside(
    lesson: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clear line, the bytes are still there, and new answers are kept."""
    file = _kept_file(lesson)
    file.parent.mkdir(parents=True)
    for count in (1, 2):
        file.write_bytes(damage)
        check.exercises("98")
        said = capsys.readouterr().out
        assert said.count("\n") == 1
        assert "damaged" in said and f"98-1.json.damaged-{count}" in said
        assert file.with_name(f"{file.name}.damaged-{count}").read_bytes() == damage
        assert not file.exists()
    answers.keep("98-1", "correct", "total = 4")
    assert kept("98-1") == ("correct", "total = 4")


def test_answer_that_cannot_be_kept(
    lesson: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outcome is printed all the same, and one line says that it is not kept."""
    (lesson / "state").write_text("a file, where the folder should be", encoding="utf-8")
    ex1, _, _ = check.exercises("98")
    assert _said(capsys).startswith("The kept answer to exercise 98-1 cannot be read:")
    monkeypatch.setattr(check._current, "source", "total = 4\nex1.check()")
    ex1.check({"total": 4})
    said = _said(capsys)
    assert said.startswith(
        "Correct. Remember it. The result stands, but your answer to exercise 98-1"
    )


def test_two_kernels_write_at_once(lesson: Path) -> None:
    """Processes that keep answers at the same time never leave half a file or lose one."""
    writer = """
        import sys
        from helpers.exercises import answers
        who = sys.argv[1]
        for count in range(200):
            answers.keep("98-1", "correct", who * 5000)
        answers.keep(f"98-{who}", "correct", who)
    """
    command = [sys.executable, "-c", textwrap.dedent(writer)]
    both = [subprocess.Popen([*command, who], cwd=ROOT) for who in "23"]
    seen = set()
    while any(process.poll() is None for process in both):
        if _kept_file(lesson).exists():
            seen.add(json.loads(_kept_file(lesson).read_text(encoding="utf-8"))["source"])
    assert [process.returncode for process in both] == [0, 0]
    assert seen and seen <= {"2" * 5000, "3" * 5000}
    assert [kept(f"98-{who}") for who in "23"] == [("correct", "2"), ("correct", "3")]
    assert len(list(_kept_file(lesson).parent.iterdir())) == 3


class Kernel:
    """A real kernel, as Jupyter runs it."""

    def __init__(self, lesson: Path) -> None:
        """Start it in the course's folder."""
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(ROOT))
        self.set_up = (
            "from pathlib import Path; from helpers import check, outline\n"
            f"outline.NOTEBOOKS = Path({str(lesson)!r})\n"
            'ex1, ex2, ex3 = check.exercises("98")'
        )
        self.connect()

    def connect(self) -> None:
        """Connect a client and wait until the kernel answers."""
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def restart(self) -> None:
        """Restart as the button in JupyterLab does."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self.connect()

    def run(self, cell: str, *, new_cell: str | None = None, error: str = "") -> str:
        """Run a cell; return what it printed; compare the cell that it puts below itself."""
        printed: list[str] = []
        raised: list[str] = []

        def collect(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                printed.append(content["text"])
            if message["msg_type"] == "error":
                raised.append(content["ename"])

        reply = self.client.execute_interactive(cell, timeout=60, output_hook=collect)
        payload = reply["content"].get("payload", [])
        below = [part["text"] for part in payload if part["source"] == "set_next_input"]
        assert below == ([] if new_cell is None else [new_cell])
        assert raised == ([error] if error else [])
        return "".join(printed)


@pytest.fixture
def kernel(lesson: Path) -> Iterator[Kernel]:
    """Start a kernel, and end it."""
    kernel = Kernel(lesson)
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


def test_answers_come_back_after_a_restart(kernel: Kernel) -> None:
    """A learner answers, restarts the kernel, and goes on."""
    right = "total = 2 + 2\nex1.check()"
    wrong = "async def later():\n    return 2\nawait ex3.check()"
    assert kernel.run(kernel.set_up) == ""
    assert kernel.run("total = ...\nex1.check()").startswith("Not attempted:")
    assert kernel.run(right) == "Correct. Remember it.\n"
    assert kernel.run("total = 1 / 0\nex1.check()", error="ZeroDivisionError") == ""
    assert kernel.run(wrong).startswith("Not yet:")
    kernel.restart()
    assert kernel.run(kernel.set_up).replace("\n", " ") == (
        "Kept answers: exercise 1 (correct), exercise 3 (not yet). ex1.restore() runs yours again. "
    )
    assert kernel.run("ex1.restore()", new_cell=right) == (
        "Your answer is in the new cell below. Its result:\nCorrect. Remember it.\n"
    )
    assert kernel.run("print(total)") == "4\n"
    assert kernel.run("ex2.restore()") == "No answer to this exercise is kept.\n"
    assert kernel.run("ex3.restore()", new_cell=wrong) == (
        "Your answer is in the new cell below. Run that cell.\n"
    )
    assert kernel.run(wrong).startswith("Not yet:")
    kernel.run("%reset -f\nfrom helpers.exercises import answers")
    assert kernel.run("print(answers.read('98-1').source)") == right + "\n"


def test_untouched_notebook_prints_the_same_twice(kernel: Kernel) -> None:
    """Nothing is kept of starters, so a second run has the same outputs."""
    cells = [kernel.set_up, "total = ...\nex1.check()", "ex1.hint()", "ex1"]
    first = [kernel.run(cell) for cell in cells]
    kernel.restart()
    assert [kernel.run(cell) for cell in cells] == first


def test_exceptions_say_what_they_are() -> None:
    """Reasons pass through `running` unchanged, and so do problems of the lab."""
    for problem in (Incorrect("a"), NotAttempted("b"), LabError("c")):
        with pytest.raises(type(problem), match=str(problem)), running("Your code"):
            raise problem


@pytest.mark.parametrize("problem", [SystemExit(3), asyncio.CancelledError(), BaseException("own")])
def test_what_the_learners_code_raises_is_the_learners(problem: BaseException) -> None:
    """Also what is no Exception; but the learner's own stop button stays what it is."""

    async def inside() -> None:
        with running("Your code"):
            raise problem

    with pytest.raises(Incorrect, match=f"Your code raised {type(problem).__name__}"):
        asyncio.run(inside())
    with pytest.raises(KeyboardInterrupt), running("Your code"):
        raise KeyboardInterrupt


def test_a_check_that_is_cancelled_ends() -> None:
    """A limit on time cancels the learner's code: that is not an error of the code."""

    async def inside() -> None:
        with running("Your code"):
            await asyncio.sleep(30)

    async def outside() -> None:
        await asyncio.wait_for(inside(), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(outside())
