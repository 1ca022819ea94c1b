"""Contract: public_id is never NULL

Revision ID: 005
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "005"
down_revision = "004"

NOT_NULL = """
    SELECT attnotnull FROM pg_attribute
    WHERE attrelid = 'users'::regclass AND attname = 'public_id'
"""
CHECKED = """
    SELECT count(*) FROM pg_constraint
    WHERE conrelid = 'users'::regclass AND conname = 'users_public_id_present'
"""
EMPTY = "SELECT count(*) FROM users WHERE public_id IS NULL"
ADD = """
    ALTER TABLE users ADD CONSTRAINT users_public_id_present
    CHECK (public_id IS NOT NULL) NOT VALID
"""
DROP = "ALTER TABLE users DROP CONSTRAINT IF EXISTS users_public_id_present"
HELP = (
    "{} users have no public_id. Does the application send NULL for it? Let it leave the column "
    "out. Then fill these rows: `alembic stamp 002`, `alembic upgrade head`."
)


def patiently(sql: str) -> None:
    """Execute a statement that needs a lock for a moment; again, while it does not get it."""
    op.get_context().config.attributes["patiently"](lambda: op.execute(sql))


def upgrade() -> None:
    if op.get_context().as_sql:
        raise CommandError("Revision 005 looks at the rows, so it cannot be written down.")
    # Each statement is a transaction of its own, and tried again by itself: the scans are not
    # repeated. After a crash, begin again: what is done is left out.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        if not connection.scalar(sa.text(NOT_NULL)):
            # They read the whole table while everybody goes on: no limit on that.
            op.execute("SET statement_timeout = 0")
            refuse_empty_rows(connection)
            # NOT VALID holds for new rows at once and looks at no old row. VALIDATE looks at all
            # of them. SET NOT NULL then finds the proof and looks at none.
            if not connection.scalar(sa.text(CHECKED)):
                patiently(ADD)
            try:
                patiently("ALTER TABLE users VALIDATE CONSTRAINT users_public_id_present")
            except sa.exc.IntegrityError:
                refuse_empty_rows(connection)  # one came between
                raise
            patiently("ALTER TABLE users ALTER COLUMN public_id SET NOT NULL")
        patiently(DROP)


def refuse_empty_rows(connection: sa.Connection) -> None:
    """Raise when a row has no public_id, and leave no constraint that its next UPDATE breaks."""
    if empty := connection.scalar(sa.text(EMPTY)):
        if connection.scalar(sa.text(CHECKED)):
            patiently(DROP)
        raise CommandError(HELP.format(empty))


def downgrade() -> None:
    op.execute(DROP)
    op.execute("ALTER TABLE users ALTER COLUMN public_id DROP NOT NULL")
