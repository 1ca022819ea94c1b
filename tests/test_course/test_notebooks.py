"""Every notebook keeps the rules that make its stored outputs worth comparing."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from helpers import outline, show
from helpers.base.paths import NOTEBOOKS, ROOT
from helpers.commands import regression
from helpers.commands.outputs import IGNORED
from helpers.commands.own_lab import REAL_MONGODB

PATHS = [notebook.path for notebook in outline.notebooks()]
TAGS = {IGNORED, "raises-exception", "own-server", REAL_MONGODB}
LONGEST_CELL = 18
CORE_CELLS, SECTION_CELLS = 55, 30
LONGER = {"01a": 34, "01e": 40}  # sections that are one story all the same

each_notebook = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def needs_mongodb(cell: Any) -> bool:
    return REAL_MONGODB in tags(cell)


def test_there_are_notebooks() -> None:
    assert PATHS


@each_notebook
def test_metadata_is_clean(path: Path) -> None:
    """A diff shows what an author changed and nothing else."""
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, cell.id
        assert tags(cell) <= TAGS, cell.id
        # A word or two that an author chose, not an id that a tool made up.
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id), cell.id


@each_notebook
def test_every_code_cell_ran_in_order(path: Path) -> None:
    """The stored outputs come from one run, from top to bottom.

    A cell that needs MongoDB itself may never have been run; then nothing is stored of it.
    """
    ran = [cell for cell in code_cells(path) if cell.execution_count or not needs_mongodb(cell)]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))
    assert not any(cell.outputs for cell in code_cells(path) if cell not in ran)


@each_notebook
def test_no_cell_is_skipped(path: Path) -> None:
    for cell in code_cells(path):
        assert "skip" not in " ".join(tags(cell)).lower(), cell.id
        assert "NBVAL_" not in cell.source.upper(), cell.id


@each_notebook
def test_an_ignored_output_is_followed_by_a_compared_claim(path: Path) -> None:
    cells = code_cells(path)
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if IGNORED in tags(cell):
            assert following is not None, cell.id
            assert "claim(" in following.source, cell.id
            assert IGNORED not in tags(following), cell.id


@each_notebook
def test_every_claim_holds_in_the_stored_run(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            assert "✗" not in output.get("text", ""), cell.id


@each_notebook
def test_errors_are_stored_only_where_the_lesson_means_them(path: Path) -> None:
    for cell in code_cells(path):
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert failed == ("raises-exception" in tags(cell)), cell.id


@each_notebook
def test_outputs_hold_nothing_of_the_machine(path: Path) -> None:
    """No path, port, password or address; and no warning that came along."""
    paths = (str(ROOT), "/home/", "/root/", "/tmp/")
    for cell in code_cells(path):
        # What is not compared may show an address, and is published all the same.
        traces = paths if IGNORED in tags(cell) else (*paths, "127.0.0.1", " at 0x", "lab:")
        for output in cell.outputs:
            data = {k: v for k, v in output.get("data", {}).items() if k != "image/png"}
            text = json.dumps([data, output.get("text"), output.get("traceback")])
            for trace in traces:
                assert trace not in text, f"{cell.id}: {trace}"
            assert output.get("name") != "stderr", f"{cell.id}: {text}"


@each_notebook
def test_pictures_carry_their_text(path: Path) -> None:
    """In the metadata, where exporters look for it; and they have a size."""
    for cell in code_cells(path):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                about = output.metadata["image/png"]
                assert about == {"alt": output.data["text/plain"], "width": show.WIDTH}, cell.id


@each_notebook
def test_cells_are_short(path: Path) -> None:
    """A reader takes in about 15 lines at once. Published code and exercises stay whole."""
    for cell in code_cells(path):
        lines = len(cell.source.splitlines())
        assert lines <= LONGEST_CELL or "published" in cell.id or "ex" in cell.id, cell.id


@each_notebook
def test_a_notebook_is_one_sitting(path: Path) -> None:
    most = CORE_CELLS if path.parent == NOTEBOOKS else SECTION_CELLS
    assert len(read(path).cells) <= LONGER.get(path.name[:3], most)


@pytest.mark.parametrize("notebook", outline.notebooks(), ids=lambda notebook: notebook.number)
def test_the_minutes_are_reckoned(notebook: outline.Notebook) -> None:
    """What the title says is within a tenth of what reading, predicting and solving takes."""
    exercises = [outline.load(file).EXERCISE.minutes for file in notebook.exercises]
    reckoned = outline.reckoned_minutes(notebook, exercises)
    assert abs(notebook.minutes - reckoned) <= reckoned / 10, (
        f"the first cell should say about {reckoned} minutes"
    )


@pytest.mark.parametrize("core", outline.cores(), ids=lambda core: core.number)
def test_a_core_lists_its_sections(core: outline.Notebook) -> None:
    text = [cell["source"] for cell in core.cells() if cell["source"].startswith("## Going deeper")]
    if outline.sections(core.lesson):
        assert outline.list_of_sections(core) in text[0], outline.list_of_sections(core)
    else:
        assert not text


@pytest.mark.parametrize(
    "section", [one for one in outline.notebooks() if not one.is_core], ids=lambda one: one.number
)
def test_a_section_links_back_to_its_core(section: outline.Notebook) -> None:
    assert section.title and section.promise
    core = outline.find(section.lesson)
    assert f"](../{core.path.name})" in section.cells()[0]["source"]


def test_the_readme_lists_the_lessons() -> None:
    assert outline.list_of_lessons() in (ROOT / "README.md").read_text(encoding="utf-8")


@each_notebook
def test_links_inside_the_course_lead_somewhere(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", cell.source):
                assert (path.parent / target).exists(), f"{cell.id}: {target}"


@each_notebook
def test_exercises_come_before_nothing_that_needs_them(path: Path) -> None:
    """No later cell uses a name that only an exercise's cell defines."""
    cells = code_cells(path)
    for number, cell in enumerate(cells):
        if ".check()" not in cell.source:
            continue
        tree = ast.parse(cell.source)
        made = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        made |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        before = "\n".join(other.source for other in cells[:number])
        made = {name for name in made if not re.search(rf"\b{name}\b", before)}
        for later in cells[number + 1 :]:
            if later.source.startswith("%"):
                continue
            source = "\n".join(
                line for line in later.source.splitlines() if not line.lstrip().startswith("%")
            )
            used = {
                node.id
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
            }
            defined = {
                node.id
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            assert not (made & used) - defined, later.id


def test_code_is_formatted_linted_and_typed() -> None:
    """ruff reads the notebooks too; mypy and import-linter read the helpers."""
    for command in (
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        ["lint-imports", "--no-cache"],
    ):
        program = str(Path(sys.executable).with_name(command[0]))
        run = subprocess.run(
            [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_public_workflows_are_valid_and_safe() -> None:
    """Against GitHub's schema, and with zizmor's rules (pinned actions, least rights)."""
    scripts = Path(sys.executable).parent
    for path in sorted(ROOT.glob(".github/workflows/*.yml")):
        schema = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"]
        for command in (schema, ["zizmor", "--offline", "--no-progress", "--persona", "pedantic"]):
            line = [str(scripts / command[0]), *command[1:], str(path)]
            run = subprocess.run(line, capture_output=True, text=True, check=False)
            assert run.returncode == 0, run.stdout + run.stderr


def test_the_learners_modules_stay_small() -> None:
    """lab, shop, show, check and sessions together: under 1,000 lines."""
    names = ("lab", "shop", "show", "check", "sessions")
    files = [ROOT / "helpers" / f"{name}.py" for name in names]
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 1000


@pytest.mark.parametrize(
    ("cell", "seconds", "crowd", "fails"),
    [(1, 4, 1, False), (1, 11, 1, True), (5, 121, 1, True), (1, 11, 3, False)],
)
def test_a_slow_notebook_fails_the_run_unless_the_machine_is_crowded(
    monkeypatch: pytest.MonkeyPatch, cell: int, seconds: float, crowd: float, fails: bool
) -> None:
    name = "00_start_here.ipynb"
    monkeypatch.setattr(regression.choose, "engine", lambda: "embedded")
    monkeypatch.setattr(regression, "_seconds", {name: {0: 1.0, cell: seconds}})
    monkeypatch.setattr(regression, "_crowd", {name: crowd})
    lines = list(regression.slow_parts())
    assert any(beyond for _, beyond in lines) is fails
    assert ("beside others" in lines[0][0]) is (crowd > regression.CROWD)
