"""A batch on Ray: one task a file, on all machines of a cluster. `ray` is an extra (core/requirements-ray.txt).

What the machines need: the packages of core/requirements.txt and requirements-ray.txt in the Python that runs Ray, and
the motion files, a model folder other than the bundled one, a body model and Blender at the same paths as here. The
core's own code and its weights are sent along, and so are the settings that are named MGPT3_… and BLENDER_…. Nothing is
reported to Ray's makers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.captions.files import Task
from core.captions.work import TRIES, Answer, Options, died, work
from core.errors import CoreError

AHEAD = 256
"""Tasks that are handed to Ray at a time: it has no use for the names of a hundred thousand files at once."""

PATIENCE = 10.0
"""Seconds in which a cluster's head must answer."""


def run_on_ray(tasks: Sequence[Task], options: Options, address: str) -> Iterator[tuple[Task, Answer]]:
    """Describe tasks on a Ray cluster; yields each task with its answer, in the order they are finished.

    A task whose worker or machine dies is begun again, TRIES times in all.

    Args:
        address: HOST:PORT of a cluster's head, "auto" for the one that runs on this machine, ray://HOST:PORT, or
            "local" to start one here.
    Raises:
        CoreError: ray_missing, ray_unreachable.
    """
    ray = _connect(address)
    try:
        gpus = 1 if options.device.startswith("cuda") else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1)(_task)
        shared = ray.put(replace(options, threads=options.threads or 1))
        waiting = iter(tasks)
        busy: dict[Any, Task] = {}
        while True:
            while len(busy) < AHEAD and (task := next(waiting, None)) is not None:
                busy[remote.remote(task, shared)] = task
            if not busy:
                return
            ready, _ = ray.wait(list(busy), num_returns=1)
            for reference in ready:
                task = busy.pop(reference)
                yield task, _answer(ray, reference, task)
    finally:
        ray.shutdown()


def _connect(address: str) -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import; also for a cluster that is started here
    try:
        import ray
    except ImportError as error:
        raise CoreError(
            "ray_missing",
            f"--ray needs the package ray ({error}).",
            "Install core/requirements-ray.txt into this Python.",
        ) from error
    import core

    _check_reachable(address)
    settings = {name: value for name, value in os.environ.items() if name.startswith(("MGPT3_", "BLENDER_"))}
    sent = {"py_modules": [str(Path(core.__file__).parent)], "excludes": ["**/__pycache__"], "env_vars": settings}
    here: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, runtime_env=sent, log_to_driver=False, logging_level=logging.ERROR, **here)
    except Exception as error:  # wrong address, other version, missing token: each of its own kind
        with contextlib.suppress(Exception):
            ray.shutdown()
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CoreError(
            "ray_unreachable",
            f"The Ray cluster '{address}' cannot be used: {reason}",
            "Check the address and the cluster.",
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself tries a wrong address for two minutes. Raises CoreError("ray_unreachable")."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local": Ray knows at once
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        told = f"There is no Ray cluster at '{address}' ({error})."
        raise CoreError("ray_unreachable", told, "Check the address: HOST:PORT of its head.") from error


def _task(task: Task, options: Options) -> Answer:
    """What a worker runs; one thread, as one core was asked for."""
    return work(task, options)


def _answer(ray: Any, reference: Any, task: Task) -> Answer:
    try:
        answer: Answer = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
        return Answer(died(task))
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        raise CoreError(
            "ray_failed", f"Ray could not run the task: {reason}", "Check the cluster; --resume goes on from here."
        ) from error
    return answer
