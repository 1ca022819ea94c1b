"""A Redis cache for slow functions, and a rate limiter. Redis may fail; your functions do not.

    cache = Cache("redis://localhost:6379/0")

    @cache.cached(ttl=300, ttl_none=30)
    async def also_bought(product_id: int) -> list[str] | None: ...

    await also_bought(61)             # from Redis, or computed once for everybody who asks
    await also_bought.invalidate(61)  # after you committed a change

What it promises: a value is never older than `ttl`, counted from before it was computed (let `ttl`
be longer than that takes). After `invalidate` has returned, no call that starts in this process
gets the old value, and no process stores it. A call in another process may share a computation
that began before; it lasts no longer than that computation. While Redis fails, calls go to the
function, `allow` lets everybody through, and `invalidate` raises NotInvalidated.

What it leaves to you: a limit on the time of your own functions. Whoever computes runs in the
context of the first caller (its contextvars), and goes on when that one is cancelled. Arguments
stand in the keys, for everybody who may read Redis: cache by a number, not by a secret.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

log = logging.getLogger(__name__)
Load = Callable[[], Awaitable[Any]]

# One round trip: the value, or a lease for the first who finds none. A command that is sent again,
# because its connection was lost, finds its own lease.
READ = """
local value = redis.call('GET', KEYS[1])
if value then return {'value', value} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'yours', ''} end
local holder = redis.call('GET', KEYS[2])
if holder == ARGV[1] then return {'yours', ''} end
if holder == 'given up' then return {'alone', ''} end
return {'wait', ''}
"""
# Only the holder of the lease stores. An invalidation takes the lease away. Who has nothing to
# store gives up, so that those who wait do not try one after the other.
STORE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[3]) > 0 then
    redis.call('DEL', KEYS[2])
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
    redis.call('SET', KEYS[2], 'given up', 'PX', 1000)
end
return 1
"""
# A sliding window: the moments of the last accepted requests. Returns milliseconds to wait.
ALLOW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZSCORE', KEYS[1], ARGV[3]) then return 0 end
if redis.call('ZCARD', KEYS[1]) >= limit then
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return math.ceil((oldest[2] + window - now) / 1000)
end
redis.call('ZADD', KEYS[1], now, ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
"""
TYPES: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "$decimal": (Decimal, str, Decimal),
    "$datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "$uuid": (UUID, str, UUID),
}
TEN_YEARS = 10 * 365 * 24 * 3600.0


class NotInvalidated(RedisError):
    """Redis did not forget a value: the old one may live until its ttl ends."""


class Crowded(RedisError):
    """Every connection was in use for too long. Redis may be well."""


def encode(value: Any) -> str:
    """Return the value as JSON text. Raise TypeError when decode would not give it back.

    It takes None, bool, int, float, str, Decimal, datetime and UUID, and lists and dicts of them.
    Not: NaN, infinity, tuples, keys that are no texts, members of an Enum, times with a ZoneInfo,
    and dicts that look like a tag of ours.
    """

    def tag(part: Any) -> dict[str, str]:
        for name, (kind, to_text, _) in TYPES.items():
            if type(part) is kind:
                return {name: to_text(part)}
        raise TypeError(f"the cache cannot store a {type(part).__name__}")

    try:
        text = json.dumps(value, default=tag, allow_nan=False)
        again = decode(text)
    except (ValueError, RecursionError):
        raise TypeError("the cache cannot store the value: it has no JSON of its own") from None
    if not _same(again, value):
        raise TypeError("the value would come back changed: use lists, and texts as keys")
    return text


def decode(text: str | bytes) -> Any:
    """Return what was encoded. Raise ValueError when the text is damaged, however it is."""

    def untag(part: dict[str, Any]) -> Any:
        (name, *more) = part or [""]
        if name in TYPES and not more:
            return TYPES[name][2](part[name])
        return part

    try:
        return json.loads(text if isinstance(text, str) else text.decode(), object_hook=untag)
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise ValueError("the text is not what encode has written") from None


def _same(one: Any, other: Any) -> bool:
    """Whether two values are alike, and of the same types all the way down."""
    if type(one) is not type(other) or repr(one) != repr(other):
        return False
    if isinstance(one, dict):
        return _same(list(one), list(other)) and _same(list(one.values()), list(other.values()))
    return all(map(_same, one, other)) if isinstance(one, list) else True


def _seconds(name: str, value: Any) -> None:
    if type(value) not in (int, float):
        raise TypeError(f"{name} must be a number of seconds, not a {type(value).__name__}")
    if not 0.001 <= value <= TEN_YEARS:  # NaN is neither
        raise ValueError(f"{name} must be from 0.001 to {TEN_YEARS:.0f} seconds")


def _whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be a whole number, not a {type(value).__name__}")
    if not least <= value <= 1_000_000:
        raise ValueError(f"{name} must be from {least} to 1,000,000")


def _text(name: str, value: Any) -> None:
    if type(value) is not str:
        raise TypeError(f"{name} must be a text, not a {type(value).__name__}")
    if not value.strip(" \t\r\n") or len(value) > 1_000 or "\0" in value:
        raise ValueError(f"{name} must have 1 to 1,000 characters, and no NUL")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} has half a character, which UTF-8 cannot store")


def _name_of(function: Any) -> str:
    """Return what a function is called in keys. Raise TypeError when others may be called alike."""
    name = getattr(function, "__qualname__", "<no name>")
    if "<" in name:
        raise TypeError(
            f"{name} does not tell this function from others: functions made by one function share "
            "its name, and would share their values. Say cached(..., name=...)."
        )
    return f"{function.__module__}.{name}"


class Cache:
    """A cache in Redis, for functions of one event loop.

    Every command has `timeout` seconds, and a caller waits at most four times that for one of the
    `connections`. A connection that was closed meanwhile is opened again, once. When Redis does not
    answer, it is left alone for `cooldown` seconds. When it refuses (a key of another type, no
    memory left), the call goes to the function and the next one asks again. `hits`, `misses` and
    `failures` count.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "cache",
        connections: int = 50,
        timeout: float = 0.25,
        cooldown: float = 5.0,
        lease: float = 10.0,
    ) -> None:
        """Make a cache; nothing is sent yet.

        Args:
            url: of Redis. Its own settings for timeouts are overruled.
            prefix: begins every key.
            connections: how many at most.
            timeout: seconds for each command. Longer than your event loop is ever busy.
            cooldown: seconds.
            lease: seconds. Longer than the slowest function that is cached: what takes longer is
                not stored, with a line in the log. When the process that computes dies, those who
                wait for its value wait so long.

        Raises TypeError or ValueError for anything else.
        """
        _text("url", url)
        _text("prefix", prefix)
        if "{" in prefix or "}" in prefix:
            raise ValueError("prefix must have no braces: a cluster places keys by them")
        _whole("connections", connections, 1)
        for name, value in [("timeout", timeout), ("cooldown", cooldown), ("lease", lease)]:
            _seconds(name, value)
        pool = ConnectionPool.from_url(
            url,
            max_connections=connections,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # A server closes connections that were idle. Once more, then, but not after a timeout.
            retry=Retry(NoBackoff(), 1, supported_errors=(NoConnection,)),
        )
        self.client = Redis(connection_pool=pool)
        self.prefix, self.timeout, self.cooldown, self.lease = prefix, timeout, cooldown, lease
        self.slots = asyncio.Semaphore(connections)
        self.flights: dict[str, asyncio.Task[tuple[Any, Any]]] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.open_until = 0.0  # the breaker: until then Redis is not asked
        self.hits = self.misses = self.failures = 0
        self._told: set[str] = set()
        self._read = self.client.register_script(READ)
        self._store = self.client.register_script(STORE)
        self._allow = self.client.register_script(ALLOW)

    async def close(self) -> None:
        """Close the connections, when nobody calls any more."""
        await self.client.aclose()
        await self.client.connection_pool.disconnect()

    def cached(
        self, ttl: float, ttl_none: float | None = None, name: str | None = None
    ) -> Callable[[Any], Any]:
        """Cache an async function's results for ttl seconds, None for ttl_none.

        The function gets `.key(...)`, `.invalidate(...)`; both take its arguments. Those may be
        None, bool, int, float, str, Decimal, datetime and UUID; others raise TypeError at the call.
        1, 1.0 and True are three calls. What it raises reaches everybody who waits, and is not
        stored. What cannot be stored is returned, with a line in the log.

        Args:
            ttl: seconds.
            ttl_none: seconds; without it ttl.
            name: what the function is called in keys, when its own name does not tell it from
                others (a lambda, a function in a function), or for several programs (a script's
                module is `__main__`).

        Raises TypeError or ValueError at once, for other times and functions.
        """
        _seconds("ttl", ttl)
        if ttl_none is not None:
            _seconds("ttl_none", ttl_none)
        if name is not None:
            _text("name", name)

        def decorator(function: Any) -> Any:
            if not inspect.iscoroutinefunction(function):
                raise TypeError("cached() takes an async function")
            begin = f"{self.prefix}:{name or _name_of(function)}:"
            signature = inspect.signature(function)

            def key(*args: Any, **kwargs: Any) -> str:
                return begin + _arguments(signature, args, kwargs)

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                load = functools.partial(function, *args, **kwargs)
                return await self.fetch(key(*args, **kwargs), load, ttl, ttl_none)

            async def invalidate(*args: Any, **kwargs: Any) -> None:
                await self.invalidate(key(*args, **kwargs))

            wrapper.key = key  # type: ignore[attr-defined]
            wrapper.invalidate = invalidate  # type: ignore[attr-defined]
            return wrapper

        return decorator

    async def fetch(self, key: str, load: Load, ttl: float, ttl_none: float | None = None) -> Any:
        """Return the value of the key: from Redis, or from one load() for all who wait.

        Each caller gets a value of its own, which it may change; what cannot be stored is one
        object for all. A caller that is cancelled goes at once, and the work goes on.

        Args:
            key: a text of 1 to 1,000 characters.
            load: an async function without arguments.
            ttl: seconds. ttl_none: the same for None.

        Raises TypeError or ValueError for other arguments, before anything is asked; else only
        what load() raises.
        """
        _text("key", key)
        _seconds("ttl", ttl)
        if ttl_none is not None:
            _seconds("ttl_none", ttl_none)
        if not callable(load):
            raise TypeError("load must be an async function without arguments")
        flight = self.flights.get(key)
        mine = flight is None
        if flight is None:
            flight = self.flights[key] = asyncio.create_task(self._fly(key, load, ttl, ttl_none))
            flight.add_done_callback(functools.partial(self._landed, key))
        # A caller that goes away must not take the others with it.
        text, value = await asyncio.shield(flight)
        return value if mine or text is None else decode(text)

    def _landed(self, key: str, flight: asyncio.Task[Any]) -> None:
        if self.flights.get(key) is flight:
            del self.flights[key]
        if not flight.cancelled():
            flight.exception()  # it was told to the callers, if any are left

    async def _fly(self, key: str, load: Load, ttl: float, ttl_none: float | None) -> Any:
        """Return the value's text, or None when it has none, and the value."""
        token = secrets.token_hex(8)
        what, text = await self._look_up(key, token)
        if what == "value":
            try:
                value = decode(text)
                self.hits += 1
                return text, value
            except ValueError:
                self._tell("A value in the cache is damaged, and replaced: %s", key)
                what = await self._replace(key, token)
        if what == "no redis":
            return None, await load()
        self.misses += 1
        if what != "yours":
            return None, await load()
        return await self._compute(key, token, load, ttl, ttl_none)

    async def _compute(
        self, key: str, token: str, load: Load, ttl: float, ttl_none: float | None
    ) -> tuple[str | None, Any]:
        """Load and store, as the holder of the lease."""
        begun = time.monotonic()
        try:
            value = await load()
        except BaseException:
            await self._finish(key, token, "", 0)
            raise
        text: str | None = None
        try:
            text = encode(value)
        except TypeError as problem:
            self._tell("A value was not cached: %s", problem)
        took = time.monotonic() - begun
        seconds = ttl_none if value is None and ttl_none is not None else ttl
        # The value is as old as the beginning of load().
        left = int((seconds - took) * 1000) if text is not None else 0
        await self._finish(key, token, text or "", left)
        if took > self.lease:
            self._tell("A function took longer than the lease; nothing is cached: %s", key)
        return text, value

    async def _look_up(self, key: str, token: str) -> tuple[str, bytes]:
        """Return the value, the lease, or at last a permission to load without storing."""
        deadline, pause = time.monotonic() + self.lease, 0.005
        while time.monotonic() >= self.open_until:
            try:
                what, text = await self._run(self._read, self._names(key), token, self._lease())
            except RedisError:
                break
            if what != b"wait" or time.monotonic() >= deadline:
                return what.decode(), text
            await asyncio.sleep(pause)  # another process computes it
            pause = min(2 * pause, 0.1)
        return "no redis", b""

    async def _replace(self, key: str, token: str) -> str:
        try:
            async with self._slot():
                await self.client.delete(key)
            what, _ = await self._run(self._read, self._names(key), token, self._lease())
            return str(what.decode())
        except RedisError as problem:
            self._failed(problem)
            return "no redis"

    async def _finish(self, key: str, token: str, text: str, milliseconds: int) -> None:
        with suppress(RedisError):  # it is counted, and the lease ends by itself
            await self._run(self._store, self._names(key), token, text, milliseconds)

    async def invalidate(self, key: str) -> None:
        """Forget the value, and refuse every value that is being computed now.

        It asks Redis also while that is left alone. A caller that is cancelled goes at once, and
        the key is forgotten all the same. Call it after your commit.

        Raises:
            NotInvalidated: Redis fails. The old value may live until its ttl ends: try again, later
                too, or let ttl be short.
            TypeError, ValueError: the key is not a text of 1 to 1,000 characters.
        """
        _text("key", key)
        await self._apart(self._forget(key))

    async def _forget(self, key: str) -> None:
        try:
            async with self._slot():
                await self.client.delete(*self._names(key))
        except RedisError as problem:
            self.failures += 1
            kind = type(problem).__name__  # its text has the server's address
            raise NotInvalidated(
                f"Redis did not forget the value ({kind}): it may live until its ttl ends"
            ) from None
        finally:
            # Now, not before: a call during the deletion may have read the old value.
            self.flights.pop(key, None)

    async def allow(self, name: str, limit: int, window: float) -> float:
        """Count a request; return 0, or the seconds to wait when limit is reached in window.

        Refused requests do not count. A limit of 0 lets nobody through: the answer is window. When
        Redis fails, the request is let through. A caller that is cancelled may have been counted.

        Args:
            name: whose requests these are, a text of 1 to 1,000 characters.
            limit: 0 to 1,000,000. Redis keeps an entry for each accepted request.
            window: seconds.

        Raises TypeError or ValueError for other arguments.
        """
        _text("name", name)
        _whole("limit", limit, 0)
        _seconds("window", window)
        if limit == 0:
            return float(window)
        names, request = [f"{self.prefix}:limit:{name}"], secrets.token_hex(8)
        try:
            asking = self._run(self._allow, names, limit, int(window * 1000), request)
            return int(await self._apart(asking)) / 1000
        except RedisError:
            return 0.0

    def _names(self, key: str) -> list[str]:
        """Return the names of the value and its lease; a cluster keeps them in one place."""
        own = key if "{" in key else f"{{{key}}}"
        return [key, f"{self.prefix}-lease:{own}"]

    def _lease(self) -> int:
        return int(self.lease * 1000)

    async def _apart(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await work in a task of its own: its caller may be cancelled, and a command may not."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it was told to the caller, if that is still there

    async def _run(self, script: Any, names: list[str], *arguments: str | int) -> Any:
        """Run a script. Raise RedisError when Redis fails or is left alone; it is counted."""
        try:
            async with self._slot():
                if time.monotonic() < self.open_until:
                    raise Crowded("Redis is left alone")
                return await script(keys=names, args=arguments)
        except RedisError as problem:
            self._failed(problem)
            raise

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Wait for one of the connections, which is no failure of Redis."""
        try:
            async with asyncio.timeout(4 * self.timeout):
                await self.slots.acquire()
        except TimeoutError:
            raise Crowded("every connection is in use") from None
        try:
            yield
        finally:
            self.slots.release()

    def _failed(self, problem: RedisError) -> None:
        """Count a failure. When Redis does not answer, leave it alone for a while."""
        if isinstance(problem, Crowded):
            return
        self.failures += 1
        kind = type(problem).__name__  # its text has the server's address
        if isinstance(problem, NoConnection | NoAnswer):
            self.open_until = time.monotonic() + self.cooldown
            log.warning("Redis is left alone for %g s: %s", self.cooldown, kind)
        else:
            self._tell("Redis refused a command: %s", problem)

    def _tell(self, message: str, what: object) -> None:
        """Write a line to the log, but the same line only once."""
        line = message % what
        if line not in self._told and len(self._told) < 1_000:
            self._told.add(line)
            log.error("%s", line)


def _arguments(signature: inspect.Signature, args: Any, kwargs: Any) -> str:
    """Return a call's arguments for a key: one text for one meaning; a long one is hashed."""
    call = signature.bind(*args, **kwargs)
    call.apply_defaults()
    for name, value in call.arguments.items():
        if type(value) in (list, dict):
            raise TypeError(f"cannot make a key of {name}: {type(value).__name__}.")
        try:
            encode(value)
        except TypeError:
            kind = type(value).__name__
            raise TypeError(
                f"cannot make a key of {name}: {kind}. Pass a text or a number."
            ) from None
    values = encode(list(call.arguments.values()))
    if len(values) > 200:
        return "sha256-" + hashlib.sha256(values.encode()).hexdigest()
    return values
