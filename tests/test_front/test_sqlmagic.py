"""%sql as lessons use it, in a real kernel on the run's own servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import Failed, Kernel, Lab, place_of, until

from helpers import lab
from helpers.base.paths import state_dir

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def notebook() -> Iterator[Kernel]:
    """A kernel after the set-up cell of a lesson that uses %sql."""
    place = Lab(Path(os.environ["LAB_STATE"]).parent, state=state_dir())
    place.env = dict(os.environ)
    kernel = Kernel(place)
    try:
        kernel.run("%xmode Minimal")
        kernel.run("from helpers import lab; pg = lab.postgres('86'); lab.sql(pg)")
        yield kernel
    finally:
        kernel.close()


def test_sql_answers_with_a_table(notebook: Kernel) -> None:
    assert notebook.run("%sql SELECT 1 AS one, 'x' AS two") == "[(1, 'x')]\n"
    table = notebook.run("print(_)").splitlines()
    assert [line.split() for line in table] == [
        ["+-----+-----+"],
        ["|", "one", "|", "two", "|"],
        ["+-----+-----+"],
        ["|", "1", "|", "x", "|"],
        ["+-----+-----+"],
    ]


def test_sql_prints_the_status_and_no_address(notebook: Kernel) -> None:
    """No URL, no password, no count of rows, no 'Done.'."""
    shown = notebook.run("%%sql\nDROP TABLE IF EXISTS s;\nCREATE TABLE s (v text);")
    assert shown == "DROP TABLE\nCREATE TABLE\n"
    assert notebook.run("%sql INSERT INTO s VALUES ('a'), ('b')") == "INSERT 0 2\n"
    assert notebook.run("%sql UPDATE s SET v = v") == "UPDATE 2\n"


ERRORS = {
    "SELECT * FROM nowhere": "UndefinedTable",
    "SELEC 1": "SyntaxError",
    "SELECT 1/0": "DivisionByZero",
    "INSERT INTO pg_database (datname) VALUES (NULL)": "NotNullViolation",
    "DO $$ BEGIN RAISE EXCEPTION 'own words'; END $$": "RaiseException",
}


@pytest.mark.parametrize("statement", ERRORS)
def test_sql_errors_are_psycopgs_own(notebook: Kernel, statement: str) -> None:
    """They raise, short and without an address, and no transaction stays open."""
    with pytest.raises(Failed) as caught:
        notebook.run(f"%sql {statement}")
    text = str(caught.value)
    assert text.endswith(ERRORS[statement])
    assert len(text.splitlines()) <= 6
    password = notebook.run("print(pg.server.password)").strip()
    for word in (password, "127.0.0.1", "sqlalche.me", "Traceback"):
        assert word not in text
    sessions = notebook.run(
        'with pg.connect() as c: print(c.execute("SELECT state FROM pg_stat_activity '
        'WHERE datname = current_database() AND pid <> pg_backend_pid()").fetchall())'
    )
    assert sessions == "[('idle',)]\n"
    assert "2" in notebook.run("%sql SELECT 1 + 1 AS two")


def test_sql_keeps_dollars_and_braces(notebook: Kernel) -> None:
    """$1, $$ and {} reach PostgreSQL as they are written, whatever Python names exist."""
    notebook.run("x = 'expanded'")
    notebook.run(
        "%%sql\n"
        "CREATE OR REPLACE FUNCTION plus(int) RETURNS int LANGUAGE sql AS $$ SELECT $1 + 1 $$;"
    )
    assert "42" in notebook.run("%sql SELECT plus(41)")
    assert "{x} $x ${x}" in notebook.run("%%sql\nSELECT '{x} $x ${x}' AS v")
    assert "{x} $x" in notebook.run("%sql SELECT '{x} $x' AS v")
    assert "{1,2}" in notebook.run("%sql SELECT '{1,2}'::int[]::text AS v")


def test_sql_binds_a_name(notebook: Kernel) -> None:
    """:name is the Python variable, bound and not pasted; ::type is left alone."""
    notebook.run('''name = "O'Hara; DROP TABLE s"''')
    assert "O'Hara; DROP TABLE s" in notebook.run("%sql SELECT CAST(:name AS text) || 1::text AS v")


def test_sql_result_is_a_value(notebook: Kernel) -> None:
    """A result can be kept and turned into a data frame."""
    notebook.run("result = %sql SELECT generate_series(1, 3) AS n")
    assert notebook.run("print(result.DataFrame().n.sum())") == "6\n"


def test_sql_deferred_errors_raise(notebook: Kernel) -> None:
    """An error that PostgreSQL raises only at the commit reaches the learner too."""
    notebook.run(
        "%%sql\nDROP TABLE IF EXISTS child, parent;\n"
        "CREATE TABLE parent (id int PRIMARY KEY);\n"
        "CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);"
    )
    with pytest.raises(Failed, match=r"ForeignKeyViolation$") as caught:
        notebook.run("%sql INSERT INTO child VALUES (1)")
    assert "Traceback" not in str(caught.value)


def test_sql_after_the_set_up_cell_ran_again(notebook: Kernel) -> None:
    """It works, on the new and empty database, prints nothing, and leaves one session."""
    notebook.run("%sql CREATE TABLE IF NOT EXISTS s2 (x int)")
    for _ in range(2):
        set_up = "from helpers import lab; pg = lab.postgres('86'); lab.sql(pg)"
        assert notebook.run(set_up) == ""
    with pytest.raises(Failed, match=r"UndefinedTable$"):
        notebook.run("%sql SELECT * FROM s2")
    with pytest.raises(Failed, match=r"UndefinedTable$"):
        notebook.run("%%sql\nSELECT '$1', * FROM s2")
    count = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
    assert notebook.run(f"%sql {count}") == "[(1,)]\n"


def test_sql_interrupted_leaves_no_transaction(notebook: Kernel) -> None:
    """Ctrl-C in a long statement cancels it; the next statement works."""
    message = notebook.begin("%sql SELECT count(*) FROM generate_series(1, 1e12)")
    place = place_of("postgresql", "86")
    active = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE '%1e12%' AND pid <> pg_backend_pid()"
    )
    with place.connect(autocommit=True) as connection:
        until(lambda: connection.execute(active).fetchone() == (1,), 20, "the statement")
        notebook.manager.interrupt_kernel()
        with pytest.raises(Failed, match="KeyboardInterrupt"):
            notebook.end(message)
        until(lambda: connection.execute(active).fetchone() == (0,), 20, "its end")
        assert "2" in notebook.run("%sql SELECT 1 + 1 AS two")


def test_sql_outside_a_notebook() -> None:
    with pytest.raises(lab.LabError, match="%sql needs a notebook"):
        lab.sql(lab.postgres("80"))


def test_sql_starts_a_dead_server_again(notebook: Kernel) -> None:
    """On a killed server of the lesson's own: one line, then the answer."""
    notebook.run("own = lab.postgres('87', private=True); lab.sql(own)")
    notebook.run("%sql CREATE TABLE t AS SELECT 7 AS x")
    notebook.run("own.server.kill()")
    shown = notebook.run("%sql SELECT x FROM t")
    assert shown.startswith(
        "PostgreSQL had stopped (SIGKILL). It was started again with its data.\n"
    )
    assert shown.endswith("[(7,)]\n")
    assert notebook.run("%sql INSERT INTO t VALUES (8)") == "INSERT 0 1\n"
    notebook.run("del own; lab.sql(pg)")
