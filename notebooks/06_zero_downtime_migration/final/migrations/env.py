"""How Alembic runs this folder's migrations, on a database that an application is using.

What happens when
- somebody holds a lock: the statement gives up after lock_timeout, the queue behind it goes, and
  the revision is tried again until nothing has moved on for `patience` seconds;
- two of these run at once: the second waits until the first has ended, and then does the rest;
- it is killed, or its connection breaks (a CommandError says so): nothing has to be repaired.
  Start it again. While the server still works at the last statement, the new start waits for it;
- the server hangs: it waits, too. To kill it is safe at any moment;
- a revision refuses the data: its error ends the command, and the application goes on.

Connect directly, or through a pooler that keeps a session for a client. In PgBouncer's transaction
mode the settings would reach other clients, and the lock against a second run would not hold.
"""

import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from logging.config import fileConfig

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError

#: Base.metadata of your models. `alembic check` and `revision --autogenerate` compare with it.
METADATA: sa.MetaData | None = None
#: Any number, the same for everybody who migrates this database: "one migration at a time".
ONE_AT_A_TIME = 6_000_406
#: Errors that pass: no lock in time, a deadlock. SQLSTATEs, which every driver hands on.
PASSING = {"55P03", "40P01"}
#: A line that has died is noticed, by libpq's own means.
LINE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
LOST = "The connection to the server was lost. Nothing has to be repaired: start again."
log = logging.getLogger("alembic.migrate")
option = context.config.get_main_option
PATIENCE = float(option("patience", "600"))
LIMITS = (
    f"SET lock_timeout = '{option('lock_timeout', '100ms')}'; "
    f"SET statement_timeout = '{option('statement_timeout', '10s')}'"
)


def address() -> sa.URL:
    """Return the database's address; raise CommandError when there is none, or no such."""
    # The lesson gives the address directly. At work it comes from the environment.
    given = context.config.attributes.get("url") or os.environ.get("DATABASE_URL")
    if not given:
        raise CommandError("Set DATABASE_URL=postgresql+psycopg://user:password@host/database")
    try:
        url = sa.make_url(given)
    except (sa.exc.ArgumentError, ValueError):
        raise CommandError("DATABASE_URL is not an address such as postgresql://...") from None
    if url.drivername in ("postgres", "postgresql"):  # psycopg 2 otherwise
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "postgresql":
        raise CommandError(f"DATABASE_URL names {url.drivername}, not PostgreSQL.")
    return url


def limit(connection: sa.Connection) -> None:
    """Set the limits; also after each revision, because some revisions lift them."""
    connection.exec_driver_sql(LIMITS)


def wait_for_others(connection: sa.Connection) -> None:
    """Take the lock on migrating, which is this session's until its end.

    Asked for again and again, not waited for: a session that waits in a statement has a snapshot,
    and CREATE INDEX CONCURRENTLY in the other migration would wait for that.
    """
    started = time.monotonic()
    while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(ONE_AT_A_TIME))):
        connection.commit()
        if time.monotonic() - started > PATIENCE:
            raise CommandError(f"Another migration has been running for over {PATIENCE:g} s.")
        log.info("another migration is running; waiting for it")
        time.sleep(random.uniform(0.5, 1))


def migrate(done: list[str]) -> None:
    """Bring the database up to date; what is done already is not done again.

    Args:
        done: gets an entry for each revision that has been run.
    """
    try:
        run(done)
    except sa.exc.PendingRollbackError as error:  # Alembic's, about the connection that is gone
        raise CommandError(LOST) from error
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise CommandError(LOST) from error
        raise


def run(done: list[str]) -> None:
    """Run the revisions that the database does not have, on a connection of its own."""

    def after_revision(step: object, **_: object) -> None:
        done.append(str(step))
        limit(connection)

    # NullPool: a new connection for every attempt, closed at its end.
    engine = sa.create_engine(address(), poolclass=sa.NullPool, connect_args=LINE)
    with engine.connect() as connection:
        limit(connection)
        wait_for_others(connection)
        # Alembic commits only transactions that it has begun. This one has to end here, or every
        # revision would run inside it and be rolled back at the end, without a word.
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            # A transaction for every revision: no lock is kept until the last of them is done.
            transaction_per_migration=True,
            on_version_apply=after_revision,
        )
        with context.begin_transaction():
            context.run_migrations()


def patiently(action: Callable[[], object], done: Sequence[str] = ()) -> None:
    """Do something; while somebody holds a lock in its way, again, for PATIENCE seconds.

    Args:
        action: what to do. Undone or skipped by itself when it is done again.
        done: while this grows the time begins anew.
    """
    seen, since = -1, 0.0
    while True:
        try:
            action()
            return
        except sa.exc.DBAPIError as error:
            if sqlstate(error) not in PASSING:
                raise
            if len(done) != seen:
                seen, since = len(done), time.monotonic()
            if time.monotonic() - since > PATIENCE:
                raise CommandError(f"Somebody has held a lock for over {PATIENCE:g} s.") from error
            log.info("%s; trying again", str(error.orig).partition("\n")[0])
            time.sleep(random.uniform(0.05, 0.2))


def sqlstate(error: sa.exc.DBAPIError) -> str | None:
    """Return the error's code; psycopg 2 has another name for it."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


context.config.attributes["patiently"] = patiently  # revisions use it for single statements
if context.config.config_file_name:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", target_metadata=METADATA, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.execute(LIMITS)
        context.run_migrations()
else:
    done: list[str] = []
    patiently(lambda: migrate(done), done)
