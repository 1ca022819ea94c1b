"""A Redis cache for slow functions, and a rate limiter. Redis may fail; your functions do not.

    cache = Cache("redis://localhost:6379/0")

    @cache.cached(ttl=300, ttl_none=30)
    async def also_bought(product_id: int) -> list[str] | None: ...

    await also_bought(61)             # from Redis, or computed once for everybody who asks
    await also_bought.invalidate(61)  # after you committed a change

What it promises: a value is never older than `ttl`, counted from before it was computed. After
`invalidate` has returned, no call that starts in this process gets the old value, and no process
stores it. A call in another process may share a computation that began before; it lasts no longer
than that computation. While Redis fails, calls go to the function, and `invalidate` raises.
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
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger(__name__)
Load = Callable[[], Awaitable[Any]]

# One round trip: the value, or a lease for the first who finds none.
READ = """
local value = redis.call('GET', KEYS[1])
if value then return {'value', value} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'yours', ''} end
return {'wait', ''}
"""
# Only the holder of the lease stores. An invalidation takes the lease away.
STORE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
# A sliding window: the moments of the last accepted requests. Returns milliseconds to wait.
ALLOW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
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


def encode(value: Any) -> str:
    """Return the value as JSON text. Raise TypeError when decode would not give it back."""

    def tag(part: Any) -> dict[str, str]:
        for name, (kind, to_text, _) in TYPES.items():
            if type(part) is kind:
                return {name: to_text(part)}
        raise TypeError(f"the cache cannot store a {type(part).__name__}")

    text = json.dumps(value, default=tag)
    if decode(text) != value:
        raise TypeError("the value would come back changed: use lists, and texts as keys")
    return text


def decode(text: str) -> Any:
    """Return what was encoded. Raise ValueError when the text is damaged."""

    def untag(part: dict[str, Any]) -> Any:
        (name, *more) = part or [""]
        if name in TYPES and not more:
            return TYPES[name][2](part[name])
        return part

    return json.loads(text, object_hook=untag)


class Cache:
    """A cache in Redis, for functions of one event loop."""

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
        """Args: times in seconds. lease: longer than the slowest function that is cached."""
        pool = BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            max_connections=connections,
            timeout=timeout,  # how long to wait for a free connection
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        self.client = Redis(connection_pool=pool)
        self.prefix, self.cooldown, self.lease = prefix, cooldown, lease
        self.flights: dict[str, asyncio.Task[Any]] = {}
        self.open_until = 0.0  # the breaker: until then Redis is not asked
        self.hits = self.misses = self.failures = 0
        self._read = self.client.register_script(READ)
        self._store = self.client.register_script(STORE)
        self._allow = self.client.register_script(ALLOW)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()
        await self.client.connection_pool.disconnect()

    def cached(self, ttl: float, ttl_none: float | None = None) -> Callable[[Any], Any]:
        """Cache an async function's results for ttl seconds, None for ttl_none."""

        def decorator(function: Any) -> Any:
            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                load = functools.partial(function, *args, **kwargs)
                return await self.fetch(self.key(function, *args, **kwargs), load, ttl, ttl_none)

            async def invalidate(*args: Any, **kwargs: Any) -> None:
                await self.invalidate(self.key(function, *args, **kwargs))

            wrapper.invalidate = invalidate  # type: ignore[attr-defined]
            return wrapper

        return decorator

    def key(self, function: Any, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call: one key for one meaning, readable, found by SCAN."""
        call = inspect.signature(function).bind(*args, **kwargs)
        call.apply_defaults()
        for name, value in call.arguments.items():
            if not isinstance(value, str | int | float | bool | None):
                kind = type(value).__name__
                raise TypeError(f"cannot make a key of {name}: {kind}. Pass a text or a number.")
        values = json.dumps(list(call.arguments.values()))
        if len(values) > 200:
            values = "sha256-" + hashlib.sha256(values.encode()).hexdigest()
        return f"{self.prefix}:{function.__module__}.{function.__qualname__}:{values}"

    async def fetch(self, key: str, load: Load, ttl: float, ttl_none: float | None = None) -> Any:
        """Return the value of the key: from Redis, or from one load() for all who wait."""
        flight = self.flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(key, load, ttl, ttl_none))
            self.flights[key] = flight
            flight.add_done_callback(functools.partial(self._landed, key))
        # A caller that goes away must not take the others with it.
        return await asyncio.shield(flight)

    def _landed(self, key: str, flight: asyncio.Task[Any]) -> None:
        if self.flights.get(key) is flight:
            del self.flights[key]
        if not flight.cancelled():
            flight.exception()  # it was told to the callers, if any are left

    async def _fly(self, key: str, load: Load, ttl: float, ttl_none: float | None) -> Any:
        token = secrets.token_hex(8)
        if (answer := await self._ask(key, token)) is None:  # no Redis
            return await load()
        what, text = answer
        if what == "value":
            try:
                value = decode(text)
                self.hits += 1
                return value
            except ValueError:
                log.warning("The value of %s is damaged. It will be replaced.", key)
                with_lease = await self._replace(key, token)
        else:
            with_lease = what == "yours"
        self.misses += 1
        begun = time.monotonic()
        try:
            value = await load()
        except BaseException:
            if with_lease:
                await self._finish(key, token, "", 0)
            raise
        if with_lease:
            seconds = ttl_none if value is None and ttl_none is not None else ttl
            try:
                text = encode(value)
            except (TypeError, ValueError) as problem:
                log.error("%s was not cached: %s", key, problem)
                seconds = 0.0
            # The value is as old as the beginning of load().
            left = int((seconds - (time.monotonic() - begun)) * 1000)
            await self._finish(key, token, text, left)
        return value

    async def _ask(self, key: str, token: str) -> tuple[str, str] | None:
        """Return the value, the lease, or at last a permission to load without storing."""
        deadline, pause = time.monotonic() + self.lease, 0.005
        while time.monotonic() >= self.open_until:
            try:
                arguments: list[str | int] = [token, int(self.lease * 1000)]
                what, text = await self._read(self._names(key), arguments)
            except RedisError as problem:
                self._trip(problem)
                return None
            if what != "wait" or time.monotonic() >= deadline:
                return what, text
            await asyncio.sleep(pause)  # another process computes it
            pause = min(2 * pause, 0.1)
        return None

    async def _replace(self, key: str, token: str) -> bool:
        try:
            await self.client.delete(key)
            what, _ = await self._read(keys=self._names(key), args=[token, int(self.lease * 1000)])
        except RedisError as problem:
            self._trip(problem)
            return False
        return bool(what == "yours")

    async def _finish(self, key: str, token: str, text: str, milliseconds: int) -> None:
        try:
            await self._store(keys=self._names(key), args=[token, text, milliseconds])
        except RedisError as problem:
            self._trip(problem)

    async def invalidate(self, key: str) -> None:
        """Forget the value, and refuse every value that is being computed now.

        Raises RedisError when Redis fails: then the old value may live until its ttl ends.
        """
        try:
            await self.client.delete(*self._names(key))
        finally:
            # Now, not before: a call during the deletion may have read the old value.
            self.flights.pop(key, None)

    async def allow(self, name: str, limit: int, window: float) -> float:
        """Count a request; return 0, or the seconds to wait when limit is reached in window.

        When Redis fails, the request is let through.
        """
        if time.monotonic() < self.open_until:
            return 0.0
        arguments: list[str | int] = [limit, int(window * 1000), secrets.token_hex(8)]
        try:
            wait = await self._allow(keys=[f"{self.prefix}:limit:{name}"], args=arguments)
            return int(wait) / 1000
        except RedisError as problem:
            self._trip(problem)
            return 0.0

    def _names(self, key: str) -> list[str]:
        return [key, f"{self.prefix}-lease:{key}"]

    def _trip(self, problem: Exception) -> None:
        self.failures += 1
        self.open_until = time.monotonic() + self.cooldown
        log.warning("Redis is left alone for %g s: %r", self.cooldown, problem)
