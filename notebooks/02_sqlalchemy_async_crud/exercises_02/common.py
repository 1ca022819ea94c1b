"""What several exercises of lesson 02 use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from helpers.exercises import Incorrect, Place
from helpers.exercises.looking import begin_with, look


@asynccontextmanager
async def pool(pg: Place, size: int, seconds: float = 5) -> AsyncIterator[AsyncEngine]:
    """Give a check an engine of its own with so many connections; afterwards they are closed."""
    url = pg.url
    engine = create_async_engine(url, pool_size=size, max_overflow=0, pool_timeout=seconds)
    begin_with(engine.sync_engine, "SET lock_timeout = '30s'", "SET statement_timeout = '40s'")
    try:
        yield engine
    finally:
        await engine.dispose()


def shown(value: Any) -> str:
    """Return a value as a reason shows it: without an address, which differs in every run."""
    if isinstance(value, str | int | float | bool | bytes | type(None)):
        words = repr(value)
        return words if len(words) <= 200 else words[:197] + "..."
    if isinstance(value, list | tuple) and len(value) <= 20:
        words = ", ".join(map(shown, value))
        if isinstance(value, list):
            return f"[{words}]"
        return f"({words},)" if len(value) == 1 else f"({words})"
    if isinstance(value, Exception):
        return type(value).__name__
    return f"an object of the type {type(value).__name__}"


async def together(*jobs: Awaitable[Any]) -> list[Any]:
    """Await all at once; when one raises, end the others before it is raised."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)


def session_of(engine: AsyncEngine) -> AsyncSession:
    """Return a new session as the notebook's factories make them."""
    return AsyncSession(engine, expire_on_commit=False)


LOOKS = 250  # in vain, 0.02 s apart, until a check gives up: 5 s, and longer where all is slow


async def behind_lock(
    pg: Place,
    lock: str,
    calls: Sequence[Callable[[], Awaitable[Any]]],
    size: int,
    meanwhile: Callable[[], None] | None = None,
) -> list[Any]:
    """Start calls while rows are locked, unlock when each waits or has ended; return the results.

    So those in the pool, `size` of them, have read before any of them writes. A slow machine has
    time, as long as one more of them comes now and then. `meanwhile` is called just before the
    rows are unlocked.

    Raises:
        Incorrect: not all of them came to the database; or what the first of them raised.
    """
    query = """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    with pg.connect() as holder, look(pg) as eye:
        holder.execute(lock)
        tasks = [asyncio.ensure_future(call()) for call in calls]
        looks, waiting, running, missing = 0, 0, size, size
        while looks < LOOKS:
            (waiting,) = eye.execute(query).fetchone() or (0,)
            running = min(size, sum(not task.done() for task in tasks))
            if waiting >= running:
                break
            looks = 0 if running - waiting < missing else looks + 1
            missing = min(missing, running - waiting)
            await asyncio.sleep(0.02)
        if meanwhile:
            meanwhile()
        holder.rollback()
    done, hanging = await asyncio.wait(tasks, timeout=60)
    for task in hanging:
        task.cancel()
    if hanging:
        await asyncio.wait(hanging, timeout=5)  # until their sessions are closed
    errors = [error for task in tasks if task in done and (error := task.exception())]
    if errors:
        raise errors[0]
    if hanging:
        raise Incorrect(f"{len(hanging)} of {len(tasks)} callers never came to an end.")
    if waiting < running:
        raise Incorrect(
            f"Only {waiting} of {running} callers waited in PostgreSQL for the locked row; the "
            "others waited in Python. A lock of Python's protects nothing from a second process: "
            "let PostgreSQL do the waiting."
        )
    return [task.result() for task in tasks]
