"""The kinds of servers, a file each. To add one: its file, and its name in both lines here."""

from helpers.kinds import mongodb, postgresql, redis
from helpers.kinds.kind import Kind

#: The slowest to start comes first.
KINDS: dict[str, Kind] = {one.KIND.key: one.KIND for one in (mongodb, postgresql, redis)}
