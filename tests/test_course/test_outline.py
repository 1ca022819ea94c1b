"""The outline: what it finds in a folder of notebooks, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import outline
from helpers.outline import Notebook

CORE = "# 07 · Seven\n\n**After this lesson you can count.**\n\nThe core takes about 9 minutes."
SECTION = "# 07b · More\n\n**After this section you can go on.**\n\nIt takes about 4 minutes."


def write(path: Path, *cells: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    whole = [{"id": f"cell-{n}", "metadata": {}, **cell} for n, cell in enumerate(cells)]
    path.write_text(json.dumps({"cells": whole}), encoding="utf-8")
    return path


def text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": source.splitlines(keepends=True)}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "07_seven.ipynb", text(CORE))
    write(tmp_path / "07_seven" / "07b_more.ipynb", text(SECTION))
    write(tmp_path / "07_seven" / "notes.ipynb", text("A learner's own."))
    monkeypatch.setattr(outline, "NOTEBOOKS", tmp_path)
    return tmp_path


def test_what_a_notebook_says_of_itself(course: Path) -> None:
    core, section = outline.notebooks()
    assert (core.number, core.title, core.promise, core.minutes) == ("07", "Seven", "count", 9)
    assert (section.number, section.lesson, section.is_core) == ("07b", "07", False)
    assert section.folder == core.folder == course / "07_seven"
    assert outline.find("07b") == section
    assert outline.list_of_sections(core).endswith(
        "| [07b More](07_seven/07b_more.ipynb) | 4 | go on |"
    )


def test_two_notebooks_of_one_number_are_refused(course: Path) -> None:
    write(course / "07_seven" / "07b_again.ipynb", text(SECTION))
    with pytest.raises(ValueError, match="Two notebooks have the number 07b"):
        outline.notebooks()


def test_a_title_without_its_parts_is_refused(course: Path) -> None:
    path = write(course / "07_seven" / "07c_short.ipynb", text("# Short"))
    with pytest.raises(ValueError, match=r"07c_short\.ipynb: the first cell has nothing like"):
        _ = Notebook("07c", path).title


def test_exercises_come_in_the_order_of_their_places(course: Path) -> None:
    folder = course / "07_seven" / "exercises_07"
    folder.mkdir()
    for name in ("core10_last.py", "core2_next.py", "core1_first.py", "b1_other.py", "common.py"):
        (folder / name).touch()
    core, section = outline.notebooks()
    assert [file.stem for file in core.exercises] == ["core1_first", "core2_next", "core10_last"]
    assert [file.stem for file in section.exercises] == ["b1_other"]


@pytest.mark.parametrize(
    ("cells", "exercises", "minutes"),
    [
        ([text("word " * 200)], [], 2),  # one minute to start, one to read
        ([text("**Predict:** what? **Predict** again.")], [], 3),  # 45 s each
        ([code("\n\n".join(["x = 1"] * 24))], [], 3),  # 24 lines that are not blank
        ([code("", {"text": "5"}, {"data": {"image/png": ""}})], [], 2),  # 10 s and 30 s
        ([code("x = ...\n" * 50 + "ex1.check()")], [12], 13),  # as the exercise itself says
    ],
)
def test_minutes_are_reckoned_by_the_rule(
    tmp_path: Path, cells: list[dict[str, Any]], exercises: list[int], minutes: int
) -> None:
    notebook = Notebook("07", write(tmp_path / "07_seven.ipynb", *cells))
    assert outline.reckoned_minutes(notebook, exercises) == minutes
