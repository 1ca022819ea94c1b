"""python3 -m helpers VERB: the course's commands, from any Python on the machine."""

from __future__ import annotations

import sys

from helpers.base.errors import LabError
from helpers.environment import python

HELP = """\
Usage: make VERB, or python3 -m helpers VERB

  lab [ARGS]       environment, servers, JupyterLab with your copies of the lessons
  test [ARGS]      the whole regression run, on servers of its own
  env              build or update the environment in .venv
  up, down         start the servers and keep them; stop them
  status [--json]  what runs
  doctor           check everything and say what to do
  reset 01         empty lesson 01's databases      (make reset LESSON=01)
  outputs          run every notebook again and store its outputs
  try 05b-1 FILE   check a file's content as the answer to an exercise  (ARGS="05b-1 FILE")
  mutants 05b      attack exercises with changed solutions        (make mutants LESSON=05b)
  bench            ratios of this lab's times to those of the bare programs
  soak 20          the notebooks N times in a row   (make soak N=20)

Settings: ENGINE=auto|embedded|docker|external (LAB_ENGINE), LAB_STATE, LAB_NAMESPACE.
With make, extra arguments go through ARGS: make lab ARGS="--no-browser --port 8899".\
"""


def main() -> int:
    for stream in (sys.stdout, sys.stderr):  # a path need not fit the terminal's encoding
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        print(HELP)
        return 0
    try:
        python.enter(arguments)
        from helpers.commands import verbs

        return verbs.run(arguments[0], arguments[1:])
    except LabError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
