"""Whether what is installed makes motion: the core is started and makes a short one. Knows nothing of Blender."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from .errors import UserError
from .failure import WorkerError
from .wire import decode_array
from .worker import HELLO_SILENCE, Launch, Worker

PROMPT = "a person walks forward"
SECONDS = 1.0
TALL = 0.2  # metres from the lowest to the highest joint, below which joints have fallen together

CancelFunction = Callable[[], bool]


def check(
    launch: Launch, *, motion: bool = True, timeout: float = HELLO_SILENCE, cancelled: CancelFunction | None = None
) -> dict:
    """Start a core, have it make a short motion, and end it again. Blocks; raises WorkerError.

    Args:
        motion: False only to hear its hello: a model whose licence was not accepted makes no motion.
        timeout: seconds for all of it.

    Returns the hello: versions, device, model.
    """
    stop = cancelled or (lambda: False)
    worker = Worker(launch)
    deadline = time.monotonic() + timeout

    def over() -> bool:
        return time.monotonic() > deadline or stop()

    try:
        info = worker.wait(worker.request("hello", silence=timeout), cancelled=over)
        if motion:
            # The quick recipe: what is asked is whether every part works, not how well.
            asked = {"prompt": PROMPT, "seconds": SECONDS, "seed": 0, "variations": 1, "fast": True}
            _look_at(worker.wait(worker.request("generate", asked), cancelled=over), launch)
    except WorkerError as error:
        if error.code == "cancelled" and not stop():
            raise WorkerError(
                "worker_silent",
                f"The motion model did not start within {timeout:.0f} seconds.",
                "Try again; the first start is the slowest. If it happens again, open the log.",
                log=launch.log,
            ) from None
        raise
    finally:
        worker.stop()
    assert isinstance(info, dict)
    return info


def _look_at(answer: object, launch: Launch) -> None:
    """Raises WorkerError("motion_wrong") where an answer holds no motion of anything like a person."""
    why = ""
    try:
        joints = decode_array(answer["motions"][0]["joints"])  # type: ignore[index]
    except UserError as error:
        why = error.message
    except (KeyError, IndexError, TypeError):
        why = "it holds none."
    else:
        tall = float(np.ptp(joints[..., 1], axis=1).min())
        if len(joints) < 10 or tall < TALL:
            why = f"{len(joints)} frames, {tall:.2f} m tall."
    if why:
        raise WorkerError(
            "motion_wrong",
            f"The motion model made no motion that can be used: {why}",
            "Press Repair. If it happens again, open the log.",
            log=launch.log,
        )


def ready_line(info: dict) -> str:
    """A hello in one line for people, e.g. "Ready: MotionGPT3 compact on cpu (torch 2.13.0)"."""
    model = info.get("model")
    model = model if isinstance(model, dict) else {}
    return f"Ready: {model.get('name', 'model')} on {info.get('device', '?')} (torch {info.get('torch', '?')})"
