"""Exercise 03b-1: the oldest pending orders."""

from __future__ import annotations

from exercises_03.common import tables_of_the_exercise
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import starter, statements
from helpers.exercises.looking import end_uncommitted, look

STARTER = starter(1, 'queue (id, status, "createdAt"): a copy of the 50,100 orders')
QUERY = """SELECT id FROM queue WHERE status = 'pending' ORDER BY "createdAt" LIMIT 20"""
PARTIAL = "CREATE INDEX ON queue (\"createdAt\") WHERE status = 'pending'"


def prepare(pg: Place) -> None:
    """Copy the orders anew."""
    end_uncommitted(pg)
    with look(pg) as db:
        db.execute("DROP TABLE IF EXISTS queue")
        db.execute('CREATE TABLE queue AS SELECT id, status, "createdAt" FROM "Order"')
        db.execute("VACUUM ANALYZE queue")


def check(pg: Place) -> None:
    """Look at the rows, the plan and the sizes."""
    from helpers import show

    with tables_of_the_exercise(pg, 1) as db:
        mine, theirs = "TABLE queue", 'SELECT id, status, "createdAt" FROM "Order"'
        for one, other in ((mine, theirs), (theirs, mine)):
            if db.execute(f"SELECT 1 FROM ({one} EXCEPT ALL {other}) AS d LIMIT 1").fetchone():
                raise Incorrect("The rows of `queue` are not the orders any more.")
        size = "SELECT count(*), sum(pg_relation_size(indexrelid)) FROM pg_index "
        count, taken = db.execute(size + "WHERE indrelid = 'queue'::regclass").fetchone() or (0, 0)
        if not count:
            raise NotAttempted("`queue` has no index yet.")
        db.execute("ANALYZE queue")
        plan = show.plan(db, QUERY)
        if any("Sort" in node for node in plan.node_types):
            raise Incorrect(f"PostgreSQL still sorts: {plan.shape}.")
        if plan.buffers is None or plan.buffers > 25:
            raise Incorrect(f"PostgreSQL reads {plan.buffers} blocks: {plan.shape}.")
        with db.transaction(force_rollback=True):  # a copy that only this session sees
            db.execute('CREATE TEMP TABLE whole_queue AS SELECT "createdAt" FROM queue')
            db.execute('CREATE INDEX ON whole_queue ("createdAt")')
            whole = "SELECT pg_relation_size(indexrelid) FROM pg_index "
            whole += "WHERE indrelid = 'pg_temp.whole_queue'::regclass"
            [all_orders] = db.execute(whole).fetchone() or [0]
        if taken > all_orders / 10:
            raise Incorrect(
                f"It works, but {'your index takes' if count == 1 else 'your indexes take'} "
                f"{taken / all_orders:.0%} of the space of one on all orders. "
                "99 of 100 entries are for orders that are not pending."
            )


EXERCISE = Exercise(
    title="The oldest pending orders",
    minutes=4,
    prompt="Make a small index for one frequent query.",
    starter=STARTER,
    solution=statements(STARTER, PARTIAL),
    check=check,
    prepare=prepare,
    hints=[
        "An index in the order of createdAt gives the oldest without sorting.",
        "CREATE INDEX ... WHERE makes a partial index: only rows with that condition are in.",
        "CREATE INDEX ON queue (\"createdAt\") WHERE status = 'pending'",
    ],
    wrong=[
        (statements(STARTER, "CREATE INDEX ON queue (status)"), "still sorts"),
        (statements(STARTER, 'CREATE INDEX ON queue (status, "createdAt")'), "of the space"),
        (
            statements(STARTER, "DELETE FROM queue WHERE status <> 'pending'", PARTIAL),
            "not the orders any more",
        ),
        (
            statements(STARTER, PARTIAL).replace("autocommit=True", ""),
            "is still open",
        ),
        (
            statements(STARTER, PARTIAL, "ALTER TABLE queue RENAME TO waiting"),
            "brings them back",
        ),
    ],
    right=[
        statements(STARTER, PARTIAL.replace('"createdAt")', '"createdAt") INCLUDE (id)')),
        statements(STARTER, PARTIAL.replace("INDEX ON", "INDEX whole_queue ON")),
    ],
    cells=["b-setup", "b-fill"],
    praise="In Prisma, a partial index goes into the migration's SQL, as a CHECK does.",
)
