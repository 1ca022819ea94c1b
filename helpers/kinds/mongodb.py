"""MongoDB, and its stand-in: program, the question whether it is ready, a lesson's place on it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.kinds.kind import HOST, USER, Foreign, Kind, NotReady, Options, Program, Step
from helpers.kinds.place import Place, Server

if TYPE_CHECKING:
    from pymongo import MongoClient

#: What MongoDB's account needs on a lesson's database.
MONGODB_ACTIONS = {"find", "insert", "update", "remove", "createCollection", "dropCollection"}
MONGODB_ACTIONS |= {"createIndex", "listCollections"}

MONGODB_UNAUTHORIZED = 13


class MongoProgram(Program):
    """SecantusDB, which speaks MongoDB's protocol. It is not MongoDB."""

    def initialise(self) -> list[Step]:
        super().initialise()
        argv = [sys.executable, "-I", str(Path(__file__).with_name("mongodb_user.py"))]
        return [Step([*argv, USER, str(self.folder / "password"), str(self.data)], self.options())]

    def command(self, port: int) -> Step:
        configuration = self.folder / "secantusd.toml"
        configuration.touch()  # named so that a file in the user's home is not read
        argv = [
            sys.executable,
            "-I",
            "-c",
            "import sys; from secantus.cli import main; sys.exit(main())",
        ]
        argv += ["--config", str(configuration), "--host", HOST, "--port", str(port), "--auth"]
        # Without --sync-on-commit a kill -9 loses acknowledged writes.
        argv += ["--storage-path", str(self.data), "--sync-on-commit", "--log-level", "WARNING"]
        return Step(argv, self.options())


def ask(url: str, seconds: float) -> str:
    """Ask for the version, with pymongo. Raises NotReady."""
    import pymongo
    from pymongo.errors import PyMongoError

    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        url,
        serverSelectionTimeoutMS=round(seconds * 1000),
        socketTimeoutMS=round(seconds * 1000),
    )
    try:
        # A replica set of one takes writes only some time after it answers.
        if not client.admin.command("hello").get("isWritablePrimary"):
            raise NotReady("the server does not take writes yet")
        return str(client.server_info()["version"])
    except PyMongoError as problem:
        raise NotReady(str(problem)) from problem
    finally:
        client.close()


def is_mongodb(url: str) -> bool:
    """Tell whether a server is MongoDB itself, not the stand-in."""
    import pymongo

    with pymongo.MongoClient[dict[str, Any]](url) as client:
        return "secantusVersion" not in client.admin.command("buildInfo")


def check(server: Foreign) -> bool:
    """See whether the account may work in the lessons' databases."""
    import pymongo

    with pymongo.MongoClient[dict[str, Any]](server.url()) as client:
        answer = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    privileges = answer.get("authenticatedUserPrivileges", [])
    if not answer["authenticatedUsers"]:
        return True  # a server without accounts lets everybody do everything
    if answer["authenticatedUserRoles"] and not privileges:
        return True  # a server that tells roles only; then a lesson's own error tells
    allowed: set[str] = set()
    for privilege in privileges:
        resource = privilege["resource"]
        whole = resource.get("collection") == "" and (
            resource.get("db") == "" or re.search(r"lesson_\d\d", resource.get("db", ""))
        )
        if resource.get("anyResource") or whole:
            allowed |= set(privilege["actions"])
    if missing := sorted(MONGODB_ACTIONS - allowed):
        server.refuse(
            f"{', '.join(missing)} in the lessons' databases",
            "Its owner can give it the role readWriteAnyDatabase.",
        )
    return True


class MongoPlace(Place):
    """A lesson's MongoDB database."""

    kind = "mongodb"

    def prepare(self) -> None:
        """Note the name: not every account may list the databases."""
        self.server.note(self.name)

    @property
    def database(self) -> str:
        """The name of the lesson's database."""
        return self.name

    def connect(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """Open a pymongo client; dates come back aware, in UTC. `options` go to MongoClient."""
        from pymongo import MongoClient

        self.server.use()
        return MongoClient(self.url, **{"tz_aware": True, **options})

    def empty(self) -> None:
        """Drop the lesson's database. MongoDB creates it again at the first insert."""
        from pymongo.errors import OperationFailure

        with self.connect() as client:
            try:
                client.drop_database(self.name)
            except OperationFailure as problem:
                if problem.code != MONGODB_UNAUTHORIZED:
                    raise
                # The role readWrite may drop collections, but not their database.
                for name in client[self.name].list_collection_names():
                    if not name.startswith("system."):
                        client[self.name].drop_collection(name)

    drop = empty

    @classmethod
    def names(cls, server: Server) -> list[str]:
        """Return the databases' names; where the account may not list them, the noted ones."""
        from pymongo import MongoClient
        from pymongo.errors import OperationFailure

        with MongoClient[dict[str, Any]](server.url()) as client:
            try:
                return client.list_database_names()
            except OperationFailure as problem:
                if problem.code != MONGODB_UNAUTHORIZED:
                    raise
                return server.noted()


def with_source(options: Options, account: bool, own: str) -> Options:
    """Say where the account is: in the URL's own database, not in the lesson's."""
    if account and "authSource" not in dict(options):
        return [*options, ("authSource", own or "admin")]
    return options


KIND = Kind(
    key="mongodb",
    short="mg",
    title="MongoDB",
    embedded_title="MongoDB stand-in (SecantusDB)",
    # Without directConnection, the driver looks for the other members of the replica set.
    form="mongodb://{user}:{password}@{host}:{port}/{database}"
    "?authSource=admin&directConnection=true",
    maintenance="admin",
    variable="LAB_MONGODB_URL",
    schemes=("mongodb", "mongodb+srv"),
    example="mongodb://user:password@host:27017/?authSource=admin&tls=true",
    oldest=(8, 0),
    image_variable="MONGODB_IMAGE",
    password_variable="MONGO_INITDB_ROOT_PASSWORD",
    process_words=("secantus", "mongodb_user.py"),
    program=MongoProgram,
    place=MongoPlace,
    ask=ask,
    check=check,
    adapt=with_source,
)
