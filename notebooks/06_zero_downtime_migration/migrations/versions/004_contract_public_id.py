"""Contract: public_id is unique and never NULL

Revision ID: 004
"""

from alembic import op

revision = "004"
down_revision = "003"


def upgrade() -> None:
    # Each statement is a transaction of its own. A second attempt begins by removing what a
    # first one may have left.
    with op.get_context().autocommit_block():
        # CONCURRENTLY lets writers go on, and has to wait for old transactions: no time limit.
        op.execute("SET lock_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS users_public_id_key")
        op.execute("CREATE UNIQUE INDEX CONCURRENTLY users_public_id_key ON users (public_id)")
        op.execute("SET lock_timeout = '100ms'")

        # NOT VALID holds for new rows at once and looks at no old row. VALIDATE looks at all of
        # them, while everybody goes on. SET NOT NULL then finds the proof and looks at none.
        op.execute("ALTER TABLE users DROP CONSTRAINT IF EXISTS users_public_id_present")
        op.execute(
            "ALTER TABLE users ADD CONSTRAINT users_public_id_present "
            "CHECK (public_id IS NOT NULL) NOT VALID"
        )
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_public_id_present")
        op.execute("ALTER TABLE users ALTER COLUMN public_id SET NOT NULL")
        op.execute("ALTER TABLE users DROP CONSTRAINT users_public_id_present")


def downgrade() -> None:
    op.execute("ALTER TABLE users ALTER COLUMN public_id DROP NOT NULL")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS users_public_id_key")
