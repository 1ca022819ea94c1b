"""The process that owns the embedded servers. Nothing else starts or ends one.

It runs as `python -m helpers.supervisor STATE` in a session of its own, so that neither a kernel
restart nor Ctrl-C in a terminal reaches it. Programs talk to it over a loopback socket, one JSON
object a line. An open connection is a lease: the operating system closes it however its owner
ends, so a killed kernel cannot keep a server alive. When the last lease is gone for
`LAB_IDLE_SECONDS` (30 unless set), everything stops; `up` asks to be kept until `down`.

If the supervisor itself is killed, Linux tells the servers (the parent-death signal, prctl(2)),
and a guard process that reads its end of a pipe ends what is left, paused servers included. If
both are killed, the next command ends what they left.
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
from typing import IO, Any, NoReturn

import psutil

from helpers.engines.programs import HOST, KINDS, PROGRAMS, TITLES, Step, private_opener
from helpers.engines.programs import USER as SERVER_USER
from helpers.errors import LabError

RECORD = "supervisor.json"
LOCK = "supervisor.lock"
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


def disk_note(folder: Path, log: str = "") -> str:
    """Return a sentence when the disk of `folder` is full, else nothing."""
    free = shutil.disk_usage(folder).free
    if free > LOW_DISK_BYTES and "No space left on device" not in log:
        return ""
    return f"The disk is full: {free // 1_000_000} MB are free at {folder}. Make room, try again."


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
        except (OSError, OverflowError):
            return False
    return True


def leftovers(folder: Path) -> list[psutil.Process]:
    """Return the server processes that run on this folder, by their command lines.

    This needs no record of process ids, so a stale record or a reused id cannot mislead it.
    PostgreSQL's sessions rewrite their command lines; their working folder tells.
    """
    inside = f"{folder}{os.sep}"
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        arguments = process.info["cmdline"] or []
        name = process.info["name"] or ""
        if name.startswith(("postgres", "initdb", "redis-server")) or any(
            "secantus" in word or word.endswith("mongodb_user.py") for word in arguments
        ):
            with contextlib.suppress(psutil.Error):
                paths = arguments[1:]
                if any(path.startswith(inside) for path in paths) or process.cwd().startswith(
                    inside
                ):
                    found.append(process)
    return found


def supervisors(state: Path) -> list[psutil.Process]:
    """Return the supervisor of this state folder and its guard, by their command lines."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"helpers.supervisor", "helpers.guard"} & set(words := process.info["cmdline"] or [])
        and str(state) in words
    ]


def family(pid: int) -> list[psutil.Process]:
    """Return a server's processes, the parent first: PostgreSQL has one for each session."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process is gone, or a zombie, which only its parent can remove."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def stands_still(process: psutil.Process) -> bool:
    """Tell whether a process is stopped (SIGSTOP), or has ended."""
    try:
        return has_ended(process) or bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return True


async def wake(processes: list[psutil.Process]) -> None:
    """Let paused processes run again, a parent after its children, and wait until they do.

    Until its main thread waits again, Linux may give a process's next signal to another thread,
    which does not act on it. The wait is short: a busy process does not come to rest.
    """
    paused = [process for process in processes if stands_still(process)]
    for process in reversed(paused):
        with contextlib.suppress(psutil.Error):
            process.resume()
    deadline = time.monotonic() + 0.5
    while paused and time.monotonic() < deadline:
        await asyncio.sleep(0.002)
        with contextlib.suppress(psutil.Error):
            if all(process.status() == psutil.STATUS_SLEEPING for process in paused):
                return


def listens(pid: int, port: int) -> bool:
    """Tell whether a process (or its child: Windows has launchers) listens on a port."""
    try:
        for member in (psutil.Process(pid), *family(pid)):
            for socket_ in member.net_connections("tcp4"):
                if socket_.status == psutil.CONN_LISTEN and socket_.laddr.port == port:
                    return True
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        pass
    return False


def end(processes: list[psutil.Process], seconds: float = 10) -> None:
    """Kill processes and wait until they are gone. Raises LabError for one that stays."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + seconds
    while alive := [process for process in processes if not has_ended(process)]:
        if time.monotonic() > deadline:
            numbers = ", ".join(str(process.pid) for process in alive)
            raise LabError(f"These processes of the lab could not be ended: {numbers}. End them.")
        time.sleep(0.01)


def end_leftovers(folder: Path) -> int:
    """Kill every server that still runs on this folder; return the number of processes."""
    processes = {member for process in leftovers(folder) for member in family(process.pid)}
    end(list(processes))
    return len(processes)


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
    """One server: its folder, its program and, while it runs, its process.

    Whoever changes something holds `lock`; the methods themselves do not take it.
    """

    def __init__(self, key: str, kind: str, folder: Path) -> None:
        self.key = key
        self.kind = kind
        self.folder = folder
        self.lock = asyncio.Lock()
        self.process: asyncio.subprocess.Process | None = None
        self.watcher: asyncio.Task[None] | None = None
        self.port = 0
        self.password = ""
        #: How the last process ended, when it ended without having been asked to.
        self.ended: str | None = None
        self.log = folder / "server.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def describe(self) -> dict[str, Any]:
        """Return what a client needs to reach the server."""
        return {
            "key": self.key,
            "kind": self.kind,
            "host": HOST,
            "port": self.port,
            "user": SERVER_USER,
            "password": self.password,
            "pid": self.process.pid if self.alive and self.process else None,
            "log": str(self.log),
            "ended": self.ended,
        }

    def failure(self, what: str, log: Path | None = None) -> LabError:
        """Return an error with the server's last words and the next thing to try."""
        log = log or self.log
        words = tail(log)
        next_step = disk_note(self.folder.parent, words) or (
            "Next: `make doctor`. If it stays so: `make down`, then delete "
            f"{self.folder} (the lessons make their data anew), then `make up`."
        )
        return LabError(
            f"{TITLES[self.kind]} {what}. The last lines of {log}:\n{words}\n{next_step}"
        )

    async def spawn(self, step: Step, log: Path, death: int) -> asyncio.subprocess.Process:
        """Start a command that ends with this process, its output going to `log`."""
        with open(log, "ab", opener=private_opener) as output:
            return await asyncio.create_subprocess_exec(
                *step.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(death),
                **step.options,
            )

    async def initialise(self) -> None:
        """Make the folder with its password and data, complete or not at all."""
        unfinished = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            unfinished.chmod(0o711)  # whatever the umask: PostgreSQL's user passes through
            password = secrets.token_urlsafe(24)
            write_private(unfinished / "password", password)
            log = unfinished / "setup.log"
            for step in PROGRAMS[self.kind](unfinished, password).initialise():
                process = await self.spawn(step, log, signal.SIGTERM)
                try:
                    code = await asyncio.wait_for(process.wait(), START_SECONDS)
                except TimeoutError:
                    await self.finish(process)
                    code = None
                if code != 0:
                    kept = self.folder.with_name(f"{self.folder.name}-failed.log")
                    log.replace(kept)
                    why = (
                        f"did not end within {START_SECONDS} s" if code is None else f"code {code}"
                    )
                    raise self.failure(f"could not be set up ({why})", kept)
            unfinished.rename(self.folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    async def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        if not self.folder.is_dir():
            await self.initialise()
        self.password = (self.folder / "password").read_text(encoding="utf-8").strip()
        remembered = self.folder / "port"
        with contextlib.suppress(OSError, ValueError):
            self.port = int(remembered.read_text())
        if self.log.exists() and self.log.stat().st_size > 2_000_000:
            self.log.replace(self.log.with_suffix(".log.1"))
        for _ in range(5):
            # The same port as before when it is free: a URL in a notebook stays right.
            if not self.port or not port_is_free(self.port):
                free = (port for port in random.sample(PORTS, 500) if port_is_free(port))
                self.port = next(free, 0)
                if not self.port:
                    break
                write_private(remembered, str(self.port))
            before = self.log.stat().st_size if self.log.exists() else 0
            if await self.run():
                return
            with self.log.open("rb") as file:
                file.seek(before)
                words = file.read().lower()
            if b"address already in use" not in words and b"failed listening" not in words:
                break
            self.port = 0  # another program was faster: take another port
        raise self.failure("did not start")

    async def run(self) -> bool:
        """Run the program once. Return whether it accepts connections."""
        program = PROGRAMS[self.kind](self.folder, self.password)
        process = await self.spawn(program.command(self.port), self.log, program.death_signal)
        deadline = time.monotonic() + START_SECONDS
        while process.returncode is None:
            if time.monotonic() > deadline:
                await self.finish(process)
                raise self.failure(f"did not accept a connection within {START_SECONDS} s")
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                await asyncio.sleep(0.005)
                continue
            writer.close()
            if not listens(process.pid, self.port):
                await asyncio.sleep(0.005)  # another program has the port: this one will end
                continue
            self.process = process
            self.watcher = asyncio.get_running_loop().create_task(self.watch(process))
            return True
        return False

    async def watch(self, process: asyncio.subprocess.Process) -> None:
        """Note it when the server ends without having been asked to."""
        await process.wait()
        async with self.lock:
            await self.note_end()

    async def note_end(self) -> None:
        """If the server has ended by itself, remember how, and end the sessions it left."""
        if self.process is None:
            return
        if self.process.returncode is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                if not has_ended(psutil.Process(self.process.pid)):
                    return
        code, self.process = await self.process.wait(), None
        self.ended = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                self.ended = signal.Signals(-code).name
        # A session that computes does not notice that its parent is gone.
        await asyncio.to_thread(end_leftovers, self.folder)

    async def stop(self) -> None:
        """Stop the server as its manual says, and by force when that takes too long."""
        await self.note_end()
        process, self.process = self.process, None
        self.ended = None
        if process is None:
            return
        if sys.platform == "win32":  # has no such signals; the data survives a kill
            return await self.finish(process)
        await wake(family(process.pid))
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(PROGRAMS[self.kind].stop_signal)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            await self.finish(process)

    async def kill(self) -> None:
        """End the server's processes at once, as a crash would."""
        process, self.process = self.process, None
        self.ended = "SIGKILL"
        if process is not None:
            await self.finish(process)

    async def finish(self, process: asyncio.subprocess.Process) -> None:
        """Kill a process and its children; wait until they are gone."""
        members = family(process.pid) if process.returncode is None else []
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.kill()
        await process.wait()
        await asyncio.to_thread(end, members[1:])

    async def pause(self) -> None:
        """Stop every process of the server from running (SIGSTOP), the parent first."""
        deadline = time.monotonic() + STOP_SECONDS
        # Again until all stand still: a signal takes a moment, and a process may just be born.
        while moving := [one for one in self.members() if not stands_still(one)]:
            for member in moving:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.suspend()
            if time.monotonic() > deadline:
                await self.resume()
                raise LabError(f"{TITLES[self.kind]} could not be paused within {STOP_SECONDS} s.")
            await asyncio.sleep(0.002)

    async def resume(self) -> None:
        """Let a paused server run again."""
        await wake(self.members())

    def members(self) -> list[psutil.Process]:
        """Return the processes of the server. Raises LabError when it does not run."""
        if not self.alive or self.process is None:
            raise LabError(f"{TITLES[self.kind]} does not run. Its next use starts it.")
        return family(self.process.pid)


Request = dict[str, Any]


class Supervisor:
    """Answers clients, counts their leases and stops everything when the last one is gone."""

    def __init__(self, state: Path, idle_seconds: float) -> None:
        self.state = state
        self.token = secrets.token_urlsafe(32)
        self.idle_seconds = idle_seconds
        self.servers: dict[str, Running] = {}
        self.leases: set[asyncio.StreamWriter] = set()
        self.owners: dict[str, asyncio.StreamWriter] = {}  # private servers
        self.keep = False
        self.leaving = False
        self.stopping = False
        self.done = asyncio.Event()

    def find(self, key: str) -> Running:
        """Return a server by its key; a shared one is made at its first use."""
        if key in KINDS and key not in self.servers:
            self.servers[key] = Running(key, key, self.state / key)
        try:
            return self.servers[key]
        except KeyError:
            raise LabError(
                "This lesson's own server is gone: it ends when the notebook's kernel or the lab "
                "is restarted. Run the set-up cell again."
            ) from None

    # Each operation takes the request and the connection it came from.

    async def op_ensure(self, request: Request, _: asyncio.StreamWriter) -> Request:
        """Start a server if it does not run."""
        server = self.find(request["key"])
        async with server.lock:
            await server.note_end()
            if not server.alive and not self.stopping:
                await server.start()
            return server.describe()

    async def op_start_all(self, _: Request, owner: asyncio.StreamWriter) -> Request:
        """Start the three shared servers side by side; collect what went wrong."""
        answers = await asyncio.gather(
            *(self.answer({"op": "ensure", "key": kind}, owner) for kind in KINDS)
        )
        return {"errors": [answer["error"] for answer in answers if "error" in answer]}

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
                self.servers.pop(key, None)
                self.owners.pop(key, None)
                shutil.rmtree(server.folder, ignore_errors=True)
                raise
            return server.describe()

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
        return {}

    async def op_pause(self, request: Request, _: asyncio.StreamWriter) -> Request:
        server = self.find(request["key"])
        async with server.lock:
            await server.pause()
        return {}

    async def op_resume(self, request: Request, _: asyncio.StreamWriter) -> Request:
        server = self.find(request["key"])
        async with server.lock:
            await server.resume()
        return {}

    async def op_status(self, _: Request, __: asyncio.StreamWriter) -> Request:
        servers = [s.describe() for s in self.servers.values() if s.alive]
        return {"servers": servers, "keep": self.keep, "leases": len(self.leases)}

    async def op_keep(self, _: Request, __: asyncio.StreamWriter) -> Request:
        self.keep = True
        return {}

    async def op_leave(self, _: Request, owner: asyncio.StreamWriter) -> Request:
        """Give a lease back; stop without the usual wait if nobody else holds one."""
        self.leases.discard(owner)
        self.leaving = True
        return {"keep": self.keep, "leases": len(self.leases)}

    async def op_down(self, _: Request, __: asyncio.StreamWriter) -> Request:
        leases = len(self.leases)
        await self.stop_all()
        return {"leases": leases}

    async def discard(self, key: str) -> None:
        """End a private server and remove its folder."""
        self.owners.pop(key, None)
        server = self.servers.pop(key, None)
        if server is not None:
            async with server.lock:
                await server.kill()
            shutil.rmtree(server.folder, ignore_errors=True)

    async def stop(self, server: Running) -> None:
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

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> Request:
        operation: Callable[..., Awaitable[Request]] = getattr(self, f"op_{request['op']}")
        what = TITLES.get(str(request.get("kind") or request.get("key")), "a server")
        try:
            return {"ok": await operation(request, writer)}
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
        if os.name != "nt":
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, lambda: loop.create_task(self.stop_all()))
        port = server.sockets[0].getsockname()[1]
        address = {"pid": os.getpid(), "port": port, "token": self.token}
        write_private(self.state / RECORD, json.dumps(address))
        waits = [loop.create_task(self.idle()), loop.create_task(self.done.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await self.stop_all()
        server.close()
        await asyncio.sleep(0.05)  # let the last answer go out


def living(state: Path) -> dict[str, Any] | None:
    """Return the record of the supervisor that runs on this state folder, if one does.

    The record may be stale and its process id another program's by now: the command line tells.
    """
    try:
        record: dict[str, Any] = json.loads((state / RECORD).read_text())
        words = psutil.Process(record["pid"]).cmdline()
        return record if words[-2:] == ["helpers.supervisor", str(state)] else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def try_lock(state: Path) -> IO[bytes] | None:
    """Take the state folder's lock, or return None when a supervisor or its guard holds it."""
    lock = open(state / LOCK, "ab", opener=private_opener)  # noqa: SIM115
    try:
        if sys.platform == "win32":
            import msvcrt

            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        lock.close()
        return None
    return lock


def take_lock(state: Path) -> IO[bytes] | None:
    """Become the state folder's only supervisor; None when another one already serves.

    The lock is the operating system's, so it cannot be left behind. On POSIX systems the guard
    shares it: a new supervisor starts after the guard of a killed one has cleaned up.
    """
    deadline = time.monotonic() + START_SECONDS
    while (lock := try_lock(state)) is None:
        if living(state):
            return None
        if time.monotonic() > deadline:
            fail(
                f"Another supervisor holds {state / LOCK} and does not serve. `make down` ends it."
            )
        time.sleep(0.02)
    return lock


def fail(message: str) -> NoReturn:
    """End with a message for the log, which the waiting command shows."""
    sys.exit(message)


def main() -> None:
    """Run the supervisor for the state folder in argv."""
    state = Path(sys.argv[1])
    try:
        idle_seconds = max(0.2, float(os.environ.get("LAB_IDLE_SECONDS") or "30"))
    except ValueError:
        fail("LAB_IDLE_SECONDS must be a number of seconds.")
    lock = take_lock(state)
    if lock is None:
        return
    # A supervisor that was killed may have left servers and private folders behind.
    try:
        end_leftovers(state)
    except LabError as problem:
        fail(str(problem))
    for folder in [*state.glob("private-*"), *state.glob("*.new")]:
        shutil.rmtree(folder, ignore_errors=True)
    guardian = subprocess.Popen(
        [sys.executable, "-m", "helpers.guard", str(state)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=() if sys.platform == "win32" else (lock.fileno(),),
    )
    asyncio.run(Supervisor(state, idle_seconds).main())
    end_leftovers(state)
    guardian.communicate(b"clean")


if __name__ == "__main__":
    main()
