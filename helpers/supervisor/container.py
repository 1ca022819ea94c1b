"""One server in a container, described by docker-compose.yml: made, started, watched, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from helpers.base.errors import LabError
from helpers.base.files import write_private
from helpers.base.paths import ROOT
from helpers.kinds import KINDS
from helpers.kinds.address import Address
from helpers.kinds.kind import NotReady
from helpers.supervisor.docker import (
    compose_command,
    connect,
    environment,
    images,
    label,
    remove_volumes,
    started_by_hand,
)
from helpers.supervisor.launching import free_port, port_is_free, read_password, remembered_port
from helpers.supervisor.owned import OwnedServer

#: A first start prepares the data; the official images need up to half a minute for it.
START_SECONDS = 90
STOP_SECONDS = 15


class ServerContainer(OwnedServer):
    """One server in a container; `lock` as OwnedServer says."""

    engine = "docker"

    def __init__(self, key: str, kind: str, folder: Path) -> None:
        super().__init__(key, kind, folder)
        self.project = f"course-{label(folder.parent)}-{key}"
        self.container: Container | None = None
        self.by_hand = False

    @property
    def alive(self) -> bool:
        return self.container is not None and self.container.status in ("running", "paused")

    @property
    def pid(self) -> int | None:
        return self.container.attrs["State"]["Pid"] if self.container and self.alive else None

    def describe(self) -> dict[str, Any]:
        paused = self.container is not None and self.container.status == "paused"
        return {**super().describe(), "paused": paused}

    def logs(self, lines: int) -> str:
        if self.container is None:
            return "(there is no container)"
        try:
            return str(self.container.logs(tail=lines).decode("utf-8", "replace")).rstrip()
        except DockerException as problem:
            return f"(no log: {problem})"

    def failure(self, what: str, words: str) -> LabError:
        """Return an error with the last words and the next thing to try."""
        memory = "" if self.container is None else self.out_of_memory()
        if memory:
            next_step = f"It ran {memory}. Set LAB_MEMORY to more."
        elif "no space left on device" in words.lower():
            next_step = "Docker's disk is full. Make room (docker system df shows what is used)."
        elif any(
            sign in words for sign in ("pull access denied", "manifest", "dial tcp", "lookup")
        ):
            next_step = "The image could not be had. `make up ENGINE=docker` pulls it and says why."
        else:
            next_step = "Next: `make doctor ENGINE=docker`, then `make down` and `make up`."
        return LabError(f"{self.title} {what}. Its last words:\n{words}\n{next_step}")

    def out_of_memory(self) -> str:
        """Return some words when the container was killed for using too much memory."""
        assert self.container is not None
        if not self.container.attrs["State"].get("OOMKilled"):
            return ""
        limit = self.container.attrs["HostConfig"]["Memory"] // 1024**2
        return f"out of memory: its limit is {limit} MB"

    async def compose(self, *arguments: str) -> tuple[int, str]:
        """Run Compose on this server's project; return its exit code and what it said."""
        command = [*await asyncio.to_thread(compose_command), "-p", self.project]
        command += ["--env-file", str(self.folder / "compose.env"), *arguments]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), START_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            return 1, f"Compose did not end within {START_SECONDS} s"
        return process.returncode or 0, output.decode("utf-8", "replace")

    async def start(self) -> None:
        client = await asyncio.to_thread(connect)
        # Only the lab of the course's folder itself: another state folder is another lab.
        if self.key == self.kind and not os.environ.get("LAB_STATE"):
            found = await asyncio.to_thread(started_by_hand, client, self.kind)
            if found is not None:
                self.adopt(found)
                return
        if self.container is None:
            # A notebook does not pull: nobody would see the progress.
            image = (await asyncio.to_thread(images))[self.kind]
            try:
                await asyncio.to_thread(client.images.get, image)
            except ImageNotFound:
                raise LabError(
                    f"The image {image} is not here yet. `make up ENGINE=docker` pulls it."
                ) from None
        try:
            await self.make(client)
            await self.wait_until_ready()
        except BaseException:
            # Nothing half-started stays behind. The data of an earlier start does.
            if self.container is not None:
                with contextlib.suppress(DockerException):
                    await asyncio.to_thread(self.container.remove, force=True)
            self.container = None
            raise

    def adopt(self, container: Container) -> None:
        """Use a container that somebody started by hand; it stays theirs."""
        self.by_hand, self.container = True, container
        variables = dict(item.split("=", 1) for item in container.attrs["Config"]["Env"])
        self.password = variables[KINDS[self.kind].password_variable]
        ports = container.attrs["NetworkSettings"]["Ports"].values()
        self.port = int(next(p[0]["HostPort"] for p in ports if p))

    async def make(self, client: DockerClient) -> None:
        """Let Compose make the container, on the same port as before when that is free."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        file = self.folder / "password"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
        self.password = read_password(self.folder)
        self.port = remembered_port(self.folder) or self.port
        for _ in range(5):
            if not self.port or not (port_is_free(self.port) or self.container):
                self.port = free_port()
            write_private(self.folder / "port", str(self.port))
            values = {"LAB_PORT": self.port, "LAB_PASSWORD": self.password}
            values["LAB_LABEL"] = label(self.folder.parent)
            text = "".join(f"{name}={value}\n" for name, value in values.items())
            write_private(self.folder / "compose.env", text)
            code, words = await self.compose("up", "-d", "--no-build", self.kind)
            filters = {"label": f"com.docker.compose.project={self.project}"}
            made = await asyncio.to_thread(client.containers.list, all=True, filters=filters)
            self.container = made[0] if made else None
            if code == 0 and self.container is not None:
                return
            if "already allocated" not in words and "already in use" not in words:
                raise self.failure("could not be started", words.strip()[-1500:])
            self.port = 0  # another program has it
        raise self.failure("could not be started", words.strip()[-1500:])

    async def wait_until_ready(self) -> None:
        """Wait until the server answers its client. Raises LabError when it ends or is late."""
        assert self.container is not None
        url = Address(self.kind, self.port, self.password).url()
        deadline = time.monotonic() + START_SECONDS
        while True:
            await asyncio.to_thread(self.container.reload)
            if not self.alive:
                words = await asyncio.to_thread(self.logs, 15)
                raise self.failure(f"did not start ({self.how_it_ended()})", words)
            try:
                await asyncio.to_thread(KINDS[self.kind].ask, url, 2)
                return
            except NotReady:
                if time.monotonic() > deadline:
                    words = await asyncio.to_thread(self.logs, 15)
                    raise self.failure(f"did not answer within {START_SECONDS} s", words) from None
            await asyncio.sleep(0.05)

    def how_it_ended(self) -> str:
        """Return why the container ended."""
        assert self.container is not None
        code = self.container.attrs["State"]["ExitCode"]
        return self.out_of_memory() or ("SIGKILL" if code == 137 else f"exit code {code}")

    async def note_end(self) -> None:
        if self.container is None:
            return
        try:
            await asyncio.to_thread(self.container.reload)
        except NotFound:
            self.container, self.ended = None, self.ended or "its container was removed"
            return
        if not self.alive and self.ended is None:
            self.ended = self.how_it_ended()

    async def stop(self) -> None:
        self.ended = None
        if self.container is not None and not self.by_hand:
            with contextlib.suppress(NotFound):
                await self.resume()
                await asyncio.to_thread(self.container.stop, timeout=STOP_SECONDS)

    async def kill(self) -> None:
        self.ended = "SIGKILL"
        if self.container is not None:
            await self.resume()
            with contextlib.suppress(APIError):  # it had ended
                await asyncio.to_thread(self.container.kill)
            await asyncio.to_thread(self.container.wait, timeout=STOP_SECONDS)
            await asyncio.to_thread(self.container.reload)

    async def pause(self) -> None:
        await self.change("pause")

    async def resume(self) -> None:
        if self.container is not None:
            await asyncio.to_thread(self.container.reload)
            if self.container.status == "paused":
                await self.change("unpause")

    async def change(self, operation: str) -> None:
        if self.container is None or not self.alive:
            raise self.not_running()
        if operation == "pause" and self.container.status == "paused":
            return
        await asyncio.to_thread(getattr(self.container, operation))
        await asyncio.to_thread(self.container.reload)

    async def remove(self) -> None:
        with contextlib.suppress(LabError, DockerException):
            client = await asyncio.to_thread(connect)
            if self.container is not None:
                with contextlib.suppress(NotFound):
                    await asyncio.to_thread(self.container.remove, force=True)
            await asyncio.to_thread(remove_volumes, client, self.folder.parent, self.project)
        shutil.rmtree(self.folder, ignore_errors=True)
