"""What lesson 04 sends home: final.py must do what the lesson promises."""

from __future__ import annotations

from labs import passes_its_own_tests, run_in

from helpers import lab
from helpers.base.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "04_redis_caching_layer"


def test_the_published_file_runs() -> None:
    run = run_in(FOLDER, "-c", "import published", REDIS_URL=lab.redis("94").url)
    assert run.returncode == 0, run.stderr


def test_the_final_file_passes_its_own_tests() -> None:
    passes_its_own_tests(FOLDER, REDIS_URL=lab.redis("94").url)
