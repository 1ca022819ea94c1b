"""Who keeps the servers up, and what is left when something ends, in whatever way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from labs import READ, TAKE, WRITE, Failed, Lab, gone, is_running, kill, look, until

pytestmark = [pytest.mark.embedded, pytest.mark.long]

REDIS = "from helpers import lab; db = lab.redis('91'); result = db.server.pid"
POSTGRES = "from helpers import lab; db = lab.postgres('91'); result = db.server.pid"


def servers(lab: Lab) -> dict[str, int]:
    """Count the lab's supervisors, guards and servers (their parents only)."""
    words = {"supervisor": "helpers.supervisor", "guard": "helpers.guard", "redis": "redis-server"}
    words |= {"postgres": "/postgres -D", "mongodb": "secantus.cli"}
    return {name: len(lab.processes(word)) for name, word in words.items()}


ONE_OF_EACH = {"supervisor": 1, "guard": 1, "redis": 1, "postgres": 1, "mongodb": 1}


def busy_session(lab: Lab) -> psutil.Process:
    """Start a query that computes for hours, in a program of its own; return its session."""
    program = lab.program()
    program.run(POSTGRES)
    program.begin("db.connect().execute('SELECT count(*) FROM generate_series(1, 1e12)')")
    return until(lambda: next(iter(lab.processes("lab lesson_91")), None), 20, "the query")


def test_programs_share_one_set_of_servers(lab: Lab) -> None:
    """Two programs get the same server, and one sees what the other wrote."""
    first, second = lab.program(), lab.program()
    pid = first.run(REDIS)
    first.run(WRITE["redis"])
    assert second.run(look("redis") + "; result = db.server.pid") == pid
    assert second.run(READ["redis"]) == "kept"


def test_servers_survive_a_kernel_restart(lab: Lab) -> None:
    """After a kernel restart the same process answers, with its data."""
    lab.env["LAB_IDLE_SECONDS"] = "30"
    kernel = lab.kernel()
    kernel.run("from helpers import lab; pg = lab.postgres('91')")
    kernel.run("with pg.connect() as c: c.execute('CREATE TABLE t AS SELECT 1 AS x')")
    before, pid = kernel.run("print(pg.server.pid)"), kernel.pid
    kernel.restart()
    assert kernel.pid != pid
    kernel.run(look("postgresql") + "; pg = db")
    assert kernel.run("print(pg.server.pid)") == before
    assert kernel.run("print(pg.connect().execute('SELECT x FROM t').fetchone())") == "(1,)\n"


def test_ctrl_c_in_a_program_does_not_reach_the_servers(lab: Lab) -> None:
    """Ctrl-C goes to a terminal's whole process group; the servers are in none of them."""
    lab.env["LAB_IDLE_SECONDS"] = "30"  # nobody uses the servers until the second program does
    program = lab.program()
    pid = program.run(REDIS)
    os.killpg(program.pid, signal.SIGINT)
    program.process.wait(30)
    assert lab.program().run(REDIS) == pid


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("verb", ["test", "outputs"])
def test_a_run_that_is_ended_leaves_nothing(lab: Lab, how: str, verb: str) -> None:
    """Ctrl-C, and what a CI service sends when somebody cancels: the run's own servers end."""
    notebook = "01_postgresql_full_text_search.ipynb"
    run = lab.start_run(verb, f"notebooks/{notebook}" if verb == "test" else notebook)
    until(lambda: servers(lab) == ONE_OF_EACH, 60, "the run's servers")
    until(lambda: lab.processes("ipykernel"), 60, "the notebook")
    end = os.killpg if how == "SIGINT" else os.kill
    end(run.pid, getattr(signal, how))
    assert run.wait(60) != 0
    lab.empty(5)
    assert not list(lab.state.glob("course-test-*"))


@pytest.mark.parametrize("time", range(2))
def test_two_ups_at_the_same_moment(lab: Lab, time: int) -> None:
    """Both succeed, and there is one set of servers."""
    command = [sys.executable, "-m", "helpers", "up"]
    ups = [
        subprocess.Popen(command, cwd=lab.course, env=lab.env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [up.communicate(timeout=120)[0] for up in ups]
    assert [up.returncode for up in ups] == [0, 0], outputs
    assert outputs[0] == outputs[1]
    assert servers(lab) == ONE_OF_EACH


@pytest.mark.parametrize("time", range(2))
def test_two_kernels_at_the_same_moment(lab: Lab, time: int) -> None:
    """Two notebooks opened together get the same servers."""
    kernels = [lab.kernel(), lab.kernel()]
    source = (
        "from helpers import lab\n"
        "places = lab.postgres('9{}'), lab.redis('9{}'), lab.mongodb('9{}')\n"
        "print([place.server.pid for place in places])"
    )
    messages = [kernel.begin(source.format(n, n, n)) for n, kernel in enumerate(kernels)]
    pids = [kernel.end(message) for kernel, message in zip(kernels, messages, strict=True)]
    assert pids[0] == pids[1]
    assert servers(lab) == ONE_OF_EACH


def test_many_programs_at_the_same_moment(lab: Lab) -> None:
    """Six programs that start together end with one supervisor and one server."""
    programs = [lab.program() for _ in range(6)]
    for program in programs:
        program.begin(REDIS)
    assert len({program.end() for program in programs}) == 1
    assert servers(lab) == {**dict.fromkeys(ONE_OF_EACH, 1), "postgres": 0, "mongodb": 0}


def test_servers_stop_when_the_last_user_is_gone(lab: Lab) -> None:
    """They stay for the second program when the first ends, and stop after the second."""
    first, second = lab.program(), lab.program()
    first.run(REDIS)
    pid = second.run(REDIS)
    first.close()
    for _ in range(30):  # three times as long as they would wait without a user
        assert psutil.pid_exists(pid)
        time.sleep(0.1)
    second.close()
    lab.empty(20)


def test_up_keeps_the_servers_until_down(lab: Lab) -> None:
    """Without any user they stay up, and `down` ends every process."""
    lab.env["LAB_IDLE_SECONDS"] = "0.5"
    assert lab.command("up").returncode == 0
    for _ in range(20):
        assert servers(lab) == ONE_OF_EACH
        time.sleep(0.1)
    run = lab.command("down")
    assert (run.returncode, run.stdout) == (0, "The servers are stopped.\n")
    assert not lab.processes()
    assert lab.command("down").stdout == "Nothing was running.\n"


def test_down_while_a_notebook_uses_the_servers(lab: Lab) -> None:
    """`down` says so; the notebook's next use starts the server again, with its data."""
    program = lab.program()
    program.run(TAKE["postgresql"])
    program.run(WRITE["postgresql"])
    run = lab.command("down")
    assert "its next use starts them again" in run.stdout
    assert not [process for process in lab.processes() if process.pid != program.pid]
    assert program.run(READ["postgresql"]) == "kept"
    assert program.printed == "PostgreSQL had stopped. It was started again with its data.\n"


def test_two_downs_at_the_same_moment(lab: Lab) -> None:
    """Neither fails, and everything has stopped cleanly."""
    assert lab.command("up").returncode == 0
    command = [sys.executable, "-m", "helpers", "down"]
    downs = [subprocess.Popen(command, cwd=lab.course, env=lab.env) for _ in range(2)]
    assert [down.wait(120) for down in downs] == [0, 0]
    assert not lab.processes()
    log = (lab.state / "postgresql" / "server.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


def test_down_while_a_server_is_starting(lab: Lab) -> None:
    """Nothing is left of a server whose first start `down` interrupted."""
    program = lab.program()
    program.begin(POSTGRES)
    until(lambda: lab.processes("initdb"), 30, "initdb")
    assert lab.command("down").returncode == 0
    assert isinstance(program.end(), int)  # the program's own start comes after it
    program.close()
    lab.empty()


def test_a_killed_kernel_leaves_nothing(lab: Lab) -> None:
    """SIGKILL of a kernel: its lease ends with it, and the servers stop."""
    kernel = lab.kernel()
    kernel.run(TAKE["postgresql"])
    kill(psutil.Process(kernel.pid))
    lab.empty()


def test_a_fork_of_a_killed_kernel_keeps_nothing_up(lab: Lab) -> None:
    """A child that a kernel forked holds no lease of its parent's."""
    program = lab.program()
    program.run(REDIS)
    fork = "import os, time\nresult = os.fork()\nif not result: time.sleep(300); os._exit(0)"
    child = psutil.Process(program.run(fork))
    lab.others.append(child)
    program.kill()
    until(lambda: not lab.processes("redis-server"), 30, "the end of Redis")
    assert is_running(child)


def start_jupyter(lab: Lab) -> tuple[psutil.Process, Path]:
    """Run `lab` without a browser; return its process and its folder of connection files."""
    runtime = lab.folder / "runtime"
    lab.env |= {"JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTER_TOKEN": "secret"}
    lab.env |= {"JUPYTER_CONFIG_DIR": str(lab.folder / "config")}
    command = [sys.executable, "-m", "helpers", "lab", "--no-browser", "--port", "0"]
    with (lab.folder / "jupyter.log").open("wb") as log:
        process = psutil.Popen(command, cwd=lab.course, env=lab.env, stdout=log, stderr=log)
    lab.others.append(process)

    def described() -> bool:
        # JupyterLab creates the file, and only then writes it.
        return any(file.stat().st_size for file in runtime.glob("jpserver-*.json"))

    until(described, 60, "the start of JupyterLab")
    return process, runtime


def open_notebook(lab: Lab, runtime: Path) -> psutil.Process:
    """Start a kernel through JupyterLab and use a server in it; return the kernel's process."""
    import contextlib
    import json
    import urllib.error
    import urllib.request

    server = json.loads(next(runtime.glob("jpserver-*.json")).read_text())
    request = urllib.request.Request(
        f"{server['url']}api/kernels",
        data=b"{}",
        headers={"Authorization": "token secret", "Content-Type": "application/json"},
    )

    def ask() -> Any:
        # JupyterLab writes the file just before it begins to listen.
        with contextlib.suppress(urllib.error.URLError):
            return urllib.request.urlopen(request, timeout=30)
        return None

    with until(ask, 60, "JupyterLab's answer") as answer:
        kernel = json.load(answer)
    file = runtime / f"kernel-{kernel['id']}.json"
    until(lambda: file.exists() and file.stat().st_size, 30, str(file))
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    source = "import os; from helpers import lab; db = lab.redis('91')"
    expressions = {"pid": "os.getpid()"}
    reply = client.execute(source, user_expressions=expressions, reply=True, timeout=60)
    client.stop_channels()
    content = reply["content"]
    assert content["status"] == "ok", content
    kernel_process = psutil.Process(int(content["user_expressions"]["pid"]["data"]["text/plain"]))
    lab.others.append(kernel_process)
    return kernel_process


def test_a_killed_jupyter_leaves_nothing(lab: Lab) -> None:
    """SIGKILL of JupyterLab: its kernel ends, and so do the servers."""
    jupyter, runtime = start_jupyter(lab)
    kernel = open_notebook(lab, runtime)
    assert servers(lab) == ONE_OF_EACH
    jupyter.kill()
    jupyter.wait(30)
    gone(kernel)
    lab.empty()


def test_everything_is_gone_when_jupyter_ends(lab: Lab) -> None:
    """After the normal end of `make lab` nothing waits for the idle time."""
    lab.env["LAB_IDLE_SECONDS"] = "600"
    jupyter, runtime = start_jupyter(lab)
    kernel = open_notebook(lab, runtime)
    jupyter.terminate()
    assert jupyter.wait(60) == 0, (lab.folder / "jupyter.log").read_text()
    gone(kernel)
    lab.empty()


def test_a_killed_supervisor_leaves_nothing(lab: Lab) -> None:
    """SIGKILL of the supervisor: its servers end; a program's next use starts new ones."""
    program = lab.program()
    for kind in TAKE:
        program.run(TAKE[kind])
        program.run(WRITE[kind])
    before = lab.processes()
    kill(lab.supervisor)
    gone(*(process for process in before if process.pid != program.pid))
    for kind in TAKE:
        program.run(look(kind))
        assert program.run(READ[kind]) == "kept"
    assert servers(lab) == ONE_OF_EACH


def test_a_killed_supervisor_with_a_paused_server_leaves_nothing(lab: Lab) -> None:
    """A paused server cannot react to its parent's death; the guard ends it."""
    program = lab.program()
    program.run("from helpers import lab; db = lab.postgres('91', private=True); db.server.pause()")
    before = lab.processes()
    kill(lab.supervisor)
    gone(*before)


def test_a_killed_supervisor_with_a_long_query_leaves_nothing(lab: Lab) -> None:
    """A session that computes for hours ends too."""
    session = busy_session(lab)
    before = lab.processes()
    kill(lab.supervisor)
    gone(session, *before)


def test_after_supervisor_and_guard_were_killed_the_next_command_cleans_up(lab: Lab) -> None:
    """Nobody was left to end a paused server: the next start does, and works."""
    program = lab.program()
    program.run("from helpers import lab; db = lab.postgres('91', private=True); db.server.pause()")
    old = lab.processes("/postgres -D")
    guard, supervisor = lab.one("helpers.guard"), lab.supervisor
    guard.kill()
    kill(supervisor)
    gone(guard)
    assert all(is_running(process) for process in old)
    program.close()
    assert lab.program().run(REDIS)
    gone(*old)
    assert not list(lab.state.glob("private-*"))


def test_after_supervisor_and_guard_were_killed_down_cleans_up(lab: Lab) -> None:
    """`down` ends what a killed supervisor and a killed guard left, and says so."""
    program = lab.program()
    program.run("from helpers import lab; db = lab.postgres('91', private=True); db.server.pause()")
    guard = lab.one("helpers.guard")
    guard.kill()
    kill(lab.supervisor)
    gone(guard)
    run = lab.command("down")
    assert (run.returncode, run.stdout) == (0, "What a killed lab had left is ended.\n")
    assert not lab.processes()


def test_a_private_server_ends_with_its_kernel(lab: Lab) -> None:
    """Its process and its folder go, while the shared servers of others stay."""
    other = lab.program()
    shared = other.run(REDIS)
    kernel = lab.kernel()
    kernel.run("from helpers import lab; own = lab.redis('92', private=True)")
    own = psutil.Process(int(kernel.run("print(own.server.pid)")))
    assert own.pid != shared
    kill(psutil.Process(kernel.pid))
    gone(own)
    until(lambda: not list(lab.state.glob("private-*")), 10, "the removal of its folder")
    assert psutil.pid_exists(shared)


def test_a_private_server_that_is_gone_says_what_to_do(lab: Lab) -> None:
    """After `down` a notebook's own server is no more; the set-up cell makes a new one."""
    program = lab.program()
    program.run("from helpers import lab; db = lab.redis('92', private=True)")
    lab.command("down")
    with pytest.raises(Failed, match="Run the set-up cell again"):
        program.run("db.connect()")
    program.run("db = lab.redis('92', private=True); db.connect().ping()")


def test_a_deleted_state_folder_ends_its_servers(lab: Lab) -> None:
    """Somebody deletes the folder while the servers run: they end, and the next use is clean."""
    import shutil

    program = lab.program()
    program.run(POSTGRES)
    before = lab.processes()

    def delete() -> bool:
        # The servers remove files of their own while they end, under the eyes of rmtree.
        shutil.rmtree(lab.state, ignore_errors=True)
        return not lab.state.exists()

    until(delete, 30, "the end of the folder")
    gone(*before)
    assert isinstance(program.run(POSTGRES), int)
