"""A command of ours in a Blender without a window: the add-on registered, errors as words, an end that is one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import bpy

from . import jobs
from .errors import UserError


def run(work: Callable[[], int], *, refused: int = 1) -> int:
    """Do the work in an empty file with the add-on registered. -> its exit status; `refused` where it raises a
    UserError, which is printed."""
    from . import register, unregister

    bpy.ops.wm.read_factory_settings(use_empty=True)
    register()
    try:
        return work()
    except UserError as error:
        print(f"error: {error.message} {error.remedy}".rstrip(), flush=True)
        return refused
    finally:
        jobs.stop_worker()
        unregister()


def leave(code: int) -> NoReturn:
    """End the process at once: Blender as a Python module hangs (4.5) or crashes (4.2) at its own end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what importers and the renderer print to themselves."""
    sys.stdout.flush()
    kept = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)
