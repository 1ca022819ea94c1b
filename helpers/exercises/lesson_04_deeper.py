"""Exercises of lesson 04's sections of "Going deeper"."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from helpers.exercises import Database, Exercise, Incorrect, changed


def section(letter: str) -> Callable[[], dict[str, Any]]:
    """Return a setup that does what the set-up cell of a section does."""

    def setup() -> dict[str, Any]:
        import time

        import redis.asyncio as redis

        from helpers import check, lab

        rd = lab.redis(f"04{letter}")
        client = redis.from_url(rd.url, decode_responses=True)
        names = {"rd": rd, "redis": redis, "client": client, "lab": lab, "check": check}
        return (
            names
            | {"asyncio": asyncio, "json": json, "time": time, "secrets": secrets}
            | {
                "uuid": uuid,
                "datetime": datetime,
                "Decimal": Decimal,
            }
        )

    return setup


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


@contextmanager
def counted() -> Iterator[list[tuple[str, int]]]:
    """Note the commands that this program sends to Redis; the server also counts others'.

    Gives a list of each command's name and how many arguments it has.
    """
    from redis import connection
    from redis.asyncio.connection import AbstractConnection

    sent: list[tuple[str, int]] = []
    # Every command goes through one of these, those of a pipeline too.
    packers: list[tuple[Any, str]] = [
        (AbstractConnection, "pack_command"),
        (connection.PythonRespSerializer, "pack"),
        (connection.HiredisRespSerializer, "pack"),
    ]

    def counting(pack: Callable[..., Any]) -> Callable[..., Any]:
        def pack_and_count(packer: Any, *command: Any) -> Any:
            sent.append((str(command[0]).split()[0].lower(), len(command) - 1))
            return pack(packer, *command)

        return pack_and_count

    before = [getattr(kind, name) for kind, name in packers]
    for (kind, name), pack in zip(packers, before, strict=True):
        setattr(kind, name, counting(pack))
    try:
        yield sent
    finally:
        for (kind, name), pack in zip(packers, before, strict=True):
            setattr(kind, name, pack)


async def check_forget(rd: Database, forget: Callable[..., Any]) -> None:
    """Forget 2,300 of 2,400 keys and count the commands; then nothing, and a few."""
    with rd.connect() as redis:
        redis.mset({f"ex4:product:{n}": n for n in range(2_300)})
        redis.mset({f"ex4:customer:{n}": n for n in range(100)})
        with counted() as sent:
            count = await forget("ex4:product:*")
        if any(name == "keys" for name, _ in sent):
            raise Incorrect("You asked with KEYS. It stops Redis until it has seen every key.")
        portions = [many for name, many in sent if name in ("del", "unlink")]
        left = sum(1 for _ in redis.scan_iter(match="ex4:product:*", count=1000))
        others = 100 - sum(1 for _ in redis.scan_iter(match="ex4:customer:*", count=1000))
        redis.unlink(*(f"ex4:product:{n}" for n in range(2_300)))
        redis.unlink(*(f"ex4:customer:{n}" for n in range(100)))
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
        if (nothing := await forget("ex4:nothing:*")) != 0:
            raise Incorrect(f"When nothing matches, forget() should return 0, not {nothing!r}.")


# Exercise 5: a codec.

STARTER_5 = '''
def encode(value):
    """Return the value as JSON text, or raise TypeError."""
    return ...


def decode(text):
    """Return what was encoded."""
    return ...


ex5.check()
'''
SOLUTION_5 = '''
KINDS = {
    "$decimal": (Decimal, str, Decimal),
    "$datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "$uuid": (uuid.UUID, str, uuid.UUID),
}


def tag(value):
    for name, (kind, to_text, _) in KINDS.items():
        if isinstance(value, kind):
            return {name: to_text(value)}
    raise TypeError(f"the cache cannot store a {type(value).__name__}")


def untag(found):
    (name, *more) = found or [""]
    return KINDS[name][2](found[name]) if name in KINDS and not more else found


def encode(value):
    """Return the value as JSON text, or raise TypeError."""
    text = json.dumps(value, default=tag)
    if decode(text) != value:
        raise TypeError("it would come back changed")
    return text


def decode(text):
    """Return what was encoded."""
    return json.loads(text, object_hook=untag)


ex5.check()
'''


def check_codec(encode: Callable[..., Any], decode: Callable[..., Any]) -> None:
    """Send values of every type there and back; then values that JSON would change."""
    moment = datetime(2025, 3, 24, 12, 30, 0, 123456, tzinfo=UTC)
    name = uuid.UUID(int=61)
    plain: list[Any] = [None, True, 0, 1.5, "", "1.10", [], {"a": [1, {"b": None}]}]
    own = [Decimal("1.10"), moment, name, datetime(2025, 3, 24)]
    deep = [{"rows": [{"price": Decimal("0.1"), "at": moment, "id": name}]}, [own, own]]
    for value in [*plain, *own, *deep]:
        text = encode(value)
        if not isinstance(text, str):
            raise Incorrect(f"encode({value!r}) returned {type(text).__name__}, not a text.")
        try:
            json.loads(text)
        except ValueError:
            raise Incorrect(f"encode({value!r}) returned a text that is not JSON.") from None
        again = decode(text)
        if again != value or type(again) is not type(value) or repr(again) != repr(value):
            raise Incorrect(f"{value!r} came back as {again!r}.")
    raw = getattr(encode, "__wrapped__", encode)
    alike = json.loads(encode(Decimal("1.10")))  # a customer's text may look like your tag
    try:
        text = raw(alike)
    except TypeError:
        text = ""
    if text and type(again := decode(text)) is not type(alike):
        raise Incorrect(f"encode() accepted {alike!r}, which came back as {again!r}.")
    for value in [("a", 1), {1: "one"}, {"rows": [(1, 2)]}, {1, 2}, object]:
        shown = repr(value) if value is not object else "a class"
        try:
            raw(value)
        except TypeError:
            continue
        raise Incorrect(f"encode() accepted {shown}, which would come back changed.")


# Exercise 6: a field with a time limit.

STARTER_6 = '''
async def put(session, field, value, seconds):
    """Store one field for so many seconds; the session lives for 1800."""
    return ...


await ex6.check()
'''
SOLUTION_6 = STARTER_6.replace(
    "    return ...\n",
    """\
    async with client.pipeline(transaction=True) as steps:
        steps.hset(f"session:{session}", field, value)
        steps.hexpire(f"session:{session}", seconds, field)
        steps.expire(f"session:{session}", 1800)
        await steps.execute()
""",
)


async def check_put(rd: Database, put: Callable[..., Any]) -> None:
    """Put two fields with different limits, then one again; count the transactions."""
    key = "session:ex6"
    with rd.connect() as redis:
        redis.delete(key)
        with counted() as sent:
            await put("ex6", "code", "831077", 60)
        if not redis.exists(key):
            raise Incorrect("There is no key session:ex6 after put('ex6', ...).")
        if redis.type(key) != "hash" or redis.hgetall(key) != {"code": "831077"}:
            raise Incorrect("session:ex6 should be a hash with the field code and its value.")
        names = [name for name, _ in sent]
        if "hsetex" in names:
            raise Incorrect("HSETEX is new in Redis 8. It must run on 7.4.")
        redis.expire(key, 100)
        await put("ex6", "user", "7", 1200)
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
            await put("ex6", "code", "831078", 60)
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


# The last exercise: a promise, checked by its history.

STARTER_7 = '''
STORE = """
    if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
    redis.call('DEL', KEYS[2])
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    return 1
"""
flights = {}


async def work(key, load, ttl):
    """Look up, or load and store."""


async def get(key, load, ttl):
    """Return the value of key, at most ttl seconds old."""
    return ...


async def invalidate(key):
    """From now on nobody who calls get(key) gets an older value."""
    return ...


await ex7.check()
'''
WORK_7 = '''\
    """Look up, or load and store."""
    if (stored := await client.get(key)) is not None:
        return json.loads(stored)
    token = secrets.token_hex(8)
    await client.set(f"lease:{key}", token, nx=True, px=10_000)
    begun = time.monotonic()
    value = await load()
    left = int(1000 * (ttl - (time.monotonic() - begun)))
    if left > 0:
        await client.eval(STORE, 2, key, f"lease:{key}", token, json.dumps(value), left)
    return value
'''
GET_7 = """\
    if key not in flights:
        flight = flights[key] = asyncio.ensure_future(work(key, load, ttl))

        def landed(_):
            if flights.get(key) is flight:
                del flights[key]

        flight.add_done_callback(landed)
    return await asyncio.shield(flights[key])
"""
INVALIDATE_7 = """\
    await client.delete(key, f"lease:{key}")
    flights.pop(key, None)
"""
SOLUTION_7 = changed(
    STARTER_7,
    '    """Look up, or load and store."""\n',
    WORK_7,
    'seconds old."""\n    return ...\n',
    f'seconds old."""\n{GET_7}',
    'older value."""\n    return ...\n',
    f'older value."""\n{INVALIDATE_7}',
)
TWO_7 = """\
    await client.delete(key)
    await client.delete(f"lease:{key}")
    flights.pop(key, None)
"""
EARLY_7 = """\
    flights.pop(key, None)
    await client.delete(key, f"lease:{key}")
"""
STORES_7 = 'await client.eval(STORE, 2, key, f"lease:{key}", token, json.dumps(value), left)'


class Shelf:
    """A source with a version. A load reads the version first, and then takes its time."""

    def __init__(self) -> None:
        """Begin with version 0 and an open gate."""
        self.version = self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.seconds = 0.0
        self.error: Exception | None = None

    async def load(self) -> dict[str, int]:
        """Return the version, as it was when the load began."""
        self.runs += 1
        read, gate, error = self.version, self.gate, self.error
        await gate.wait()
        await asyncio.sleep(self.seconds)
        if error:
            raise error
        return {"version": read}

    async def started(self, runs: int, tasks: list[asyncio.Task[Any]]) -> None:
        """Wait until so many loads began, or all tasks ended without it; at most 5 s."""
        for _ in range(1000):
            if self.runs >= runs or all(task.done() for task in tasks):
                return
            await asyncio.sleep(0.005)


async def ended(tasks: list[asyncio.Task[Any]], what: str) -> list[Any]:
    """Return the tasks' results within 5 s; raise the first error; Incorrect when one hangs."""
    _, hanging = await asyncio.wait(tasks, timeout=5)
    for task in hanging:
        task.cancel()
    errors = [task.exception() for task in tasks if task not in hanging]
    for error in filter(None, errors):
        raise error
    if hanging:
        raise Incorrect(f"{what} still waited after 5 s.")
    return [task.result() for task in tasks]


async def check_promise(
    rd: Database, get: Callable[..., Any], invalidate: Callable[..., Any]
) -> None:
    """Check work, changes and age, each by itself; then 200 callers and 30 changes at once."""
    key = f"ex7:{secrets.token_hex(4)}"
    shelf = Shelf()

    def ask(count: int, ttl: float = 60) -> list[asyncio.Task[Any]]:
        return [asyncio.ensure_future(get(key, shelf.load, ttl)) for _ in range(count)]

    shelf.gate = asyncio.Event()
    crowd = ask(200)
    await shelf.started(1, crowd)
    await asyncio.sleep(0)
    shelf.gate.set()
    done, _ = await asyncio.wait(crowd, timeout=5)
    _ = [task.cancelled() or task.exception() for task in done]  # looked at: asyncio is quiet
    if shelf.runs > 1:
        raise Incorrect(f"200 callers at once ran load() {shelf.runs} times. They share one.")
    values = await ended(crowd, "One of 200 callers")
    if values != [{"version": 0}] * 200:
        raise Incorrect(f"200 callers at once should get the value; one got {values[0]!r}.")
    await ended(ask(1), "A call for a cached value")
    if shelf.runs != 1:
        raise Incorrect("A value that was just loaded is not in the cache: load() ran again.")
    await check_change(shelf, ask, key, invalidate)
    await check_overtaken(rd, shelf, ask, key, invalidate)
    await check_invalidation(shelf, ask, key, get, invalidate)
    await check_age(rd, shelf, ask, key, invalidate)
    shelf.error = OSError("the database is away")
    await invalidate(key)
    failed = ask(2)
    await asyncio.wait(failed, timeout=5)
    shelf.error = None
    with rd.connect() as redis:
        for name in redis.scan_iter(match=f"*{key}*", count=1000):
            if redis.ttl(name) == -1:
                name = name.replace(key, "key")
                raise Incorrect(f"After load() had failed, {name} would stay in Redis for ever.")
    if not all(t.done() and "database is away" in str(t.exception()) for t in failed):
        raise Incorrect("load() failed, but a caller who waited for it did not get its error.")
    if await ended(ask(1), "After load() had failed, the next call") != [
        {"version": shelf.version}
    ]:
        raise Incorrect("After load() had failed once, the next call did not get a new value.")
    await check_history(shelf, get, key, invalidate)
    await invalidate(key)


async def check_change(
    shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Change the row while a load is under way: it must neither be joined nor stored."""
    shelf.version = 1
    await invalidate(key)
    if await ended(ask(1), "A call after invalidate()") != [{"version": 1}]:
        raise Incorrect("After invalidate() a call still got the old value: it was not deleted.")
    await invalidate(key)
    slow = shelf.gate = asyncio.Event()
    early = ask(1)
    await shelf.started(shelf.runs + 1, early)
    shelf.version, shelf.gate = 2, asyncio.Event()
    shelf.gate.set()
    await invalidate(key)
    late = ask(20)
    try:
        values = await ended(late, "late")
    except Incorrect:
        slow.set()
        raise Incorrect(
            "A call that began after invalidate() had returned joined a load from before the "
            "change. Let invalidate() forget the flight too."
        ) from None
    slow.set()
    await ended(early, "A call during which the value was invalidated")
    if values != [{"version": 2}] * 20:
        raise Incorrect(f"After invalidate() a call got {values[0]!r}; the version is 2.")
    if await ended(ask(1), "A call") != [{"version": 2}]:
        raise Incorrect(
            "A load from before the change stored its old value after the invalidation. Let it "
            "store only while it has its lease, and let invalidate() delete the lease."
        )


async def check_overtaken(
    rd: Database, shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Let a load end while a newer one runs: it must not store, nor end the newer one's flight."""
    await invalidate(key)
    early_gate = shelf.gate = asyncio.Event()
    early = ask(1)
    await shelf.started(shelf.runs + 1, early)
    shelf.version, late_gate = shelf.version + 1, asyncio.Event()
    await invalidate(key)
    shelf.gate = late_gate
    late = ask(1)
    await shelf.started(shelf.runs + 1, late)
    early_gate.set()
    await ended(early, "A call during which the value was invalidated")
    with rd.connect() as redis:
        stored = redis.exists(key)
    runs = shelf.runs
    late += ask(1)
    await asyncio.wait(late[1:], timeout=0.1)
    late_gate.set()
    await ended(late, "A call after invalidate()")
    if stored:
        raise Incorrect(
            "A load from before the change stored its value although another call has the lease "
            "now. Each call needs a token of its own."
        )
    if shelf.runs > runs:
        raise Incorrect(
            "An old flight ended and took the newer one out of `flights`, so that a third load "
            "began. A flight may take out only itself."
        )


role: ContextVar[str] = ContextVar("role", default="")  # whose commands these are


@contextmanager
def network(**hooks: Callable[..., Awaitable[None]]) -> Iterator[None]:
    """Make Redis far away for some: await a hook before a role's command goes, or its answer comes.

    Args:
        hooks: what to await, by "<role>_sends" or "<role>_reads". The latter gets the answer:
            Redis has run the command.
    """
    from redis.asyncio.connection import AbstractConnection as Connection

    send, read = Connection.send_packed_command, Connection.read_response

    async def send_late(*args: Any, **options: Any) -> Any:
        if hook := hooks.get(f"{role.get()}_sends"):
            await hook()
        return await send(*args, **options)

    async def read_late(*args: Any, **options: Any) -> Any:
        answer = await read(*args, **options)
        if hook := hooks.get(f"{role.get()}_reads"):
            await hook(answer)
        return answer

    Connection.send_packed_command = send_late  # type: ignore[method-assign]
    Connection.read_response = read_late  # type: ignore[method-assign]
    try:
        yield
    finally:
        Connection.send_packed_command = send  # type: ignore[method-assign]
        Connection.read_response = read  # type: ignore[method-assign]


async def acting(who: str, doing: Awaitable[Any]) -> Any:
    """Await something as a role."""
    role.set(who)
    return await doing


async def check_invalidation(
    shelf: Shelf, ask: Callable[..., Any], key: str, get: Any, invalidate: Callable[..., Any]
) -> None:
    """Let a reader come between the steps of invalidate()."""
    # A load from before the change ends just before the second command of invalidate().
    await invalidate(key)
    shelf.gate, commands = asyncio.Event(), 0
    loading = ask(1)
    await shelf.started(shelf.runs + 1, loading)
    shelf.version += 1

    async def second_command() -> None:
        nonlocal commands
        commands += 1
        if commands > 1:
            shelf.gate.set()
            await asyncio.wait(loading, timeout=2)

    with network(writer_sends=second_command):
        await asyncio.create_task(acting("writer", invalidate(key)))
    shelf.gate.set()
    await ended(loading, "A call during which the value was invalidated")
    if await ended(ask(1), "A call") != [{"version": shelf.version}]:
        raise Incorrect(
            "Between two commands of invalidate() a load put its old value back. "
            "Delete the value and the lease with one command."
        )
    # A reader begins before the first command, and Redis' answer, the old value, is late.
    shelf.version += 1
    asked, answer = asyncio.Event(), asyncio.Event()
    readers: list[asyncio.Task[Any]] = []

    async def first_command() -> None:
        if not readers:
            reading = acting("reader", get(key, shelf.load, 60))
            readers.append(asyncio.create_task(reading))
            await asyncio.wait(
                [*readers, asyncio.create_task(asked.wait())],
                timeout=2,
                return_when=asyncio.FIRST_COMPLETED,
            )

    async def late_answer(found: Any) -> None:
        if "version" in str(found):  # not one of those to a new connection's greetings
            asked.set()
            await answer.wait()

    with network(writer_sends=first_command, reader_reads=late_answer):
        await asyncio.create_task(acting("writer", invalidate(key)))
        late = ask(1)
        await asyncio.wait(late, timeout=0.2)
        answer.set()
        asked.set()
        values = await ended(late, "A call after invalidate()")
        await ended(readers, "A call during invalidate()")
    if values != [{"version": shelf.version}]:
        raise Incorrect(
            "While invalidate() waited for Redis, a new flight began and read the old value, and "
            "a later call joined it. Forget the flight after the deletion, not before."
        )


async def check_age(
    rd: Database, shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Let a load take half a second: the value's time counts from the load's beginning."""
    await invalidate(key)
    shelf.seconds = 0.5
    await ended(ask(1), "A call with a slow load()")
    shelf.seconds = 0.0
    with rd.connect() as redis:
        left = redis.pttl(key)
    if left == -2:
        raise Incorrect("After a load() of half a second nothing is stored under key.")
    if left == -1:
        raise Incorrect("The value has no TTL. It could become as old as it likes.")
    if not 0 < left <= 59_700:
        raise Incorrect(
            f"load() took 500 ms and read at its beginning; ttl is 60 s. {left:,} ms are left in "
            "Redis, so the value may become older than 60 s."
        )


async def check_history(
    shelf: Shelf, get: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Let 200 callers read while a writer changes and invalidates 30 times; read the history."""
    clock = itertools.count()  # moments: who comes before whom is all that matters
    reads: list[tuple[int, int]] = []
    changes: list[tuple[int, int]] = []
    shelf.seconds, running = 0.002, True

    async def caller() -> None:
        while running:
            moment = next(clock)
            reads.append((moment, (await get(key, shelf.load, 60))["version"]))
            await asyncio.sleep(0.002)

    callers = [asyncio.ensure_future(caller()) for _ in range(200)]
    for _ in range(30):
        shelf.version += 1
        await invalidate(key)
        changes.append((next(clock), shelf.version))
        await asyncio.sleep(0.005)
    running = False
    await ended(callers, "One of 200 callers")
    for moment, version in reads:
        promised = max((new for done, new in changes if done < moment), default=0)
        if version < promised:
            raise Incorrect(
                f"In a history of {len(reads):,} reads and 30 changes, a call got version "
                f"{version} although version {promised} was invalidated before the call began."
            )


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
            (STARTER_4.replace("    return ...\n", ONE_DEL_4), "deleted 2,300"),
            (STARTER_4.replace("    return ...\n", KEYS_4), "You asked with KEYS"),
            (
                changed(
                    SOLUTION_4, "    if keys:\n        deleted += await client.unlink(*keys)\n", ""
                ),
                "The last portion",
            ),
            (changed(SOLUTION_4, "    if keys:\n        deleted", "    deleted"), "raised"),
            (changed(SOLUTION_4, "deleted += await", "await"), "returned 0"),
            (changed(SOLUTION_4, "len(keys) == 500", "len(keys) > 500"), "deleted 501 keys"),
        ],
        praise="Nobody else notices. That is the whole point.",
    ),
    Exercise(
        number=5,
        title="A codec",
        prompt="Write encode and decode for Decimal, datetime and UUID, on top of JSON.",
        setup=section("b"),
        starter=STARTER_5,
        solution=SOLUTION_5,
        check=check_codec,
        hints=[
            "Extend tag and untag above: a tag of its own for each type.",
            "datetime.isoformat and datetime.fromisoformat, str and uuid.UUID belong together.",
            "encode knows the value: let it decode its own text and compare.",
        ],
        wrong=[
            (
                changed(
                    STARTER_5,
                    'TypeError."""\n    return ...',
                    'TypeError."""\n    return json.dumps(value, default=str)',
                    'encoded."""\n    return ...',
                    'encoded."""\n    return json.loads(text)',
                ),
                "came back as '1.10'",
            ),
            (
                changed(
                    SOLUTION_5,
                    "    if decode(text) != value:\n"
                    '        raise TypeError("it would come back changed")\n',
                    "",
                ),
                "encode() accepted",
            ),
            (
                changed(SOLUTION_5, "(Decimal, str, Decimal)", "(Decimal, float, Decimal)"),
                "encode(Decimal) raised",
            ),
            (
                changed(
                    STARTER_5,
                    'TypeError."""\n    return ...',
                    'TypeError."""\n    import pickle\n\n    return pickle.dumps(value).hex()',
                    'encoded."""\n    return ...',
                    'encoded."""\n    return __import__("pickle").loads(bytes.fromhex(text))',
                ),
                "that is not JSON",
            ),
        ],
        praise="What goes in comes out, or is refused in your tests.",
    ),
    Exercise(
        number=6,
        title="A code for signing in",
        prompt="Store one field of a session with a time limit of its own, in one transaction.",
        setup=section("c"),
        starter=STARTER_6,
        solution=SOLUTION_6,
        check=check_put,
        hints=[
            "Three commands: HSET, HEXPIRE for the field, EXPIRE for the key.",
            "`async with client.pipeline(transaction=True) as steps:` collects commands; "
            "`await steps.execute()` sends them between MULTI and EXEC.",
            "steps.hexpire(key, seconds, field)",
        ],
        wrong=[
            (
                changed(
                    SOLUTION_6, '        steps.hexpire(f"session:{session}", seconds, field)\n', ""
                ),
                "has no time limit",
            ),
            (
                changed(SOLUTION_6, '        steps.expire(f"session:{session}", 1800)\n', ""),
                "it should be 1800",
            ),
            (changed(SOLUTION_6, "transaction=True", "transaction=False"), "one by one"),
            (
                changed(
                    SOLUTION_6,
                    '        steps.hset(f"session:{session}", field, value)\n',
                    '        await client.hset(f"session:{session}", field, value)\n',
                ),
                "not all three commands",
            ),
            (changed(SOLUTION_6, 'f"session:{session}"', "session"), "There is no key"),
            (
                changed(SOLUTION_6, "seconds, field", "1800, field"),
                "they should be [60, 1200]",
            ),
        ],
        praise="Each field goes when its time is over, whatever happens to your program.",
    ),
    Exercise(
        number=7,
        title="Keep the promise",
        prompt="Write get and invalidate: no value from before a change, none older than ttl.",
        setup=section("d"),
        starter=STARTER_7,
        solution=SOLUTION_7,
        check=check_promise,
        hints=[
            "get is exercise 2's `once` around work(key, load, ttl). work looks up, else takes a "
            "lease (client.set with nx and px), loads, and stores with STORE.",
            "invalidate deletes the value and the lease with one command, and then takes the "
            "flight out of `flights`.",
            "Note time.monotonic() before load(). What is left of ttl after it goes to STORE. A "
            "flight that ends takes itself out of `flights` only if it is still the one in there.",
        ],
        wrong=[
            (
                changed(SOLUTION_7, GET_7, "    return await work(key, load, ttl)\n"),
                "They share one",
            ),
            (changed(SOLUTION_7, "    flights.pop(key, None)\n", ""), "forget the flight"),
            (
                changed(SOLUTION_7, STORES_7, "await client.set(key, json.dumps(value), px=left)"),
                "stored its old value",
            ),
            (
                changed(SOLUTION_7, "int(1000 * (ttl - (time.monotonic() - begun)))", "1000 * ttl"),
                "older than 60 s",
            ),
            (changed(SOLUTION_7, ", 'PX', ARGV[3])", ")"), "The value has no TTL"),
            (changed(SOLUTION_7, "secrets.token_hex(8)", '"x"'), "a token of its own"),
            (
                changed(
                    SOLUTION_7,
                    "            if flights.get(key) is flight:\n"
                    "                del flights[key]\n",
                    "            flights.pop(key, None)\n",
                ),
                "third",
            ),
            (changed(SOLUTION_7, INVALIDATE_7, TWO_7), "with one command"),
            (changed(SOLUTION_7, INVALIDATE_7, EARLY_7), "after the deletion"),
            (changed(SOLUTION_7, ", nx=True, px=10_000", ", nx=True"), "would stay in Redis"),
        ],
        praise="No read of the history is too old. That is a cache that can be trusted.",
    ),
]
