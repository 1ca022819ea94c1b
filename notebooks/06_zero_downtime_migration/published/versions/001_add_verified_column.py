# migrations/versions/001_add_verified_column.py
"""Add verified column to users table

Revision ID: 001
Create Date: 2025-11-12
"""
from alembic import op
import sqlalchemy as sa

def upgrade():
    # Step 1: Add nullable column
    print("Step 1: Adding nullable verified column...")
    op.add_column('users',
        sa.Column('verified', sa.Boolean(), nullable=True)
    )
    
    # Step 2: Backfill existing rows in batches
    print("Step 2: Backfilling existing rows...")
    connection = op.get_bind()
    
    # Get total count
    result = connection.execute(
        sa.text("SELECT COUNT(*) FROM users WHERE verified IS NULL")
    )
    total = result.scalar()
    print(f"Total rows to backfill: {total}")
    
    # Backfill in batches of 1000
    batch_size = 1000
    for offset in range(0, total, batch_size):
        connection.execute(
            sa.text(
                "UPDATE users SET verified = false "
                "WHERE verified IS NULL "
                f"LIMIT {batch_size}"
            )
        )
        print(f"Backfilled {min(offset + batch_size, total)}/{total} rows")
    
    # Step 3: Make column NOT NULL
    print("Step 3: Making column NOT NULL...")
    op.alter_column('users', 'verified',
        existing_type=sa.Boolean(),
        nullable=False,
        server_default=sa.false()
    )
    
    print("Migration completed successfully!")

def downgrade():
    op.drop_column('users', 'verified')
