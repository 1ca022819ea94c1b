"""Docker as the supervisor and the commands use it: the connection, Compose, images, clean-up.

Compose makes a container (each server is a project of its own); the Docker SDK does the rest.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from helpers.base.errors import LabError
from helpers.base.paths import ROOT
from helpers.kinds import KINDS
from helpers.kinds.kind import BY_HAND, LABEL

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
    about = KINDS[kind]
    return (
        f"The image {image} could not be pulled: the registry cannot be reached, or has no such "
        f"image. Check the network, or name another image of {about.title} in "
        f"{about.image_variable}. {WITHOUT}"
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


def end_containers(state: Path) -> int:
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
