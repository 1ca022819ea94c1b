"""Exercise 04d-1: keep the promise."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from exercises_04.common import ended
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
    await client.set(f"lease:{key}", token, nx=True, px=10_000)
    begun = time.monotonic()
    value = await load()
    left = int(1000 * (ttl - (time.monotonic() - begun)))
    if left > 0:
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


async def check(rd: Place, get: Callable[..., Any], invalidate: Callable[..., Any]) -> None:
    """Check work, changes and age, each by itself; then 200 callers and 30 changes at once."""
    key = f"ex1:{secrets.token_hex(4)}"
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
    rd: Place, shelf: Shelf, ask: Callable[..., Any], key: str, invalidate: Callable[..., Any]
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


EXERCISE = Exercise(
    title="Keep the promise",
    minutes=17,
    prompt="Write get and invalidate: no value from before a change, none older than ttl.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
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
        (changed(SOLUTION, ", nx=True, px=10_000", ", nx=True"), "would stay in Redis"),
    ],
    praise="No read of the history is too old. That is a cache that can be trusted.",
)
