"""Wait until the supervisor is gone, however it ended; without its last word, clean up after it.

A file of its own that loads nothing, so that it starts at once beside the servers.

Usage: python -I -S guard.py helpers.guard [--docker] STATE
Its standard input is a pipe from the supervisor.
"""

import os
import sys

END = """
import sys
from pathlib import Path
from helpers.supervisor.leftovers import end_leftovers
end_leftovers(Path(sys.argv[-1]), in_containers="--docker" in sys.argv)
"""

if __name__ == "__main__" and sys.stdin.buffer.read() != b"clean":
    # In this process's place, with the whole environment. The state folder's lock stays with it.
    os.execv(sys.executable, [sys.executable, "-c", END, *sys.argv[1:]])
