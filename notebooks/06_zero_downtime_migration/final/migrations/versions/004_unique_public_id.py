"""Contract: public_id is unique

Revision ID: 004
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "004"
down_revision = "003"

VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('users_public_id_key')"
DROP = "DROP INDEX CONCURRENTLY IF EXISTS users_public_id_key"


def upgrade() -> None:
    if op.get_context().as_sql:
        raise CommandError("Revision 004 looks at what is there, so it cannot be written down.")
    # Nothing else is in this revision: a second attempt keeps an index that is ready.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        if connection.scalar(sa.text(VALID)):
            return
        # CONCURRENTLY lets writers go on, and has to wait for old transactions: no time limit.
        op.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        op.execute(DROP)  # what a killed attempt has left is not valid
        try:
            op.execute("CREATE UNIQUE INDEX CONCURRENTLY users_public_id_key ON users (public_id)")
        except sa.exc.DBAPIError as error:
            # Half an index can refuse the application's writes already.
            if not error.connection_invalidated:
                op.execute(DROP)
            raise


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        op.execute(DROP)
