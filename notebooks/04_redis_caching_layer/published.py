# cache.py - Production-ready Redis caching
import redis.asyncio as redis
import json
import hashlib
from typing import Any, Optional, Callable
from functools import wraps
import asyncio

class RedisCache:
    def __init__(self, redis_url: str = "redis://localhost:6379/0"):
        self.client = redis.from_url(
            redis_url,
            encoding="utf-8",
            decode_responses=True,
            max_connections=50,
            socket_keepalive=True,
            socket_connect_timeout=5,
            retry_on_timeout=True
        )

    async def get(self, key: str) -> Optional[Any]:
        """Get value from cache"""
        value = await self.client.get(key)
        return json.loads(value) if value else None

    async def set(self, key: str, value: Any, ttl: int = 3600):
        """Set value in cache with TTL"""
        await self.client.setex(key, ttl, json.dumps(value))

    async def delete(self, key: str):
        """Delete key from cache"""
        await self.client.delete(key)

    async def invalidate_pattern(self, pattern: str):
        """Invalidate all keys matching pattern"""
        keys = []
        async for key in self.client.scan_iter(match=pattern):
            keys.append(key)
        if keys:
            await self.client.delete(*keys)

    def cached(self, ttl: int = 3600, key_prefix: str = ""):
        """Decorator for caching function results"""
        def decorator(func: Callable):
            @wraps(func)
            async def wrapper(*args, **kwargs):
                # Generate cache key from function name and args
                key_parts = [key_prefix or func.__name__]
                key_parts.extend(str(arg) for arg in args)
                key_parts.extend(f"{k}:{v}" for k, v in sorted(kwargs.items()))
                cache_key = hashlib.md5(":".join(key_parts).encode()).hexdigest()

                # Try cache first
                cached_value = await self.get(cache_key)
                if cached_value is not None:
                    return cached_value

                # Cache miss: execute function
                result = await func(*args, **kwargs)

                # Store in cache
                await self.set(cache_key, result, ttl)
                return result

            return wrapper
        return decorator

# Usage example
cache = RedisCache()

@cache.cached(ttl=300, key_prefix="user")
async def get_user_profile(user_id: int):
    # Expensive database query
    await asyncio.sleep(1)  # Simulate DB query
    return {
        "id": user_id,
        "name": f"User {user_id}",
        "email": f"user{user_id}@example.com"
    }

# Session storage example
async def store_session(session_id: str, data: dict):
    await cache.set(f"session:{session_id}", data, ttl=1800)  # 30 min

async def get_session(session_id: str):
    return await cache.get(f"session:{session_id}")

# Rate limiting example
async def rate_limit(user_id: int, max_requests: int = 100, window: int = 60):
    key = f"ratelimit:{user_id}"
    count = await cache.client.incr(key)
    if count == 1:
        await cache.client.expire(key, window)
    return count <= max_requests
