"""Exercise 04-1: nothing is an answer too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from exercises_04.common import Since, Source, shown
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

STARTER = '''
client = redis.from_url(rd.url, decode_responses=True)


async def read_through(key, load, ttl, ttl_none):
    """Return the value of key from Redis, or else from load()."""
    return ...


await ex1.check()
'''
BODY = """\
    stored = await client.get(key)
    if stored is not None:
        return json.loads(stored)
    value = await load()
    await client.set(key, json.dumps(value), ex=ttl_none if value is None else ttl)
    return value
"""
SOLUTION = STARTER.replace("    return ...\n", BODY)


VALUES: list[Any] = [["a", 1], {"price": "1.99"}, "text", 0, "", [], {}, False, 1.5, None]
TIMES = [(100, 10), (30, 300), (60, 60)]  # ttl and ttl_none, in seconds


async def check(rd: Place, read_through: Callable[..., Any]) -> None:
    """Read values of every kind twice: the second must come from Redis, and have its TTL."""
    with rd.connect() as redis:
        try:
            for number, value in enumerate(VALUES):
                for ttl, ttl_none in TIMES[: 3 if value is None or not number else 1]:
                    await check_value(redis, read_through, value, ttl, ttl_none)
            # What another program has stored is as good.
            redis.set("ex1:stored", '{"by": "another"}')
            source = Source("loaded")
            found = await read_through("ex1:stored", source, 100, 10)
            if source.runs or found != {"by": "another"}:
                raise Incorrect(
                    "Redis had JSON under key, stored by another program: read_through should "
                    f"return it without load(). load() ran {source.runs} times, and "
                    f"{shown(found)} came."
                )
        finally:
            redis.delete("ex1:stored", *(f"ex1:key:{type(v).__name__}" for v in VALUES))


async def check_value(
    redis: Any, read_through: Callable[..., Any], value: Any, ttl: int, ttl_none: int
) -> None:
    """Read one value twice."""
    key = f"ex1:key:{type(value).__name__}"
    redis.delete(key)
    source, since = Source(value), Since()
    first = await read_through(key, source, ttl, ttl_none)
    if first != value or type(first) is not type(value):
        raise Incorrect(f"The first call should return {value!r}; it returned {shown(first)}.")
    if not redis.exists(key):
        raise Incorrect(f"After load() returned {value!r}, nothing is stored under key.")
    try:
        kept = json.loads(redis.get(key) or "")
    except ValueError:
        kept = ...
    if kept != value or type(kept) is not type(value):
        raise Incorrect(f"What is stored for {value!r} is not its JSON: {shown(redis.get(key))}.")
    seconds, wanted = redis.pttl(key) / 1000, ttl_none if value is None else ttl
    if seconds < 0:
        raise Incorrect(f"{value!r} is stored without a TTL: it would stay for ever.")
    if not since.left(seconds, wanted):
        raise Incorrect(
            f"With ttl={ttl} and ttl_none={ttl_none}, {value!r} is stored for {seconds:.1f} s; it "
            f"should be {wanted} s."
        )
    redis.pexpire(key, 5_000)  # as if most of the time had passed
    second = await read_through(key, source, ttl, ttl_none)
    if source.runs > 1:
        raise Incorrect(
            f"For {value!r} the second call ran load() again. Ask whether Redis has the "
            "key, not whether the value is true or None."
        )
    if second != value or type(second) is not type(value):
        raise Incorrect(f"The second call returned {shown(second)} instead of {value!r}.")
    if redis.pttl(key) > 5_000:
        raise Incorrect(
            f"{value!r} had 5 s left, and after a call that found it {redis.ttl(key)} s: reading "
            "began its time again. A popular value would never be renewed."
        )


EXERCISE = Exercise(
    title="Nothing is an answer too",
    minutes=8,
    prompt="Write a read_through that caches None as well, for a shorter time.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "client.get(key) returns None only when Redis does not have the key.",
        "Look at the stored text before json.loads: `if stored is not None`.",
        "client.set(key, text, ex=seconds) stores with a TTL.",
    ],
    wrong=[
        (
            changed(
                SOLUTION,
                "    if stored is not None:\n        return json.loads(stored)\n",
                "    if stored and json.loads(stored) is not None:\n"
                "        return json.loads(stored)\n",
            ),
            "For None the second call ran load()",
        ),
        (
            changed(
                SOLUTION,
                "    if stored is not None:\n        return json.loads(stored)\n",
                "    if stored and json.loads(stored):\n        return json.loads(stored)\n",
            ),
            "For 0 the second call ran load()",
        ),
        (changed(SOLUTION, ", ex=ttl_none if value is None else ttl", ""), "without a TTL"),
        (changed(SOLUTION, "ttl_none if value is None else ttl", "ttl"), "it should be 10 s"),
        (changed(SOLUTION, "return json.loads(stored)", "return stored"), "instead of"),
        (
            changed(
                SOLUTION,
                "return json.loads(stored)",
                'return None if stored == "nothing" else json.loads(stored)',
                "json.dumps(value)",
                '"nothing" if value is None else json.dumps(value)',
            ),
            "is not its JSON",
        ),
        (
            changed(
                SOLUTION,
                "    await client.set",
                "    if value is None:\n        return None\n    await client.set",
            ),
            "nothing is stored under key",
        ),
        (
            changed(
                SOLUTION,
                "        return json.loads(stored)\n",
                "        await client.expire(key, ttl)\n        return json.loads(stored)\n",
            ),
            "reading began its time again",
        ),
        (
            "\nimport sys\n" + SOLUTION.replace("await load()", "await load() or sys.exit(1)"),
            "raised SystemExit",
        ),
    ],
    right=[
        STARTER.replace(
            "    return ...\n",
            """\
    if await client.exists(key):
        return json.loads(await client.get(key))
    value = await load()
    seconds = ttl_none if value is None else ttl
    async with client.pipeline(transaction=True) as steps:
        steps.set(key, json.dumps(value))
        steps.pexpire(key, 1000 * seconds)
        await steps.execute()
    return value
""",
        ),
    ],
    praise="An absent product now costs one query each time its short TTL ends.",
)
