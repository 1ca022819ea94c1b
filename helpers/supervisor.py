"""The process that owns the embedded servers. Nothing else starts or ends one.

It runs as `python -m helpers.supervisor STATE` in a session of its own, so that neither a kernel
restart nor Ctrl-C in a terminal reaches it. Programs talk to it over a loopback socket, one JSON
object a line. An open connection is a lease: the operating system closes it however its owner
ends, so a killed kernel cannot keep a server alive. When the last lease is gone for
`LAB_IDLE_SECONDS` (30 unless set), everything stops; `up` asks to be kept until `down`.

If the supervisor itself is killed, Linux tells the servers (the parent-death signal, prctl(2)),
and a guard process that reads its end of a pipe ends what is left, paused servers included.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

import psutil

from helpers.engines.programs import HOST, KINDS, PROGRAMS, TITLES, Program, private_opener
from helpers.engines.programs import USER as SERVER_USER
from helpers.errors import LabError

RECORD = "supervisor.json"
START_SECONDS = 45
STOP_SECONDS = 15
LOW_DISK_BYTES = 50_000_000
#: Below the ports that systems give to outgoing connections, so that a server which is
#: started again usually finds its port free.
PORTS = range(20_000, 32_000)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, or a note that there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 200 * lines))
            text = file.read().decode("utf-8", "replace")
    except OSError as problem:
        return f"(no log: {problem.strerror})"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(new, "w", opener=private_opener, encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def leftovers(state: Path) -> list[psutil.Process]:
    """Return the server processes that run on this state folder, by their command lines.

    This needs no record of process ids, so a stale record or a reused id cannot mislead it.
    """
    found = []
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or [""]
        name = Path(arguments[0]).name
        ours = name.startswith(("postgres", "initdb", "redis-server")) or any(
            "secantus" in word or word.endswith("mongodb_user.py") for word in arguments
        )
        if ours and any(word.startswith(f"{state}{os.sep}") for word in arguments[1:]):
            found.append(process)
    return found


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a server's processes, the parent first: PostgreSQL has one for each session."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes: list[psutil.Process], seconds: float = 5) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=seconds)


def end_leftovers(state: Path) -> None:
    """Kill every server that still runs on this state folder, with its children."""
    end([member for process in leftovers(state) for member in family(process)])


def die_with_parent(death_signal: int) -> Callable[[], None] | None:
    """Return what a child runs before its program starts: ask Linux to end it with its parent."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # looked up here: the child must not load anything
    parent = os.getpid()

    def ask() -> None:
        prctl(1, death_signal, 0, 0, 0)  # 1 is PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return ask


class Running:
    """One server: its folder, its program and, while it runs, its process."""

    def __init__(self, key: str, kind: str, folder: Path) -> None:
        self.key = key
        self.kind = kind
        self.folder = folder
        self.lock = asyncio.Lock()
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        #: Set when the process ended without having been asked to.
        self.ended: str | None = None
        self.log = folder / "server.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def family(self) -> list[psutil.Process]:
        if not self.alive or self.process is None:
            return []
        return family(psutil.Process(self.process.pid))

    def program(self) -> Program:
        password = (self.folder / "password").read_text(encoding="utf-8").strip()
        return PROGRAMS[self.kind](self.folder, password)

    def describe(self) -> dict[str, Any]:
        """Return what a client needs to reach the server."""
        return {
            "key": self.key,
            "kind": self.kind,
            "host": HOST,
            "port": self.port,
            "user": SERVER_USER,
            "password": self.program().password,
            "pid": self.process.pid if self.alive and self.process else None,
            "log": str(self.log),
        }

    def failure(self, what: str, log: Path | None = None) -> LabError:
        """Return an error with the server's last words and the next thing to try."""
        log = log or self.log
        message = f"{TITLES[self.kind]} {what}. The last lines of {log}:\n{tail(log)}\n"
        free = shutil.disk_usage(self.folder.parent).free
        if free < LOW_DISK_BYTES:
            message += (
                f"The disk is full: {free // 1_000_000} MB are free. Make room, then try again."
            )
        else:
            message += "Next: `make doctor`. If it stays so, `make down`, then `make up`."
        return LabError(message)

    async def initialise(self) -> None:
        """Make the folder with its password and data, complete or not at all."""
        unfinished = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o711)
        unfinished.chmod(0o711)  # whatever the umask: PostgreSQL's user passes through
        write_private(unfinished / "password", secrets.token_urlsafe(24))
        password = (unfinished / "password").read_text(encoding="utf-8")
        log = unfinished / "setup.log"
        for step in PROGRAMS[self.kind](unfinished, password).initialise():
            with open(log, "ab", opener=private_opener) as output:
                process = await asyncio.create_subprocess_exec(
                    *step.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    preexec_fn=die_with_parent(signal.SIGTERM),
                    **step.options,
                )
            try:
                code = await asyncio.wait_for(process.wait(), START_SECONDS)
            except TimeoutError:
                end(family(psutil.Process(process.pid)))
                code = await process.wait()
            if code != 0:
                kept = self.folder.with_name(f"{self.folder.name}-failed.log")
                log.replace(kept)
                shutil.rmtree(unfinished, ignore_errors=True)
                raise self.failure(f"could not be set up (exit code {code})", kept)
        unfinished.rename(self.folder)

    async def start(self) -> None:
        """Start the server and wait until it accepts connections. The caller holds the lock."""
        if not self.folder.is_dir():
            await self.initialise()
        remembered = self.folder / "port"
        with contextlib.suppress(OSError, ValueError):
            self.port = int(remembered.read_text())
        if self.log.exists() and self.log.stat().st_size > 2_000_000:
            self.log.replace(self.log.with_suffix(".log.1"))
        for _ in range(5):
            # The same port as before when it is free: a URL in a notebook stays right.
            if not self.port or not port_is_free(self.port):
                free = (port for port in random.sample(PORTS, 500) if port_is_free(port))
                self.port = next(free, 0)  # 0 makes the server fail, and say why
                write_private(remembered, str(self.port))
            before = self.log.stat().st_size if self.log.exists() else 0
            if await self.run():
                return
            with self.log.open("rb") as file:
                file.seek(before)
                words = file.read().lower()
            if b"in use" not in words and b"failed listening" not in words:
                break
            self.port = 0  # another program was faster: take another port
        raise self.failure("did not start")

    async def run(self) -> bool:
        """Run the program once. Return whether it accepts connections."""
        program = self.program()
        step = program.command(self.port)
        with open(self.log, "ab", opener=private_opener) as output:
            self.process = await asyncio.create_subprocess_exec(
                *step.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(program.death_signal),
                **step.options,
            )
        self.ended = None
        deadline = time.monotonic() + START_SECONDS
        while self.process.returncode is None:
            if time.monotonic() > deadline:
                await self.kill()
                raise self.failure(f"did not accept a connection within {START_SECONDS} s")
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                await asyncio.sleep(0.005)
                continue
            writer.close()
            asyncio.get_running_loop().create_task(self.watch(self.process))
            return True
        self.process = None
        return False

    async def watch(self, process: asyncio.subprocess.Process) -> None:
        """Note it when the server ends without having been asked to."""
        code = await process.wait()
        if self.process is process:
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self.ended = name
            self.process = None

    async def stop(self) -> None:
        """Stop the server as its manual says, and by force when that takes too long."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        members = family(psutil.Process(process.pid))
        for member in reversed(members):
            with contextlib.suppress(psutil.Error):
                member.resume()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.program().stop_signal)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            end(members)
            await process.wait()

    async def kill(self) -> None:
        """End the server's processes at once, as a crash would."""
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            end(family(psutil.Process(process.pid)))
            await process.wait()

    def pause(self) -> None:
        """Stop every process of the server from running (SIGSTOP), the parent first."""
        stopped: set[int] = set()
        # Once more after each round: a process may have been born while others were stopped.
        while new := [member for member in self.family() if member.pid not in stopped]:
            for member in new:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.suspend()
                stopped.add(member.pid)

    def resume(self) -> None:
        """Let a paused server run again, the parent last."""
        for member in reversed(self.family()):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.resume()


Request = dict[str, Any]


class Supervisor:
    """Answers clients, counts their leases and stops everything when the last one is gone."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.token = secrets.token_urlsafe(32)
        self.idle_seconds = float(os.environ.get("LAB_IDLE_SECONDS", "30"))
        self.servers: dict[str, Running] = {}
        self.leases: set[asyncio.StreamWriter] = set()
        self.owners: dict[str, asyncio.StreamWriter] = {}  # private servers
        self.keep = False
        self.leaving = False
        self.stopping = False
        self.done = asyncio.Event()

    def shared(self, kind: str) -> Running:
        return self.servers.setdefault(kind, Running(kind, kind, self.state / kind))

    def find(self, key: str) -> Running:
        try:
            return self.servers[key]
        except KeyError:
            raise LabError(
                "This lesson's own server is gone: it ends when the notebook's kernel or the lab "
                "is restarted. Run the set-up cell again."
            ) from None

    # Each operation takes the request and the connection it came from.

    async def op_ensure(self, request: Request, _: asyncio.StreamWriter) -> Request:
        """Start a server if it does not run; say so when it had ended by itself."""
        key = request["key"]
        server = self.shared(key) if key in KINDS else self.find(key)
        async with server.lock:
            ended = server.ended
            if not server.alive:
                await server.start()
            return server.describe() | {"ended": ended}

    async def op_start_all(self, _: Request, owner: asyncio.StreamWriter) -> Request:
        """Start the three shared servers side by side; collect what went wrong."""
        requests = (self.op_ensure({"key": kind}, owner) for kind in KINDS)
        results = await asyncio.gather(*requests, return_exceptions=True)
        return {"errors": [str(result) for result in results if isinstance(result, Exception)]}

    async def op_private(self, request: Request, owner: asyncio.StreamWriter) -> Request:
        """Make a new server for one notebook. It ends with that notebook's connection."""
        kind, lesson = request["kind"], request["lesson"]
        start = f"private-{kind}-{lesson}-"
        for key in [k for k, o in self.owners.items() if o is owner and k.startswith(start)]:
            await self.discard(key)
        key = start + secrets.token_hex(4)
        server = self.servers[key] = Running(key, kind, self.state / key)
        self.owners[key] = owner
        async with server.lock:
            try:
                await server.start()
            except BaseException:
                await self.discard(key)
                raise
            if owner not in self.leases:  # its notebook went away meanwhile
                await self.discard(key)
            return server.describe() | {"ended": None}

    async def op_restart(self, request: Request, _: asyncio.StreamWriter) -> Request:
        server = self.find(request["key"])
        async with server.lock:
            await server.stop()
            await server.start()
            return server.describe()

    async def op_kill(self, request: Request, _: asyncio.StreamWriter) -> Request:
        server = self.find(request["key"])
        async with server.lock:
            await server.kill()
            server.ended = "SIGKILL"
        return {}

    async def op_pause(self, request: Request, _: asyncio.StreamWriter) -> Request:
        self.find(request["key"]).pause()
        return {}

    async def op_resume(self, request: Request, _: asyncio.StreamWriter) -> Request:
        self.find(request["key"]).resume()
        return {}

    async def op_status(self, request: Request, _: asyncio.StreamWriter) -> Request:
        servers = [s.describe() for s in self.servers.values() if s.alive]
        return {"servers": servers, "keep": self.keep, "leases": len(self.leases)}

    async def op_keep(self, request: Request, _: asyncio.StreamWriter) -> Request:
        self.keep = True
        return {}

    async def op_leave(self, request: Request, owner: asyncio.StreamWriter) -> Request:
        """Give a lease back; stop as soon as nobody else holds one, without the usual wait."""
        self.leases.discard(owner)
        self.leaving = True
        return {"keep": self.keep, "leases": len(self.leases)}

    async def op_down(self, request: Request, _: asyncio.StreamWriter) -> Request:
        leases = len(self.leases)
        await self.stop_all()
        return {"leases": leases}

    async def discard(self, key: str) -> None:
        """End a private server and remove its folder."""
        self.owners.pop(key, None)
        server = self.servers.pop(key, None)
        if server is not None:
            server.resume()
            await server.kill()
            shutil.rmtree(server.folder, ignore_errors=True)

    async def stop_all(self) -> None:
        """Stop every server, then the supervisor itself."""
        if self.stopping:
            return
        self.stopping = True
        # First: a client that comes now starts a new supervisor, which waits for this one.
        self.forget()
        for key in list(self.owners):
            await self.discard(key)
        await asyncio.gather(*(server.stop() for server in self.servers.values()))
        self.done.set()

    def forget(self) -> None:
        """Remove the record by which clients find this supervisor, unless it is another's."""
        record = self.state / RECORD
        with contextlib.suppress(OSError, ValueError):
            if json.loads(record.read_text())["token"] == self.token:
                record.unlink()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client from its first line to the end of its connection."""
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), 10))
            if not secrets.compare_digest(str(hello.get("token")), self.token):
                return
            if hello.get("lease"):
                self.leases.add(writer)
                self.leaving = False
            writer.write(b"{}\n")
            while line := await reader.readline():
                answer = await self.answer(json.loads(line), writer)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # the client went away or is not one of ours
        finally:
            self.leases.discard(writer)
            for key in [key for key, owner in self.owners.items() if owner is writer]:
                await self.discard(key)
            writer.close()

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> Request:
        operation: Callable[..., Awaitable[Request]] = getattr(self, f"op_{request['op']}")
        try:
            return {"ok": await operation(request, writer)}
        except LabError as problem:
            return {"error": str(problem)}
        except OSError as problem:
            return {
                "error": f"The lab could not {request['op']} a server in {self.state}: {problem}"
            }
        except Exception as problem:
            import traceback

            traceback.print_exc()  # into supervisor.log
            return {
                "error": f"The lab failed to {request['op']} a server: {problem!r}. "
                f"{self.state / 'supervisor.log'} has the details."
            }

    async def idle(self) -> None:
        """Stop when nobody has used the servers for a while, or when the folder is gone."""
        since = time.monotonic()
        while not self.done.is_set():
            if not (self.state / RECORD).exists():
                await self.stop_all()
                return
            await asyncio.sleep(min(0.5, self.idle_seconds / 2))
            if self.leases or self.keep:
                since = time.monotonic()
                continue
            idle = self.leaving or time.monotonic() - since > self.idle_seconds
            if idle:
                await self.stop_all()

    async def main(self) -> None:
        server = await asyncio.start_server(self.serve, HOST, 0)
        loop = asyncio.get_running_loop()
        if os.name != "nt":
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, lambda: loop.create_task(self.stop_all()))
        address = {
            "pid": os.getpid(),
            "created": psutil.Process().create_time(),
            "port": server.sockets[0].getsockname()[1],
            "token": self.token,
        }
        write_private(self.state / RECORD, json.dumps(address))
        idle = loop.create_task(self.idle())
        await self.done.wait()
        idle.cancel()
        server.close()
        await asyncio.sleep(0.05)  # let the last answer go out


def living(state: Path) -> dict[str, Any] | None:
    """Return the record of the supervisor that runs on this state folder, if one does."""
    try:
        record: dict[str, Any] = json.loads((state / RECORD).read_text())
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["created"]) < 1
        return record if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def take_lock(state: Path) -> IO[bytes] | None:
    """Become the state folder's only supervisor; None when another one already serves.

    The lock is the operating system's, so it cannot be left behind. On POSIX systems the guard
    shares it: a new supervisor starts after the guard of a killed one has cleaned up.
    """
    lock = (state / "supervisor.lock").open("ab")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if sys.platform == "win32":
                import msvcrt

                lock.seek(0)
                msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            if living(state):
                return None
            if time.monotonic() > deadline:
                sys.exit(f"Another supervisor holds {lock.name} and does not serve.")
            time.sleep(0.02)


def main() -> None:
    """Run the supervisor for the state folder in argv."""
    state = Path(sys.argv[1])
    lock = take_lock(state)
    if lock is None:
        return
    # A supervisor that was killed may have left servers and private folders behind.
    end_leftovers(state)
    for folder in [*state.glob("private-*"), *state.glob("*.new")]:
        shutil.rmtree(folder, ignore_errors=True)
    guardian = subprocess.Popen(
        [sys.executable, "-m", "helpers.guard", str(state)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=() if sys.platform == "win32" else (lock.fileno(),),
    )
    asyncio.run(Supervisor(state).main())
    guardian.communicate(b"clean")


if __name__ == "__main__":
    main()
