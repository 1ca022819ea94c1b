"""What exercises of "Going deeper" share: each has a table of its own to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STATEMENTS = '# Your statements go here, each as connection.execute("...")'


def starter(number: int, what: str) -> str:
    """Return the starter of an exercise that changes a table of its own."""
    return f"""
ex{number}.start()  # {what}

connection = pg.connect(autocommit=True)
{STATEMENTS}

ex{number}.check()
connection.close()
"""


def statements(start: str, *lines: str) -> str:
    """Return the starter with these statements in it."""
    return start.replace(STATEMENTS, "\n".join(f'connection.execute("""{s}""")' for s in lines))


def only_database(number: str) -> Callable[[], dict[str, Any]]:
    """Return a set-up that gives an empty database, as the section's set-up cell does."""

    def setup() -> dict[str, Any]:
        from helpers import lab

        return {"pg": lab.postgres(number)}

    return setup
