"""An application that reads and writes users the whole time, in a process of its own.

    with Traffic(pg) as app:
        with app.step("upgrade"):
            ...                      # migrate
    app.failed, app.longest, app.late(0.1), app.silence, app.lost
    app.picture("What the application saw")
    table({"the upgrade": app})

Six workers, each with a connection of its own, have a request to do every 40 ms: half of them
read a user, a quarter count a log-in, a quarter add a user. A request is due at its time, whether
the one before it is answered or not: people do not stop coming because the site hangs. So a wait
is counted from the moment when the request was due.

Its commits do not wait for the disk (synchronous_commit = off). A long wait is then a lock's, and
not that of a disk which others keep busy. An application that must keep every write when the
server's machine fails leaves it on.
"""

import itertools
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

WORKERS, INTERVAL = 6, 0.040  # 150 requests a second
MARGIN = 0.25  # seconds of traffic before and after the block
USERS = 200_000
HERE = Path(__file__).resolve().parent
STATEMENTS = {
    "read": "SELECT id, email, name FROM users WHERE id = %(id)s",
    "login": "UPDATE users SET logins = logins + 1 WHERE id = %(id)s",
    "join": "INSERT INTO users (email, name) VALUES (%(email)s, 'New User')",
}
KINDS = ("read", "login", "read", "join")


def new_users(pg, rows=USERS):
    """Make the table users anew (users.sql), as if no migration had ever run."""
    text = (HERE / "users.sql").read_text().replace("200000", str(rows))
    with closing(pg.connect(autocommit=True)) as connection:
        connection.execute(text)
        connection.execute("VACUUM ANALYZE users")


class Traffic:
    """The application, running during a with block; afterwards what became of its requests.

    log: a dictionary for each request: kind, id, email, due, started, ended, error (or None).
    steps: (name, started, ended) of each step. All times in seconds of time.monotonic().
    """

    def __init__(self, pg, table="users", settings="", **statements):
        """Args: what lab.postgres() returned; the table; SQL that each connection runs first,
        such as "SET lock_timeout = '400ms'"; SQL in place of some of STATEMENTS.
        """
        own = {kind: sql.replace("users", table) for kind, sql in STATEMENTS.items()}
        self.pg, self.table, self.settings = pg, table, settings
        self.statements = own | statements
        self.log, self.steps = [], []

    def __enter__(self):
        """Start the process; it is in full swing when this returns."""
        self.logins_before, self._users = self._logins(), self._ask("max(id)")[0][0]
        command = [sys.executable, __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        # Through the pipe, because everybody can read a process's command line.
        order = {"dsn": self.pg.dsn, "settings": self.settings, "run": uuid.uuid4().hex}
        order |= {"statements": self.statements, "users": self._users}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "ready\n":
            self.process.kill()
            self.process.communicate()
            raise RuntimeError("The application did not start. Its last words are above.")
        return self

    def __exit__(self, *_):
        """Stop the process, read its log, look for its writes in the table."""
        output, _ = self.process.communicate()
        self.log = json.loads(output)
        done = [request for request in self.log if not request["error"]]
        self.lost = self._lost(done)

    @contextmanager
    def step(self, name):
        """Note when a step of the migration began and ended."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.steps.append((name, started, time.monotonic()))

    @property
    def failed(self):
        """The errors of requests that failed."""
        return [request["error"] for request in self.log if request["error"]]

    @property
    def longest(self):
        """The longest time from when a request was due to its answer, in seconds."""
        return max(request["ended"] - request["due"] for request in self.log)

    def late(self, seconds, kind=""):
        """How many requests (of this kind) took longer than this."""
        some = [request for request in self.log if kind in ("", request["kind"])]
        return sum(request["ended"] - request["due"] > seconds for request in some)

    @property
    def seconds(self):
        """How long the steps took together."""
        return sum(ended - started for _, started, ended in self.steps)

    @property
    def silence(self):
        """The longest time without any answer to anybody, in seconds."""
        answers = sorted(request["ended"] for request in self.log)
        return max(later - earlier for earlier, later in itertools.pairwise(answers))

    def _ask(self, what, parameters=None):
        with closing(self.pg.connect()) as connection:
            return connection.execute(f"SELECT {what} FROM {self.table}", parameters).fetchall()

    def _logins(self):
        return {id: logins for id, logins in self._ask("id, logins") if logins}

    def _lost(self, done):
        """How many writes were answered with success and are not in the table.

        Counts log-ins that are too many as well, so no other application may run meanwhile.
        """
        expected = dict(self.logins_before)
        for request in done:
            if request["kind"] == "login":
                expected[request["id"]] = expected.get(request["id"], 0) + 1
        found = self._logins()
        missing = sum(abs(expected.get(id, 0) - found.get(id, 0)) for id in expected | found)
        joined = [request["email"] for request in done if request["kind"] == "join"]
        (stored,) = self._ask("count(*) FILTER (WHERE email = ANY (%s))", [joined])[0]
        return missing + len(joined) - stored

    def picture(self, title):
        """Draw every request: when it was due, how long it took; and the steps above."""
        from helpers import show

        log, steps = self.log, self.steps
        begin = log[0]["due"]

        def draw(page):
            axes = show._axes(page, (0.1, 0.13, 0.86, 0.57), "", [])
            axes.set(yscale="log", ylim=(0.2, 20_000), xlabel="seconds")
            axes.set_yticks([1, 10, 100, 1000, 10_000], ["1 ms", "10 ms", "100 ms", "1 s", "10 s"])
            axes.minorticks_off()
            axes.xaxis.label.set(**show.SMALL)
            for error, colour, marker in ((False, show.BLUE, "o"), (True, show.RED, "x")):
                some = [request for request in log if bool(request["error"]) == error]
                x = [request["due"] - begin for request in some]
                y = [1000 * (request["ended"] - request["due"]) for request in some]
                axes.scatter(x, y, s=16 if error else 5, color=colour, marker=marker, lw=1)
            axes.set_xlim(0, max(request["ended"] for request in log) - begin)
            for number, (name, started, ended) in enumerate(steps):
                left, right = started - begin, ended - begin
                axes.axvspan(left, right, color=show.SHADE, lw=0, zorder=0)
                axes.axvline(left, color=show.GREY, lw=1, zorder=0.5)
                axes.axvline(right, color=show.GREY, lw=1, zorder=0.5)
                x = axes.transData.transform((left, 1))[0] / 2
                side = "left" if x < 500 else "right"
                page.text(x, 106 - 14 * (number % 2), name, fontsize=8.5, ha=side, **show.BOLD)
            what = "each dot is a request: when it was due, and how long it took"
            page.text(20, 54, what, **show.SMALL)
            if self.failed:
                page.text(700, 54, f"× failed: {len(self.failed):,}", ha="right", color=show.RED)
            return 384

        names = ", ".join(name for name, *_ in steps) or "no migration"
        return show.Picture(f"Every request over time: {title}; steps: {names}.", title, draw)


def table(applications):
    """Return what became of each application's requests, as a table; {name: Traffic}."""
    import pandas as pd

    rows = {
        name: {
            "requests": len(app.log),
            "failed": len(app.failed),
            "lost": app.lost,
            "over 0.1 s": app.late(0.1),
            "of them reads": app.late(0.1, "read"),
            "longest, s": app.longest,
            "silence, s": app.silence,
            "migration, s": app.seconds,
        }
        for name, app in applications.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(2)


def work(worker, order, start, stop, log):
    """Do one worker's requests until `stop`; a request that is due is done in any case."""
    numbers = random.Random(worker)
    try:
        connection = psycopg.connect(order["dsn"], autocommit=True, application_name="application")
        connection.execute("SET synchronous_commit = off")
        connection.execute(order["settings"])
    except psycopg.Error:
        start.abort()
        raise
    with closing(connection):
        start.wait()
        for count in itertools.count():
            due = start.time + count * INTERVAL + worker * INTERVAL / WORKERS
            time.sleep(max(0, due - time.monotonic()))
            if stop.is_set() and due >= stop.time:
                break
            kind = KINDS[(count + worker) % len(KINDS)]
            request = {"kind": kind, "id": numbers.randint(1, order["users"]), "due": due}
            request["error"] = None
            request["email"] = f"{order['run']}-{worker}-{count}@example.com"
            request["started"] = time.monotonic()
            try:
                connection.execute(order["statements"][kind], request)
            except psycopg.Error as error:
                request["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            request["ended"] = time.monotonic()
            log.append(request)


def main():
    """Be the application: orders come on stdin, and its end is the end."""
    order, log, stop = json.loads(sys.stdin.readline()), [], threading.Event()
    # Nobody begins before all are connected.
    start = threading.Barrier(WORKERS + 1, lambda: setattr(start, "time", time.monotonic()), 30)
    arguments = [(worker, order, start, stop, log) for worker in range(WORKERS)]
    threads = [threading.Thread(target=work, args=a, daemon=True) for a in arguments]
    for thread in threads:
        thread.start()
    try:
        start.wait()
    except threading.BrokenBarrierError:
        sys.exit("A worker could not connect.")
    time.sleep(MARGIN)
    print("ready", flush=True)
    sys.stdin.read()  # until the notebook closes it, or is gone
    stop.time = time.monotonic() + MARGIN
    stop.set()
    for thread in threads:
        thread.join()
    json.dump(sorted(log, key=lambda request: request["due"]), sys.stdout)


if __name__ == "__main__":
    main()
