"""A learner's own file may hide a package of the same name: where, and what to do."""

from __future__ import annotations

from pathlib import Path

from helpers.base.errors import LabError

#: What notebooks import, from the course and from requirements.txt.
PACKAGES = (
    *("alembic", "asyncpg", "docker", "helpers", "IPython", "matplotlib", "nbformat", "numpy"),
    *("pandas", "psutil", "psycopg", "pymongo", "redis", "sql", "sqlalchemy", "yaml"),
)


def refuse(folder: Path) -> None:
    """See whether a file or folder here hides a package that the notebooks import.

    Raises:
        LabError: one does; it is named.
    """
    for package in PACKAGES:
        for found in (folder / f"{package}.py", folder / package / "__init__.py"):
            # The course's own folder has its own helpers.
            if found.exists() and not (package == "helpers" and found.parent.parent == folder):
                raise LabError(
                    f"{found} hides the package {package}, which the lesson needs. "
                    "Rename it, then restart the kernel."
                )
