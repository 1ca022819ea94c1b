"""Exercise 04d-1: keep the promise."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from exercises_04.common import PATIENCE, ended, shown, was_cancelled
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed

STARTER = '''
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


await ex1.check()
'''
WORK = '''\
    """Look up, or load and store."""
    if (stored := await client.get(key)) is not None:
        return json.loads(stored)
    token = secrets.token_hex(8)
    await client.set(f"lease:{key}", token, px=10_000)
    begun = time.monotonic()
    value = await load()
    left = int(1000 * (ttl - (time.monotonic() - begun)))
    await client.eval(STORE, 2, key, f"lease:{key}", token, json.dumps(value), left)
    return value
'''
GET = """\
    if key not in flights:
        flight = flights[key] = asyncio.ensure_future(work(key, load, ttl))

        def landed(_):
            if flights.get(key) is flight:
                del flights[key]

        flight.add_done_callback(landed)
    return await asyncio.shield(flights[key])
"""
INVALIDATE = """\
    await client.delete(key, f"lease:{key}")
    flights.pop(key, None)
"""
SOLUTION = changed(
    "\nimport secrets\n" + STARTER,
    '    """Look up, or load and store."""\n',
    WORK,
    'seconds old."""\n    return ...\n',
    f'seconds old."""\n{GET}',
    'older value."""\n    return ...\n',
    f'older value."""\n{INVALIDATE}',
)
TWO = """\
    await client.delete(key)
    await client.delete(f"lease:{key}")
    flights.pop(key, None)
"""
EARLY = """\
    flights.pop(key, None)
    await client.delete(key, f"lease:{key}")
"""
STORES = 'await client.eval(STORE, 2, key, f"lease:{key}", token, json.dumps(value), left)'


CALLERS = 50  # at once; a client of redis-py has at most a hundred connections


class Shelf:
    """A source with a version. A load reads the version first, and then takes its time."""

    def __init__(self) -> None:
        """Begin with version 0 and an open gate."""
        self.version = self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.seconds = self.read_at = 0.0
        self.error: BaseException | None = None

    async def load(self) -> dict[str, int]:
        """Return the version, as it was when the load began."""
        self.runs += 1
        self.read_at = time.monotonic()
        read, gate, error = self.version, self.gate, self.error
        await gate.wait()
        await asyncio.sleep(self.seconds)
        if error:
            raise error
        return {"version": read}

    async def started(
        self, runs: int, tasks: list[asyncio.Task[Any]], patience: float = PATIENCE
    ) -> None:
        """Wait until so many loads began, or all tasks ended without it."""
        end = time.monotonic() + patience
        while self.runs < runs and time.monotonic() < end:
            if all(task.done() for task in tasks):
                return
            await asyncio.sleep(0.005)


async def check(rd: Place, get: Callable[..., Any], invalidate: Callable[..., Any]) -> None:
    """Check work, changes and age, each by itself; then many callers and 30 changes at once."""
    key = f"ex1:{secrets.token_hex(4)}"
    shelf = Shelf()

    def ask(count: int, ttl: float = 60) -> list[asyncio.Task[Any]]:
        return [asyncio.ensure_future(get(key, shelf.load, ttl)) for _ in range(count)]

    try:
        await check_work(shelf, ask)
        await check_change(shelf, ask, key, invalidate)
        await check_overtaken(rd, shelf, ask, key, invalidate)
        await check_invalidation(shelf, ask, key, get, invalidate)
        await check_age(rd, shelf, ask, key, invalidate)
        await check_failure(rd, shelf, ask, key, invalidate)
        await check_cancelled(shelf, ask, key, invalidate)
        await check_history(shelf, get, key, invalidate)
    finally:
        with rd.connect() as redis:
            for name in redis.scan_iter(match=f"*{key}*", count=1000):
                redis.delete(name)


async def check_work(shelf: Shelf, ask: Callable[..., Any]) -> None:
    """Let many ask at once, then one more."""
    shelf.gate = asyncio.Event()
    crowd = ask(CALLERS)
    await shelf.started(1, crowd)
    await shelf.started(2, crowd, 0.2)
    shelf.gate.set()
    done, _ = await asyncio.wait(crowd, timeout=PATIENCE)
    _ = [task.cancelled() or task.exception() for task in done]  # looked at: asyncio is quiet
    if shelf.runs > 1:
        raise Incorrect(f"{CALLERS} callers at once ran load() {shelf.runs} times. They share one.")
    values = await ended(crowd, f"One of {CALLERS} callers")
    if values != [{"version": 0}] * CALLERS:
        raise Incorrect(
            f"{CALLERS} callers at once should get the value; one got {shown(values[0])}."
        )
    await ended(ask(1), "A call for a cached value")
    if shelf.runs != 1:
        raise Incorrect("A value that was just loaded is not in the cache: load() ran again.")


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
    await asyncio.wait(late, timeout=1)  # those who joined the old load are still there
    slow.set()
    await ended(early, "A call during which the value was invalidated")
    values = await ended(late, "A call after invalidate()")
    if {"version": 1} in values:
        raise Incorrect(
            "A call that began after invalidate() had returned joined a load from before the "
            "change. Let invalidate() forget the flight too."
        )
    if values != [{"version": 2}] * 20:
        raise Incorrect(f"After invalidate() a call got {shown(values[0])}; the version is 2.")
    if await ended(ask(1), "A call") != [{"version": 2}]:
        raise Incorrect(
            "A load from before the change stored its old value after the invalidation. Let it "
            "store only while it has its lease, and let invalidate() delete the lease."
        )


async def check_overtaken(
    rd: Place, shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
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
    await shelf.started(shelf.runs + 1, late, 1)  # behind a lock it begins later
    early_gate.set()
    await ended(early, "A call during which the value was invalidated")
    await shelf.started(shelf.runs + 1, late, 0.1)
    with rd.connect() as redis:
        stored = redis.exists(key)
    runs = shelf.runs
    late += ask(1)
    await shelf.started(runs + 1, late[1:], 0.5)
    late_gate.set()
    await ended(late, "A call after invalidate()")
    if stored:
        raise Incorrect(
            "A load from before the change stored its value although another call loads now. "
            "It may store only with the lease that it took itself: each call needs a token of "
            "its own."
        )
    if shelf.runs > runs:
        raise Incorrect(
            "An old flight ended and took the newer one out of `flights`, so that a third load "
            "began. A flight may take out only itself."
        )
    await ended(ask(1), "A call")
    if shelf.runs > runs:
        raise Incorrect("The newer of two loads had the lease, but its value was not stored.")


async def check_failure(
    rd: Place, shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Let a load fail under two callers; the next call's value is stored as ever."""
    await invalidate(key)
    shelf.error = OSError("the database is away")
    failed = ask(2)
    await asyncio.wait(failed, timeout=PATIENCE)
    shelf.error = None
    with rd.connect() as redis:
        for name in redis.scan_iter(match=f"*{key}*", count=1000):
            left, told = redis.ttl(name), name.replace(key, "key")
            if left == -1:
                raise Incorrect(f"After load() had failed, {told} would stay in Redis for ever.")
            if left > 60:
                raise Incorrect(f"After load() had failed, {told} would stay for {left:,} s.")
    if not all(t.done() and "database is away" in str(t.exception()) for t in failed):
        raise Incorrect("load() failed, but a caller who waited for it did not get its error.")
    again = await ended(ask(1), "After load() had failed, the next call")
    if again != [{"version": shelf.version}]:
        raise Incorrect("After load() had failed once, the next call did not get a new value.")
    runs = shelf.runs
    await ended(ask(1), "A call")
    if shelf.runs > runs:
        raise Incorrect(
            "load() failed once; the next call loaded well, but its value was not stored: the "
            "lease of the load that failed is in its way."
        )


async def check_cancelled(
    shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Cancel the first of three callers while the load is under way."""
    await invalidate(key)
    shelf.gate = asyncio.Event()
    three = ask(3)
    await shelf.started(shelf.runs + 1, three)
    three[0].cancel()
    await asyncio.wait(three[:1], timeout=PATIENCE / 10)
    shelf.gate.set()
    await asyncio.wait(three, timeout=PATIENCE)
    if any(task.done() and was_cancelled(task) for task in three[1:]):
        raise Incorrect(
            "The first of three callers was cancelled, and the others were cancelled with it."
        )
    await ended(three[1:], "A caller, after another had been cancelled,")


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
    rd: Place, shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Let a load take half a second: the value's time counts from the load's beginning."""
    for ttl in (60, 600):
        await invalidate(key)
        shelf.seconds, begun = 0.5, time.monotonic()
        await ended(ask(1, ttl), "A call with a slow load()")
        shelf.seconds = 0.0
        with rd.connect() as redis:
            age = time.monotonic() - shelf.read_at  # before PTTL, which is asked later
            left = redis.pttl(key) / 1000
        most = time.monotonic() - begun
        if left == -0.002:
            raise Incorrect("After a load() of half a second nothing is stored under key.")
        if left == -0.001:
            raise Incorrect("The value has no TTL. It could become as old as it likes.")
        if left + age > ttl + 0.005:  # clocks are read to the millisecond
            raise Incorrect(
                f"load() took 500 ms and read at its beginning; ttl is {ttl} s. {left:,.3f} s are "
                f"left in Redis, so the value may become older than {ttl} s."
            )
        if left < ttl - most - 0.02:
            raise Incorrect(
                f"ttl is {ttl} s, and load() took half a second of it. The value is to stay for "
                f"the rest, but has only {left:,.1f} s left."
            )


async def check_history(
    shelf: Shelf, get: Callable[..., Any], key: str, invalidate: Callable[..., Any]
) -> None:
    """Let many callers read while a writer changes and invalidates 30 times; read the history."""
    clock = itertools.count()  # moments: who comes before whom is all that matters
    reads: list[tuple[int, int]] = []
    changes: list[tuple[int, int]] = []
    shelf.seconds, running = 0.002, True

    async def caller() -> None:
        while running:
            moment = next(clock)
            reads.append((moment, (await get(key, shelf.load, 60))["version"]))
            await asyncio.sleep(0.002)

    callers = [asyncio.ensure_future(caller()) for _ in range(CALLERS)]
    for _ in range(30):
        shelf.version += 1
        await invalidate(key)
        changes.append((next(clock), shelf.version))
        await asyncio.sleep(0.005)
    running = False
    await ended(callers, f"One of {CALLERS} callers")
    for moment, version in reads:
        promised = max((new for done, new in changes if done < moment), default=0)
        if version < promised:
            raise Incorrect(
                f"In a history of {len(reads):,} reads and 30 changes, a call got version "
                f"{version} although version {promised} was invalidated before the call began."
            )


EXERCISE = Exercise(
    title="Keep the promise",
    minutes=17,
    prompt="Write get and invalidate: no value from before a change, none older than ttl.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "get is exercise 2's `once` around work(key, load, ttl). work looks up, else takes a "
        "lease (client.set with px), loads, and stores with STORE.",
        "invalidate deletes the value and the lease with one command, and then takes the "
        "flight out of `flights`.",
        "Note time.monotonic() before load(). What is left of ttl after it goes to STORE. A "
        "flight that ends takes itself out of `flights` only if it is still the one in there.",
    ],
    wrong=[
        (
            changed(SOLUTION, GET, "    return await work(key, load, ttl)\n"),
            "They share one",
        ),
        (changed(SOLUTION, "    flights.pop(key, None)\n", ""), "forget the flight"),
        (
            changed(SOLUTION, STORES, "await client.set(key, json.dumps(value), px=left)"),
            "stored its old value",
        ),
        (
            changed(SOLUTION, "int(1000 * (ttl - (time.monotonic() - begun)))", "1000 * ttl"),
            "older than 60 s",
        ),
        (changed(SOLUTION, ", 'PX', ARGV[3])", ")"), "The value has no TTL"),
        (changed(SOLUTION, "secrets.token_hex(8)", '"x"'), "a token of its own"),
        (
            changed(
                SOLUTION,
                "            if flights.get(key) is flight:\n                del flights[key]\n",
                "            flights.pop(key, None)\n",
            ),
            "third",
        ),
        (changed(SOLUTION, INVALIDATE, TWO), "with one command"),
        (changed(SOLUTION, INVALIDATE, EARLY), "after the deletion"),
        (changed(SOLUTION, ", px=10_000", ""), "would stay in Redis"),
        (changed(SOLUTION, ", px=10_000", ", ex=10_000"), "would stay for "),
        (changed(SOLUTION, ", px=10_000", ", nx=True, px=10_000"), "of the load that failed"),
        (
            changed(SOLUTION, "asyncio.shield(flights[key])", "flights[key]"),
            "were cancelled with it",
        ),
        (
            changed(SOLUTION, "1000 * (ttl - (time.monotonic() - begun))", "1000"),
            "is to stay for the rest",
        ),
    ],
    equal={
        "b0db14da": "a token of another length is as unique",
        "cf6c9fd6": "a token of another length is as unique",
        "12b706af": "a token of another length is as unique",
        "17512c98": "a millisecond more or less of a lease",
        "140ec8e4": "a millisecond more or less of a lease",
        "1251e4bd": "DEL takes keys in any order",
    },
    praise="No read of the history is too old. That is a cache that can be trusted.",
)
