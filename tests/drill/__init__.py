"""What happens to a function at work, done to it on purpose: the files to take home go through it.

    with Proxy(url) as proxy:                      a line that is slow, silent or broken
    refuses(function, bad_inputs("id"))            wrong values, and what is said to them
    for name, own in in_zones(url):                databases and sessions that are not in UTC
    callers(8, function, 2, meanwhile=restart)     callers while the server has trouble
    survives_cancellation(work, busy=busy(url))    a caller that goes away, at each await
    twice(program, url)                            two processes at the same moment

Each test in test_drill.py shows that an instrument sees the fault it is there for.
"""

from drill.calls import Outcome, callers, once
from drill.cancel import WAYS, Walk, cancelled_while, survives_cancellation, walk
from drill.inputs import MOMENTS, ODD_TEXTS, answers, bad_inputs, refuses, secrets_of
from drill.proxy import Proxy
from drill.servers import (
    ZONES,
    blocked,
    busy,
    contents,
    each_zone,
    in_zone,
    in_zones,
    no_writes,
    paused,
    sessions,
)
from drill.twice import Said, overlap, twice

__all__ = [
    "MOMENTS",
    "ODD_TEXTS",
    "WAYS",
    "ZONES",
    "Outcome",
    "Proxy",
    "Said",
    "Walk",
    "answers",
    "bad_inputs",
    "blocked",
    "busy",
    "callers",
    "cancelled_while",
    "contents",
    "each_zone",
    "in_zone",
    "in_zones",
    "no_writes",
    "once",
    "overlap",
    "paused",
    "refuses",
    "secrets_of",
    "sessions",
    "survives_cancellation",
    "twice",
    "walk",
]
