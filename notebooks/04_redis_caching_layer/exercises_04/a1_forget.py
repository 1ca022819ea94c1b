"""Exercise 04a-1: forget by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from exercises_04.common import Command, counted, monitored, shown
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


BY_SCRIPT = """\
    deleted, keys = 0, []
    async for key in client.scan_iter(match=pattern, count=1000):
        keys.append(key)
        if len(keys) == 500:
            deleted += await client.eval(UNLINK, len(keys), *keys)
            keys.clear()
    if keys:
        deleted += await client.eval(UNLINK, len(keys), *keys)
    return deleted
"""
ONE_BY_ONE = """\
    deleted = 0
    async for key in client.scan_iter(match=pattern, count=1000):
        deleted += await client.getdel(key) is not None
    return deleted
"""
SCANS = """\
    deleted, cursor = 0, None
    while cursor != 0:
        cursor, keys = await client.scan(cursor or 0, match=pattern, count=500)
        if keys:
            deleted += await client.unlink(*keys)
    return deleted
"""
ONE_SCRIPT = """\
    script = \'\'\'
        local deleted, cursor = 0, '0'
        repeat
            local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 100)
            cursor = found[1]
            for _, key in ipairs(found[2]) do deleted = deleted + redis.call('DEL', key) end
        until cursor == '0'
        return deleted
    \'\'\'
    return await client.eval(script, 0, pattern)
"""
KEYS_INSIDE = """\
    keys = await client.eval("return redis.call('KEYS', ARGV[1])", 0, pattern)
    return sum([await client.unlink(key) for key in keys])
"""
PREFIX = """\
    deleted = 0
    async for key in client.scan_iter(count=1000):
        if key.startswith(pattern.rstrip("*")):
            deleted += await client.unlink(key)
    return deleted
"""
ONE_SCAN = """\
    _, keys = await client.scan(0, match=pattern, count=200)
    return await client.unlink(*keys) if keys else 0
"""
PRODUCTS, CUSTOMERS = 2_300, 100
SMALL = ["ex1:u:1", "ex1:u:2", "ex1:u:10", "ex1:v:1", "ex1:[u]:1", "ex1:w"]
PATTERNS = ["ex1:u:?", "ex1:[uv]:1", "ex1:w", "*:1", "ex1:\\[u\\]:*", "ex1:nothing:*", "*nothing"]


async def check(rd: Place, forget: Callable[..., Any]) -> None:
    """Forget 2,300 of 2,400 keys and look at the commands; then a few, by other patterns."""
    with rd.connect() as redis:
        try:
            redis.mset({f"ex1:product:{n}": n for n in range(PRODUCTS)})
            redis.mset({f"ex1:customer:{n}": n for n in range(CUSTOMERS)})
            with monitored(rd) as ran, generous_scans(), counted() as sent:
                count = await forget("ex1:product:*")
            portions = portions_of(ran) if ran else sent
            check_products(redis, count, portions)
            for pattern in PATTERNS:
                await check_pattern(redis, forget, pattern)
        finally:
            redis.unlink(*SMALL, *(f"ex1:product:{n}" for n in range(PRODUCTS)))
            redis.unlink(*(f"ex1:customer:{n}" for n in range(CUSTOMERS)))


def check_products(redis: Any, count: Any, portions: list[tuple[str, int]]) -> None:
    """Judge the first call, which had 2,300 keys to forget."""
    left = sum(1 for _ in redis.scan_iter(match="ex1:product:*", count=1000))
    others = CUSTOMERS - sum(1 for _ in redis.scan_iter(match="ex1:customer:*", count=1000))
    how, most = max(portions, key=lambda portion: portion[1], default=("", 0))
    names = [name for name, _ in portions]
    if "keys" in names or "keys inside" in names:
        inside = "" if "keys" in names else " inside a script"
        raise Incorrect(f"You asked with KEYS{inside}. It stops Redis until it has seen every key.")
    if others:
        raise Incorrect(f"{others} keys are gone that do not match the pattern.")
    if left == PRODUCTS:
        raise Incorrect("2,300 keys match, and all of them are still there.")
    if most > 500:
        what = "script" if how == "eval" else "command"
        hint = " SCAN takes its COUNT as a hint only, and may give more keys than that."
        raise Incorrect(
            f"One {what} deleted {most:,} keys: more than 500 at a time."
            + (hint if 501 < most < PRODUCTS else "")
        )
    if left:
        why = "The last portion is short." if left < 500 else "SCAN is done when its cursor is 0."
        raise Incorrect(f"{left:,} of 2,300 keys are still there. {why}")
    if count != PRODUCTS:
        raise Incorrect(f"2,300 keys were deleted, but forget() returned {shown(count)}.")


async def check_pattern(redis: Any, forget: Callable[..., Any], pattern: str) -> None:
    """Forget a few keys, and compare with what Redis itself finds by the pattern."""
    redis.mset(dict.fromkeys(SMALL, 1))
    before, matching = set(redis.scan_iter("*", 1000)), set(redis.scan_iter(pattern, 1000))
    count = await forget(pattern)
    after = set(redis.scan_iter("*", 1000))
    if after != before - matching:
        wrong = sorted((before - matching) ^ after)
        raise Incorrect(
            f"With the pattern {pattern!r}, {wrong[0]} {'stays' if wrong[0] in after else 'goes'}. "
            "What matches is what MATCH of SCAN says it is."
        )
    if count != len(matching) or isinstance(count, bool):
        raise Incorrect(
            f"{len(matching)} keys match {pattern!r} and were deleted; forget() returned "
            f"{shown(count)}."
        )


def portions_of(ran: list[Command]) -> list[tuple[str, int]]:
    """Return each command's name and how many keys it deleted; a script is one command."""
    found: list[tuple[str, int]] = []
    inside = 0  # keys that the script which runs now has deleted
    for command, after in zip(ran, [*ran[1:], None], strict=True):
        many = len(command.arguments) if command.name in ("del", "unlink") else 0
        if not command.inside:
            found.append((command.name, many))
            continue
        if command.name == "keys":
            found.append(("keys inside", 0))
        inside += many
        if after is None or not after.inside:
            found.append(("eval", inside))
            inside = 0
    return found


@contextmanager
def generous_scans() -> Iterator[None]:
    """Let SCAN give about twice as many keys as its COUNT says, as it may."""
    from redis.asyncio.connection import AbstractConnection

    pack = AbstractConnection.pack_command

    def generous(connection: Any, *command: Any) -> Any:
        names = [p.decode() if isinstance(p, bytes) else str(p).upper() for p in command]
        if names[0] == "SCAN" and "COUNT" in names[:-1]:
            place = names.index("COUNT") + 1
            command = (*command[:place], 2 * int(command[place]), *command[place + 1 :])
        return pack(connection, *command)

    patched: Any = AbstractConnection
    patched.pack_command = generous
    try:
        yield
    finally:
        patched.pack_command = pack


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
        (STARTER.replace("    return ...\n", ONE_DEL), "One command deleted 2,300"),
        (STARTER.replace("    return ...\n", KEYS), "You asked with KEYS. It"),
        (
            changed(SOLUTION, "    if keys:\n        deleted += await client.unlink(*keys)\n", ""),
            "The last portion",
        ),
        (changed(SOLUTION, "    if keys:\n        deleted", "    deleted"), "raised"),
        (changed(SOLUTION, "deleted += await", "await"), "returned 0"),
        (changed(SOLUTION, "len(keys) == 500", "len(keys) > 500"), "deleted 501 keys"),
        (STARTER.replace("    return ...\n", SCANS), "as a hint only"),
        (STARTER.replace("    return ...\n", ONE_SCRIPT), "One script deleted"),
        (STARTER.replace("    return ...\n", KEYS_INSIDE), "KEYS inside a script"),
        (STARTER.replace("    return ...\n", PREFIX), "'ex1:u:?', ex1:u:1 stays"),
        (STARTER.replace("    return ...\n", ONE_SCAN), "done when its cursor"),
        (STARTER.replace("return ...", "return 0"), "all of them are still there"),
        (changed(SOLUTION, "match=pattern, ", ""), "that do not match the pattern"),
    ],
    right=[
        "\nUNLINK = \"return redis.call('UNLINK', unpack(KEYS))\"\n"
        + STARTER.replace("    return ...\n", BY_SCRIPT),
        STARTER.replace("    return ...\n", ONE_BY_ONE),
    ],
    equal={
        "7657a402": "COUNT is a hint, of whatever size",
        "7cfee4b7": "COUNT is a hint, of whatever size",
        "e00e2d73": "COUNT is a hint, of whatever size",
        "1a88717a": "at most 500: fewer are as good",
        "43797bbf": "at most 500: fewer are as good",
        "521c1490": "at most 500: fewer are as good",
        "3fe104b6": "at most 500: fewer are as good",
    },
    praise="Nobody else notices. That is the whole point.",
)
