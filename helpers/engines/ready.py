"""Is a server ready? Only a real query from its real client can tell."""

from __future__ import annotations


class NotReady(Exception):
    """The server gave no answer yet. The text is the client's own message."""


def ask(kind: str, url: str, seconds: float = 5) -> str:
    """Ask a server for its version over TCP, with its own client library.

    `seconds` limits the wait for the connection and for the answer. Raises NotReady.
    """
    return {"postgresql": _postgresql, "redis": _redis, "mongodb": _mongodb}[kind](url, seconds)


def _postgresql(url: str, seconds: float) -> str:
    import psycopg

    try:
        with psycopg.connect(
            url,
            connect_timeout=max(2, round(seconds)),  # libpq's least is 2
            options=f"-c statement_timeout={seconds * 1000:.0f}",
        ) as connection:
            row = connection.execute("SHOW server_version").fetchone()
    except psycopg.Error as problem:
        raise NotReady(str(problem)) from problem
    return str(row[0]).split()[0] if row else ""


def _redis(url: str, seconds: float) -> str:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    try:
        client.ping()  # INFO answers while the data is being loaded; PING does not
        return str(client.info("server")["redis_version"])
    except redis.RedisError as problem:
        raise NotReady(str(problem)) from problem
    finally:
        client.close()


def _mongodb(url: str, seconds: float) -> str:
    import pymongo
    from pymongo.errors import PyMongoError

    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        url,
        serverSelectionTimeoutMS=round(seconds * 1000),
        socketTimeoutMS=round(seconds * 1000),
    )
    try:
        # A replica set of one takes writes only some time after it answers.
        if not client.admin.command("hello").get("isWritablePrimary"):
            raise NotReady("the server does not take writes yet")
        return str(client.server_info()["version"])
    except PyMongoError as problem:
        raise NotReady(str(problem)) from problem
    finally:
        client.close()
