"""Backfill: give every old user a public_id, a few thousand at a time

Revision ID: 003
"""

import time

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "003"
down_revision = "002"

BATCH = 2_000
BELOW_ALL = -(2**63)  # ids may be 0 and negative, and they have gaps
# The end of the next batch: so many users on, however far apart their ids are.
END = sa.text("""
    SELECT max(id) FROM (
        SELECT id FROM users WHERE id > :after ORDER BY id LIMIT :batch) AS batch
""")
# Rows that somebody holds are left out, and their turn comes in the next round.
FILL = sa.text("""
    UPDATE users SET public_id = gen_random_uuid()
    WHERE id IN (
        SELECT id FROM users WHERE id > :after AND id <= :last AND public_id IS NULL
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
""")
LEFT = sa.text("""
    SELECT count(*) FROM users WHERE id > :after AND id <= :last AND public_id IS NULL
""")


def fill_once(connection: sa.Connection) -> tuple[int, int]:
    """Go through the table once; return how many rows were filled, and how many are left."""
    filled = left = 0
    after = BELOW_ALL
    while (last := connection.scalar(END, {"after": after, "batch": BATCH})) is not None:
        batch = {"after": after, "last": last}
        filled += connection.execute(FILL, batch).rowcount
        left += connection.scalar(LEFT, batch) or 0
        after = last
        time.sleep(0.005)  # the application's turn
    return filled, left


def upgrade() -> None:
    if op.get_context().as_sql:
        raise CommandError("Revision 003 reads the table, so it cannot be written down.")
    config = op.get_context().config
    patience = float(config.get_main_option("patience", "600"))
    # Outside a transaction: each UPDATE is committed by itself and lets its rows go. After a
    # crash, begin again: IS NULL leaves out what is done.
    with op.get_context().autocommit_block():
        moved = time.monotonic()
        while True:
            filled, left = fill_once(op.get_bind())
            if not left:
                return
            if filled:
                moved = time.monotonic()
            elif time.monotonic() - moved > patience:
                raise CommandError(f"Somebody has held {left} users for over {patience:g} s.")
            time.sleep(0.1)


def downgrade() -> None:
    pass
