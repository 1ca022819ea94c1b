"""How Alembic runs this folder's migrations, on a database that an application is using."""

import os
import random
import time

import sqlalchemy as sa
from alembic import context
from psycopg.errors import LockNotAvailable

LOCK_TIMEOUT = "100ms"
ATTEMPTS = 50


def migrate() -> None:
    """Bring the database up to date; what is done already is not done again."""
    # The lesson gives the address directly. At work it comes from the environment.
    url = context.config.attributes.get("url") or os.environ["DATABASE_URL"]
    # NullPool: a new connection for every attempt, closed at its end.
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        # A statement that does not get its lock in time gives up, and the queue behind it goes.
        connection.execute(sa.text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        # A transaction for every revision: a lock is not kept until the last of them is done.
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


def migrate_patiently() -> None:
    """Try again, after a pause, as long as somebody else holds the lock."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return migrate()
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable) or attempt == ATTEMPTS:
                raise
            time.sleep(random.uniform(0.05, 0.2))


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", transaction_per_migration=True)
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()
else:
    migrate_patiently()
