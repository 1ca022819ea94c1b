"""Addresses: the URL with which a client library reaches a database on a server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from helpers.engines.programs import HOST, USER

FORMATS = {
    "postgresql": "postgresql://{user}:{password}@{host}:{port}/{database}",
    # requirepass: the password belongs to Redis's user without a name.
    "redis": "redis://:{password}@{host}:{port}/{database}",
    # Without directConnection, the driver looks for the other members of the replica set.
    "mongodb": "mongodb://{user}:{password}@{host}:{port}/{database}"
    "?authSource=admin&directConnection=true",
}
#: The database of a server that is always there.
MAINTENANCE = {"postgresql": "postgres", "redis": "0", "mongodb": "admin"}


@dataclass(frozen=True)
class Address:
    """Where one of the lab's own servers listens, and its account."""

    kind: str
    port: int
    password: str
    host: str = HOST
    user: str = USER

    def url(self, database: str = "") -> str:
        """Return the URL of a database; of the one that is always there when none is named."""
        return FORMATS[self.kind].format(
            user=quote(self.user, safe=""),
            password=quote(self.password, safe=""),
            host=self.host,
            port=self.port,
            database=database or MAINTENANCE[self.kind],
        )
