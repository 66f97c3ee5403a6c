"""The one exception of the core that users meet: what happened, and what to do about it."""

from __future__ import annotations


class CoreError(Exception):
    """An error with a machine-readable code, a sentence for people, and a remedy.

    Args:
        code: stable identifier, e.g. "model_missing".
        message: one sentence that a non-programmer understands.
        remedy: what to do about it, one sentence.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.code = code
        self.message = message
        self.remedy = remedy


class Cancelled(Exception):
    """Raised inside a task when the caller's `cancelled()` turned true."""
