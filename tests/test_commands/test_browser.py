"""The course as a learner meets it: JupyterLab, started by the lab command, in a real browser.

Playwright drives the Chromium that is installed on the machine. Without one these tests are left
out, unless LAB_REQUIRE_BROWSER is 1: then they fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import psutil
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

from helpers import outline
from helpers.base.paths import NOTEBOOKS, ROOT
from helpers.base.processes import has_ended
from helpers.base.record import living
from helpers.commands import work
from helpers.commands.outputs import compared
from helpers.commands.own_lab import left_out

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)
REQUIRED = os.environ.get("LAB_REQUIRE_BROWSER") == "1"
NO_BROWSER = f"no browser: none of {', '.join(PROGRAMS)} is on PATH"
pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason=NO_BROWSER),
]

# Limits in seconds. They say when to give up, not how long something takes.
LAB_STARTS, PAGE_ANSWERS, LESSON_RUNS, LAB_ENDS = 90, 60, 240, 20
expect.set_options(timeout=PAGE_ANSWERS * 1000)

# Two cores and a section in every run; LAB_BROWSER_LESSONS="02 03a" names others.
WANTED = os.environ.get("LAB_BROWSER_LESSONS", "00 01 05b").split()
LESSONS = [
    str(notebook.path.relative_to(NOTEBOOKS).with_suffix(""))
    for notebook in outline.notebooks()
    if notebook.number in WANTED
]
HERE = ("127.0.0.1", "::1")
NOTEBOOK = "jupyterapp.shell.currentWidget"
# True when every cell of a fresh copy has run, or when one failed that was not meant to. After an
# error, also an intended one, JupyterLab no longer says which cells wait; it still runs them.
RUN_ALL_IS_OVER = f"""() => {{
    const code = [...{NOTEBOOK}.content.model.cells].filter(cell => cell.type === 'code');
    const intended = cell => (cell.getMetadata('tags') || []).includes('raises-exception');
    const failed = cell => cell.outputs.toJSON().some(one => one.output_type === 'error');
    return code.some(cell => failed(cell) && !intended(cell))
        || code.every(cell => cell.executionCount && cell.executionState === 'idle');
}}"""


class Lab:
    """A running `python -m helpers lab` with a state folder and copies of its own."""

    def __init__(self, folder: Path) -> None:
        self.state, self.work, self.log = folder / "state", folder / "my lessons", folder / "log"
        settings = {
            "LAB_STATE": self.state,
            "LAB_WORK": self.work,
            # What the person who runs the tests has set up in Jupyter stays out of it.
            "JUPYTER_CONFIG_DIR": folder / "jupyter-config",
            "JUPYTER_DATA_DIR": folder / "jupyter-data",
            "JUPYTER_RUNTIME_DIR": folder / "jupyter-runtime",
            "JUPYTERLAB_SETTINGS_DIR": folder / "jupyter-settings",
            "JUPYTERLAB_WORKSPACES_DIR": folder / "jupyter-workspaces",
            "IPYTHONDIR": folder / "ipython",
        }
        command = [sys.executable, "-m", "helpers", "lab", "--no-browser"]
        # The last option lets a page's scripts ask JupyterLab about its cells.
        command += ["--port", str(free_port()), "--expose-app-in-browser"]
        # JupyterLab asks "Shut down?" after Control-C only when a terminal is there to answer.
        self.terminal, stdin = os.openpty()
        with self.log.open("wb") as log, open(stdin) as stdin_file:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **{name: str(value) for name, value in settings.items()}},
                stdin=stdin_file,
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Wait for the address that JupyterLab prints, and take it from there."""
        self.wait_for_words(r"http://127\.0\.0\.1:\d+/lab\S+", LAB_STARTS)
        found = re.search(r"(http://127\.0\.0\.1:\d+)(/lab\S*)\?token=(\w+)", self.words())
        assert found, self.words()
        self.address, self.start_page, self.token = found.groups()

    def words(self) -> str:
        """Return what the command has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for_words(self, pattern: str, seconds: float) -> None:
        """Wait until the command has printed something; fail with all that it printed."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.words()):
            assert self.process.poll() is None, f"the lab has ended:\n{self.words()}"
            assert time.monotonic() < deadline, f"not after {seconds} s:\n{self.words()}"
            time.sleep(0.05)

    def ask(self, path: str, method: str = "GET") -> Any:
        """Ask Jupyter's own interface."""
        request = urllib.request.Request(
            f"{self.address}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=PAGE_ANSWERS) as answer:
            return json.loads(answer.read() or "null")

    def begin_anew(self) -> None:
        """Close every notebook, and give the learner fresh copies and no kept answers."""
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")
        for copy in self.work.rglob("*.ipynb"):
            copy.unlink()
        work.fill(NOTEBOOKS, self.work)
        shutil.rmtree(self.state / "answers", ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """Return JupyterLab, its kernels, the supervisor and its servers, as they run now."""
        roots = [psutil.Process(self.process.pid)]
        if record := living(self.state):
            roots.append(psutil.Process(record["pid"]))
        return [process for root in roots for process in (root, *root.children(recursive=True))]

    def end(self) -> None:
        """End what is left, however the tests went."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LAB_ENDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.close(self.terminal)
        deadline = time.monotonic() + 60  # after a kill, the servers wait for a next user
        while living(self.state) and time.monotonic() < deadline:
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if CHROMIUM is None:
        pytest.fail(f"{NO_BROWSER}, and LAB_REQUIRE_BROWSER is 1")
    folder = Path(tempfile.mkdtemp(prefix="course-browser-"))
    folder.chmod(0o711)  # root's PostgreSQL runs as another user, which must pass
    running = Lab(folder)
    try:
        running.wait_ready()
        yield running
    finally:
        running.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser(lab: Lab) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-gpu", "--disable-quic"]
        )
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        context.set_default_timeout(PAGE_ANSWERS * 1000)
        yield context
        chromium.close()


@contextmanager
def visit(browser: BrowserContext, lab: Lab, path: str) -> Iterator[Page]:
    """Open a page as somebody who was never here; it must ask for nothing from elsewhere."""
    lab.begin_anew()
    addresses: list[str] = []
    page = browser.new_page()
    try:
        page.on("request", lambda request: addresses.append(request.url))
        page.on("websocket", lambda channel: addresses.append(channel.url))
        # `reset` forgets which notebooks were open in an earlier visit.
        page.goto(f"{lab.address}{path}?token={lab.token}&reset")
        page.wait_for_function("window.jupyterapp")
        page.evaluate("jupyterapp.restored.then(() => null)")
        yield page
        # No news, no question about news, no error message.
        expect(page.locator(".Toastify__toast, .jp-Dialog")).to_have_count(0, timeout=1000)
        assert any(address.startswith("ws:") for address in addresses), addresses
        outside = [a for a in addresses if urlsplit(a).hostname not in (*HERE, None)]
        assert not outside
    finally:
        page.close()


def wait_for_kernel(page: Page, name: str) -> None:
    """Wait until the notebook is open and its kernel answers."""
    page.wait_for_function(f"{NOTEBOOK}?.context?.path === '{name}.ipynb'")
    page.evaluate(f"{NOTEBOOK}.context.ready.then(() => {NOTEBOOK}.sessionContext.ready)")
    page.wait_for_function(f"{NOTEBOOK}.sessionContext.kernelDisplayStatus === 'idle'")


def choose(page: Page, menu: str, item: str) -> None:
    """Choose an item from a menu of JupyterLab."""
    page.locator(".lm-MenuBar-itemLabel").get_by_text(menu, exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text(item, exact=True).click()


def run_all(page: Page) -> None:
    """Run all cells of a fresh copy from the menu, and wait until that is over."""
    choose(page, "Run", "Run All Cells")
    page.wait_for_function(RUN_ALL_IS_OVER, timeout=LESSON_RUNS * 1000)


def saved(page: Page, lab: Lab, name: str) -> Any:
    """Save the learner's copy and read it."""
    page.evaluate(f"{NOTEBOOK}.context.save()")
    return nbformat.read(lab.work / f"{name}.ipynb", as_version=4)


def words(cells: list[Any]) -> dict[str, Any]:
    """Return the compared outputs of each cell, printed lines that came in parts put together."""
    found = {}
    for cell in cells:
        outputs: list[Any] = []
        for output in cell.get("outputs", []):
            last = outputs[-1] if outputs else {}
            if output["output_type"] == "stream" and output["name"] == last.get("name"):
                last["text"] += output["text"]
            else:
                # Cells that were left out when outputs were stored were not counted.
                outputs.append({k: v for k, v in output.items() if k != "execution_count"})
        found[cell["id"]] = {"source": cell["source"], "outputs": outputs}
    return found


def forms(notebook: Any) -> dict[str, list[Any]]:
    """Return for each code cell what kinds of output it has, once each."""
    return {
        cell.id: sorted(
            {f"{o.output_type} {o.get('name') or sorted(o.get('data', ()))}" for o in cell.outputs}
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def cell(page: Page, identity: str) -> Locator:
    """Return the cell with this id as it stands in the page."""
    ids = page.evaluate(f"[...{NOTEBOOK}.content.model.cells].map(cell => cell.id)")
    return page.locator(".jp-Notebook:visible .jp-Cell").nth(ids.index(identity))


def enter(page: Page, target: Locator, source: str | None = None) -> None:
    """Click into a cell, write a new text into it unless it is to stay, and run it."""
    editor = target.locator(".cm-content")
    editor.click()
    if source is not None:
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(source)
        assert page.evaluate(f"{NOTEBOOK}.content.activeCell.model.sharedModel.source") == source
    page.keyboard.press("Shift+Enter")


def test_the_lab_opens_the_first_lesson_and_stays_at_home(
    browser: BrowserContext, lab: Lab
) -> None:
    """The printed address leads to the learner's copy of 00; nothing asks for news."""
    with visit(browser, lab, lab.start_page) as page:
        wait_for_kernel(page, "00_start_here")
        expect(page.get_by_role("heading", name="00 · Start here")).to_be_visible()
        # JupyterLab, the kernel and the servers neither listen nor speak to the outside.
        ends = set()
        for process in lab.processes():
            with suppress(psutil.NoSuchProcess):  # a server's helper process may have ended
                for link in process.net_connections("inet"):
                    ends |= {link.laddr.ip, *([link.raddr.ip] if link.raddr else [])}
        assert "127.0.0.1" in ends
        assert ends <= {*HERE, "::ffff:127.0.0.1"}
    assert (lab.work / "00_start_here.ipynb").exists()


@pytest.mark.parametrize("name", LESSONS)
def test_run_all_gives_the_stored_outputs(browser: BrowserContext, lab: Lab, name: str) -> None:
    """Every cell runs, an intended error stops nothing, and the outputs are the stored ones."""
    stored = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    with visit(browser, lab, f"/lab/tree/{name}.ipynb") as page:
        wait_for_kernel(page, name)
        run_all(page)
        mine = saved(page, lab, name)
        elsewhere = [one.id for one in left_out(stored.cells)]  # what another server would say

        def here(found: dict[str, Any]) -> dict[str, Any]:
            return {name: one for name, one in found.items() if name not in elsewhere}

        assert here(words(compared(mine))) == here(words(compared(stored)))
        # Measured outputs differ; that there is one, and of which kind, does not.
        assert here(forms(mine)) == here(forms(stored))
        counts = [one.execution_count for one in mine.cells if one.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))
        pictures = sum(
            "image/png" in output.get("data", {})
            for one in mine.cells
            for output in one.get("outputs", [])
        )
        page.wait_for_function(
            """wanted => {
                const pictures = [...document.querySelectorAll('.jp-OutputArea-output img')];
                return pictures.length === wanted && pictures.every(one => one.naturalWidth > 0);
            }""",
            arg=pictures,
        )


def test_a_learner_does_the_first_exercise(browser: BrowserContext, lab: Lab) -> None:
    """Wrong, right, and after a restart of the kernel the kept answer comes back."""
    exercise = outline.load(outline.find("00").exercises[0]).EXERCISE
    mistake, reason = exercise.wrong[0]
    with visit(browser, lab, lab.start_page) as page:
        wait_for_kernel(page, "00_start_here")
        notebook, ex1 = page.locator(".jp-Notebook:visible"), cell(page, "ex1")
        ex1.locator(".cm-content").click()
        choose(page, "Run", "Run All Above Selected Cell")
        enter(page, ex1, mistake.strip("\n"))
        expect(ex1).to_contain_text("Not yet:")
        expect(ex1).to_contain_text(reason)
        expect(notebook).not_to_contain_text("Kept answers")
        enter(page, ex1, exercise.solution.strip("\n"))
        expect(ex1).to_contain_text("Correct.")
        expect(ex1).not_to_contain_text("Not yet:")

        page.evaluate(
            """() => {
                window.restarted = false;
                jupyterapp.commands.execute('kernelmenu:restart').then(
                    () => { window.restarted = true; });
            }"""
        )
        page.locator(".jp-Dialog").locator(".jp-mod-accept").click()
        page.wait_for_function("window.restarted")
        wait_for_kernel(page, "00_start_here")
        ex1.locator(".cm-content").click()
        choose(page, "Run", "Run All Above Selected Cell")
        expect(notebook).to_contain_text("Kept answers: exercise 1 (correct).")
        expect(cell(page, "doctor")).to_contain_text("[1]:")  # a new kernel counts from one

        ex1.locator(".jp-InputPrompt").click()
        page.keyboard.press("b")  # a new cell below
        place = ".jp-Notebook:visible .jp-Cell"
        after = page.evaluate(f"{NOTEBOOK}.content.activeCellIndex")
        new, restored = page.locator(place).nth(after), page.locator(place).nth(after + 1)
        enter(page, new, "ex1.restore()")
        expect(new).to_contain_text("Your answer is in the new cell below. Its result:")
        expect(new).to_contain_text("Correct.")
        expect(restored).to_contain_text("CREATE TABLE visits")
        page.evaluate(f"{NOTEBOOK}.context.save()")


def test_closing_jupyterlab_ends_everything(browser: BrowserContext, lab: Lab) -> None:
    """Control-C twice: JupyterLab, its kernels, the supervisor and the servers are gone.

    The last test of this file, as it ends what the others use.
    """
    with visit(browser, lab, lab.start_page) as page:
        wait_for_kernel(page, "00_start_here")
        enter(page, cell(page, "doctor"))
        enter(page, cell(page, "postgresql-query"))
        expect(cell(page, "postgresql-query")).to_contain_text("Hello from PostgreSQL")
        page.evaluate(f"{NOTEBOOK}.context.save()")
    processes = lab.processes()
    commands = " ".join(part for process in processes for part in process.cmdline())
    for part in ("ipykernel", "helpers.supervisor", "postgres", "redis", "secantus"):
        assert part in commands, f"no {part} among {commands}"

    lab.process.send_signal(signal.SIGINT)
    lab.wait_for_words(r"Shut ?down this Jupyter server", PAGE_ANSWERS)
    lab.process.send_signal(signal.SIGINT)
    try:
        assert lab.process.wait(LAB_ENDS) == 0, lab.words()
    except subprocess.TimeoutExpired:
        pytest.fail(f"JupyterLab did not end within {LAB_ENDS} s:\n{lab.words()}")
    deadline = time.monotonic() + LAB_ENDS
    while not all(map(has_ended, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(has_ended, processes)), processes
    assert living(lab.state) is None
