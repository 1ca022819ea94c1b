"""The supervisor's service: it answers clients, counts their leases and stops what it started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from helpers.base.errors import LabError
from helpers.base.files import write_private
from helpers.base.processes import disk_note
from helpers.base.record import RECORD, Operation, Request
from helpers.kinds import KINDS
from helpers.kinds.kind import HOST
from helpers.supervisor.owned import OwnedServer

Answer = dict[str, Any]
Client = asyncio.StreamWriter


class Service:
    """Answers clients, counts their leases and stops everything when the last one is gone."""

    def __init__(
        self,
        state: Path,
        idle_seconds: float,
        engine: str,
        make: Callable[[str, str, Path], OwnedServer],
        launched: Sequence[str] = (),
    ) -> None:
        """Args: `launched` are the servers that are on their way already."""
        self.engine = engine
        self.make = make  # from key, kind and folder
        self.state = state
        self.token = secrets.token_urlsafe(32)
        self.idle_seconds = idle_seconds
        self.servers: dict[str, OwnedServer] = {}
        self.leases: set[Client] = set()
        self.owners: dict[str, Client] = {}  # private servers
        self.keep = False
        self.leaving = False
        self.stopping = False
        self.done = asyncio.Event()
        for key in launched:
            self.find(key)

    def find(self, key: str) -> OwnedServer:
        """Return a server by its key; a shared one is made at its first use."""
        if key in KINDS and key not in self.servers:
            self.servers[key] = self.make(key, key, self.state / key)
        try:
            return self.servers[key]
        except KeyError:
            raise LabError(
                "This lesson's own server is gone: it ends when the notebook's kernel or the lab "
                "is restarted. Run the set-up cell again."
            ) from None

    # The operations: each takes the request and the connection it came from. See OPERATIONS.

    async def ensure(self, request: Request, _: Client) -> Answer:
        """Start a server if it does not run."""
        server = self.find(request["key"])
        async with server.lock:
            await server.note_end()
            if not server.alive and not self.stopping:
                await server.start()
            return server.describe()

    async def finish_start(self, server: OwnedServer) -> None:
        """Wait for a server that is on its way. The client that asks for it hears of problems."""
        async with server.lock:
            with contextlib.suppress(LabError, OSError):
                await server.start()

    async def start_all(self, request: Request, owner: Client) -> Answer:
        """Start shared servers side by side; collect what went wrong."""
        answers = await asyncio.gather(
            *(self.answer({"op": "ensure", "key": kind}, owner) for kind in request["kinds"])
        )
        return {"errors": [answer["error"] for answer in answers if "error" in answer]}

    async def private(self, request: Request, owner: Client) -> Answer:
        """Make a new server for one notebook. It ends with that notebook's connection."""
        kind, lesson = request["kind"], request["lesson"]
        start = f"private-{kind}-{lesson}-"
        for key in [k for k, o in self.owners.items() if o is owner and k.startswith(start)]:
            await self.discard(key)
        key = start + secrets.token_hex(4)
        server = self.servers[key] = self.make(key, kind, self.state / key)
        self.owners[key] = owner
        async with server.lock:
            try:
                await server.start()
            except BaseException:
                self.servers.pop(key, None)
                self.owners.pop(key, None)
                await server.remove()
                raise
            return server.describe()

    async def restart(self, request: Request, _: Client) -> Answer:
        server = self.find(request["key"])
        async with server.lock:
            await server.stop()
            await server.start()
            return server.describe()

    async def signal(self, request: Request, _: Client) -> Answer:
        """Kill, pause or resume a server."""
        server = self.find(request["key"])
        signals = {"kill": server.kill, "pause": server.pause, "resume": server.resume}
        async with server.lock:
            await signals[request["signal"]]()
        return {}

    async def logs(self, request: Request, _: Client) -> Answer:
        server = self.find(request["key"])
        return {"text": await asyncio.to_thread(server.logs, request["lines"])}

    async def status(self, _: Request, __: Client) -> Answer:
        for server in self.servers.values():
            if not server.lock.locked():
                async with server.lock:
                    await server.note_end()
        servers = [s.describe() for s in self.servers.values() if s.alive]
        return {"servers": servers, "keep": self.keep, "leases": len(self.leases)}

    async def keep_servers(self, _: Request, __: Client) -> Answer:
        self.keep = True
        return {}

    async def leave(self, _: Request, owner: Client) -> Answer:
        """Give a lease back; stop without the usual wait if nobody else holds one."""
        self.leases.discard(owner)
        self.leaving = True
        return {"keep": self.keep, "leases": len(self.leases)}

    async def down(self, _: Request, __: Client) -> Answer:
        leases = len(self.leases)
        await self.stop_all()
        return {"leases": leases}

    async def discard(self, key: str) -> None:
        """End a private server and remove its folder."""
        self.owners.pop(key, None)
        server = self.servers.pop(key, None)
        if server is not None:
            async with server.lock:
                await server.remove()

    async def stop(self, server: OwnedServer) -> None:
        async with server.lock:
            await server.stop()

    async def stop_all(self) -> None:
        """Stop every server, then the supervisor itself."""
        if not self.stopping:
            self.stopping = True
            # First: a client that comes now starts a new supervisor, which waits for this one.
            if self.is_known():
                (self.state / RECORD).unlink()
            private = [self.discard(key) for key in list(self.owners)]
            shared = [self.stop(self.servers[key]) for key in KINDS if key in self.servers]
            for result in await asyncio.gather(*private, *shared, return_exceptions=True):
                if isinstance(result, BaseException):
                    print(f"While stopping: {result!r}", file=sys.stderr)
            self.done.set()
        await self.done.wait()

    def is_known(self) -> bool:
        """Tell whether clients find this supervisor: its record may be gone or another's."""
        try:
            return bool(json.loads((self.state / RECORD).read_text())["token"] == self.token)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    async def serve(self, reader: asyncio.StreamReader, writer: Client) -> None:
        """Serve one client from its first line to the end of its connection."""
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), 10))
            if not secrets.compare_digest(str(hello["token"]).encode(), self.token.encode()):
                return
            if hello["lease"]:
                self.leases.add(writer)
            writer.write(b"{}\n")
            while line := await reader.readline():
                request = json.loads(line)
                answer = await self.answer(request, writer)
                if self.stopping and request["op"] != "down":
                    break  # no answer: the client turns to the next supervisor
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, KeyError, TypeError, TimeoutError):
            pass  # the client went away or is not one of ours
        except asyncio.CancelledError:
            pass  # the supervisor ends
        finally:
            self.leases.discard(writer)
            for key in [key for key, owner in self.owners.items() if owner is writer]:
                await self.discard(key)
            writer.close()

    async def answer(self, request: Request, client: Client) -> Answer:
        """Do what a client asks for; return the result as "ok", or an "error" in words."""
        operation = OPERATIONS[request["op"]]
        kind = KINDS.get(request.get("kind") or request.get("key", ""))
        what = kind.titles[self.engine] if kind else "a server"
        try:
            return {"ok": await operation(self, request, client)}
        except LabError as problem:
            return {"error": str(problem)}
        except OSError as problem:
            try:
                note = disk_note(self.state, str(problem))
            except OSError:
                note = ""
            note = note or "Next: `make doctor`. If it stays so: `make down`, then `make up`."
            return {"error": f"The lab could not start or reach {what}: {problem}. {note}"}
        except Exception as problem:
            import traceback

            traceback.print_exc()  # into supervisor.log
            return {
                "error": f"The lab failed with {what}: {problem!r}. "
                f"{self.state / 'supervisor.log'} has the details. Next: `make down`."
            }

    async def idle(self) -> None:
        """Return when nobody has used the servers for a while, or when the folder is gone."""
        used = time.monotonic()
        while self.is_known():
            await asyncio.sleep(min(0.5, self.idle_seconds / 2))
            if self.leases or self.keep:
                used = time.monotonic()
                self.leaving = False
            elif self.leaving or time.monotonic() - used > self.idle_seconds:
                return

    async def main(self) -> None:
        server = await asyncio.start_server(self.serve, HOST, 0)
        loop = asyncio.get_running_loop()
        # Kept in a name: the loop itself does not keep a task alive.
        starting = [loop.create_task(self.finish_start(known)) for known in self.servers.values()]
        if os.name != "nt":
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, lambda: loop.create_task(self.stop_all()))
        port = server.sockets[0].getsockname()[1]
        address = {"pid": os.getpid(), "port": port, "token": self.token}
        write_private(self.state / RECORD, json.dumps(address))
        waits = [loop.create_task(self.idle()), loop.create_task(self.done.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*starting)
        await self.stop_all()
        server.close()
        await asyncio.sleep(0.05)  # let the last answer go out


OPERATIONS: dict[Operation, Callable[[Service, Request, Client], Awaitable[Answer]]] = {
    "ensure": Service.ensure,
    "start_all": Service.start_all,
    "private": Service.private,
    "restart": Service.restart,
    "signal": Service.signal,
    "logs": Service.logs,
    "status": Service.status,
    "keep": Service.keep_servers,
    "leave": Service.leave,
    "down": Service.down,
}
