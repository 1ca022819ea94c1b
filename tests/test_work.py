"""The learner's copies in work/: filled when missing, never overwritten."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import work
from helpers.errors import LabError
from helpers.paths import NOTEBOOKS

NAME = "01_lesson.ipynb"


def lesson(source: Path, text: str = "print(1)") -> None:
    """Write a lesson whose cell has run, with a file beside it."""
    source.mkdir(exist_ok=True)
    ran = new_code_cell(text, execution_count=1, outputs=[new_output("stream", text="1\n")])
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Lesson"), ran]), source / NAME)
    (source / "01_lesson").mkdir(exist_ok=True)
    (source / "01_lesson" / "final.sql").write_text("SELECT 1;\n")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    lesson(tmp_path / "notebooks")
    return tmp_path / "notebooks", tmp_path / "work"


def test_missing_lessons_are_copied_without_their_outputs(folders: tuple[Path, Path]) -> None:
    source, target = folders
    assert work.fill(source, target) == [f"New in work/: {NAME}"]
    copy = nbformat.read(target / NAME, as_version=4)
    assert [cell.source for cell in copy.cells] == ["# Lesson", "print(1)"]
    assert copy.cells[1].outputs == []
    assert copy.cells[1].execution_count is None
    assert (target / "01_lesson" / "final.sql").read_text() == "SELECT 1;\n"


def test_a_copy_is_never_overwritten(folders: tuple[Path, Path]) -> None:
    source, target = folders
    work.fill(source, target)
    (target / NAME).write_text("the learner's own")
    (target / "01_lesson" / "final.sql").write_text("mine")
    assert work.fill(source, target) == []
    assert (target / NAME).read_text() == "the learner's own"
    assert (target / "01_lesson" / "final.sql").read_text() == "mine"


def test_a_changed_lesson_is_offered_beside_the_copy_once(folders: tuple[Path, Path]) -> None:
    source, target = folders
    work.fill(source, target)
    before = (target / NAME).read_bytes()
    lesson(source, "print(2)")
    (line,) = work.fill(source, target)
    assert "has changed" in line
    assert (target / NAME).read_bytes() == before
    beside = nbformat.read(target / "01_lesson.new.ipynb", as_version=4)
    assert beside.cells[1].source == "print(2)"
    assert work.fill(source, target) == []
    lesson(source, "print(3)")  # the first offer is kept too
    work.fill(source, target)
    assert nbformat.read(target / "01_lesson.new.ipynb", as_version=4).cells[1].source == "print(2)"
    assert (
        nbformat.read(target / "01_lesson.new2.ipynb", as_version=4).cells[1].source == "print(3)"
    )


def test_a_deleted_copy_comes_back_fresh(folders: tuple[Path, Path]) -> None:
    source, target = folders
    work.fill(source, target)
    (target / NAME).unlink()
    assert work.fill(source, target) == [f"New in work/: {NAME}"]


def test_the_real_lessons_keep_their_cells(tmp_path: Path) -> None:
    work.fill(NOTEBOOKS, tmp_path / "work")
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        lesson_cells = nbformat.read(path, as_version=4).cells
        copied = nbformat.read(tmp_path / "work" / path.name, as_version=4).cells
        kept = [(cell.id, cell.source, cell.metadata) for cell in copied]
        assert kept == [(cell.id, cell.source, cell.metadata) for cell in lesson_cells]


def test_a_folder_that_cannot_be_written_is_one_clear_message(folders: tuple[Path, Path]) -> None:
    source, target = folders
    target.write_text("a file where the folder should be")
    with pytest.raises(LabError, match=r"cannot be written to .*Make the folder writable"):
        work.fill(source, target)


def test_a_damaged_record_is_one_clear_message(folders: tuple[Path, Path]) -> None:
    source, target = folders
    work.fill(source, target)
    (target / work.RECORD).write_text("{")
    with pytest.raises(LabError, match="Delete it"):
        work.fill(source, target)
