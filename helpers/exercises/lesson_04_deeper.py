"""Exercises of lesson 04's sections of "Going deeper"."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from helpers.exercises import Database, Exercise, Incorrect


def section(letter: str) -> Callable[[], dict[str, Any]]:
    """Return a setup that does what the set-up cell of a section does."""

    def setup() -> dict[str, Any]:
        import secrets
        import time

        import redis.asyncio as redis

        from helpers import check, lab

        rd = lab.redis(f"04{letter}")
        client = redis.from_url(rd.url, decode_responses=True)
        names = {"rd": rd, "redis": redis, "client": client, "lab": lab, "check": check}
        return names | {"asyncio": asyncio, "json": json, "time": time, "secrets": secrets}

    return setup


def changed(solution: str, *parts: str) -> str:
    """Return a solution with parts replaced: old, new, old, new."""
    for old, new in zip(parts[::2], parts[1::2], strict=True):
        if old not in solution:
            raise ValueError(f"{old!r} is not in the solution")
        solution = solution.replace(old, new)
    return solution


# Exercise 4: forget by name.

STARTER_4 = '''
async def forget(pattern):
    """Delete the keys that match, at most 500 with one command; return how many."""
    return ...


await ex4.check()
'''
SOLUTION_4 = STARTER_4.replace(
    "    return ...\n",
    """\
    deleted, keys = 0, []
    async for key in client.scan_iter(match=pattern, count=1000):
        keys.append(key)
        if len(keys) == 500:
            deleted += await client.unlink(*keys)
            keys.clear()
    if keys:
        deleted += await client.unlink(*keys)
    return deleted
""",
)
ONE_DEL_4 = """\
    keys = [key async for key in client.scan_iter(match=pattern)]
    return await client.delete(*keys) if keys else 0
"""
KEYS_4 = """\
    deleted, keys = 0, await client.keys(pattern)
    for first in range(0, len(keys), 500):
        deleted += await client.unlink(*keys[first : first + 500])
    return deleted
"""


def calls(redis: Any, *commands: str) -> int:
    """Return how often Redis ran these commands since it started: its own counters."""
    stats = redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in commands)


async def check_forget(rd: Database, forget: Callable[..., Any]) -> None:
    """Forget 2,300 of 2,400 keys and count the commands; then nothing, and a few."""
    with rd.connect() as redis:
        redis.mset({f"ex4:product:{n}": n for n in range(2_300)})
        redis.mset({f"ex4:customer:{n}": n for n in range(100)})
        keys, deletions = calls(redis, "keys"), calls(redis, "del", "unlink")
        count = await forget("ex4:product:*")
        if calls(redis, "keys") > keys:
            raise Incorrect("You asked with KEYS. It stops Redis until it has seen every key.")
        commands = calls(redis, "del", "unlink") - deletions
        left = sum(1 for _ in redis.scan_iter(match="ex4:product:*", count=1000))
        others = 100 - sum(1 for _ in redis.scan_iter(match="ex4:customer:*", count=1000))
        redis.unlink(*(f"ex4:product:{n}" for n in range(2_300)))
        redis.unlink(*(f"ex4:customer:{n}" for n in range(100)))
        if left:
            raise Incorrect(f"{left:,} of 2,300 keys are still there. The last portion is short.")
        if others:
            raise Incorrect(f"{others} keys are gone that do not match the pattern.")
        if commands < 5:
            raise Incorrect(f"2,300 keys went with {commands} command(s): more than 500 at a time.")
        if count != 2_300:
            raise Incorrect(f"2,300 keys were deleted, but forget() returned {count!r}.")
        if (nothing := await forget("ex4:nothing:*")) != 0:
            raise Incorrect(f"When nothing matches, forget() should return 0, not {nothing!r}.")


EXERCISES: list[Exercise] = [
    Exercise(
        number=4,
        title="Forget by name",
        prompt="Delete all keys that match a pattern, at most 500 with one command.",
        setup=section("a"),
        starter=STARTER_4,
        solution=SOLUTION_4,
        check=check_forget,
        hints=[
            "`async for key in client.scan_iter(match=pattern, count=1000)` gives key after key.",
            "Collect 500 keys, unlink them, begin a new list. client.unlink(*keys) returns how "
            "many it deleted.",
            "After the loop there may be keys left in the list, or none.",
        ],
        wrong=[
            (STARTER_4.replace("    return ...\n", ONE_DEL_4), "more than 500"),
            (STARTER_4.replace("    return ...\n", KEYS_4), "You asked with KEYS"),
            (
                changed(
                    SOLUTION_4, "    if keys:\n        deleted += await client.unlink(*keys)\n", ""
                ),
                "The last portion",
            ),
            (changed(SOLUTION_4, "    if keys:\n        deleted", "    deleted"), "raised"),
            (changed(SOLUTION_4, "deleted += await", "await"), "returned 0"),
        ],
        praise="Nobody else notices. That is the whole point.",
    ),
]
