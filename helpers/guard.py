"""Wait until the supervisor is gone, however it ended; without its last word, clean up after it.

A file of its own that loads nothing, so that it starts at once beside the servers.

Usage: python -I -S guard.py helpers.guard STATE, with the supervisor's pipe as standard input
"""

import os
import sys

END = "import sys; from helpers.engines.processes import end_leftovers; end_leftovers(sys.argv[-1])"

if __name__ == "__main__" and sys.stdin.buffer.read() != b"clean":
    # In this process's place, with the whole environment. The state folder's lock stays with it.
    os.execv(sys.executable, [sys.executable, "-c", END, *sys.argv[1:]])
