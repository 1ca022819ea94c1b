"""A line to a server that can be made slow, silent or broken: a TCP proxy in a thread.

    with Proxy(url) as proxy:
        proxy.delay(15)              # 15 ms each way: a round trip of 30 ms
        function(proxy.url)
        proxy.cut(answer_to=b"COMMIT")   # the server commits, and nobody is told

It knows nothing of protocols, so it serves PostgreSQL, Redis and MongoDB and every client of
theirs. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

Result = TypeVar("Result")
#: What the proxy does to its own thread takes milliseconds. More means that it is broken.
COMMAND_SECONDS = 10.0
PORTS = {"postgresql": 5432, "redis": 6379, "mongodb": 27017}


def through(url: str, port: int) -> tuple[str, int, str]:
    """Return the server's host and port, and the URL with 127.0.0.1 and `port` in their place.

    A MongoDB client asks the server for its addresses and goes there, past any proxy; the URL
    tells it not to. Raises ValueError for a URL that does not name one host.
    """
    parts = urlsplit(url)
    kind = parts.scheme.split("+")[0]
    kind = "postgresql" if kind == "postgres" else kind
    if kind not in PORTS or "srv" in parts.scheme:
        raise ValueError(f"cannot put a proxy before a {parts.scheme} URL")
    login, at, place = parts.netloc.rpartition("@")
    if not parts.hostname or "," in place or {"host", "port"} & parse_qs(parts.query).keys():
        raise ValueError("the URL must name one host and port, before its path")
    query = parts.query
    if kind == "mongodb" and "directConnection" not in query:
        query += ("&" if query else "") + "directConnection=true"
    path = parts.path if kind != "mongodb" else parts.path or "/"
    own = parts._replace(netloc=f"{login}{at}127.0.0.1:{port}", query=query, path=path)
    return parts.hostname, parts.port or PORTS[kind], own.geturl()


def bound(port: int = 0) -> socket.socket:
    """Take a port of 127.0.0.1 without listening on it: whoever connects is refused."""
    own = socket.socket()
    if os.name == "posix":  # on Windows it would let others take the port as well
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind(("127.0.0.1", port))
    return own


@dataclass
class Rule:
    """Which connection to cut: the one that sends `word`. Before or after the server has it."""

    word: bytes
    reaches: bool  # the server
    passed: int = 0  # bytes of the answer that the client still gets


class Link:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client, self.server = client, client  # until there is one
        self.left: int | None = None  # bytes of answers until the cut, when there is to be one
        self.said = b""  # the end of what the client sent, for a word in two pieces

    def abort(self) -> None:
        """End both connections at once, as a router that lost its memory does."""
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """A proxy before one server. Its commands return when they have taken effect."""

    def __init__(self, url: str) -> None:
        """Listen. Raises ValueError for a URL that does not name one host."""
        self._socket = bound()
        self.port: int = self._socket.getsockname()[1]
        try:
            self._host, self._port, self.url = through(url, self.port)
        except ValueError:
            self._socket.close()
            raise
        self.cuts = 0  #: connections that were cut so far
        self.held = 0  #: bytes that came and did not go on, while stalled
        self._seconds = 0.0
        self._rule: Rule | None = None
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._flow = asyncio.Event()
        self._flow.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    def delay(self, milliseconds: float) -> None:
        """Make every byte take so long each way. A new connection costs a round trip more."""
        self._do(self._set(seconds=milliseconds / 1000))

    def drop(self) -> None:
        """Refuse new connections. Those that are there stay; `cut` ends them."""
        self._do(self._refuse())

    def stall(self) -> None:
        """Accept and keep connections, and pass nothing, as when a cable is out.

        What is sent meanwhile is kept for `restore`, the end of a connection included.
        """
        self._do(self._set(flows=False))

    def cut(
        self,
        *,
        before: bytes | None = None,
        answer_to: bytes | None = None,
        after: int | None = None,
    ) -> None:
        """Cut every connection now; or one connection, once, at a moment to come.

        Args:
            before: when a client sends this. The server does not get it.
            answer_to: when the server answers this. The server has done it; nobody is told.
            after: how many bytes of that answer pass; alone: of the answer to what comes next.
                The default is none.
        """
        if before is not None:
            self._do(self._set(rule=Rule(before, reaches=False)))
        elif answer_to is not None or after is not None:
            self._do(self._set(rule=Rule(answer_to or b"", reaches=True, passed=after or 0)))
        else:
            self._do(self._cut())

    def restore(self) -> None:
        """Be an ordinary line again: no delay, no cut to come, open to everybody."""
        self._do(self._set(seconds=0.0, flows=True))
        self._do(self._listen())

    def close(self) -> None:
        """End every connection and the thread."""
        if self._loop.is_closed():
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(COMMAND_SECONDS)
        self._loop.close()

    # All below runs in the thread.

    def _do(self, command: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(command, self._loop).result(COMMAND_SECONDS)

    async def _set(
        self, seconds: float | None = None, flows: bool | None = None, rule: Rule | None = None
    ) -> None:
        if seconds is not None:
            self._seconds = seconds
        if flows:
            self._flow.set()
            self.held = 0
        elif flows is False:
            self._flow.clear()
        self._rule = rule

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._socket, backlog=200)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket = bound(self.port)  # so that nobody else gets it

    async def _cut(self) -> None:
        self._rule = None
        for link in set(self._links):
            self._cut_one(link)
        await asyncio.sleep(0)  # in which the sockets are closed

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        self._socket.close()
        tasks = set(self._tasks)
        for link in self._links:
            link.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cut_one(self, link: Link) -> None:
        self.cuts += 1
        link.abort()
        self._links.discard(link)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        link, task = Link(client), asyncio.current_task()
        assert task
        self._links.add(link)
        self._tasks.add(task)
        pumps: list[asyncio.Task[None]] = []
        try:
            await self._flow.wait()
            answers, link.server = await asyncio.open_connection(self._host, self._port)
            if link not in self._links:  # it was cut meanwhile
                return
            shake = self._loop.time() + 2 * self._seconds
            pumps.append(asyncio.create_task(self._pass(reader, link, link.server, shake)))
            pumps.append(asyncio.create_task(self._pass(answers, link, client, 0)))
            await asyncio.gather(*pumps)
        except (OSError, asyncio.CancelledError):
            pass  # an end of the line is gone: so is the other
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            link.abort()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _pass(
        self, source: asyncio.StreamReader, link: Link, target: asyncio.StreamWriter, first: float
    ) -> None:
        """Pass one direction on. Reading goes on during the delay, as on a long line."""
        line: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()

        async def read() -> None:
            piece: bytes | None = b"begin"
            while piece:
                try:
                    piece = await source.read(65536)
                except OSError:
                    piece = None
                if piece and not self._flow.is_set():
                    self.held += len(piece)
                line.put_nowait((max(first, self._loop.time()) + self._seconds, piece))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, piece = await line.get()
                await asyncio.sleep(due - self._loop.time())
                await self._flow.wait()
                if piece is None:
                    raise ConnectionResetError
                if not piece:
                    target.write_eof()
                    return
                self._write(link, target, piece)
                await target.drain()
        finally:
            reading.cancel()

    def _write(self, link: Link, target: asyncio.StreamWriter, piece: bytes) -> None:
        """Write a piece, or what is left of it when this is the moment of a cut."""
        rule = self._rule
        if target is link.client:
            if link.left is None:
                target.write(piece)
                return
            target.write(piece[: link.left])
            link.left -= len(piece)
            if link.left <= 0:
                self._cut_politely(link)
            return
        text, length = link.said + piece, len(rule.word) if rule else 0
        link.said = text[-(length - 1) :] if length > 1 else b""
        if rule and rule.word in text:
            self._rule = None
            if not rule.reaches:
                self._cut_one(link)
                return
            link.left = rule.passed
        target.write(piece)

    def _cut_politely(self, link: Link) -> None:
        """Cut, but let the client have what was written to it before."""
        self.cuts += 1
        link.client.close()
        link.server.transport.abort()
        self._links.discard(link)
