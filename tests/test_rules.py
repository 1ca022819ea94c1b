"""Rules for helpers/ that no linter has: how long, how named, and what the README promises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from helpers.base.paths import ROOT

FILE_LINES, FUNCTION_LINES = 350, 60
#: Exercises are held to rules of their own.
FILES = [
    path
    for path in sorted((ROOT / "helpers").rglob("*.py"))
    if (ROOT / "helpers" / "exercises") not in path.parents
]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_file_is_read_at_one_sitting() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}
    assert len(FILES) > 40


def test_a_function_fits_on_a_screen() -> None:
    lengths = {
        f"{path}: {one.name}": (one.end_lineno or 0) - one.lineno + 1
        for path in FILES
        for one in functions(path)
    }
    assert {name: count for name, count in lengths.items() if count > FUNCTION_LINES} == {}


def test_names_are_words() -> None:
    """No digit where a word belongs: `prepare_new_table`, not `prepare2`."""
    names = [path.stem for path in FILES]
    names += [one.name for path in FILES for one in functions(path)]
    assert [name for name in names if re.search(r"\d", name)] == []


def texts() -> Iterator[str]:
    """Yield every text in the code; what is put into it when it is shown is "…"."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                fixed = (
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
                yield "".join(map(str, fixed))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_messages_in_the_readme_are_the_codes() -> None:
    """A message that was changed would not be found in "When something goes wrong"."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## When something goes wrong")
    rows = re.findall(r"^\| (\*.*?) \|", section[1].split("\n## ")[0], re.M)
    messages = [words for row in rows for words in re.findall(r"\*(.+?)\*", row)]
    assert len(messages) > 20
    known = list(texts())
    missing = []
    for message in messages:
        # Names and numbers that stand for others.
        fixed = re.sub(r"LAB_POSTGRES_URL|03 and 05", "…", message).split("…")
        missing += [words for words in fixed if not any(words.strip() in text for text in known)]
    assert missing == []


#: What code beside the notebooks may import of the course, by where it lies.
ALLOWED = {
    "exercises": {
        *("helpers.exercises", "helpers.lab", "helpers.show", "helpers.shop", "helpers.sessions"),
    },
    "lesson": {"helpers.show", "helpers.shop", "helpers.environment.node", "helpers.base.errors"},
    "final": set(),  # people take it to work, where there are no helpers
}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it; of a package, its members."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            packages = ("helpers", "helpers.environment", "helpers.base")
            members = [f"{node.module}.{one.name}" for one in node.names]
            yield from members if node.module in packages else [node.module]


def place_of(path: Path) -> str:
    """Return which of the rules above a file beside the notebooks is held to."""
    folders = path.relative_to(ROOT / "notebooks").parts[1:-1]
    if folders and folders[0].startswith("exercises_"):
        return "exercises"
    return "final" if "final" in folders else "lesson"


def test_code_beside_the_notebooks_imports_only_what_it_may() -> None:
    found = {}
    for path in sorted((ROOT / "notebooks").rglob("*.py")):
        allowed = tuple(ALLOWED[place_of(path)])
        lesson = f"exercises_{path.relative_to(ROOT / 'notebooks').parts[0][:2]}"
        wrong = [
            name
            for name in imported(path)
            if (name.startswith("helpers") and not name.startswith(allowed or "-"))
            or (name.startswith("exercises_") and name.split(".")[0] != lesson)
        ]
        if wrong:
            found[str(path.relative_to(ROOT))] = wrong
    assert found == {}
