"""A learner's own files beside the notebooks, with the names of packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from labs import Failed, Lab

from helpers.base import hiding


@pytest.mark.parametrize("name", ["redis.py", "helpers.py", "pandas/__init__.py"])
def test_a_file_that_hides_a_package_is_named(lab: Lab, name: str) -> None:
    """One message from the first cell, not an AttributeError somewhere later."""
    file = lab.folder / "work" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine = True\n")
    kernel = lab.kernel()
    kernel.run(f"import os; os.chdir({str(lab.folder / 'work')!r})")
    with pytest.raises(Failed, match=rf"{name} hides the package .* Rename it, then restart"):
        kernel.run("from helpers import lab")


@pytest.mark.parametrize("name", ["traffic.py", "my_redis.py", "redis.txt"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine = True\n")
    hiding.refuse(tmp_path)


def test_the_courses_own_folder_may_be_the_working_folder() -> None:
    hiding.refuse(Path(hiding.__file__).parents[2])
