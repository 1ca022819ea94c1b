"""Where things are. Standard library only: this runs before the environment exists."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
# The learner's own copies: `LAB_WORK`, or `work` in the course's folder.
WORK = Path(os.environ.get("LAB_WORK") or ROOT / "work").expanduser().resolve()


def is_root() -> bool:
    """Tell whether this process runs as root (never true on Windows)."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def open_to_others(path: Path) -> bool:
    """Tell whether any user may pass through every folder down to `path`.

    PostgreSQL refuses to run as root, so root's lab runs it as another user. That user must
    reach the programs and the data. POSIX permission bits only; access lists are not read.
    """
    for part in [path, *path.parents]:
        if part.is_dir() and not part.stat().st_mode & stat.S_IXOTH:
            return False
    return True


def state_dir() -> Path:
    """Return the folder that holds the servers' data, passwords and logs.

    `LAB_STATE` sets it. The default is `.lab` in the course's folder. For root, when the
    course lies below a folder that only root can enter, it is below /var/lib instead.
    """
    chosen = os.environ.get("LAB_STATE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if is_root() and not open_to_others(ROOT):
        name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
        return Path("/var/lib/database-course") / name
    return ROOT / ".lab"


def namespace() -> str:
    """Return `LAB_NAMESPACE`, checked: it becomes part of database names.

    Raises ValueError when it holds anything but lower-case letters, digits and underscores,
    or is longer than 32 characters.
    """
    name = os.environ.get("LAB_NAMESPACE", "")
    plain = all(
        char.isascii() and (char.islower() or char.isdigit() or char == "_") for char in name
    )
    if not plain or len(name) > 32:
        raise ValueError(
            f"LAB_NAMESPACE is {name!r}. Use up to 32 lower-case letters, digits and underscores."
        )
    return name
