"""What lesson 02 sends home: final.py must do what the lesson promises."""

from __future__ import annotations

from labs import passes_its_own_tests, run_in

from helpers import lab
from helpers.base.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "02_sqlalchemy_async_crud"


def test_the_published_file_can_be_imported() -> None:
    run = run_in(FOLDER, "-c", "import published", DATABASE_URL=lab.postgres("92").url)
    assert run.returncode == 0, run.stderr


def test_the_final_file_passes_its_own_tests() -> None:
    passes_its_own_tests(FOLDER, DATABASE_URL=lab.postgres("92").url)
