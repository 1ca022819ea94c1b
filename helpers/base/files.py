"""Files that are written whole or not at all, that only their owner reads, and file locks.

Standard library only, and only what Python 3.8 understands: the environment is built with it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO


def private_opener(path: str, flags: int) -> int:
    """Open a file so that only its owner can read it, whatever the umask."""
    descriptor = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)
    return descriptor


def write_whole(path: Path, content: bytes, *, private: bool = False) -> None:
    """Replace a file in one step: whoever reads it finds the old content or the new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(new, "wb", opener=private_opener if private else None) as file:
            file.write(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)  # still there only when something failed


def write_private(path: Path, text: str) -> None:
    """Replace a text file in one step, readable by its owner only."""
    write_whole(path, text.encode(), private=True)


def free_name(path: Path, word: str) -> Path:
    """Return a name beside `path` that is free: NAME.word.suffix, else NAME.word2.suffix, …"""
    free, number = path.with_suffix(f".{word}{path.suffix}"), 1
    while free.exists():
        number += 1
        free = path.with_suffix(f".{word}{number}{path.suffix}")
    return free


def try_lock(file: IO[bytes]) -> bool:
    """Take the lock of an open file, or return False when another process holds it.

    The lock is the operating system's: it is given back when the file is closed, and however its
    owner ends; the file's content stays. (The package filelock has no descriptor for a child to
    share, removes the file on Windows, and is not there before the environment is.)
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
