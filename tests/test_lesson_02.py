"""What lesson 02 sends home: final.py must do what the lesson promises."""

from __future__ import annotations

import os
import subprocess
import sys

from helpers import lab
from helpers.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "02_sqlalchemy_async_crud"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the lesson's folder, as a learner at work would, on a database of the lab."""
    environment = os.environ | {"DATABASE_URL": lab.postgres("92").url}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )


def test_the_published_file_can_be_imported() -> None:
    run = python("-c", "import published")
    assert run.returncode == 0, run.stderr


def test_the_final_file_passes_its_own_tests() -> None:
    # Without the course's settings: at work there are none.
    options = ["-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:nbval"]
    run = python("-m", "pytest", *options, "final_tests.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
