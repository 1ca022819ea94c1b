"""Alembic's commands for the notebook: what `alembic upgrade head` does, on a lesson's database.

upgrade(pg, "published")               # the revisions in published/versions
upgrade(pg, "final/migrations", to="002")    # those of final/migrations, up to 002
print_upgrade("002")                   # what that revision does
process = start(pg, "003")             # the command line, as a process of its own
"""

import io
import os
import subprocess
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from alembic import command
from alembic.config import Config

HERE = Path(__file__).resolve().parent


def upgrade(pg, migrations, versions="versions", to="head", last_line=False, sql=False):
    """Run a folder's revisions that the database does not have yet.

    last_line: print only the last line of what they print; sql: offline mode.
    """
    config = Config()
    scripts = str(HERE / migrations).replace("%", "%%")  # a % would begin an option's name
    config.set_main_option("script_location", scripts)
    config.set_main_option(
        "version_locations", str(HERE / migrations / versions).replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = pg.url  # env.py connects with it
    with redirect_stdout(io.StringIO()) if last_line else nullcontext() as printed:
        command.upgrade(config, to, sql=sql)
    if last_line:
        print(printed.getvalue().splitlines()[-1])


def start(pg, to):
    """Start `alembic upgrade` in the folder final; what it logs is not shown."""
    line = [sys.executable, "-m", "alembic", "upgrade", to]
    own = os.environ | {"DATABASE_URL": pg.url}
    return subprocess.Popen(line, cwd=HERE / "final", env=own, stderr=subprocess.DEVNULL)


def print_upgrade(revision):
    """Print what a revision in final/migrations does, without its head and its downgrade."""
    [path] = (HERE / "final/migrations/versions").glob(f"{revision}_*.py")
    text = path.read_text()
    _, _, body = text[: text.index("def downgrade")].partition("down_revision = ")
    print(body.partition("\n")[2].strip(), end="\n\n")
