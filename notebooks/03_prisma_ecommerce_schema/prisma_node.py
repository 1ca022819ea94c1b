"""Call functions of app.ts from Python: Node and Prisma run them, on the lab's PostgreSQL."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from helpers.base.errors import LabError
from helpers.environment import node

HERE = Path(__file__).resolve().parent


class PrismaError(Exception):
    """What a function of app.ts threw; `code` is Prisma's (P2003), PostgreSQL's or its name."""

    def __init__(self, code: str, message: str) -> None:
        # Prisma's messages begin with an excerpt of the program; the last line counts. What Prisma
        # has no code for holds PostgreSQL's own code and words.
        last = (message.strip().splitlines() or [""])[-1]
        if found := re.search(r'code: "(\w{5})", message: "((?:[^"\\]|\\.)*)"', last):
            code, last = found[1], found[2].replace('\\"', '"')
        super().__init__(f"{code}: {last}")
        self.code = code


def prisma(pg: Any, function: str, *arguments: Any, app: str = "app.ts") -> tuple[Any, list[str]]:
    """Run one function of app.ts; return its result and the SQL that Prisma sent.

    Prisma writes the schema before each table's name ("public"."Order"); here it is left out.

    Raises PrismaError for what the function throws.
    """
    [answer], sql = together(pg, [(function, *arguments)], app=app)
    if isinstance(answer, PrismaError):
        raise answer
    return answer, sql


def together(pg: Any, calls: list[Any], app: str = "app.ts") -> tuple[list[Any], list[str]]:
    """Run calls (function, argument, ...) at the same time; return results and errors, and SQL."""
    if missing := node.problem():  # before a folder is made
        raise LabError(missing)
    path = HERE / app
    with pg.connect() as db:
        [schema] = db.execute("SELECT current_schema()").fetchone()
    packages = str(node.packages("03"))
    request = {"packages": packages, "app": str(path), "calls": calls, "schema": schema}
    request["client"] = str(generated(path.with_name("schema.prisma")))
    run = run_node("--conditions=workerd", HERE / "run.mjs", text=json.dumps(request), url=pg.dsn)
    found = json.loads(run)
    answers = [a["value"] if "value" in a else PrismaError(**a) for a in found["answers"]]
    return answers, [statement.replace(f'"{schema}".', "") for statement in found["sql"]]


def generated(schema: Path) -> Path:
    """Return the folder of the client for a schema; `prisma generate` makes it, once."""
    text = schema.read_bytes()
    folder = node.FOLDER / "clients" / hashlib.sha256(text).hexdigest()[:16]
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            half = Path(temporary, "made")
            half.mkdir()
            (half / "schema.prisma").write_bytes(text)
            (half / "no-engine").touch()  # nothing is to be downloaded
            command = node.packages("03") / "node_modules" / "prisma" / "build" / "index.js"
            run_node(command, "generate", "--no-hints", "--schema", half / "schema.prisma")
            if not folder.exists():  # else another notebook was faster
                half.rename(folder)
    return folder / "client"


def run_node(*command: object, text: str = "", url: str = "") -> str:
    """Run Node with what Prisma wants to be set; return what it prints."""
    # Prisma 5 asks for two native engines that it then does not use.
    settings = {"PRISMA_SCHEMA_ENGINE_BINARY": sys.executable, "CHECKPOINT_DISABLE": "1"}
    settings |= {"PRISMA_QUERY_ENGINE_LIBRARY": str(Path(str(command[-1])).parent / "no-engine")}
    return node.run("03", *command, text=text, settings={"DATABASE_URL": url, **settings})
