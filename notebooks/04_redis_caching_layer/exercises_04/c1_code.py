"""Exercise 04c-1: a code for signing in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exercises_04.common import counted
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

STARTER = '''
async def put(session, field, value, seconds):
    """Store one field for so many seconds; the session lives for 1800."""
    return ...


await ex1.check()
'''
SOLUTION = STARTER.replace(
    "    return ...\n",
    """\
    async with client.pipeline(transaction=True) as steps:
        steps.hset(f"session:{session}", field, value)
        steps.hexpire(f"session:{session}", seconds, field)
        steps.expire(f"session:{session}", 1800)
        await steps.execute()
""",
)


async def check(rd: Place, put: Callable[..., Any]) -> None:
    """Put two fields with different limits, then one again; count the transactions."""
    key = "session:ex1"
    with rd.connect() as redis:
        redis.delete(key)
        with counted() as sent:
            await put("ex1", "code", "831077", 60)
        if not redis.exists(key):
            raise Incorrect("There is no key session:ex1 after put('ex1', ...).")
        if redis.type(key) != "hash" or redis.hgetall(key) != {"code": "831077"}:
            raise Incorrect("session:ex1 should be a hash with the field code and its value.")
        names = [name for name, _ in sent]
        if "hsetex" in names:
            raise Incorrect("HSETEX is new in Redis 8. It must run on 7.4.")
        redis.expire(key, 100)
        await put("ex1", "user", "7", 1200)
        if set(redis.hgetall(key)) != {"code", "user"}:
            raise Incorrect("The second put() lost the first one's field.")
        if not 1790 <= (left := redis.ttl(key)) <= 1800:
            raise Incorrect(f"After put() the session has {left} s left; it should be 1800.")
        for _ in range(2):
            limits = redis.httl(key, "code", "user")
            if -1 in limits:
                raise Incorrect("A field that was put has no time limit of its own.")
            if not (50 <= limits[0] <= 60 and 1190 <= limits[1] <= 1200):
                raise Incorrect(f"The fields' limits are {limits} s; they should be [60, 1200].")
            await put("ex1", "code", "831078", 60)
        in_script = "hset" not in names and ("eval" in names or "evalsha" in names)
        begin, end = ("multi", "exec") if "multi" in names and "exec" in names else ("", "")
        inside = names[names.index(begin) : names.index(end)] if begin else []
        if not in_script and not inside:
            raise Incorrect(
                "The commands went one by one. After a crash in between, the code would be valid "
                "for ever. Use client.pipeline(transaction=True)."
            )
        kinds = [
            {"hset", "hmset"},
            {"hexpire", "hpexpire", "hexpireat", "hpexpireat"},
            {"expire", "pexpire", "expireat", "pexpireat"},
        ]
        if inside and not all(kind & set(inside) for kind in kinds):
            raise Incorrect("There is a transaction, but not all three commands are inside it.")
        redis.delete(key)


EXERCISE = Exercise(
    title="A code for signing in",
    minutes=7,
    prompt="Store one field of a session with a time limit of its own, in one transaction.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "Three commands: HSET, HEXPIRE for the field, EXPIRE for the key.",
        "`async with client.pipeline(transaction=True) as steps:` collects commands; "
        "`await steps.execute()` sends them between MULTI and EXEC.",
        "steps.hexpire(key, seconds, field)",
    ],
    wrong=[
        (
            changed(SOLUTION, '        steps.hexpire(f"session:{session}", seconds, field)\n', ""),
            "has no time limit",
        ),
        (
            changed(SOLUTION, '        steps.expire(f"session:{session}", 1800)\n', ""),
            "it should be 1800",
        ),
        (changed(SOLUTION, "transaction=True", "transaction=False"), "one by one"),
        (
            changed(
                SOLUTION,
                '        steps.hset(f"session:{session}", field, value)\n',
                '        await client.hset(f"session:{session}", field, value)\n',
            ),
            "not all three commands",
        ),
        (changed(SOLUTION, 'f"session:{session}"', "session"), "There is no key"),
        (
            changed(SOLUTION, "seconds, field", "1800, field"),
            "they should be [60, 1200]",
        ),
    ],
    praise="Each field goes when its time is over, whatever happens to your program.",
)
