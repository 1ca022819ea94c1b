"""Expand: add public_id, empty for old users, made for new ones

Revision ID: 002
"""

import sqlalchemy as sa
from alembic import op

revision = "002"
down_revision = "001"


def upgrade() -> None:
    # Two statements. As one, gen_random_uuid() would be called for every row: the table is
    # written anew, and everybody waits.
    op.add_column("users", sa.Column("public_id", sa.Uuid(), nullable=True))
    op.alter_column("users", "public_id", server_default=sa.text("gen_random_uuid()"))


def downgrade() -> None:
    op.drop_column("users", "public_id")
