"""Addresses: the URL with which a client library reaches a database on a server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, urlencode

from helpers.kinds import KINDS
from helpers.kinds.kind import HOST, USER


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
        return KINDS[self.kind].form.format(
            user=quote(self.user, safe=""),
            password=quote(self.password, safe=""),
            host=self.host,
            port=self.port,
            database=database or KINDS[self.kind].maintenance,
        )


def external_url(kind: str, parts: SplitResult, database: str = "") -> str:
    """Return the URL of a database on an external server, given the parts of the server's URL.

    Without a name: of the database that the URL names.
    """
    own = parts.path.strip("/")
    # Pairs, as MongoDB has options that may come twice.
    options = KINDS[kind].adapt(parse_qsl(parts.query), "@" in parts.netloc, own)
    path = "/" + (database or own or KINDS[kind].maintenance)
    # quote: libpq does not read a plus sign as a space.
    query = urlencode(options, quote_via=quote)
    return parts._replace(path=path, query=query).geturl()
