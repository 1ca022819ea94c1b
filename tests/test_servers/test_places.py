"""What every lesson may rely on, on the run's own servers and with the real client libraries."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pymongo
import pymongo.errors
import pytest
import redis
from labs import KINDS, Lab, each_kind, gone, is_running, place_of, until

from helpers import lab
from helpers.base.paths import ROOT, state_dir
from helpers.engines import choose
from helpers.kinds import KINDS as KNOWN

pytestmark = pytest.mark.long

ENGINE = os.environ.get("LAB_ENGINE") or "embedded"
SET_UP: dict[str, Any] = {"postgresql": lab.postgres, "redis": lab.redis, "mongodb": lab.mongodb}


def write(place: Any, value: str = "kept") -> None:
    """Store a value in a lesson's place."""
    with place.connect() as client:
        if place.kind == "postgresql":
            client.execute("CREATE TABLE IF NOT EXISTS t (v text)")
            client.execute("INSERT INTO t VALUES (%s)", [value])
        elif place.kind == "redis":
            client.rpush("t", value)
        else:
            client[place.database].t.insert_one({"v": value})


def read(place: Any) -> list[str]:
    """Return the values that are stored in a lesson's place."""
    with place.connect() as client:
        if place.kind == "postgresql":
            if client.execute("SELECT to_regclass('t')").fetchone() == (None,):
                return []
            return [row[0] for row in client.execute("SELECT v FROM t")]
        if place.kind == "redis":
            return list(client.lrange("t", 0, -1))
        return [document["v"] for document in client[place.database].t.find()]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "helpers", *arguments],
        cwd=ROOT,
        env={**os.environ, "LAB_ENV": "current"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# The contract of lab.postgres, lab.redis and lab.mongodb.


@each_kind
def test_a_lesson_gets_a_url_for_the_real_client(kind: str, namespace: str) -> None:
    """The URL alone is enough for the client library, without any helper."""
    place = SET_UP[kind]("80")
    if kind == "postgresql":
        assert place.url.startswith("postgresql+psycopg://")
        with psycopg.connect(place.dsn) as connection:
            assert connection.info.dbname == place.name
    elif kind == "redis":
        with redis.Redis.from_url(place.url) as client:
            assert client.client_info()["db"] == place.number
    else:
        with pymongo.MongoClient(place.url) as client:
            assert client.get_default_database().name == place.database == place.name
    assert (place.kind, place.lesson) == (kind, "80")
    assert place.name == f"{namespace}_lesson_80"


def test_connect_gives_the_libraries_own_objects() -> None:
    """Nothing is wrapped."""
    with lab.postgres("80").connect() as connection:
        assert type(connection) is psycopg.Connection
    with lab.redis("80").connect() as client:
        assert type(client) is redis.Redis
    with lab.mongodb("80").connect() as mongo:
        assert type(mongo) is pymongo.MongoClient


@each_kind
def test_the_server_tells_its_version_and_engine(kind: str) -> None:
    place = SET_UP[kind]("80")
    assert re.fullmatch(r"\d+(\.\d+)+", place.server.version)
    assert place.server.engine == ENGINE
    assert place.server.host == "127.0.0.1"


@each_kind
def test_the_set_up_call_empties(kind: str) -> None:
    """Each run of a set-up cell starts from nothing; every other use finds the data."""
    place = SET_UP[kind]("80")
    write(place)
    assert read(place) == read(place_of(kind, "80")) == ["kept"]
    assert read(SET_UP[kind]("80")) == []


def test_the_set_up_call_ends_earlier_connections() -> None:
    """A connection left over from an earlier run, in the middle of a transaction, is ended."""
    old = lab.postgres("80").connect()
    old.execute("CREATE TABLE left_over (x int)")
    lab.postgres("80")
    with pytest.raises(psycopg.OperationalError):
        old.execute("SELECT 1")


def test_two_set_up_calls_at_the_same_moment() -> None:
    """Two notebooks of one lesson: both calls succeed, and there is one empty database."""
    with ThreadPoolExecutor(6) as pool:
        places = list(pool.map(lambda _: lab.postgres("80"), range(12)))
    assert read(places[0]) == []


def test_the_same_collation_and_time_zone_everywhere() -> None:
    """Builtin C.UTF-8 in UTF-8, and UTC, whatever the machine's locale."""
    with lab.postgres("80").connect() as connection:
        row = connection.execute(
            "SELECT pg_encoding_to_char(encoding), datlocprovider, datlocale, datcollate"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        assert row == ("UTF8", "b", "C.UTF-8", "C")
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert connection.execute("SELECT upper('é'), 'B' < 'a'").fetchone() == ("É", True)


def test_mongodb_dates_are_aware_and_utc() -> None:
    from datetime import UTC, datetime

    place = lab.mongodb("80")
    with place.connect() as client:
        when = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
        client[place.database].t.insert_one({"when": when})
        assert client[place.database].t.find_one()["when"] == when


@pytest.mark.parametrize("lesson", ["", "1", "001", "ab", "01;", "01_x", "../01", "٠١"])
def test_a_wrong_lesson_number(lesson: str) -> None:
    """It becomes a part of names, so it is checked, and the error says what is right."""
    with pytest.raises(lab.LabError, match=r"is no lesson. Use its two digits"):
        lab.postgres(lesson)


# A lesson's second place.


@each_kind
def test_a_second_place_has_a_name(kind: str, namespace: str) -> None:
    """It is a database, or a number, of its own, and its set-up call empties nothing else."""
    first, second = SET_UP[kind]("84"), SET_UP[kind]("84", "copy_2")
    assert second.name == f"{namespace}_lesson_84_copy_2"
    assert first.url != second.url
    write(first, "first")
    write(second, "second")
    assert (read(first), read(place_of(kind, "84", "copy_2"))) == (["first"], ["second"])
    assert read(SET_UP[kind]("84", "copy_2")) == []
    assert read(first) == ["first"]


@each_kind
@pytest.mark.parametrize("name", ["Copy", "a-b", "x" * 21, "é", 'a"b', "a b", "my_lesson_1"])
def test_a_wrong_name_of_a_place(kind: str, name: str) -> None:
    with pytest.raises(lab.LabError, match=r"cannot name a place\. Use up to 20 lower-case"):
        SET_UP[kind]("84", name)


@each_kind
def test_the_longest_names(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """63 characters are a name on every server; with one more, an error says what to shorten."""
    monkeypatch.setenv("LAB_NAMESPACE", "n" * 32)
    place = SET_UP[kind]("84", "y" * 20)
    assert len(place.name) == 63
    write(place)
    other = SET_UP[kind]("84", "y" * 19 + "z")
    assert (read(place), read(other)) == (["kept"], [])
    with pytest.raises(lab.LabError, match="too long for a database's name"):
        SET_UP[kind]("84a", "y" * 20)


def test_reset_knows_sections_and_names() -> None:
    """A lesson with all that is its own, or one section; never another lesson."""
    places = {
        (kind, lesson, name): SET_UP[kind](lesson, name)
        for kind in KINDS
        for lesson in ("88", "88a", "88b", "89")
        for name in ("", "b_copy")
    }
    for place in places.values():
        write(place)

    def kept() -> set[str]:
        return {
            lesson
            for (kind, lesson, name), place in places.items()
            if place.name in KNOWN[kind].place.names(place.server) and read(place)
        }

    for lesson, left in (("88b", {"88", "88a", "89"}), ("88", {"89"})):
        run = command("reset", lesson)
        assert run.returncode == 0, run.stderr
        assert kept() == left


# Redis numbers.


def test_each_lesson_and_namespace_has_a_redis_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lessons and two namespaces have different numbers, never 0, and keep them."""
    numbers = []
    for namespace in ("", "ann", "bob"):
        monkeypatch.setenv("LAB_NAMESPACE", namespace)
        numbers += [lab.redis("80").number, lab.redis("81").number]
    assert len(set(numbers)) == 6
    assert 0 not in numbers
    monkeypatch.setenv("LAB_NAMESPACE", "ann")
    assert lab.redis("81").number == numbers[3]


def test_redis_numbers_given_at_the_same_moment() -> None:
    """Forty lessons that start together get forty numbers."""
    lessons = [f"{n}{letter}" for n in range(10, 30) for letter in "xy"]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda lesson: lab.redis(lesson).number, lessons * 2))
    assert numbers[:40] == numbers[40:]
    assert len(set(numbers)) == 40
    assert min(numbers) > 0


# Who may enter, and who can read the secrets.


@pytest.mark.embedded
def test_postgresql_refuses_a_wrong_password() -> None:
    """scram-sha-256 for every connection, and no door without a password."""
    place = lab.postgres("80")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(place.dsn, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(place.dsn.replace(f":{place.server.password}", ""), passfile="none")
    with place.connect() as connection:
        assert connection.execute("SHOW password_encryption").fetchone() == ("scram-sha-256",)
        rules = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        assert rules.fetchall() == [("scram-sha-256",)]
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolpassword <> ''")
        assert all(row[0].startswith("SCRAM-SHA-256$") for row in stored)


def test_redis_refuses_a_client_without_its_password() -> None:
    server = lab.redis("80").server
    with pytest.raises(redis.RedisError, match=r"Authentication required|already authenticated"):
        redis.Redis(server.host, server.port).get("t")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(server.host, server.port, password="wrong").get("t")


def test_mongodb_refuses_an_anonymous_client() -> None:
    server = lab.mongodb("80").server
    address: Any = {"host": server.host, "port": server.port, "directConnection": True}
    with pymongo.MongoClient(**address) as anonymous:
        for action in (
            lambda: anonymous.list_database_names(),
            lambda: anonymous.lesson_80.t.find_one(),
            lambda: anonymous.lesson_80.t.insert_one({}),
            lambda: anonymous.admin.command("createUser", "me", pwd="x", roles=["root"]),
        ):
            with pytest.raises(pymongo.errors.OperationFailure):
                action()
    with (
        pymongo.MongoClient(**address, username="lab", password="wrong") as client,
        pytest.raises(pymongo.errors.OperationFailure),
    ):
        client.lesson_80.t.find_one()


def lab_processes() -> list[psutil.Process]:
    """Return the processes of the run's lab: supervisor, guard and servers."""
    found = Lab(state_dir().parent, state=state_dir()).processes()
    assert len(found) > 5
    return found


@pytest.mark.embedded
def test_everything_listens_on_the_loopback_address_only() -> None:
    listening, udp = set(), set()
    for process in lab_processes():
        with suppress(psutil.NoSuchProcess):  # a session may end while we look
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    listening.add(connection.laddr.ip)
                elif connection.type == socket.SOCK_DGRAM:
                    udp.add(connection.laddr.ip)
    assert listening == {"127.0.0.1"}
    assert udp <= {"127.0.0.1"}


@pytest.fixture
def secrets() -> Iterator[list[bytes]]:
    """Every password of the run's lab, a private server's included, and the lab's token."""
    own = [SET_UP[kind]("80", private=True) for kind in KINDS]
    passwords = [place.server.password for place in own]
    passwords += [SET_UP[kind]("80").server.password for kind in KINDS]
    passwords.append(json.loads((choose.folder() / "supervisor.json").read_text())["token"])
    assert len(set(passwords)) == 7
    assert min(len(password) for password in passwords) >= 24
    yield [password.encode() for password in passwords]


@pytest.mark.embedded
def test_a_file_with_a_secret_is_its_owners_alone(secrets: list[bytes]) -> None:
    """Mode 0600 for every file that holds one; no log holds one."""
    holders = []
    # os.walk passes by a folder that is gone: other tests drop their databases meanwhile.
    for path in (Path(folder, name) for folder, _, names in os.walk(state_dir()) for name in names):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # a server has just removed it
            continue
        if any(secret in content for secret in secrets):
            holders.append(path.name)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            assert path.suffix != ".log", path
    assert set(holders) == {"password", "redis.conf", "supervisor.json"}
    for path in [state_dir(), *state_dir().iterdir()]:
        assert not path.stat().st_mode & 0o066, path


def test_no_process_shows_a_secret(secrets: list[bytes]) -> None:
    """Not in a command line, not in an environment: any user can list processes."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        shown = repr(process.info["cmdline"])
        if ENGINE == "embedded":  # the official images take passwords from the environment
            shown += repr(process.info["environ"])
        assert not any(secret in shown.encode() for secret in secrets), process


@each_kind
def test_no_password_is_printed(kind: str) -> None:
    """A place, a server and their errors may be shown in a notebook that others read."""
    place = SET_UP[kind]("80", private=True)
    shown = [repr(place), str(place), repr(place.server), f"{place}", place.server.logs(500)]
    place.server.pause()
    with pytest.raises(lab.LabError) as caught:
        place.server.wait_ready(0.5)
    place.server.resume()
    assert place.server.password not in "".join([*shown, str(caught.value)])


# Namespaces and reset.


def test_reset_touches_its_own_lesson_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other lessons, other namespaces, and what a learner made elsewhere stay."""
    places = []
    for namespace in ("", "ann", "bob"):
        monkeypatch.setenv("LAB_NAMESPACE", namespace)
        for lesson in ("82", "83"):
            places += [SET_UP[kind](lesson) for kind in KINDS]
    for place in places:
        write(place, f"{place.name}")
    pg, rd, mg = places[:3]
    with pg.connect(autocommit=True, dbname="postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS mine")
        connection.execute("CREATE DATABASE mine")
    with rd.connect(db=777) as client:
        client.set("mine", "kept")
    with mg.connect() as client:
        client.mine.t.insert_one({"v": "kept"})

    monkeypatch.setenv("LAB_NAMESPACE", "ann")
    run = command("reset", "82")
    assert run.returncode == 0, run.stderr
    assert "Lesson 82 is empty again" in run.stdout

    with pg.connect(dbname="postgres") as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        assert "mine" in names
        assert "ann_lesson_82" not in names
    with rd.connect(db=777) as client:
        assert client.get("mine") == "kept"
    with mg.connect() as client:
        assert "mine" in client.list_database_names()
        assert "ann_lesson_82" not in client.list_database_names()
    for place in places:
        if place.name == "ann_lesson_82":
            assert place.kind == "postgresql" or read(place) == []
        else:
            assert read(place) == [place.name]


@pytest.mark.parametrize("name", ["Ann", "a-b", "x" * 33, "é", 'a"b', "a b"])
def test_a_wrong_namespace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NAMESPACE", name)
    with pytest.raises(lab.LabError, match="Use up to 32 lower-case letters"):
        lab.redis("80")


# A server of a lesson's own.


def is_paused(server: Any) -> bool:
    """Tell whether every process of a server stands still, sessions included."""
    if ENGINE == "docker":  # Docker freezes the container's control group
        command = ["docker", "ps", "--quiet", "--filter", "status=paused"]
        command += ["--filter", f"publish={server.port}"]
        return bool(subprocess.run(command, capture_output=True, check=True).stdout.strip())
    return states(server) == {psutil.STATUS_STOPPED}


def states(server: Any) -> set[str]:
    """Return the states of all processes of a server, sessions included."""
    process = psutil.Process(server.pid)
    found = set()
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a session may end while we look
            found.add(member.status())
    return found


@contextmanager
def paused(server: Any) -> Iterator[None]:
    """Pause a server for a block; its clients would wait for ever if the block failed."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Any:
    """A lesson's place on a private server."""
    return SET_UP[request.param]("85", private=True)


each_private = pytest.mark.parametrize("place", KINDS, indirect=True)


@each_private
def test_a_private_server_is_a_process_of_its_own(place: Any) -> None:
    """Other process, port and password than the shared server's."""
    shared = SET_UP[place.kind]("85")
    for name in ("pid", "port", "password"):
        assert getattr(place.server, name) != getattr(shared.server, name)
    write(place, "own")
    assert read(shared) == []
    assert "own" in repr(place)


@each_private
def test_restart(place: Any) -> None:
    """A new process on the same address, with the data, ready when the call returns."""
    write(place)
    address, pid = place.url, place.server.pid
    place.server.restart()
    assert place.url == address
    assert place.server.pid != pid
    assert not psutil.pid_exists(pid)
    assert read(place) == ["kept"]


@each_private
def test_pause_and_resume(place: Any) -> None:
    """Every process stands still, sessions included; then all goes on where it was."""
    write(place)
    with place.connect() as client:
        if place.kind == "postgresql":
            client.execute("SELECT 1")
            assert len(psutil.Process(place.server.pid).children()) > 4
        with paused(place.server):
            assert is_paused(place.server)
            with pytest.raises(lab.LabError, match=r"did not answer within (.*\n)*.*resume"):
                place.server.wait_ready(0.5)
        place.server.wait_ready()
        assert not is_paused(place.server)
        assert psutil.STATUS_STOPPED not in states(place.server)
    assert read(place) == ["kept"]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_pause_during_work(place: Any) -> None:
    """Sessions that are at work stop too, and finish after resume()."""
    with ThreadPoolExecutor(1) as pool, place.connect() as client:
        slow = pool.submit(
            lambda: client.execute("SELECT count(*) FROM generate_series(1, 3e6)").fetchone()
        )
        until(lambda: psutil.STATUS_RUNNING in states(place.server), 20, "the query")
        with paused(place.server):
            assert is_paused(place.server)
        assert slow.result(60) == (3_000_000,)


@each_private
def test_restart_of_a_paused_server(place: Any) -> None:
    """restart() also gets a paused server out of its pause, with its data."""
    write(place)
    place.server.pause()
    place.server.restart()
    assert read(place) == ["kept"]


@each_private
def test_kill(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Every process is gone at once; the next use starts the server again, with its data."""
    write(place)
    process = psutil.Process(place.server.pid)
    members = [process, *process.children(recursive=True)]
    place.server.kill()
    assert not any(is_running(member) for member in members)
    assert read(place) == ["kept"]
    assert capsys.readouterr().out == (
        f"{place.server.title} had stopped (SIGKILL). It was started again with its data.\n"
    )


@each_private
def test_logs(place: Any) -> None:
    """The server's own words, the last lines of them."""
    place.server.restart()
    lines = place.server.logs(3).splitlines()
    assert len(lines) <= 3
    words = {"postgresql": "ready to accept connections", "redis": "Ready to accept connections"}
    assert words.get(place.kind, "") in place.server.logs(50)


@each_private
def test_configuration_of_ones_own(place: Any) -> None:
    """What a lesson sets on its server survives a restart, and nobody else sees it."""
    if place.kind == "postgresql":
        with place.connect(autocommit=True) as client:
            client.execute("ALTER SYSTEM SET max_connections = 20")
        place.server.restart()
        with place.connect() as client, SET_UP[place.kind]("85").connect() as other:
            assert client.execute("SHOW max_connections").fetchone() == ("20",)
            assert other.execute("SHOW max_connections").fetchone() == ("100",)
    elif place.kind == "redis":
        with place.connect() as client, SET_UP[place.kind]("85").connect() as other:
            client.config_set("maxmemory", "20mb")
            assert client.config_get("maxmemory")["maxmemory"] == str(20 * 1024 * 1024)
            assert other.config_get("maxmemory")["maxmemory"] == "0"
    else:
        with place.connect() as client:
            client.admin.command("createUser", "reader", pwd="x", roles=["read"])
        place.server.restart()
        with place.connect() as client:
            users = client.admin.command("usersInfo")["users"]
            assert "reader" in {user["user"] for user in users}


@each_kind
def test_a_new_set_up_call_replaces_the_private_server(kind: str) -> None:
    """The old one's processes and folder are gone."""
    old = SET_UP[kind]("85", private=True)
    process, folder = psutil.Process(old.server.pid), choose.folder() / old.server.key
    assert folder.is_dir()
    new = SET_UP[kind]("85", private=True)
    gone(process)
    assert not folder.exists()
    assert read(new) == []


@each_kind
@pytest.mark.parametrize("operation", ["restart", "pause", "resume", "kill"])
def test_a_shared_server_is_nobodys_to_stop(kind: str, operation: str) -> None:
    """One clear error that names the alternative; the server goes on."""
    server = SET_UP[kind]("85").server
    with pytest.raises(lab.LabError, match=r"shared by every notebook.* private=True"):
        getattr(server, operation)()
    assert server.version


@each_private
def test_pausing_a_dead_server_is_an_error(place: Any) -> None:
    place.server.kill()
    with pytest.raises(lab.LabError, match=r"does not run. Its next use starts it"):
        place.server.pause()


# The commands that report.


def test_status_as_json() -> None:
    """Exactly the fields that are promised, with the values of the running servers."""
    answer = json.loads(command("status", "--json").stdout)
    assert list(answer) == ["engine", "servers"]
    assert answer["engine"] == ENGINE
    fields = ["name", "version", "host", "port", "pid", "ready"]
    assert [list(server) for server in answer["servers"]] == [fields] * 3
    for server in answer["servers"]:
        place = place_of(server["name"], "80")
        real = place.server
        expected = [place.kind, real.version, "127.0.0.1", real.port, real.pid, True]
        assert list(server.values()) == expected


def test_status_starts_nothing(lab: Lab) -> None:
    """Without servers every field but the name is empty, and the folder is not even made."""
    run = lab.command("status", "--json")
    for server in json.loads(run.stdout)["servers"]:
        empty = {"version": None, "host": None, "port": None, "pid": None, "ready": False}
        assert server == {"name": server["name"], **empty}
    assert not lab.state.exists()
    assert "not running" in lab.command("status").stdout


def test_doctor() -> None:
    """All is well: exit code 0, and a line for each server with its version."""
    run = command("doctor")
    assert run.returncode == 0, run.stdout
    for title in ("MongoDB", "PostgreSQL", "Redis"):
        assert re.search(rf"^ok  {title}.* \d+\.\d+.* ready at 127\.0\.0\.1:\d+$", run.stdout, re.M)
    assert "NO" not in run.stdout


def test_doctor_finds_what_is_wrong(lab: Lab) -> None:
    """A state folder that cannot be written: exit code 1 and the next step."""
    lab.state.write_text("a file")
    run = lab.command("doctor")
    assert run.returncode == 1
    assert re.search(r"^NO  State folder.*\n    -> .*Set LAB_STATE", run.stdout, re.M)
    assert "Traceback" not in run.stderr
