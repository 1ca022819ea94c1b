"""Exercise 04a-1: forget by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exercises_04.common import counted
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

STARTER = '''
async def forget(pattern):
    """Delete the keys that match, at most 500 with one command; return how many."""
    return ...


await ex1.check()
'''
SOLUTION = STARTER.replace(
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
ONE_DEL = """\
    keys = [key async for key in client.scan_iter(match=pattern)]
    return await client.delete(*keys) if keys else 0
"""
KEYS = """\
    deleted, keys = 0, await client.keys(pattern)
    for first in range(0, len(keys), 500):
        deleted += await client.unlink(*keys[first : first + 500])
    return deleted
"""


async def check(rd: Place, forget: Callable[..., Any]) -> None:
    """Forget 2,300 of 2,400 keys and count the commands; then nothing, and a few."""
    with rd.connect() as redis:
        redis.mset({f"ex1:product:{n}": n for n in range(2_300)})
        redis.mset({f"ex1:customer:{n}": n for n in range(100)})
        with counted() as sent:
            count = await forget("ex1:product:*")
        if any(name == "keys" for name, _ in sent):
            raise Incorrect("You asked with KEYS. It stops Redis until it has seen every key.")
        portions = [many for name, many in sent if name in ("del", "unlink")]
        left = sum(1 for _ in redis.scan_iter(match="ex1:product:*", count=1000))
        others = 100 - sum(1 for _ in redis.scan_iter(match="ex1:customer:*", count=1000))
        redis.unlink(*(f"ex1:product:{n}" for n in range(2_300)))
        redis.unlink(*(f"ex1:customer:{n}" for n in range(100)))
        if left:
            raise Incorrect(f"{left:,} of 2,300 keys are still there. The last portion is short.")
        if others:
            raise Incorrect(f"{others} keys are gone that do not match the pattern.")
        if not portions:
            raise Incorrect("The keys are gone, but neither by DEL nor by UNLINK.")
        if max(portions) > 500:
            raise Incorrect(f"One command deleted {max(portions):,} keys: more than 500 at a time.")
        if count != 2_300:
            raise Incorrect(f"2,300 keys were deleted, but forget() returned {count!r}.")
        if (nothing := await forget("ex1:nothing:*")) != 0:
            raise Incorrect(f"When nothing matches, forget() should return 0, not {nothing!r}.")


EXERCISE = Exercise(
    title="Forget by name",
    minutes=10,
    prompt="Delete all keys that match a pattern, at most 500 with one command.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "`async for key in client.scan_iter(match=pattern, count=1000)` gives key after key.",
        "Collect 500 keys, unlink them, begin a new list. client.unlink(*keys) returns how "
        "many it deleted.",
        "After the loop there may be keys left in the list, or none.",
    ],
    wrong=[
        (STARTER.replace("    return ...\n", ONE_DEL), "deleted 2,300"),
        (STARTER.replace("    return ...\n", KEYS), "You asked with KEYS"),
        (
            changed(SOLUTION, "    if keys:\n        deleted += await client.unlink(*keys)\n", ""),
            "The last portion",
        ),
        (changed(SOLUTION, "    if keys:\n        deleted", "    deleted"), "raised"),
        (changed(SOLUTION, "deleted += await", "await"), "returned 0"),
        (changed(SOLUTION, "len(keys) == 500", "len(keys) > 500"), "deleted 501 keys"),
    ],
    praise="Nobody else notices. That is the whole point.",
)
