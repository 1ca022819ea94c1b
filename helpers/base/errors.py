"""The one exception that a learner meets when the lab itself has a problem."""

from __future__ import annotations


class LabError(Exception):
    """A problem with the lab, not with the learner's code.

    The message says what happened, where, and what to do next.
    """

    def _render_traceback_(self) -> list[str]:
        """Give IPython the message alone: the frames behind it are not the learner's."""
        return [f"LabError: {self}"]
