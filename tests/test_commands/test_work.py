"""The learner's own copies: filled when missing, never overwritten, news offered beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from labs import Failed, Lab, in_a_namespace

from helpers import outline
from helpers.base.errors import LabError
from helpers.base.paths import NOTEBOOKS, ROOT
from helpers.commands import work


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    """A folder with a lesson that has outputs, and a file beside it."""
    folder = tmp_path / "notebooks"
    (folder / "01_first" / "sub").mkdir(parents=True)
    (folder / "01_first" / "sub" / "schema.sql").write_text("SELECT 1;\n")
    (folder / "01_first" / "exercises_01").mkdir()
    (folder / "01_first" / "exercises_01" / "core1_sum.py").write_text("SOLUTION = 4\n")
    (folder / "01_first" / "teaching.md").write_text("for instructors\n")
    (folder / "nbval.cfg").write_text("for authors\n")
    write_lesson(folder, "print('é')")
    return folder


def write_lesson(folder: Path, source: str) -> None:
    output = nbformat.v4.new_output("stream", text="stored\n")
    cell = nbformat.v4.new_code_cell(source, execution_count=3, outputs=[output])
    text = nbformat.v4.new_markdown_cell("Words.")
    nbformat.write(nbformat.v4.new_notebook(cells=[text, cell]), folder / "01_first.ipynb")


def source_of(path: Path) -> str:
    return str(nbformat.read(path, as_version=4).cells[1].source)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != work.RECORD}


def test_missing_copies_are_made_without_outputs(lessons: Path, tmp_path: Path) -> None:
    """The predictions are the learner's, so the answers are not in the copy."""
    target = tmp_path / "mine" / "work"
    assert work.fill(lessons, target) == ["New in work/: 01_first.ipynb and 1 more file"]
    assert names(target) == {"01_first.ipynb", "01_first"}
    notebook: Any = nbformat.read(target / "01_first.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source == "Words."
    assert (notebook.cells[1].outputs, notebook.cells[1].execution_count) == ([], None)
    assert source_of(target / "01_first.ipynb") == "print('é')"
    assert (target / "01_first" / "sub" / "schema.sql").read_text() == "SELECT 1;\n"
    assert {path.name for path in (target / "01_first").rglob("*")} == {"sub", "schema.sql"}


def test_copies_are_never_overwritten(lessons: Path, tmp_path: Path) -> None:
    """Not the notebook, not the files beside it; and nothing is said."""
    target = tmp_path / "work"
    work.fill(lessons, target)
    for path in (target / "01_first.ipynb", target / "01_first" / "sub" / "schema.sql"):
        path.write_text("my own work")
    assert work.fill(lessons, target) == []
    for path in (target / "01_first.ipynb", target / "01_first" / "sub" / "schema.sql"):
        assert path.read_text() == "my own work"


def test_a_changed_lesson_is_offered_beside_the_copy(lessons: Path, tmp_path: Path) -> None:
    """Once for each change; and an offer that the learner uses is not overwritten either."""
    target = tmp_path / "work"
    work.fill(lessons, target)
    learned = (target / "01_first.ipynb").read_text().replace("print", "println")
    (target / "01_first.ipynb").write_text(learned)
    write_lesson(lessons, "second")
    (line,) = work.fill(lessons, target)
    assert "Your copy was left as it is" in line
    assert "work/01_first.new.ipynb" in line
    assert work.fill(lessons, target) == []
    write_lesson(lessons, "third")
    work.fill(lessons, target)
    found = {name: source_of(target / name) for name in names(target) if "ipynb" in name}
    assert found == {
        "01_first.ipynb": "println('é')",
        "01_first.new.ipynb": "second",
        "01_first.new2.ipynb": "third",
    }


def test_an_untouched_lesson_is_renewed_with_its_files(lessons: Path, tmp_path: Path) -> None:
    """The new lesson never runs on the old lesson's files."""
    target = tmp_path / "work"
    work.fill(lessons, target)
    write_lesson(lessons, "second")
    (lessons / "01_first" / "sub" / "schema.sql").write_text("SELECT 2;\n")
    line = "Renewed in work/, you had not changed it: 01_first.ipynb and 1 more file"
    assert work.fill(lessons, target) == [line]
    assert source_of(target / "01_first.ipynb") == "second"
    assert (target / "01_first" / "sub" / "schema.sql").read_text() == "SELECT 2;\n"
    assert work.fill(lessons, target) == []


def test_a_touched_file_stays_and_the_new_one_is_beside_it(lessons: Path, tmp_path: Path) -> None:
    """Under a name that no tool takes for a file of its kind."""
    target = tmp_path / "work"
    work.fill(lessons, target)
    (target / "01_first" / "sub" / "schema.sql").write_text("my own")
    for number in (2, 3):
        (lessons / "01_first" / "sub" / "schema.sql").write_text(f"SELECT {number};\n")
        (line,) = work.fill(lessons, target)
        assert line.startswith("01_first/sub/schema.sql has changed. Your copy was left as it is")
    found = {path.name: path.read_text() for path in (target / "01_first" / "sub").iterdir()}
    assert found == {
        "schema.sql": "my own",
        "schema.sql.new": "SELECT 2;\n",
        "schema.sql.new2": "SELECT 3;\n",
    }


def test_a_new_section_appears(lessons: Path, tmp_path: Path) -> None:
    """Without a word about the rest, which is as it was."""
    target = tmp_path / "work"
    work.fill(lessons, target)
    copied = (lessons / "01_first.ipynb").read_bytes()
    (lessons / "01_first" / "01a_more.ipynb").write_bytes(copied)
    assert work.fill(lessons, target) == ["New in work/: 01_first/01a_more.ipynb"]
    assert source_of(target / "01_first" / "01a_more.ipynb") == "print('é')"


def test_a_deleted_copy_comes_back(lessons: Path, tmp_path: Path) -> None:
    """The way to start a lesson again."""
    target = tmp_path / "work"
    work.fill(lessons, target)
    (target / "01_first.ipynb").unlink()
    assert work.fill(lessons, target) == ["New in work/: 01_first.ipynb"]


def test_an_interrupted_copy_is_not_taken_for_a_copy(lessons: Path, tmp_path: Path) -> None:
    """A program that ends in the middle of writing leaves no half notebook behind."""
    target = tmp_path / "work"
    target.mkdir()
    source = (
        "import os, sys; from pathlib import Path; from helpers.commands import work\n"
        "Path.replace = lambda *_: os._exit(9)\n"
        "work.fill(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    run = subprocess.run([sys.executable, "-c", source, lessons, target], cwd=ROOT, check=False)
    assert run.returncode == 9
    assert not (target / "01_first.ipynb").exists()
    assert work.fill(lessons, target) == ["New in work/: 01_first.ipynb and 1 more file"]


@pytest.mark.parametrize("text", ["", "[1]", "{", "7"])
def test_a_damaged_record(lessons: Path, tmp_path: Path, text: str) -> None:
    """One message that names the file."""
    target = tmp_path / "work"
    work.fill(lessons, target)
    (target / work.RECORD).write_text(text)
    with pytest.raises(LabError, match=r"\.given\.json cannot be read\. Delete it"):
        work.fill(lessons, target)


def test_a_read_only_folder(lab: Lab) -> None:
    """One message that names the folder and what to do."""
    target = lab.folder / "work"
    target.mkdir()
    program = lab.program(*in_a_namespace(f"mount -t tmpfs -o ro none {target}"))
    program.run("from pathlib import Path; from helpers.commands import work")
    with pytest.raises(Failed, match=r"cannot be written to .*: Read-only file system\. Make"):
        program.run(f"work.fill(target=Path({str(target)!r}))")


def test_the_courses_own_lessons(tmp_path: Path) -> None:
    """Every notebook of the course is copied, runnable and without outputs."""
    work.fill(target=tmp_path / "work")
    for path in (notebook.path for notebook in outline.notebooks()):
        copy = tmp_path / "work" / path.relative_to(NOTEBOOKS)
        nbformat.validate(nbformat.read(copy, as_version=4))
        cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells)
        assert len(cells) == len(json.loads(path.read_text(encoding="utf-8"))["cells"])
