"""make bench: what the lab adds to the bare programs, as ratios from one run.

Nothing here is a test: a time depends on the machine. Each line names its target.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from helpers import lab, shop
from helpers.base.paths import NOTEBOOKS, ROOT
from helpers.commands.own_lab import own_lab
from helpers.engines import choose, link, start, supervised
from helpers.kinds import KINDS
from helpers.kinds.address import Address
from helpers.kinds.kind import HOST, NotReady

REPEATS = 5


def seconds(action: Callable[[], Any]) -> float:
    """Return how long an action took."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def say(what: str, value: float, unit: str, target: str = "") -> None:
    print(f"{what:<66} {value:8.2f} {unit:<3} {target}", flush=True)


def raw_start(kind: str, folder: Path) -> float:
    """Start one program on a prepared folder, by its bare command; time until it answers."""
    password = (folder / "password").read_text().strip()
    program = KINDS[kind].program(folder, password)
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    step = program.command(port)
    url = Address(kind, port, password).url()
    started = time.perf_counter()
    process = subprocess.Popen(
        step.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **step.options
    )
    try:
        while True:
            try:
                socket.create_connection((HOST, port), 1).close()
                KINDS[kind].ask(url, 5)
                return time.perf_counter() - started
            except (OSError, NotReady):
                time.sleep(0.005)
    finally:
        process.send_signal(program.stop_signal)
        process.wait()


def start_and_ask() -> None:
    """Start the three servers through the lab and wait until each answers its client."""
    supervised.start_all()
    for kind in KINDS:
        start.server(kind)


def stop() -> None:
    """Stop the lab and wait for it."""
    link.leave()
    link.stop_all()


def servers() -> None:
    """Time the lab's start against the slowest single program."""
    state = Path(os.environ["LAB_STATE"])
    for kind in KINDS:  # the client libraries are loaded once, outside the times
        supervised.SupervisedServer(kind).use()
    stop()
    with_lab, raw = [], []
    for _ in range(REPEATS):
        with_lab.append(seconds(start_and_ask))
        stop()
        raw.append(max(raw_start(kind, state / kind) for kind in KINDS))
    for folder in KINDS:
        shutil.rmtree(state / folder)
    first = seconds(start_and_ask)
    slowest = statistics.median(raw)
    ratio = statistics.median(with_lab) / slowest
    say("three servers ready / slowest single raw start", ratio, "x", "<= 1.25")
    say("  the same, first start (creates the data folders)", first / slowest, "x")
    say("  slowest single raw start", slowest, "s")


def one_call() -> None:
    """Time one lab.postgres() on running servers."""
    if hasattr(os, "sync"):
        os.sync()  # the data folders were just made: their writes are not this call's
    pg = lab.postgres("97")
    name = sql.Identifier(pg.name)
    calls, bare = [], []
    with psycopg.connect(pg.dsn.rpartition("/")[0] + "/postgres", autocommit=True) as connection:

        def drop_and_create() -> None:
            connection.execute(sql.SQL("DROP DATABASE {}").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))

        for _ in range(20):
            calls.append(1000 * seconds(lambda: lab.postgres("97")))
            bare.append(1000 * seconds(drop_and_create))
    over = statistics.median(call - alone for call, alone in zip(calls, bare, strict=True))
    say("lab.postgres() on running servers, beyond the bare statements", over, "ms", "<= 60")
    say("  DROP DATABASE and CREATE DATABASE alone", statistics.median(bare), "ms")


def catalogue() -> None:
    """Time loading the catalogue against COPY of the same rows as prepared text."""
    published = NOTEBOOKS / "01_postgresql_full_text_search" / "published.sql"
    pg = lab.postgres("97")
    buffer = io.StringIO()
    for product in shop.catalogue():
        cells = (product.name, product.summary, str(product.price))
        buffer.write("\t".join(c.replace("\\", "\\\\") for c in cells) + "\n")
    text = buffer.getvalue()

    def fresh(connection: Any) -> None:
        connection.execute("DROP TABLE IF EXISTS products")
        connection.execute(published.read_bytes().split(b"-- Create GIN")[0])

    def raw(connection: Any) -> None:
        with connection.cursor().copy(
            "COPY products (name, description, price) FROM STDIN"
        ) as copy:
            copy.write(text)

    ratios = []
    with pg.connect(autocommit=True) as connection:
        for _ in range(REPEATS):
            fresh(connection)
            bare = seconds(lambda: raw(connection))
            fresh(connection)
            ratios.append(seconds(lambda: shop.load_products(connection)) / bare)
    say(
        "loading the catalogue / raw COPY of the same rows",
        statistics.median(ratios),
        "x",
        "<= 1.2",
    )


def notebook() -> None:
    """Time the regression run of one notebook against its plain execution."""
    path = NOTEBOOKS / "00_start_here.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        jupyter = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute"]
        plain = [*jupyter, "--allow-errors", "--output-dir", folder, str(path)]
        checked = [sys.executable, "-m", "pytest", "-q", "-n", "0", str(path)]
        quiet: dict[str, Any] = {"cwd": ROOT, "capture_output": True, "check": True}
        executed = seconds(lambda: subprocess.run(plain, **quiet))
        compared = seconds(lambda: subprocess.run(checked, **quiet))
    say("regression run of one notebook / its plain execution", compared / executed, "x")


def fresh_clone() -> None:
    """Time a new user's way: from `make lab` in a fresh clone to the first query's answer."""
    folder = Path(tempfile.mkdtemp(prefix="course-bench-"))
    folder.chmod(0o711)
    clone = folder / "course"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    unwanted = ("LAB_STATE", "VIRTUAL_ENV", "LAB_NAMESPACE")
    env = {name: value for name, value in os.environ.items() if name not in unwanted}
    env["ARGS"] = f"--no-browser --port {port} --ServerApp.port_retries=0"
    started = time.perf_counter()
    process = subprocess.Popen(
        ["make", "lab"],
        cwd=clone,
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=1)
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit("make lab ended early") from None
                time.sleep(0.02)
        answering = time.perf_counter() - started
        query = "from helpers import lab; print(lab.postgres('01').connect().execute('SELECT 1'))"
        asked = seconds(
            lambda: subprocess.run(
                [clone / ".venv/bin/python", "-c", query],
                cwd=clone,
                env=env,
                check=True,
                capture_output=True,
            )
        )
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        subprocess.run(["make", "down"], cwd=clone, env=env, check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
    say("fresh clone: make lab until JupyterLab answers", answering, "s")
    say("  then until the first query's answer", asked, "s", f"sum {answering + asked:.1f} < 20")


def memory() -> float:
    """Return the megabytes that the three servers use, shared memory counted once."""
    if choose.engine() == "embedded":
        roots = [psutil.Process(start.server(kind).pid) for kind in KINDS]
        trees = [process for root in roots for process in (root, *root.children(recursive=True))]
        return sum(process.memory_full_info().pss for process in trees) / 1e6
    from helpers.supervisor import docker

    used = 0
    for container in docker.own_containers(docker.connect(), choose.folder()):
        found = container.stats(stream=False)["memory_stats"]
        # As `docker stats` does: files that can be read again are not counted.
        used += found["usage"] - found["stats"].get("inactive_file", 0)
    return used / 1e6


def engine(name: str) -> dict[str, float]:
    """Measure one engine: its start, its memory with the catalogue loaded, the notebooks."""
    os.environ["LAB_ENGINE"] = name
    found: dict[str, float] = {}

    def note(what: str, value: float) -> None:
        found[what] = value
        print(f"{name}: {what} {value:.2f}", flush=True)  # the whole run takes minutes

    with own_lab():  # starts them, and in doing so loads the client libraries
        stop()
        if name == "docker":
            from helpers.supervisor import docker

            docker.remove_data(choose.folder())
        else:
            for kind in KINDS:
                shutil.rmtree(choose.folder() / kind)
        note("first start, s", seconds(start_and_ask))
        starts = []
        for _ in range(3):
            stop()
            starts.append(seconds(start_and_ask))
        note("a later start, s", statistics.median(starts))
        with lab.postgres("97").connect() as connection:
            published = NOTEBOOKS / "01_postgresql_full_text_search" / "published.sql"
            connection.execute(published.read_bytes())
            shop.load_products(connection)
        note("memory of the three servers, MB", memory())
    note("regression run of the notebooks, s", seconds(run_notebooks))
    return found


def run_notebooks() -> None:
    """Run the notebooks as `make test` does; end the benchmark with its words when it is red."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not docker", "notebooks"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"The notebooks are red, so their time says nothing:\n{run.stdout[-3000:]}")


def side_by_side() -> None:
    """Print Docker beside embedded, measured in this run."""
    of_docker, of_embedded = engine("docker"), engine("embedded")
    for what, value in of_docker.items():
        beside = of_embedded[what]
        print(f"{what:<40} docker {value:8.2f}   embedded {beside:8.2f}   {value / beside:6.2f} x")


if __name__ == "__main__":
    if os.environ.get("LAB_ENGINE") == "docker":
        side_by_side()
        sys.exit()
    with own_lab():
        servers()
        one_call()
        catalogue()
    notebook()
    fresh_clone()
