"""Exercise 03a-1: one more table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from exercises_03.common import function
from helpers import lab
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
    from sqlalchemy import MetaData, create_engine

    catalogue, models = (of_the_lesson("03", name) for name in ("catalogue", "shop_models"))
    ddl = (Path(__file__).parents[1] / "review.sql").read_text(encoding="utf-8")
    metadata = MetaData()
    for name in ("Category", "Product"):
        models.Base.metadata.tables[name].to_metadata(metadata)
    found = function("review", review)(metadata)
    if "Review" not in metadata.tables:
        raise Incorrect("`metadata` has no table of the name Review. Give it as the second value.")
    if found is not metadata.tables["Review"]:
        raise Incorrect(
            f"`review` should return the Table; it returned a value of the type "
            f"{type(found).__name__}."
            if type(found).__name__ != "Table"
            else "`review` returned another Table than Review."
        )
    with lab.postgres("03a", "check").connect(autocommit=True) as db:
        for table in ("Category", "Product"):
            db.execute(f'CREATE TABLE "{table}" (id int PRIMARY KEY)'.encode())
        db.execute(ddl.encode())
        theirs = {fact for fact in catalogue.facts(db) if fact[1] == "Review"}
    place = lab.postgres("03a", "check")  # empty again
    engine = create_engine(place.url)
    try:
        with running("metadata.create_all"):
            metadata.create_all(engine)
    finally:
        engine.dispose()
    with place.connect(autocommit=True) as db:
        mine = {fact for fact in catalogue.facts(db) if fact[1] == "Review"}
    judge_facts(mine, theirs)


def judge_facts(mine: set[Any], theirs: set[Any]) -> None:
    """Compare facts (kind, table, name, definition), and show one that differs from both sides."""
    here, there = ({fact[:3]: fact[3] for fact in facts} for facts in (mine, theirs))
    names = sorted(name for name in here | there if here.get(name) != there.get(name))
    if names:
        kind, _, name = names[0]
        words = f"{len(names)} facts differ. The first" if len(names) > 1 else "One fact differs"
        raise Incorrect(
            f"{words} is the {kind} {name}. Prisma's: {there.get(names[0], 'there is none')}. "
            f"Yours: {here.get(names[0], 'there is none')}."
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
        (changed(SOLUTION, "sa.Text)", "sa.String(9))"), "Yours: character varying(9)."),
        (changed(SOLUTION, "return sa.Table(", "sa.Table("), "of the type NoneType"),
        (
            changed(SOLUTION, "return sa", "table = sa")[: -len("\n\n\nex1.check()\n")]
            + '\n    return metadata.tables["Product"]\n\n\nex1.check()\n',
            "another Table than Review",
        ),
    ],
    equal={
        "ab3b1e2f": "the order of the columns is no fact that the check compares, as the text says",
        "ea9ea103": "the order of the columns",
        "57ad94b4": "the order of the columns",
        "511e4e0a": "the order of the columns",
        "ab8950e8": "SQLAlchemy takes the type of the column that the foreign key names",
    },
    cells=["a-setup", "a-query", "a-compare"],
    praise="Put the comparison into your tests, and the two cannot drift apart.",
)
