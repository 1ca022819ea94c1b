"""Add verified column to users table

Revision ID: 001
Create Date: 2025-11-12
"""

import sqlalchemy as sa
from alembic import op

revision = "001"
down_revision = None


def upgrade() -> None:
    # A constant default is stored once, in the catalogue: no row is written, none is read.
    op.add_column(
        "users", sa.Column("verified", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    # Every value that was written since the upgrade is lost.
    op.drop_column("users", "verified")
