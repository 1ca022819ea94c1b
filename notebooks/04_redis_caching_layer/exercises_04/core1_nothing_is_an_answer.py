"""Exercise 04-1: nothing is an answer too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from exercises_04.common import Source
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


async def check(rd: Place, read_through: Callable[..., Any]) -> None:
    """Read values of every kind twice: the second must come from Redis, and have its TTL."""
    with rd.connect() as redis:
        for value in [["a", 1], {"price": "1.99"}, "text", 0, "", [], False, None]:
            key = "ex1:key"
            redis.delete(key)
            source = Source(value)
            first = await read_through(key, source, 100, 10)
            if first != value or type(first) is not type(value):
                raise Incorrect(f"The first call should return {value!r}; it returned {first!r}.")
            if not redis.exists(key):
                raise Incorrect(f"After load() returned {value!r}, nothing is stored under key.")
            try:
                kept = json.loads(redis.get(key) or "")
            except ValueError:
                kept = ...
            if kept != value or type(kept) is not type(value):
                raise Incorrect(
                    f"What is stored for {value!r} is not its JSON: {redis.get(key)!r}."
                )
            seconds, wanted = redis.ttl(key), 10 if value is None else 100
            if seconds == -1:
                raise Incorrect(f"{value!r} is stored without a TTL: it would stay for ever.")
            if not wanted - 9 <= seconds <= wanted:
                raise Incorrect(f"{value!r} is stored for {seconds} s; it should be {wanted} s.")
            second = await read_through(key, source, 100, 10)
            if source.runs > 1:
                raise Incorrect(
                    f"For {value!r} the second call ran load() again. Ask whether Redis has the "
                    "key, not whether the value is true or None."
                )
            if second != value or type(second) is not type(value):
                raise Incorrect(f"The second call returned {second!r} instead of {value!r}.")
        redis.delete("ex1:key")


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
    ],
    praise="An absent product now costs one query each time its short TTL ends.",
)
