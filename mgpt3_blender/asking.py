"""A request to the worker by a run that goes on step by step: listened for without waiting, and taken in by the run."""

from __future__ import annotations

from typing import Any

from . import jobs
from .errors import UserError


class Question:
    """A request under way, sent at once.

    Args:
        title, method, params: as of `jobs.Job`.
        cancelled: what is said where it was cancelled.

    Raises UserError as `jobs.start` does.
    """

    def __init__(self, title: str, method: str, params: dict[str, Any], cancelled: str = "Cancelled.") -> None:
        self._cancelled = cancelled
        self._job = jobs.Job(title, method, params, lambda reply: reply)
        jobs.start(self._job)

    @property
    def begun(self) -> bool:
        """Whether the worker is at it; before, it loads the model."""
        return self._job.fraction > 0.0

    @property
    def message(self) -> str:
        return self._job.message

    def heard(self) -> bool:
        """Listen; True once the request has ended. Never waits."""
        if jobs.view.job is self._job:
            jobs.pump()
        return self._job.ended

    def answer(self) -> Any:
        """What the worker said, once `heard`. Raises UserError: why there is no answer; cancelled."""
        if self._job.state is jobs.State.CANCELLED:
            raise UserError("cancelled", self._cancelled)
        if self._job.error is not None:
            raise self._job.error
        return self._job.outcome

    def drop(self, line: str = "") -> None:
        """Nobody waits for the answer any more. line: what the window says of that."""
        if jobs.view.job is self._job:
            jobs.cancel(line)
