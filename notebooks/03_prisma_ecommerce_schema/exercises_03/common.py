"""What several exercises of lesson 03 use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from helpers.exercises import Place
from helpers.exercises.looking import begin_with


@contextmanager
def engine_of(pg: Place, before: Callable[[str], None], *settings: str) -> Iterator[Any]:
    """Give an engine of the check's own, which tells of each statement before it is sent."""
    from sqlalchemy import create_engine, event

    url: Any = pg.url
    engine = create_engine(url, pool_size=10, max_overflow=0)
    begin_with(engine, "SET lock_timeout = '10s'", "SET statement_timeout = '20s'", *settings)
    event.listen(engine, "before_cursor_execute", lambda *args: before(args[2]))
    try:
        yield engine
    finally:
        engine.dispose()
