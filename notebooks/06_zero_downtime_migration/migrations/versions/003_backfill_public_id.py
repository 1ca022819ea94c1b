"""Backfill: give every old user a public_id, a few thousand at a time

Revision ID: 003
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "003"
down_revision = "002"

BATCH = 2_000
FILL = sa.text("""
    UPDATE users SET public_id = gen_random_uuid()
    WHERE id BETWEEN :first AND :last AND public_id IS NULL
""")


def upgrade() -> None:
    # Outside a transaction: each UPDATE is committed by itself and lets its rows go. After a
    # crash, begin again: IS NULL leaves out what is done.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        largest = connection.scalar(sa.text("SELECT max(id) FROM users")) or 0
        for first in range(1, largest + 1, BATCH):
            connection.execute(FILL, {"first": first, "last": first + BATCH - 1})
            time.sleep(0.005)  # the application's turn


def downgrade() -> None:
    pass
