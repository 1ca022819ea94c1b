"""Prepare %sql and %%sql (ipython-sql) for a lesson.

ipython-sql 0.5 prints database errors instead of raising them, expands `$1`, `$$` and `{...}` in
SQL as Python variables, and prints the connection's address. This module changes these three
things and leaves the rest: the learner uses ipython-sql itself. `:name` still binds a variable.
"""

from __future__ import annotations

import contextlib
from typing import Any

from helpers.base.errors import LabError


class _PlainShell:
    """The notebook's shell, but text stays as written: nothing is expanded in SQL."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shell, name)

    def var_expand(self, cell: str, *_: Any, **__: Any) -> str:
        return cell


def prepare(pg: Any) -> None:
    """Connect %sql to a lesson's database (`lab.Postgres`) and make it as this module says.

    Raises LabError outside a notebook and sqlalchemy.exc.OperationalError without a server.
    """
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        raise LabError("%sql needs a notebook. In a program, use psycopg: pg.connect().")

    import sql.connection
    import sql.magic
    import sql.run
    from IPython.core.magic import no_var_expand

    no_var_expand(sql.magic.SqlMagic.execute)
    if "sql" not in shell.extension_manager.loaded:
        shell.run_line_magic("load_ext", "sql")
    magic = shell.magics_manager.registry["SqlMagic"]
    if not isinstance(magic.shell, _PlainShell):
        magic.shell = _PlainShell(shell)
    magic.displaycon = False
    magic.feedback = False
    sql.run._commit = _commit
    if not hasattr(sql.run.run, "raises"):
        sql.run.run = _raising(sql.run.run)

    for old in sql.connection.Connection.connections.values():
        with contextlib.suppress(Exception):  # the set-up call has ended its session
            old.internal_connection.close()
    sql.connection.Connection.connections.clear()
    connection = sql.connection.Connection(pg.url)
    connection.lesson = pg
    _report(connection)


def _report(connection: Any) -> None:
    """Let a connection print the status of each statement without rows."""
    from sqlalchemy import event

    connection.pid = connection.lesson.server.pid
    event.listen(connection.internal_connection, "after_cursor_execute", _print_status)


def _print_status(_: Any, cursor: Any, *__: Any) -> None:
    """Print PostgreSQL's own status of a statement without rows: INSERT 0 3, CREATE TABLE."""
    if cursor.description is None:
        print(cursor.statusmessage)


def _commit(conn: Any, config: Any) -> None:
    """Commit a statement; ipython-sql's own function hides some errors and prints others."""
    if config.autocommit:
        conn.internal_connection.commit()


def _revive(connection: Any) -> None:
    """Start the lesson's server again if it has died, and connect to it anew."""
    from sqlalchemy import create_engine

    pg = getattr(connection, "lesson", None)
    if pg is None:
        return  # a connection that the learner opened with an address
    pg.server.use()
    if pg.server.pid != connection.pid:
        with contextlib.suppress(Exception):
            connection.internal_connection.close()
        connection.internal_connection = create_engine(pg.url).connect()
        _report(connection)


def _raising(run: Any) -> Any:
    """Wrap ipython-sql's `run` so that the driver's error reaches the learner."""
    from sqlalchemy.exc import DBAPIError

    def raising(connection: Any, statement: str, config: Any, namespace: dict[str, Any]) -> Any:
        _revive(connection)
        try:
            result = run(connection, statement, config, namespace)
        except DBAPIError as error:
            # psycopg's own exception: ipython-sql would catch SQLAlchemy's and print it.
            raise (error.orig or error) from None
        finally:
            # After an error or Ctrl-C: no transaction stays open. After a commit, nothing.
            connection.internal_connection.rollback()
        return result if getattr(result, "pretty", None) else None

    raising.raises = True  # type: ignore[attr-defined]
    return raising
