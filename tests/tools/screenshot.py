"""Take the README's picture of a lesson, or pictures of a whole lesson for its author to look at.

    python tests/tools/screenshot.py                            writes data/lesson.png
    python tests/tools/screenshot.py --review FOLDER [LESSON]   the lesson in light and dark

Both start a lab of their own and need Chromium, as the browser tests do.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "test_commands")]

from test_browser import CHROMIUM, NOTEBOOK, Lab, run_all, visit  # noqa: E402
from test_browser import wait_for_kernel as wait_for_notebook  # noqa: E402

LESSON = "01_postgresql_full_text_search"
TOP_CELL = "s1-plan"  # a query plan, then a measurement as bars
PICTURE = ROOT / "data" / "lesson.png"
SIZE = {"width": 1240, "height": 950}  # pixels
REVIEW_SIZE = {"width": 1240, "height": 1500}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SCROLLER = "document.querySelector('.jp-Notebook:not(.lm-mod-hidden) .jp-WindowedPanel-outer')"


def run(page: Page, lesson: str) -> None:
    """Run every cell of a lesson, with the folders put away."""
    wait_for_notebook(page, lesson)
    page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    run_all(page)
    page.mouse.move(0, 0)  # a row of a table under the mouse has another colour
    page.evaluate(f"{NOTEBOOK}.context.save()")


def scroll_to(page: Page, identity: str) -> None:
    """Bring a cell to the top of the window, and make a cell that is out of sight the active one.

    Waits until the page stands still.
    """
    page.evaluate(
        f"""identity => {{
            const notebook = {NOTEBOOK}.content;
            notebook.activeCellIndex = 0;
            const cell = notebook.widgets.find(one => one.model.id === identity);
            cell.node.scrollIntoView({{block: 'start'}});
        }}""",
        identity,
    )
    still(page)


def still(page: Page) -> None:
    """Wait until nothing has moved for ten frames: cells get their height when they are shown."""
    page.evaluate(
        f"""() => new Promise(done => {{
            const outer = {SCROLLER};
            let before = '', frames = 0;
            const look = () => {{
                const now = `${{outer.scrollTop}} ${{outer.scrollHeight}}`;
                frames = now === before ? frames + 1 : 0;
                before = now;
                if (frames === 10) done(); else requestAnimationFrame(look);
            }};
            look();
        }})"""
    )


def readme_picture(page: Page) -> None:
    """Write data/lesson.png, with a palette of 256 colours to keep it small."""
    page.set_viewport_size(SIZE)
    run(page, LESSON)
    scroll_to(page, TOP_CELL)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


def review(page: Page, folder: Path, lesson: str) -> None:
    """Write the whole lesson, window by window, in each theme."""
    folder.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size(REVIEW_SIZE)
    run(page, lesson)
    for name, theme in THEMES.items():
        page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)
        page.evaluate(f"{SCROLLER}.scrollTo(0, 0)")
        number, before = 0, -1
        while True:
            still(page)
            top = page.evaluate(f"{SCROLLER}.scrollTop")
            if top == before:
                break
            page.screenshot(path=folder / f"{name}-{number:02}.png")
            page.evaluate(f"{SCROLLER}.scrollBy(0, {SCROLLER}.clientHeight - 40)")
            number, before = number + 1, top
        print(f"{number} pictures in {theme}")


def main(arguments: list[str]) -> None:
    """Start a lab of its own in a folder that other users may enter, and take the pictures."""
    if CHROMIUM is None:
        sys.exit("No browser: install Chromium.")
    lesson = arguments[2] if len(arguments) > 2 else LESSON
    with tempfile.TemporaryDirectory(prefix="course-picture-") as name:
        Path(name).chmod(0o711)
        lab = Lab(Path(name))
        try:
            lab.wait_ready()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--disable-gpu", "--disable-quic"]
                )
                with visit(browser.new_context(), lab, f"/lab/tree/{lesson}.ipynb") as page:
                    if arguments[:1] == ["--review"]:
                        review(page, Path(arguments[1]), lesson)
                    else:
                        readme_picture(page)
                browser.close()
        finally:
            lab.end()


if __name__ == "__main__":
    main(sys.argv[1:])
