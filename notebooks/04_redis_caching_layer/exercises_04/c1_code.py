"""Exercise 04c-1: a code for signing in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exercises_04.common import Command, Since, counted, monitored
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


WRITES = {"hset", "hmset", "hsetnx"}
FIELD_LIMITS = {"hexpire", "hpexpire", "hexpireat", "hpexpireat"}
KEY_LIMITS = {"expire", "pexpire", "expireat", "pexpireat"}
OTHER = "session:ex1 other"


async def check(rd: Place, put: Callable[..., Any]) -> None:
    """Put fields with different limits, look at all limits after each, and at the commands."""
    with rd.connect() as redis:
        try:
            redis.delete("session:ex1", OTHER)
            with monitored(rd) as ran, counted() as sent:
                await put("ex1", "code", "831077", 60)
            check_first(redis)
            await check_limits(redis, put)
            check_commands([name for name, _ in sent], ran)
        finally:
            redis.delete("session:ex1", OTHER)


def check_first(redis: Any) -> None:
    """Judge what the first put has left."""
    if not redis.exists("session:ex1"):
        raise Incorrect("There is no key session:ex1 after put('ex1', ...).")
    kind = redis.type("session:ex1")
    if kind != "hash" or redis.hgetall("session:ex1") != {"code": "831077"}:
        raise Incorrect("session:ex1 should be a hash with the field code and its value.")


def check_commands(names: list[str], ran: list[Command]) -> None:
    """See that the commands were one step, and that 7.4 knows them all."""
    inside = {command.name for command in ran if command.inside}
    if "hsetex" in names or "hsetex" in inside:
        where = "" if "hsetex" in names else " inside your script"
        raise Incorrect(f"HSETEX{where} is new in Redis 8. It must run on 7.4.")
    kinds = [WRITES, FIELD_LIMITS, KEY_LIMITS]
    if "multi" in names and "exec" in names:
        step = set(names[names.index("multi") : names.index("exec")])
        if all(kind & step for kind in kinds):
            return
        raise Incorrect("There is a transaction, but not all three commands are inside it.")
    scripts = [name for name in names if name in ("eval", "evalsha", "fcall")]
    alone = set().union(*kinds) & set(names)
    if scripts and not alone and all(kind & inside for kind in kinds if ran):
        return
    raise Incorrect(
        "The commands went one by one. After a crash in between, the code would be valid "
        "for ever. Use client.pipeline(transaction=True)."
    )


async def check_limits(redis: Any, put: Callable[..., Any]) -> None:
    """Put several fields of two sessions, and compare all limits with what they should be."""
    wanted: dict[str, dict[str, tuple[float, Since]]] = {"session:ex1": {}, OTHER: {}}
    wanted["session:ex1"]["code"] = (60, Since())
    for session, field, value, seconds in [
        ("ex1", "user", "7", 1200),
        ("ex1", "code", "831078", 90),
        ("ex1 other", "code", "1", 45),
        ("ex1", "user", "8", 300),
        ("ex1", "long", "x", 5000),
    ]:
        key, since = f"session:{session}", Since()
        for one in (k for k in wanted if redis.exists(k)):
            redis.expire(one, 100)  # as if half an hour were nearly over
        await put(session, field, value, seconds)
        if redis.hget(key, field) != value:
            raise Incorrect(f"After put({session!r}, {field!r}, {value!r}, ...) it is not there.")
        wanted[key][field] = (seconds, since)
        fields = wanted[key]
        if redis.hgetall(key).keys() != fields.keys():
            raise Incorrect(f"After a put(), {key} has not the fields that were put before.")
        left = redis.pttl(key)
        if not since.about(left, 1_800_000):
            raise Incorrect(
                f"After put() the session has {left / 1000:.1f} s left; it should be 1800."
            )
        limits = [limit / 1000 for limit in redis.hpttl(key, *fields)]
        if min(limits) < 0:
            raise Incorrect("A field that was put has no time limit of its own.")
        for name, limit in zip(fields, limits, strict=True):
            if not fields[name][1].left(limit, fields[name][0]):
                raise Incorrect(
                    f"The field {name} was put for {fields[name][0]} s, and has {limit:.1f} s left."
                )
        if (ttl := redis.ttl(OTHER)) > 100 and key != OTHER:
            raise Incorrect(f"put() for session ex1 gave another session {ttl} s.")


IN_A_SCRIPT = """\
    script = \'\'\'
        redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
        redis.call('HEXPIRE', KEYS[1], ARGV[3], 'FIELDS', 1, ARGV[1])
        redis.call('EXPIRE', KEYS[1], 1800)
    \'\'\'
    await client.eval(script, 1, f"session:{session}", field, value, seconds)
"""
HSETEX_INSIDE = """\
    script = \'\'\'
        redis.call('HSETEX', KEYS[1], 'EX', ARGV[3], 'FIELDS', 1, ARGV[1], ARGV[2])
        redis.call('EXPIRE', KEYS[1], 1800)
    \'\'\'
    await client.eval(script, 1, f"session:{session}", field, value, seconds)
"""


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
            "was put for 60 s, and has",
        ),
        (STARTER.replace("    return ...\n", HSETEX_INSIDE), "HSETEX inside your script"),
        (
            changed(
                SOLUTION,
                "        steps.hset",
                '        steps.delete(f"session:{session}")\n        steps.hset',
            ),
            "has not the fields",
        ),
    ],
    right=[STARTER.replace("    return ...\n", IN_A_SCRIPT)],
    equal={
        "3b9b6ba7": "a pipeline works without `with`, too",
        "89a8fac0": "transaction=True is the default",
    },
    praise="Each field goes when its time is over, whatever happens to your program.",
)
