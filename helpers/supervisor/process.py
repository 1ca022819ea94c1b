"""One embedded server, a process: set up, started, watched and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from helpers.base.errors import LabError
from helpers.base.files import write_private
from helpers.base.processes import (
    disk_note,
    end,
    family,
    has_ended,
    listens,
    stands_still,
    tail,
)
from helpers.base.record import START_SECONDS
from helpers.kinds import KINDS
from helpers.kinds.kind import HOST
from helpers.supervisor.launching import (
    Launched,
    free_port,
    launch,
    port_is_free,
    read_password,
    remembered_port,
    spawn,
)
from helpers.supervisor.leftovers import end_processes
from helpers.supervisor.owned import OwnedServer

STOP_SECONDS = 15


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


async def exit_code(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait until a process ends and return its exit code; None after `seconds`."""
    deadline = time.monotonic() + seconds
    while (code := process.poll()) is None and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return code


class ServerProcess(OwnedServer):
    """One server: its folder, its program and, while it runs, its process.

    `lock` as OwnedServer says. `launched` is a process that is on its way already, and its port.
    """

    engine = "embedded"

    def __init__(self, key: str, kind: str, folder: Path, launched: Launched | None = None) -> None:
        super().__init__(key, kind, folder)
        self.process: subprocess.Popen[bytes] | None = None
        self.launched = launched
        self.watcher: asyncio.Task[None] | None = None
        self.log = folder / "server.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.alive and self.process else None

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "log": str(self.log)}

    def failure(self, what: str, log: Path | None = None) -> LabError:
        """Return an error with the server's last words and the next thing to try."""
        log = log or self.log
        words = tail(log)
        next_step = disk_note(self.folder.parent, words) or (
            "Next: `make doctor`. If it stays so: `make down`, then delete "
            f"{self.folder} (the lessons make their data anew), then `make up`."
        )
        return LabError(f"{self.title} {what}. The last lines of {log}:\n{words}\n{next_step}")

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
            for step in KINDS[self.kind].program(unfinished, password).initialise():
                process = spawn(step, log, signal.SIGTERM)
                if (code := await exit_code(process, START_SECONDS)) is None:
                    await self.finish(process)
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
        if not self.folder.is_dir():
            await self.initialise()
        self.password = read_password(self.folder)
        launched, self.launched = self.launched, None
        if launched is not None:
            process, self.port = launched
            if await self.accepts(process):
                return
        self.port = remembered_port(self.folder) or self.port
        for _ in range(5):
            # The same port as before when it is free: a URL in a notebook stays right.
            if not self.port or not port_is_free(self.port):
                self.port = free_port()
                if not self.port:
                    break
                write_private(self.folder / "port", str(self.port))
            before = self.log.stat().st_size if self.log.exists() else 0
            if await self.accepts(launch(self.kind, self.folder, self.port)):
                return
            with self.log.open("rb") as file:
                file.seek(before)
                words = file.read().lower()
            if b"address already in use" not in words and b"failed listening" not in words:
                break
            self.port = 0  # another program was faster: take another port
        raise self.failure("did not start")

    async def accepts(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until a new process accepts connections, and watch it. False when it ends."""
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None:
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

    async def watch(self, process: subprocess.Popen[bytes]) -> None:
        """Note it when the server ends without having been asked to."""
        while process.poll() is None:
            await asyncio.sleep(0.2)
        async with self.lock:
            await self.note_end()

    async def note_end(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                if not has_ended(psutil.Process(self.process.pid)):
                    return
        # A killed process is a zombie before its last thread has ended and its code is known.
        code = await exit_code(self.process, STOP_SECONDS) or 0
        self.process = None
        self.ended = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                self.ended = signal.Signals(-code).name
        # A session that computes does not notice that its parent is gone.
        await asyncio.to_thread(end_processes, self.folder)

    async def stop(self) -> None:
        await self.note_end()
        process, self.process = self.process, None
        self.ended = None
        if process is None:
            return
        if sys.platform == "win32":  # has no such signals; the data survives a kill
            return await self.finish(process)
        await wake(family(process.pid))
        process.send_signal(KINDS[self.kind].program.stop_signal)
        if await exit_code(process, STOP_SECONDS) is None:
            await self.finish(process)

    async def kill(self) -> None:
        process, self.process = self.process, None
        self.ended = "SIGKILL"
        if process is not None:
            await self.finish(process)

    async def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process and its children; wait until they are gone."""
        await asyncio.to_thread(end, family(process.pid) if process.poll() is None else [])
        process.poll()  # removes the zombie

    async def remove(self) -> None:
        await self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self, lines: int) -> str:
        return tail(self.log, lines)

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
                raise LabError(f"{self.title} could not be paused within {STOP_SECONDS} s.")
            await asyncio.sleep(0.002)

    async def resume(self) -> None:
        await wake(self.members())

    def members(self) -> list[psutil.Process]:
        """Return the processes of the server. Raises LabError when it does not run."""
        if not self.alive or self.process is None:
            raise self.not_running()
        return family(self.process.pid)
