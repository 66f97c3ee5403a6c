"""Work that goes on step by step, so that a window stays alive: seen through here where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from .errors import UserError


class Stepwise(Protocol):
    """A run: what it shows of itself, how it goes on and how it is stopped."""

    error: UserError | None

    @property
    def fraction(self) -> float: ...

    @property
    def message(self) -> str: ...

    def step(self, seconds: float = ...) -> bool: ...

    def cancel(self) -> None: ...


def see_through(
    run: Stepwise,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    *,
    pause: float = 0.01,
) -> None:
    """Step until it is over. Ctrl-C cancels. Raises the run's error.

    Args:
        progress: told of the fraction and the message where they changed.
        pause: seconds between steps, in which others may work.
    """
    told: tuple[float, str] | None = None
    try:
        while not run.step(0.5):
            if cancelled is not None and cancelled():
                run.cancel()
            elif progress is not None and told != (run.fraction, run.message):
                told = (run.fraction, run.message)
                progress(*told)
            time.sleep(pause)
    except KeyboardInterrupt:
        run.cancel()
    if run.error is not None:
        raise run.error
