"""The verbs of `python -m helpers`, inside the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from helpers import databases, doctor, engines, paths, work
from helpers.engines import embedded
from helpers.errors import LabError
from helpers.supervisor import end_leftovers, living


def env(_: list[str]) -> int:
    print(f"The environment is ready: {sys.prefix}")
    return 0


def lab_(arguments: list[str]) -> int:
    """Start the servers and JupyterLab; when it ends, stop what was started."""
    engines.chosen()
    for line in work.fill():
        print(line)
    for problem in embedded.start_all():
        print(problem, file=sys.stderr)
    from jupyterlab.labapp import LabApp

    options = [
        f"--ServerApp.root_dir={paths.WORK}",
        "--LabApp.default_url=/lab/tree/00_start_here.ipynb",
        # Nothing is fetched from the network, and nothing asks whether it may.
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    if paths.is_root():
        options.append("--allow-root")
    # JupyterLab runs in this process, so the servers' lease ends with it, however it ends.
    try:
        LabApp.launch_instance([*options, *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        embedded.leave_now()
    return 0


def up(_: list[str]) -> int:
    """Start the servers and keep them until `down`."""
    engines.chosen()
    embedded.call("keep")
    problems = embedded.start_all()
    for server in doctor.status()["servers"]:
        print(f"{server['name']:<12} {server['version']:<8} {server['host']}:{server['port']}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def down(_: list[str]) -> int:
    """Stop the servers; by force when the supervisor does not answer."""
    state = paths.state_dir()
    record = living(state)
    if record is None:
        end_leftovers(state)
        print("Nothing was running.")
        return 0
    try:
        answer: dict[str, Any] | None = None
        if link := embedded.attach():
            answer = link.call("down", seconds=60)
        embedded.wait_until_gone(60)
    except (LabError, OSError):
        import psutil

        psutil.Process(record["pid"]).kill()
        end_leftovers(state)
        print("The supervisor did not answer. It was ended, and its servers with it.")
        return 0
    print("The servers are stopped.")
    if answer and answer["leases"]:
        print("A notebook was still using them: its next use starts them again.")
    return 0


def status(arguments: list[str]) -> int:
    """Print what runs, for people or as JSON."""
    answer = doctor.status()
    if "--json" in arguments:
        print(json.dumps(answer, indent=2))
        return 0
    print(f"Engine: {answer['engine']}")
    for server in answer["servers"]:
        state = "ready" if server["ready"] else "not ready" if server["pid"] else "not running"
        where = f"{server['host']}:{server['port']}" if server["port"] else ""
        print(f"{server['name']:<12} {server['version'] or '':<8} {state:<12} {where}")
    return 0


def doctor_(_: list[str]) -> int:
    """Check everything and say what to do."""
    rows = doctor.examine()
    for row in rows:
        print(f"{'ok ' if row['ok'] else 'NO '} {row['what']:<28} {row['found']}")
        if row["next"]:
            print(f"    -> {row['next']}")
    return 0 if all(row["ok"] for row in rows) else 1


def reset(arguments: list[str]) -> int:
    """Empty one lesson's databases."""
    lesson = arguments[0] if arguments else ""
    for kind in (databases.Postgres, databases.Redis, databases.MongoDB):
        kind(lesson).drop()
    print(f"Lesson {lesson} is empty again on every server. Your notebook was not touched.")
    return 0


def test(arguments: list[str]) -> int:
    """Run the regression run: nbval over every notebook, and the tests folder."""
    return pytest(*(arguments or ["notebooks", "tests"]))


def pytest(*arguments: str) -> int:
    """Run pytest in the course's folder."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=paths.ROOT, env=os.environ, check=False).returncode


def outputs(arguments: list[str]) -> int:
    """Run every notebook again and store its outputs where they changed."""
    from helpers import regression

    return regression.outputs(arguments)


def bench(_: list[str]) -> int:
    """Print ratios of the lab's times to those of the bare programs."""
    command = [sys.executable, str(paths.ROOT / "tests" / "bench.py")]
    return subprocess.run(command, cwd=paths.ROOT, check=False).returncode


def soak(arguments: list[str]) -> int:
    """Run the notebooks N times in a row and count the failures."""
    from helpers import regression

    return regression.soak(int(arguments[0]) if arguments else 20)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "env": env,
    "lab": lab_,
    "up": up,
    "down": down,
    "status": status,
    "doctor": doctor_,
    "reset": reset,
    "test": test,
    "outputs": outputs,
    "bench": bench,
    "soak": soak,
}


def run(verb: str, arguments: list[str]) -> int:
    """Run a verb and return the exit code. Raises LabError for an unknown one."""
    try:
        action = VERBS[verb]
    except KeyError:
        raise LabError(
            f"There is no verb {verb!r}. `python3 -m helpers help` lists them."
        ) from None
    return action(arguments)
