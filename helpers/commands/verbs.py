"""The verbs of `python -m helpers`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from helpers import outline
from helpers.base import paths
from helpers.base.errors import LabError
from helpers.base.processes import end, supervisors
from helpers.base.record import LOCK, try_lock
from helpers.commands import work
from helpers.engines import choose, doctor, link, start
from helpers.environment import python as environment
from helpers.kinds import KINDS
from helpers.kinds.place import full_name, of_lesson
from helpers.supervisor.leftovers import end_leftovers


def env(_: list[str]) -> int:
    print(f"The environment is ready: {sys.prefix}")
    return 0


def prepare() -> None:
    """Check the engine; on Docker, pull what is missing while the progress can be seen."""
    if choose.engine() == "docker":
        from helpers.supervisor import docker

        docker.pull_missing()


def lab_(arguments: list[str]) -> int:
    """Start the servers and JupyterLab; when it ends, stop what was started."""
    prepare()
    for line in work.fill():
        print(line)
    for problem in start.every_server():
        print(problem, file=sys.stderr)
    from jupyterlab.labapp import LabApp

    options = [
        f"--ServerApp.root_dir={paths.WORK}",
        "--LabApp.default_url=/lab/tree/00_start_here.ipynb",
        # Nothing is fetched from the network, and nothing asks whether it may.
        f"--LabApp.app_settings_dir={paths.ROOT / 'helpers' / 'jupyterlab_settings'}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    if paths.is_root():
        options.append("--allow-root")
    # JupyterLab runs in this process, so the servers' lease ends with it, however it ends.
    try:
        LabApp.launch_instance([*options, *arguments])
    finally:
        link.leave_now()
    return 0


def up(_: list[str]) -> int:
    """Start the servers and keep them until `down`."""
    prepare()
    if choose.own_kinds():
        link.call("keep")
    problems = start.every_server()
    show()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def down(arguments: list[str]) -> int:
    """Stop the servers; by force when the supervisor does not answer.

    On Docker, `--volumes` removes their data as well.
    """
    state = choose.folder()
    if not choose.own_kinds():
        print("The servers are external: the lab does not stop them.")
        return 0
    on_docker = choose.engine() == "docker"
    if "--volumes" in arguments and not on_docker:
        raise LabError(f"Only containers have volumes. The embedded servers' data is in {state}.")
    found = supervisors(state)
    leases = 0
    try:
        leases, ended = link.stop_all()
        forced = not ended
    except LabError:
        forced = True
    if forced:
        end(found)
    left = 0
    if (state / LOCK).exists() and (lock := try_lock(state)):
        left = end_leftovers(state, in_containers=on_docker)
        if "--volumes" in arguments:
            from helpers.supervisor import docker

            docker.remove_data(state)
        lock.close()
    if forced:
        print("The supervisor did not answer. It was ended, and its servers with it.")
    elif found:
        print("The servers are stopped.")
    else:
        print("Nothing was running." if not left else "What a killed lab had left is ended.")
    if leases:
        print("A notebook was still using them: its next use starts them again.")
    return 0


def show() -> None:
    """Print the engine and a line for each server."""
    answer = doctor.status()
    print(f"Engine: {answer['engine']}")
    for server in answer["servers"]:
        state = "ready" if server["ready"] else "not ready" if server["pid"] else "not running"
        where = f"{server['host']}:{server['port']}" if server["port"] else server["host"] or ""
        print(f"{server['name']:<12} {server['version'] or '':<8} {state:<12} {where}".rstrip())


def status(arguments: list[str]) -> int:
    """Print what runs, for people or as JSON."""
    if "--json" in arguments:
        print(json.dumps(doctor.status(), indent=2))
    else:
        show()
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
    """Empty a lesson's databases, its sections' included; or one section's ("05b")."""
    if not arguments:
        raise LabError("Which lesson? For example: make reset LESSON=01 (or reset 01).")
    lesson = arguments[0]
    full_name(lesson)  # raises for what is none, before a server starts
    problems = []
    for kind in KINDS.values():
        try:
            server = start.server(kind.key)
            for name in of_lesson(lesson, kind.place.names(server)):
                kind.place.called(name, server).drop()
        except LabError as problem:
            problems.append(str(problem))
    if problems:
        raise LabError("\n".join(dict.fromkeys(problems)))
    print(f"Lesson {lesson} is empty again on every server. Your notebook was not touched.")
    return 0


def test(arguments: list[str]) -> int:
    """Run the regression run: nbval over every notebook, and the tests folder.

    Arguments are pytest's. A number stands for notebooks: 05b for one, 05 for a whole lesson.
    """
    prepare()
    os.environ["LAB_ENGINE"] = engine = os.environ.get("LAB_ENGINE") or "embedded"
    others = [name for name in ("embedded", "docker") if name != engine]
    # The other tests are about servers of the lab's own.
    external = ["notebooks", "tests/test_exercises"]
    everything = external if engine == "external" else ["notebooks", "tests"]
    marks = " and ".join(f"not {name}" for name in others)
    return python("-m", "pytest", "-m", marks, *(paths_of(arguments) or everything))


def paths_of(words: list[str]) -> list[str]:
    """Return the words with notebooks' paths in the place of their numbers. Raises LabError."""
    found = []
    for word in words:
        if not re.fullmatch(r"[0-9]{2}[a-z]?", word):
            found.append(word)
            continue
        named = [one for one in outline.notebooks() if word in (one.number, one.lesson)]
        if not named:
            raise LabError(f"No notebook has the number {word}.")
        found += [str(one.path.relative_to(paths.ROOT)) for one in named]
    return found


def python(*arguments: str) -> NoReturn:
    """Go on as another Python program, in the course's folder."""
    os.chdir(paths.ROOT)
    environment.become([sys.executable, *arguments])


def outputs(arguments: list[str]) -> int:
    """Run every notebook again and store its outputs where they changed."""
    from helpers.commands.outputs import outputs as run_and_store

    return run_and_store(arguments)


def try_(arguments: list[str]) -> int:
    """Run a file's content as the answer to an exercise, and print what came of it."""
    from helpers.commands import trial

    return trial.try_(arguments)


def mutants(arguments: list[str]) -> int:
    """Attack exercises with answers that are wrong in one place; print who refuses them."""
    from helpers.commands import mutate

    os.environ["LAB_ENGINE"] = os.environ.get("LAB_ENGINE") or "embedded"
    return mutate.mutate(arguments)


def bench(_: list[str]) -> int:
    """Print ratios of the lab's times to those of the bare programs."""
    python(str(paths.ROOT / "tests" / "bench.py"))


def soak(arguments: list[str]) -> int:
    """Run the notebooks N times in a row and count the failures."""
    from helpers.commands.outputs import soak as run_often

    if arguments and not arguments[0].isdigit():
        raise LabError("How many times? For example: make soak N=20 (or soak 20).")
    return run_often(int(arguments[0]) if arguments else 20)


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
    "try": try_,
    "mutants": mutants,
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
