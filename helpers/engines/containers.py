"""The Docker engine: servers as containers, described by docker-compose.yml.

Compose makes a container (each server is a project of its own); the Docker SDK does the rest. The
supervisor owns the containers as it owns the embedded servers' processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from helpers.base.errors import LabError
from helpers.base.files import write_private
from helpers.base.paths import ROOT
from helpers.engines import ready
from helpers.engines.address import Address
from helpers.engines.launching import (
    free_port,
    port_is_free,
    read_password,
    remembered_port,
)
from helpers.engines.programs import BY_HAND, HOST, KINDS, LABEL, USER
from helpers.engines.programs import CONTAINER_TITLES as TITLES

#: A first start prepares the data; the official images need up to half a minute for it.
START_SECONDS = 90
STOP_SECONDS = 15
WITHOUT = "Or leave ENGINE=docker out: the embedded engine needs no Docker."


def connect() -> docker.DockerClient:
    """Connect to Docker. Raises LabError when it is absent, stopped or not allowed."""
    address = os.environ.get("DOCKER_HOST") or context_address()
    try:
        client = docker.DockerClient(base_url=address or None, timeout=60)
        client.ping()
        return client
    except DockerException as problem:
        where = f" at {address}" if address else ""
        if "permission denied" in str(problem).lower():
            raise LabError(
                f"Docker{where} refuses this user. Add yourself to the group that may use it "
                f"(sudo usermod -aG docker $USER) and sign in again. {WITHOUT}"
            ) from None
        if not shutil.which("docker") and not shutil.which("docker-compose"):
            raise LabError(
                f"Docker is not installed. Install Docker Engine or Docker Desktop. {WITHOUT}"
            ) from None
        raise LabError(
            f"Docker does not answer{where}: is it started? On Linux: sudo systemctl start docker; "
            f"elsewhere start Docker Desktop. {WITHOUT}"
        ) from None


def context_address() -> str:
    """Return the address of the Docker that the command line uses, such as Docker Desktop's."""
    command = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


@functools.cache
def compose_command() -> list[str]:
    """Return the command of Docker Compose. Raises LabError when there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with contextlib.suppress(OSError):
            if (
                subprocess.run([*command, "version"], capture_output=True, check=False).returncode
                == 0
            ):
                return [*command, "-f", str(ROOT / "docker-compose.yml")]
    raise LabError(
        f"Docker Compose is not installed: neither `docker compose` works nor "
        f"`docker-compose`. Install one of them. {WITHOUT}"
    )


def environment() -> dict[str, str]:
    """Return the environment for Compose: without variables that would win over a server's file."""
    own = ("LAB_PORT", "LAB_PASSWORD", "LAB_LABEL", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE")
    return {name: value for name, value in os.environ.items() if name not in own}


def images() -> dict[str, str]:
    """Return the image of each kind of server, as docker-compose.yml and the variables say."""
    run = subprocess.run(
        [*compose_command(), "config"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    if run.returncode:
        raise LabError(f"Docker Compose cannot read docker-compose.yml:\n{run.stderr.strip()}")
    import yaml

    services = yaml.safe_load(run.stdout)["services"]
    return {kind: services[kind]["image"] for kind in KINDS}


def pull_missing() -> None:
    """Pull the images that are not here yet, with Compose's own progress on the terminal.

    Raises LabError when Docker cannot be used or an image cannot be pulled.
    """
    client = connect()
    for kind, image in images().items():
        try:
            client.images.get(image)
        except ImageNotFound:
            print(f"The image {image} is not here yet. Pulling it:", flush=True)
            run = subprocess.run([*compose_command(), "pull", kind], env=environment(), cwd=ROOT)
            if run.returncode:
                raise LabError(not_pulled(kind, image)) from None


def not_pulled(kind: str, image: str) -> str:
    """Say that an image cannot be had, and what to do."""
    variable = {"postgresql": "POSTGRES_IMAGE", "redis": "REDIS_IMAGE", "mongodb": "MONGODB_IMAGE"}
    return (
        f"The image {image} could not be pulled: the registry cannot be reached, or has no such "
        f"image. Check the network, or name another image of {TITLES[kind]} in {variable[kind]}. "
        f"{WITHOUT}"
    )


def label(state: Path) -> str:
    """Return the label of everything that the lab with this state folder makes."""
    return hashlib.sha256(str(state).encode()).hexdigest()[:12]


def own_containers(client: docker.DockerClient, state: Path) -> list[Container]:
    """Return the containers that the lab with this state folder made."""
    found: list[Container] = client.containers.list(
        all=True, filters={"label": f"{LABEL}={label(state)}"}
    )
    return found


def started_by_hand(client: docker.DockerClient, kind: str) -> Container | None:
    """Return the running container of `docker compose up` in the course's folder, if any."""
    filters = [*BY_HAND, f"com.docker.compose.service={kind}"]
    return next(iter(client.containers.list(filters={"label": filters})), None)


def end_leftovers(state: Path) -> int:
    """Remove the lab's containers, and the data of lessons' own servers; return their number."""
    with contextlib.suppress(LabError, DockerException):
        client = connect()
        found = own_containers(client, state)
        for container in found:
            with contextlib.suppress(NotFound):
                container.remove(force=True)
        remove_volumes(client, state, "-private-")
        return len(found)
    return 0


def remove_volumes(client: docker.DockerClient, state: Path, part: str = "") -> None:
    """Remove the lab's volumes whose name contains `part`."""
    for volume in client.volumes.list(filters={"label": f"{LABEL}={label(state)}"}):
        if part in volume.name:
            volume.remove(force=True)


def remove_data(state: Path) -> None:
    """Remove the volumes, and with them the passwords, of the lab's stopped containers."""
    remove_volumes(connect(), state)
    for kind in KINDS:
        shutil.rmtree(state / kind, ignore_errors=True)


class Contained:
    """One server in a container. Whoever changes something holds `lock`."""

    def __init__(self, key: str, kind: str, folder: Path) -> None:
        self.key = key
        self.kind = kind
        self.folder = folder
        self.lock = asyncio.Lock()
        self.launched: Any = None  # a container needs no head start
        self.project = f"course-{label(folder.parent)}-{key}"
        self.container: Container | None = None
        self.by_hand = False
        self.port = 0
        self.password = ""
        self.ended: str | None = None

    @property
    def alive(self) -> bool:
        """Whether the container ran when it was last looked at."""
        return self.container is not None and self.container.status in ("running", "paused")

    def describe(self) -> dict[str, Any]:
        """Return what a client needs to reach the server."""
        pid = self.container.attrs["State"]["Pid"] if self.container and self.alive else None
        return {
            "key": self.key,
            "kind": self.kind,
            "host": HOST,
            "port": self.port,
            "user": USER,
            "password": self.password,
            "pid": pid,
            "log": "",
            "ended": self.ended,
            "paused": self.container is not None and self.container.status == "paused",
        }

    def logs(self, lines: int) -> str:
        """Return the last lines of the container's log."""
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
        return LabError(f"{TITLES[self.kind]} {what}. Its last words:\n{words}\n{next_step}")

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
        """Make or start the container, and wait until the server answers."""
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
        names = ("POSTGRES_PASSWORD", "MONGO_INITDB_ROOT_PASSWORD", "LAB_PASSWORD")
        self.password = next(variables[name] for name in names if name in variables)
        ports = container.attrs["NetworkSettings"]["Ports"].values()
        self.port = int(next(p[0]["HostPort"] for p in ports if p))

    async def make(self, client: docker.DockerClient) -> None:
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
                await asyncio.to_thread(ready.ask, self.kind, url, 2)
                return
            except ready.NotReady:
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
        """Look at the container; if it has ended by itself, remember how."""
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
        """Stop the server as its image says, and by force when that takes too long."""
        self.ended = None
        if self.container is not None and not self.by_hand:
            with contextlib.suppress(NotFound):
                await self.resume()
                await asyncio.to_thread(self.container.stop, timeout=STOP_SECONDS)

    async def kill(self) -> None:
        """End the server's processes at once, as a crash would."""
        self.ended = "SIGKILL"
        if self.container is not None:
            await self.resume()
            with contextlib.suppress(APIError):  # it had ended
                await asyncio.to_thread(self.container.kill)
            await asyncio.to_thread(self.container.wait, timeout=STOP_SECONDS)
            await asyncio.to_thread(self.container.reload)

    async def pause(self) -> None:
        """Stop every process of the server from running."""
        await self.change("pause")

    async def resume(self) -> None:
        """Let a paused server run again."""
        if self.container is not None:
            await asyncio.to_thread(self.container.reload)
            if self.container.status == "paused":
                await self.change("unpause")

    async def change(self, operation: str) -> None:
        if self.container is None or not self.alive:
            raise LabError(f"{TITLES[self.kind]} does not run. Its next use starts it.")
        if operation == "pause" and self.container.status == "paused":
            return
        await asyncio.to_thread(getattr(self.container, operation))
        await asyncio.to_thread(self.container.reload)

    async def remove(self) -> None:
        """End the server and remove its data."""
        with contextlib.suppress(LabError, DockerException):
            client = await asyncio.to_thread(connect)
            if self.container is not None:
                with contextlib.suppress(NotFound):
                    await asyncio.to_thread(self.container.remove, force=True)
            await asyncio.to_thread(remove_volumes, client, self.folder.parent, self.project)
        shutil.rmtree(self.folder, ignore_errors=True)
