"""What lesson 04 sends home: final.py must do what the lesson promises."""

from __future__ import annotations

import os
import subprocess
import sys

from helpers import lab
from helpers.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "04_redis_caching_layer"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the lesson's folder, as a learner at work would, on a Redis of the lab."""
    environment = os.environ | {"REDIS_URL": lab.redis("94").url}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )


def test_the_published_file_runs() -> None:
    assert python("-c", "import published").returncode == 0


def test_the_final_file_passes_its_own_tests() -> None:
    # Without the course's settings: at work there are none.
    options = ["-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:nbval"]
    run = python("-m", "pytest", *options, "final_tests.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
