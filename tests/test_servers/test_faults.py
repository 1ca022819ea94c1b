"""What goes wrong around the servers, and what a learner sees then.

Recovery, or one clear error that says what to do; never a hang, never lost data.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from labs import (
    READ,
    TAKE,
    WRITE,
    Failed,
    Lab,
    Program,
    each_kind,
    gone,
    in_a_namespace,
    kill,
    look,
    new_folder,
    until,
)

pytestmark = pytest.mark.embedded

AGAIN = "{} had stopped (SIGKILL). It was started again with its data.\n"
TITLES = {"postgresql": "PostgreSQL", "redis": "Redis", "mongodb": "MongoDB stand-in (SecantusDB)"}


def server(program: Program) -> psutil.Process:
    """Return the process of the server that a program has taken."""
    return psutil.Process(program.run("result = db.server.pid"))


def start_supervisor(lab: Lab, *changes: str) -> None:
    """Start the lab's supervisor, a real one, with something changed to what is rare."""
    lab.state.mkdir(mode=0o711)
    lab.env["LAB_IDLE_SECONDS"] = "60"
    source = [*changes, "from helpers.supervisor.__main__ import main", "main()"]
    command = [sys.executable, "-c", "\n".join(source), "helpers.supervisor", str(lab.state)]
    with (lab.state / "supervisor.log").open("wb") as log:
        process = psutil.Popen(command, cwd=lab.course, env=lab.env, stdout=log, stderr=log)
    lab.others.append(process)
    until((lab.state / "supervisor.json").exists, 30, "the supervisor's start")


# For 8 s a server may take to start, instead of most of a minute.
IMPATIENT = "from helpers.base import record; record.START_SECONDS = 8"
# The first look at a port tells that it is free, as it was until just now.
HASTY = """
from helpers.supervisor import launching
look, seen = launching.port_is_free, set()
def hasty(port):
    new = port not in seen
    seen.add(port)
    return new or look(port)
launching.port_is_free = hasty
"""


# A server that dies.


@each_kind
def test_a_killed_server_starts_again_with_its_data(lab: Lab, kind: str) -> None:
    """Every program that used it is told so, in one line, at its next use."""
    first, second = lab.program(), lab.program()
    for program in (first, second):
        program.run(TAKE[kind].replace("91", "92") if program is second else TAKE[kind])
    first.run(WRITE[kind])
    kill(server(first))
    assert first.run(READ[kind]) == "kept"
    assert first.printed == AGAIN.format(TITLES[kind])
    second.run("db.connect().close()")
    assert second.printed == AGAIN.format(TITLES[kind])
    first.run(READ[kind])
    assert first.printed == ""


# Prints a number after each insert that the server has acknowledged.
WRITER = {
    "postgresql": """
c = lab.postgres("91").connect(autocommit=True)
c.execute("CREATE TABLE t (v int)")
write = lambda n: c.execute("INSERT INTO t VALUES (%s)", [n])
""",
    "redis": """
from redis.backoff import NoBackoff
from redis.retry import Retry
c = lab.redis("91").connect(retry=Retry(NoBackoff(), 0))
write = lambda n: c.rpush("t", n)
""",
    "mongodb": """
db = lab.mongodb("91")
t = db.connect(retryWrites=False, serverSelectionTimeoutMS=2000)[db.database].t
write = lambda n: t.insert_one({"v": n})
""",
}
NUMBERS = {
    "postgresql": "result = [row[0] for row in db.connect().execute('SELECT v FROM t')]",
    "redis": "result = [int(v) for v in db.connect().lrange('t', 0, -1)]",
    "mongodb": "result = [d['v'] for d in db.connect()[db.database].t.find()]",
}


@each_kind
def test_no_acknowledged_insert_is_lost(lab: Lab, kind: str) -> None:
    """The server is killed in the middle of a stream of single inserts, after 1,000 of them."""
    source = f"from helpers import lab\n{WRITER[kind]}\nn = 0\n"
    source += "while True:\n    write(n)\n    print(n, flush=True)\n    n += 1"
    reader = lab.program()
    reader.run("from helpers import lab")
    writer = subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=lab.course,
        env=lab.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lab.others.append(psutil.Process(writer.pid))
    assert writer.stdout
    last = -1
    while last < 1000:
        line = writer.stdout.readline()
        assert line, "the writer ended too soon"
        last = int(line)
    words = {"postgresql": "/postgres -D", "redis": "redis-server", "mongodb": "secantus.cli"}
    lab.one(words[kind]).kill()  # while the writer goes on
    acknowledged = [*range(last + 1), *(int(line) for line in writer.stdout)]
    assert writer.wait(60) != 0
    reader.run(look(kind))
    found = sorted(reader.run(NUMBERS[kind]))
    # The insert that was under way may have been stored without having been acknowledged.
    assert found in (acknowledged, [*acknowledged, len(acknowledged)])
    assert len(acknowledged) > 1000


def test_a_killed_postgresql_with_a_computing_session_starts_again(lab: Lab) -> None:
    """The session does not notice that its parent died; left alone it would block the start."""
    program, other = lab.program(), lab.program()
    program.run(TAKE["postgresql"])
    program.run(WRITE["postgresql"])
    other.run(look("postgresql"))
    other.begin("db.connect().execute('SELECT count(*) FROM generate_series(1, 1e12)')")
    session = until(lambda: next(iter(lab.processes("lab lesson_91")), None), 20, "the query")
    kill(server(program))
    gone(session)
    assert program.run(READ["postgresql"]) == "kept"


def test_a_killed_session_does_not_take_postgresql_along(lab: Lab) -> None:
    """PostgreSQL ends all sessions and recovers by itself; the data is there."""
    program = lab.program()
    program.run(TAKE["postgresql"])
    program.run(WRITE["postgresql"])
    before = server(program)
    program.run("c = db.connect()")
    kill(psutil.Process(program.run("result = c.info.backend_pid")))

    def read() -> str | None:
        try:
            return str(program.run(READ["postgresql"]))
        except Failed as problem:
            assert "FATAL:  the database system is" in str(problem)
            return None

    assert until(read, 20, "the recovery") == "kept"
    assert server(program) == before


def test_redis_numbers_survive_a_kill(lab: Lab) -> None:
    """A lesson finds its own database number again."""
    program = lab.program()
    program.run("from helpers import lab; lab.redis('90')")
    program.run(TAKE["redis"])
    number = program.run("result = db.number")
    kill(server(program))
    program.run(look("redis"))
    assert program.run("result = db.number") == number == 2


# What an earlier lab, or another program, has left in the state folder.


def stale(record: str, lab: Lab) -> Iterator[str]:
    """Give the text of a supervisor record that is wrong in some way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        values = {"port": listener.getsockname()[1], "token": "of another time", "created": 1.0}
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        sleeper = psutil.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        lab.others.append(sleeper)
        yield {
            "a dead process": json.dumps({"pid": dead.pid, **values}),
            "another program's process": json.dumps({"pid": sleeper.pid, **values}),
            "the first process": json.dumps({"pid": 1, **values}),
            "no process": json.dumps({"pid": "x", **values}),
            "half a record": json.dumps({"pid": dead.pid, **values})[:20],
            "an empty file": "",
            "something else": "[1, 2]",
        }[record]


STALE = (
    "a dead process",
    "another program's process",
    "the first process",
    "no process",
    "half a record",
    "an empty file",
    "something else",
)


@pytest.mark.parametrize("record", STALE)
def test_a_stale_supervisor_record(lab: Lab, record: str) -> None:
    """A record that names no supervisor is not believed, whoever listens on its port."""
    lab.state.mkdir()
    for text in stale(record, lab):
        (lab.state / "supervisor.json").write_text(text)
        assert all(row["pid"] is None for row in status(lab))
        assert lab.command("down").stdout == "Nothing was running.\n"
        program = lab.program()
        program.run(TAKE["redis"])
        assert program.run("result = db.connect().ping()") is True
    assert all(process.is_running() for process in lab.others)


def status(lab: Lab) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(lab.command("status", "--json").stdout)["servers"]
    return rows


def test_another_labs_supervisor_is_not_taken_for_ones_own(lab: Lab) -> None:
    """A copied state folder holds the record of the lab that it was copied from."""
    program = lab.program()
    program.run(TAKE["redis"])
    copy = Lab(new_folder())
    try:
        copy.state.mkdir()
        shutil.copy(lab.state / "supervisor.json", copy.state)
        assert copy.command("down").stdout == "Nothing was running.\n"
        assert program.run("result = db.connect().ping()") is True
        assert program.printed == ""
    finally:
        copy.close()


@pytest.mark.parametrize("pid", ["this", "1"])
def test_a_stale_postmaster_file(lab: Lab, pid: str) -> None:
    """PostgreSQL's own file names a living program that is not PostgreSQL."""
    program = lab.program()
    program.run(TAKE["postgresql"])
    program.run(WRITE["postgresql"])
    lab.command("down")
    file = lab.state / "postgresql" / "data" / "postmaster.pid"
    file.write_text(f"{os.getpid() if pid == 'this' else pid}\n{file.parent}\n")
    assert program.run(READ["postgresql"]) == "kept"


@each_kind
def test_a_taken_port(lab: Lab, kind: str) -> None:
    """Another program took the remembered port: the server takes another one."""
    program = lab.program()
    program.run(TAKE[kind])
    program.run(WRITE[kind])
    port = program.run("result = db.server.port")
    lab.command("down")
    with socket.create_server(("127.0.0.1", port)):
        assert program.run(READ[kind]) == "kept"
        assert program.run("result = db.server.port") != port


@each_kind
def test_a_port_that_is_taken_at_the_last_moment(lab: Lab, kind: str) -> None:
    """The port was free when the supervisor looked: the server fails, and another is tried.

    What answers on the port is not taken for the server.
    """
    start_supervisor(lab, HASTY)
    program = lab.program()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program.run(TAKE[kind])
        program.run(WRITE[kind])
        kill(server(program))
        (lab.state / kind / "port").write_text(str(port))
        assert program.run(READ[kind]) == "kept"
        assert program.run("result = db.server.port") != port
        assert "address already in use" in (lab.state / kind / "server.log").read_text().lower()


@pytest.mark.parametrize("text", ["", "x", "-1", "99999", "0"])
def test_a_damaged_port_file(lab: Lab, text: str) -> None:
    """The file that remembers the port holds nonsense."""
    program = lab.program()
    program.run(TAKE["redis"])
    program.run(WRITE["redis"])
    lab.command("down")
    (lab.state / "redis" / "port").write_text(text)
    assert program.run(READ["redis"]) == "kept"


def test_what_an_interrupted_set_up_left_is_removed(lab: Lab) -> None:
    """Half-made folders of an earlier lab are in nobody's way."""
    for name in ("postgresql.new", "private-redis-04-0123abcd", "redis.new"):
        (lab.state / name / "data").mkdir(parents=True)
        (lab.state / name / "data" / "PG_VERSION").write_text("half")
    program = lab.program()
    program.run(TAKE["postgresql"])
    program.run(TAKE["redis"])
    assert not [path for path in lab.state.iterdir() if ".new" in path.name]
    assert not list(lab.state.glob("private-*"))


def first_start(lab: Lab) -> tuple[Program, psutil.Process]:
    """Begin the first start of PostgreSQL; return the program and initdb, which is at work."""
    program = lab.program()
    program.begin(TAKE["postgresql"])
    return program, until(lambda: next(iter(lab.processes("initdb")), None), 30, "initdb")


def test_a_killed_initdb(lab: Lab) -> None:
    """One error with the reason; the next try makes the data anew."""
    program, initdb = first_start(lab)
    kill(initdb)
    with pytest.raises(Failed, match=r"could not be set up \(code -9\). The last lines of"):
        program.end()
    assert not (lab.state / "postgresql").exists()
    program.run(TAKE["postgresql"])
    program.run(WRITE["postgresql"])
    assert program.run(READ["postgresql"]) == "kept"


def test_a_supervisor_killed_during_the_first_start(lab: Lab) -> None:
    """The program that waited gets its server from the next supervisor."""
    program, initdb = first_start(lab)
    kill(lab.supervisor)
    program.end()
    gone(initdb)
    assert program.run("result = db.connect().execute('SELECT 1').fetchone()") == [1]


def test_a_damaged_data_directory(lab: Lab) -> None:
    """One error with PostgreSQL's own words, that names the folder; not a hang, not a loop."""
    program = lab.program()
    program.run(TAKE["postgresql"])
    lab.command("down")
    (lab.state / "postgresql" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(Failed) as caught:
        program.run(READ["postgresql"])
    message = str(caught.value)
    assert "PostgreSQL did not start" in message or "PostgreSQL has stopped" in message
    assert "could not find the database system" in message
    shutil.rmtree(lab.state / "postgresql")
    program.run(TAKE["postgresql"])


def test_a_broken_configuration(lab: Lab) -> None:
    """The error shows the log's last lines and what to do next."""
    program = lab.program()
    program.run(TAKE["postgresql"])
    lab.command("down")
    with (lab.state / "postgresql" / "data" / "postgresql.conf").open("a") as file:
        file.write("nonsense = 1\n")
    with pytest.raises(Failed) as caught:
        program.run(READ["postgresql"])
    message = str(caught.value)
    assert "PostgreSQL did not start. The last lines of" in message
    assert 'unrecognized configuration parameter "nonsense"' in message
    assert "`make down`, then delete" in message
    run = lab.command("up")
    assert run.returncode == 1
    assert 'unrecognized configuration parameter "nonsense"' in run.stderr
    assert "Traceback" not in run.stderr
    assert [row["ready"] for row in status(lab)] == [True, False, True]


# Disks.


def test_a_full_disk_at_the_start(lab: Lab) -> None:
    """The first start finds no room: one error that says so, at once."""
    lab.state.mkdir(mode=0o711)
    script = f"mount -t tmpfs -o size=6m,mode=711 none {lab.state}"
    program = lab.program(*in_a_namespace(script))
    with pytest.raises(Failed, match=r"The disk is full: \d+ MB are free at .* Make room"):
        program.run(TAKE["postgresql"])
    # Nothing half-made stays and keeps the room.
    assert (
        program.run(f"import os; result = sorted(os.listdir({str(lab.state)!r}))").count(
            "postgresql.new"
        )
        == 0
    )


def test_a_disk_without_any_room(lab: Lab) -> None:
    """Not even the supervisor can write its record."""
    lab.state.mkdir(mode=0o711)
    script = (
        f"mount -t tmpfs -o size=1m,mode=711 none {lab.state} && "
        f"{{ cat /dev/zero > {lab.state}/filler 2>/dev/null || true; }}"
    )
    program = lab.program(*in_a_namespace(script))
    with pytest.raises(Failed, match=r"The disk is full: 0 MB are free at .* Make room"):
        program.run(TAKE["redis"])
    program.run(f"import os; os.remove({str(lab.state / 'filler')!r})")
    # A megabyte is enough for an empty Redis.
    program.run(TAKE["redis"])
    assert program.run("result = db.connect().ping()") is True


FILL = {
    "postgresql": """
import psycopg
with db.connect(autocommit=True) as c:
    c.execute("CREATE TABLE big (v text)")
    try:
        while True: c.execute("INSERT INTO big SELECT repeat('x', 999) FROM generate_series(1, 99)")
    except psycopg.Error as problem: result = str(problem)
""",
    "redis": """
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
c = db.connect(retry=Retry(NoBackoff(), 0))
try:
    while True: c.rpush("big", "x" * 100_000)
except redis.RedisError as problem: result = str(problem)
""",
}


@pytest.mark.parametrize("kind", FILL)
def test_a_disk_that_fills_up_while_a_server_runs(lab: Lab, kind: str) -> None:
    """The learner's statement fails; with room again, everything acknowledged is there."""
    lab.state.mkdir(mode=0o711)
    size = {"postgresql": 120, "redis": 20}[kind]
    script = f"mount -t tmpfs -o size={size}m,mode=711 none {lab.state}"
    program = lab.program(*in_a_namespace(script))
    program.run(TAKE[kind])
    program.run(WRITE[kind])
    assert program.run(FILL[kind])

    def read() -> str | None:
        """Return the data, or the lab's error; or None while the server is ending."""
        try:
            return str(program.run(READ[kind]))
        except Failed as problem:
            return str(problem) if "LabError" in str(problem) else None

    answer = until(read, 60, "an answer while the disk is full")
    assert answer == "kept" or "The disk is full" in answer
    program.run(
        "import subprocess\n"
        f"subprocess.run(['mount', '-o', 'remount,size=200m', {str(lab.state)!r}], check=True)"
    )
    assert program.run(READ[kind]) == "kept"


def test_a_read_only_state_folder(lab: Lab) -> None:
    """One error that names the folder and LAB_STATE."""
    lab.state.mkdir(mode=0o711)
    program = lab.program(*in_a_namespace(f"mount -t tmpfs -o ro none {lab.state}"))
    with pytest.raises(
        Failed, match=r"cannot write its state to .*: Read-only file system. Set LAB_"
    ):
        program.run(TAKE["redis"])


def test_a_state_folder_that_is_a_file(lab: Lab) -> None:
    """LAB_STATE names a file."""
    lab.state.write_text("not a folder")
    run = lab.command("up")
    assert run.returncode == 1
    assert "The lab cannot write its state to" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_state_folder_below_a_private_folder(lab: Lab) -> None:
    """For root, PostgreSQL's user could not enter it: one error. Others need no such thing."""
    lab.folder.chmod(0o700)
    program = lab.program()
    if os.geteuid() == 0:
        with pytest.raises(Failed, match=r"PostgreSQL refuses to run as root, .* Set LAB_STATE"):
            program.run(TAKE["postgresql"])
        assert not lab.processes("helpers.supervisor")
    else:
        program.run(TAKE["postgresql"])


def test_a_state_folder_of_another_user(lab: Lab) -> None:
    """One error that says whose it is. (A user that is not root cannot even give one away.)"""
    lab.state.mkdir(mode=0o711)
    if os.geteuid() == 0:
        os.chown(lab.state, 12345, 12345)
        expected = r"belongs to another user \(number 12345\)"
    else:
        lab.env["LAB_STATE"] = "/proc"
        expected = r"belongs to another user \(number 0\)"
    with pytest.raises(Failed, match=expected):
        lab.program().run(TAKE["redis"])


# A supervisor that does not answer, and waits that end.


def test_a_stopped_supervisor(lab: Lab) -> None:
    """One clear error instead of a wait; `down` ends it and its servers; then all is well."""
    program, other = lab.program(), lab.program()
    program.run(TAKE["postgresql"])
    program.run(WRITE["postgresql"])
    supervisor = lab.supervisor
    supervisor.suspend()
    for one in (program, other):  # with a connection from before, and without
        with pytest.raises(
            Failed, match=rf"\(process {supervisor.pid}\) does not answer\. `make down`"
        ):
            one.run(look("postgresql") + "; db.connect()")
    run = lab.command("status")
    assert (run.returncode, run.stdout) == (1, "")
    assert "`make down` ends it" in run.stderr
    run = lab.command("down")
    assert run.returncode == 0
    assert "It was ended, and its servers with it." in run.stdout
    assert not lab.processes()
    assert program.run(READ["postgresql"]) == "kept"


def test_a_set_up_that_hangs(lab: Lab) -> None:
    """The wait for initdb has a limit, and the error says so and shows the log."""
    start_supervisor(lab, IMPATIENT)
    program, initdb = first_start(lab)
    initdb.suspend()
    with pytest.raises(Failed, match=r"\(did not end within 8 s\). The last lines of .*failed.log"):
        program.end()
    gone(initdb)
    program.run(TAKE["postgresql"])


def test_a_server_that_hangs_at_its_start(lab: Lab) -> None:
    """The wait for a connection has a limit, and the error shows the log."""
    start_supervisor(lab, IMPATIENT)
    program = lab.program()
    program.run(TAKE["mongodb"])
    program.run(WRITE["mongodb"])
    kill(server(program))
    program.begin(READ["mongodb"])
    hung = until(lambda: next(iter(lab.processes("secantus.cli")), None), 20, "its new start")
    hung.suspend()
    with pytest.raises(Failed, match=r"did not accept a connection within 8 s. The last lines of"):
        program.end()
    gone(hung)
    assert program.run(READ["mongodb"]) == "kept"


def test_a_wait_for_an_answer_ends_with_the_log(lab: Lab) -> None:
    """wait_ready on a paused server raises after its limit, with the log's last lines."""
    program = lab.program()
    program.run("from helpers import lab; db = lab.postgres('91', private=True); db.server.pause()")
    with pytest.raises(Failed) as caught:
        program.run("db.server.wait_ready(2)")
    message = str(caught.value)
    assert "did not answer within 2 s" in message
    assert "database system is ready to accept connections" in message
    assert ".resume() it" in message


def test_a_wait_for_a_dead_server_ends_at_once(lab: Lab) -> None:
    """wait_ready does not wait out its limit for a server that has ended."""
    program = lab.program()
    program.run("from helpers import lab; db = lab.redis('91', private=True); db.server.kill()")
    with pytest.raises(Failed, match=r"Redis has stopped .* Its log ends with"):
        program.run("db.server.wait_ready(3600)")


def test_a_long_start_of_the_supervisor_is_waited_for(lab: Lab) -> None:
    """Another process holds the lock for a while, as the guard of a killed supervisor does."""
    import fcntl

    lab.state.mkdir(mode=0o711)
    program = lab.program()
    with (lab.state / "supervisor.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        program.begin(TAKE["redis"])
        until(lambda: lab.processes("helpers.supervisor"), 20, "the supervisor")
    program.end()


# Settings and commands that are wrong.

WRONG = {
    "LAB_ENGINE": ("embeded", "LAB_ENGINE is 'embeded'. Choose one of: auto, embedded"),
    "LAB_NAMESPACE": ("Ann Lee", "LAB_NAMESPACE is 'Ann Lee'. Use up to 32 lower-case letters"),
    "LAB_IDLE_SECONDS": ("soon", "LAB_IDLE_SECONDS must be a number of seconds"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting(lab: Lab, name: str) -> None:
    """One message that names the setting, exit code 1, no traceback."""
    value, message = WRONG[name]
    lab.env[name] = value
    run = lab.command("reset", "91")
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr


COMMANDS = {
    "start": "There is no verb 'start'.",
    "reset": "Which lesson? For example: make reset LESSON=01",
    "reset 1": "'1' is no lesson. Use its two digits",
    "reset ../../etc": "'../../etc' is no lesson.",
    "soak many": "How many times? For example: make soak N=20",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_wrong_command(lab: Lab, words: str) -> None:
    """One message, exit code 1, no traceback, and nothing starts."""
    run = lab.command(*words.split())
    assert (run.returncode, run.stdout) == (1, "")
    assert COMMANDS[words] in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not lab.processes()


def test_threads_of_a_program_that_lost_its_supervisor(lab: Lab) -> None:
    """Several threads meet the dead supervisor at once; all get their answer from the next."""
    program = lab.program()
    program.run(TAKE["redis"])
    kill(lab.supervisor)
    program.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    result = list(pool.map(lambda _: db.connect().ping(), range(16)))"
    )
    assert len(lab.processes("helpers.supervisor")) == 1
