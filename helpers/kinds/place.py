"""A lesson's place on a server: a PostgreSQL database, a Redis number, a MongoDB database.

Learners get these from `lab` and use the real client libraries with their addresses.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any, Protocol, Self

from helpers.base import paths
from helpers.base.errors import LabError

#: PostgreSQL cuts a longer name off, MongoDB refuses it.
LONGEST_NAME = 63
#: What may follow the lesson's number. Without "lesson_" in it a whole name has one meaning only.
NAME = r"(?!.*lesson_)[a-z0-9_]{1,20}"


class Server(Protocol):
    """What a place needs of its server, and a lesson: `helpers.engines.server.Server`."""

    title: str
    pid: int | None

    @property
    def version(self) -> str:
        """The version that the server reports to its client."""

    @property
    def own_databases(self) -> bool:
        """Whether a lesson can have a PostgreSQL database of its own; else it has a schema."""

    def url(self, database: str = "") -> str:
        """Return the address of a database, for its client library."""

    def use(self) -> None:
        """Start the server when it does not run, and wait until it answers."""

    def ask(self, seconds: float = 5) -> str:
        """Ask the server for its version with a real client query. Raises NotReady."""

    def note(self, name: str) -> None:
        """Remember that something of this name was made, where the server may not list it."""

    def noted(self) -> list[str]:
        """Return the names that were remembered."""


class Place(ABC):
    """A lesson's place on a server. `lesson` is its number, such as "01", or "03b".

    `name` tells it from the lesson's other places on this server, if there are any.
    """

    kind: str

    def __init__(self, lesson: str, name: str, server: Server) -> None:
        self.lesson = lesson
        self.name = full_name(lesson, name)
        self.server = server
        self.prepare()

    @classmethod
    def called(cls, name: str, server: Server) -> Self:
        """Return the place with this whole name, whoever's it is."""
        place = cls.__new__(cls)
        place.lesson, place.name, place.server = "", name, server
        place.prepare()
        return place

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} on {self.server!r}>"

    def prepare(self) -> None:  # noqa: B027
        """Do what has to be done before the place has an address."""

    @property
    def url(self) -> str:
        """The address for the client library, with the password in it."""
        return self.server.url(self.name)

    @abstractmethod
    def connect(self, **options: Any) -> Any:
        """Return a client of the server, with the options of its library."""

    @abstractmethod
    def empty(self) -> None:
        """Remove what the lesson has here, and make the place anew."""

    @abstractmethod
    def drop(self) -> None:
        """Remove what the lesson has here."""

    def release(self) -> None:
        """Remove what the lesson has here, for good: nobody uses it any more."""
        self.drop()

    @classmethod
    @abstractmethod
    def names(cls, server: Server) -> list[str]:
        """Return the names on a server, of which the lessons' places are some."""


def prefix() -> str:
    """Return what the names of this learner's places begin with. Raises LabError."""
    try:
        return f"{paths.namespace()}_" if paths.namespace() else ""
    except ValueError as problem:
        raise LabError(str(problem)) from None


def full_name(lesson: str, name: str = "") -> str:
    """Return the name of a place on its server, such as "lesson_03a_sqlalchemy".

    Raises LabError for what is no lesson's number, or cannot be a part of a database's name.
    """
    if not re.fullmatch(r"[0-9]{2}[a-z]?", lesson):
        raise LabError(f"{lesson!r} is no lesson. Use its two digits, such as lab.postgres('01').")
    if name and not re.fullmatch(NAME, name):
        raise LabError(
            f"{name!r} cannot name a place. Use up to 20 lower-case letters, digits and "
            "underscores, without 'lesson_', such as lab.postgres('03a', 'sqlalchemy')."
        )
    full = f"{prefix()}lesson_{lesson}" + (f"_{name}" if name else "")
    if len(full) > LONGEST_NAME:
        raise LabError(
            f"{full} is too long for a database's name, of which servers take {LONGEST_NAME} "
            "characters. Use a shorter name for the place, or a shorter LAB_NAMESPACE."
        )
    return full


def of_lesson(lesson: str, names: list[str]) -> list[str]:
    """Return which of these names are this learner's places of a lesson.

    Of a section ("05b"): its own and the named ones. Of a lesson ("05"): its sections' as well.
    """
    own = re.escape(full_name(lesson)) + ("" if lesson[2:] else "[a-z]?")
    return sorted(name for name in names if re.fullmatch(f"{own}(_{NAME})?", name))


def of_namespace(names: list[str]) -> list[str]:
    """Return which of these names begin with this learner's namespace; none without one."""
    return [name for name in names if prefix() and name.startswith(prefix())]
