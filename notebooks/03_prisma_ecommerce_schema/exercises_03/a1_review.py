"""Exercise 03a-1: one more table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers import outline
from helpers.exercises import Exercise, Incorrect
from helpers.exercises.cells import changed, of_the_lesson
from helpers.exercises.running import running

STARTER = '''
import sqlalchemy as sa

print(Path("review.sql").read_text())


def review(metadata: sa.MetaData) -> sa.Table:
    """Return the Table "Review", the same as Prisma makes it."""
    return ...


ex1.check()
'''
BODY = """\
    from sqlalchemy.dialects.postgresql import TIMESTAMP

    product = sa.ForeignKey("Product.id", ondelete="CASCADE", onupdate="CASCADE")
    now = sa.func.current_timestamp()
    return sa.Table(
        "Review",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("productId", sa.Integer, product, nullable=False),
        sa.Column("stars", sa.Integer, nullable=False, server_default="5"),
        sa.Column("text", sa.Text),
        sa.Column("createdAt", TIMESTAMP(precision=3), nullable=False, server_default=now),
        sa.Index("Review_stars_idx", sa.text("stars DESC")),
        sa.Index("Review_productId_createdAt_key", "productId", "createdAt", unique=True),
    )
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)


def check(review: Callable[..., Any]) -> None:
    """Make Prisma's table and the learner's, one after the other, and compare."""
    from sqlalchemy import MetaData, Table, create_engine

    from helpers import lab

    catalogue, models = (of_the_lesson("03", name) for name in ("catalogue", "shop_models"))
    ddl = (outline.find("03").folder / "review.sql").read_text(encoding="utf-8")
    metadata = MetaData()
    for name in ("Category", "Product"):
        models.Base.metadata.tables[name].to_metadata(metadata)
    if not isinstance(review(metadata), Table):
        raise Incorrect("`review` should return a Table.")
    if "Review" not in metadata.tables:
        raise Incorrect("`metadata` has no table of the name Review. Give it as the second value.")
    with lab.postgres("03x").connect(autocommit=True) as db:
        for table in ("Category", "Product"):
            db.execute(f'CREATE TABLE "{table}" (id int PRIMARY KEY)')
        db.execute(ddl)
        theirs = {fact for fact in catalogue.facts(db) if fact[1] == "Review"}
    other = lab.postgres("03x")
    engine = create_engine(other.url)
    try:
        with running("metadata.create_all"):
            metadata.create_all(engine)
    finally:
        engine.dispose()
    with other.connect(autocommit=True) as db:
        mine = {fact for fact in catalogue.facts(db) if fact[1] == "Review"}
    if lines := catalogue.difference(mine, theirs):
        raise Incorrect(
            f"{len(lines)} facts differ. The first (- is Prisma's, + is yours): {lines[0]}."
        )


EXERCISE = Exercise(
    title="One more table",
    minutes=14,
    prompt="Write Prisma's table Review in SQLAlchemy.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        'Begin with sa.Table("Review", metadata, ...) and '
        'sa.Column("id", sa.Integer, primary_key=True).',
        "A default of the database is server_default; nullable=False is NOT NULL. A foreign "
        "key takes ondelete and onupdate.",
        'sa.Index("Review_stars_idx", sa.text("stars DESC")); the other takes unique=True.',
    ],
    wrong=[
        (
            changed(SOLUTION, ', server_default="5"', ", default=5"),
            "integer NOT NULL DEFAULT",
        ),
        (changed(SOLUTION, "TIMESTAMP(precision=3)", "TIMESTAMP"), "timestamp(3)"),
        (
            changed(SOLUTION, ', ondelete="CASCADE", onupdate="CASCADE"', ""),
            "ON DELETE CASCADE",
        ),
        (changed(SOLUTION, 'sa.text("stars DESC")', '"stars"'), "Review_stars_idx"),
        (changed(SOLUTION, ", unique=True", ""), "CREATE UNIQUE INDEX"),
    ],
    praise="Put the comparison into your tests, and the two cannot drift apart.",
)
