"""Exercise 03b-1: the oldest pending orders."""

from __future__ import annotations

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

    with look(pg) as db:
        same = (
            'SELECT (SELECT count(*) FROM queue), (SELECT count(*) FROM "Order"), '
            "(SELECT count(*) FROM queue WHERE status = 'pending'), "
            "(SELECT count(*) FROM \"Order\" WHERE status = 'pending')"
        )
        here, there, waiting, true = db.execute(same).fetchone() or [0] * 4
        if (here, waiting) != (there, true):
            raise Incorrect("The rows of `queue` are not the orders any more.")
        sizes = db.execute(
            "SELECT pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = 'queue'::regclass"
        ).fetchall()
        if not sizes:
            raise NotAttempted("`queue` has no index yet.")
        db.execute("ANALYZE queue")
        plan = show.plan(db, QUERY)
        if any("Sort" in node for node in plan.node_types):
            raise Incorrect(f"PostgreSQL still sorts: {plan.shape}.")
        if plan.buffers is None or plan.buffers > 25:
            raise Incorrect(f"PostgreSQL reads {plan.buffers} blocks: {plan.shape}.")
        with db.transaction(force_rollback=True):
            db.execute('CREATE INDEX whole ON queue ("createdAt")')
            [whole] = db.execute("SELECT pg_relation_size('whole')").fetchone() or [0]
        if sum(size for (size,) in sizes) > whole / 10:
            raise Incorrect(
                f"It works, but your index takes {sum(s for (s,) in sizes) / whole:.0%} of the "
                "space of one on all orders. 99 of 100 entries are for orders that are not pending."
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
    ],
    praise="In Prisma, a partial index goes into the migration's SQL, as a CHECK does.",
)
