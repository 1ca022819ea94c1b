"""The Docker engine: its messages, and what becomes of containers when things go wrong."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import READ, TAKE, WRITE, Failed, Lab, each_kind, kill, look, new_folder, until

from helpers.base.paths import ROOT
from helpers.kinds.kind import LABEL
from helpers.supervisor import docker

IMAGES = ("POSTGRES_IMAGE", "REDIS_IMAGE", "MONGODB_IMAGE")


class DockerLab(Lab):
    """A lab on Docker, with a state folder and containers of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.env["LAB_ENGINE"] = "docker"

    @property
    def own(self) -> Path:
        """The folder of this lab's supervisor, which names its containers."""
        return self.state / "docker"

    def containers(self) -> list[str]:
        """Return the keys of this lab's containers, ended ones included."""
        client = docker.connect()
        found = docker.own_containers(client, self.own)
        return sorted(c.labels["com.docker.compose.project"].split("-", 2)[2] for c in found)

    def data(self) -> set[str]:
        """Return the keys of the servers whose data is kept."""
        client = docker.connect()
        mark = {"label": f"{LABEL}={docker.label(self.own)}"}
        names = [volume.name for volume in client.volumes.list(filters=mark)]
        return {name.split("_")[0].split("-", 2)[2] for name in names}

    def close(self) -> None:
        super().close()
        docker.end_containers(self.own)
        docker.remove_data(self.own)


@pytest.fixture
def lab() -> Iterator[DockerLab]:
    lab = DockerLab(new_folder())
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture
def apart() -> Iterator[Lab]:
    """A lab that asks for Docker where there is none; nothing of it needs removing."""
    lab = Lab(new_folder())
    lab.env["LAB_ENGINE"] = "docker"
    try:
        yield lab
    finally:
        lab.close()


def refused(lab: Lab, *verbs: str) -> str:
    """Run a verb that fails; return its one message, which shows no traceback."""
    run = lab.command(*(verbs or ("up",)))
    assert run.returncode == 1, run.stdout
    assert "Traceback" not in run.stderr
    return run.stderr


# Docker cannot be used: these need none.


def test_docker_is_absent(apart: Lab) -> None:
    apart.env |= {"PATH": str(apart.folder), "DOCKER_HOST": f"unix://{apart.folder}/none.sock"}
    message = refused(apart)
    assert "Docker is not installed. Install Docker Engine or Docker Desktop" in message
    assert "leave ENGINE=docker out" in message


def test_docker_is_not_started(apart: Lab) -> None:
    """The command is there, and nothing listens on the socket."""
    (apart.folder / "docker").write_text("#!/bin/sh\nexit 1\n")
    (apart.folder / "docker").chmod(0o755)
    apart.env |= {"PATH": str(apart.folder), "DOCKER_HOST": f"unix://{apart.folder}/none.sock"}
    message = refused(apart)
    assert f"Docker does not answer at unix://{apart.folder}/none.sock: is it started?" in message


def test_a_notebook_without_docker_gets_the_same_message(apart: Lab) -> None:
    apart.env |= {"PATH": str(apart.folder), "DOCKER_HOST": f"unix://{apart.folder}/none.sock"}
    with pytest.raises(Failed, match=r"^LabError: .*Docker is not installed"):
        apart.program().run(TAKE["redis"])
    assert not apart.processes("initdb")


def test_docker_refuses_this_user(apart: Lab) -> None:
    """A socket that this user may not open: root without its right to pass, or anybody else."""
    path = apart.folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        apart.env["DOCKER_HOST"] = f"unix://{path}"
        prefix: list[str] = []
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
            rights = "-dac_override,-dac_read_search"
            prefix = ["setpriv", "--bounding-set", rights, "--inh-caps", rights]
        run = subprocess.run(
            [*prefix, sys.executable, "-m", "helpers", "up"],
            cwd=apart.course,
            env=apart.env,
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 1
    assert f"Docker at unix://{path} refuses this user." in run.stderr
    assert "sudo usermod -aG docker $USER" in run.stderr


# Images and containers that fail.


@pytest.mark.docker
def test_an_image_that_cannot_be_had(lab: DockerLab) -> None:
    """`up` says so after the pull; a notebook does not pull. Nothing is left behind."""
    lab.env["REDIS_IMAGE"] = "localhost:1/no-such-image:7.4"
    message = refused(lab)
    assert "The image localhost:1/no-such-image:7.4 could not be pulled" in message
    assert "name another image of Redis in REDIS_IMAGE" in message
    with pytest.raises(Failed, match=r"is not here yet. `make up ENGINE=docker` pulls it"):
        lab.program().run(TAKE["redis"])
    assert lab.containers() == []


@pytest.mark.docker
def test_an_image_of_another_program(lab: DockerLab) -> None:
    """The container ends: the error shows its last words, and the container is gone."""
    lab.env["POSTGRES_IMAGE"] = os.environ.get("REDIS_IMAGE", "redis:7.4")
    with pytest.raises(Failed, match=r"PostgreSQL (could not be started|did not start)"):
        lab.program().run(TAKE["postgresql"])
    assert lab.containers() == []


@pytest.mark.docker
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk(lab: DockerLab) -> None:
    """The volume is too small for a database: the message says what is full."""
    project = f"course-{docker.label(lab.own)}-postgresql"
    volume = docker.connect().volumes.create(
        f"{project}_postgresql-data",
        labels={
            LABEL: docker.label(lab.own),
            "com.docker.compose.project": project,
            "com.docker.compose.volume": "postgresql-data",
        },
    )
    place = volume.attrs["Mountpoint"]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=True)
    try:
        with pytest.raises(Failed, match=r"No space left on device[\s\S]*Docker's disk is full"):
            lab.program().run(TAKE["postgresql"])
    finally:
        subprocess.run(["umount", place], check=True)
    assert lab.containers() == []


@pytest.mark.docker
def test_too_little_memory(lab: DockerLab) -> None:
    """A server that Linux ends for its memory is started again, and says what had happened."""
    lab.env["LAB_MEMORY"] = "64m"
    program = lab.program()
    program.run(TAKE["redis"])
    program.run(WRITE["redis"])
    greedy = "with db.connect() as c: c.eval(\"return #string.rep('x', 300000000)\", 0)"
    with pytest.raises(Failed, match="ConnectionError"):
        program.run(greedy)
    assert program.run(READ["redis"]) == "kept"
    assert "had stopped (out of memory: its limit is 64 MB)" in program.printed


@pytest.mark.docker
def test_a_port_that_another_program_took(lab: DockerLab) -> None:
    """The remembered port is taken: the server gets another one, with its data."""
    program = lab.program()
    program.run(TAKE["redis"])
    program.run(WRITE["redis"])
    port = program.run("result = db.server.port")
    program.close()
    assert lab.command("down").returncode == 0
    with socket.create_server(("127.0.0.1", port)):
        again = lab.program()
        again.run(look("redis"))
        assert again.run(READ["redis"]) == "kept"
        assert again.run("result = db.server.port") != port


# What becomes of containers.


@pytest.mark.docker
@each_kind
def test_a_killed_container_starts_again_with_its_data(lab: DockerLab, kind: str) -> None:
    program = lab.program()
    program.run(TAKE[kind])
    program.run(WRITE[kind])
    (container,) = docker.own_containers(docker.connect(), lab.own)
    container.kill()
    container.wait()
    assert program.run(READ[kind]) == "kept"
    assert "had stopped (SIGKILL). It was started again with its data." in program.printed


@pytest.mark.docker
def test_everything_is_removed_when_the_last_user_is_gone(lab: DockerLab) -> None:
    """Containers go by themselves; the data stays for the next time."""
    program = lab.program()
    program.run(TAKE["redis"])
    program.run(WRITE["redis"])
    assert lab.containers() == ["redis"]
    program.close()
    lab.empty()
    assert lab.containers() == []
    again = lab.program()
    again.run(look("redis"))
    assert again.run(READ["redis"]) == "kept"


@pytest.mark.docker
def test_a_killed_supervisor_leaves_no_container(lab: DockerLab) -> None:
    """The guard removes them, a lesson's own with its data."""
    program = lab.program()
    program.run(TAKE["redis"])
    program.run(TAKE["redis"].replace("'91'", "'92', private=True"))
    assert len(lab.containers()) == 2
    kill(lab.supervisor)
    until(lambda: lab.containers() == [], 60, "the end of the containers")
    until(lambda: lab.data() == {"redis"}, 60, "the end of the lesson's own data")


@pytest.mark.docker
def test_down_with_and_without_volumes(lab: DockerLab) -> None:
    """`down` keeps the data; `down --volumes` removes exactly this lab's."""
    other = DockerLab(new_folder())
    try:
        for one in (lab, other):
            one.program().run(TAKE["redis"] + "\n" + WRITE["redis"])
        assert "The servers are stopped." in lab.command("down").stdout
        assert lab.containers() == []
        assert lab.data() == {"redis"}
        assert lab.command("down", "--volumes").returncode == 0
        assert lab.data() == set()
        assert other.containers() == ["redis"]
        assert other.data() == {"redis"}
    finally:
        other.close()


@pytest.mark.docker
def test_a_run_that_is_ended_leaves_nothing(lab: DockerLab) -> None:
    """A CI service that cancels a run sends SIGTERM: its containers and volumes go too."""
    run = lab.start_run("test", "notebooks/01_postgresql_full_text_search.ipynb")
    until(lambda: lab.processes("ipykernel"), 120, "the notebook")
    (lab.state,) = lab.state.glob("course-test-*")
    assert lab.containers() == ["mongodb", "postgresql", "redis"]
    run.terminate()
    assert run.wait(90) != 0
    lab.empty(5)
    assert (lab.containers(), lab.data(), lab.state.exists()) == ([], set(), False)


class ByHand:
    """A copy of the course's folder, in which somebody runs Compose."""

    def __init__(self, lab: DockerLab) -> None:
        self.folder = lab.folder / "course"
        ignored = shutil.ignore_patterns(".*", "work", "__pycache__")
        shutil.copytree(ROOT, self.folder, ignore=ignored)
        self.env = {name: value for name, value in lab.env.items() if name[:4] != "LAB_"}
        self.project = lab.folder.name.lower()

    def run(self, *command: str) -> str:
        run = subprocess.run(
            command, cwd=self.folder, env=self.env, check=True, stdout=subprocess.PIPE, text=True
        )
        return run.stdout

    def compose(self, *arguments: str) -> str:
        return self.run(*docker.compose_command()[:-2], "-p", self.project, *arguments)

    def python(self, *arguments: str) -> str:
        return self.run(str(ROOT / ".venv" / "bin" / "python"), *arguments)


@pytest.mark.docker
def test_auto_leaves_the_containers_of_another_lab_alone(lab: DockerLab) -> None:
    """A run on Docker does not move a lab that is started beside it from the same folder."""
    course = ByHand(lab)
    course.env["LAB_LABEL"] = "another"
    course.compose("up", "-d", "redis")
    try:
        code = "from helpers.engines import choose; print(choose.engine())"
        assert course.python("-c", code).strip() == "embedded"
    finally:
        course.compose("down", "--volumes")


@pytest.mark.docker
def test_containers_started_by_hand_are_found(lab: DockerLab) -> None:
    """`docker compose up -d` in the course's folder: auto uses them, and `down` leaves them."""
    course = ByHand(lab)
    code = "from helpers import lab; print(lab.redis('91').server.engine, lab.redis('91').url)"
    course.compose("up", "-d", "redis")
    try:
        engine, url = course.python("-c", code).split()
        assert engine == "docker"
        assert ":course@127.0.0.1:6380/" in url
        course.python("-m", "helpers", "down")
        assert course.compose("ps", "-q").strip()
    finally:
        course.compose("down", "--volumes")
