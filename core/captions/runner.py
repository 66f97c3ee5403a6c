"""A batch on this machine: processes that take one task at a time, and are replaced when they die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from core.captions.files import Task
from core.captions.work import TRIES, Answer, Options, died, work

PATIENCE = 5.0
"""Seconds a process has to end after it was asked to."""


@dataclass
class _Hand:
    """One process, and the task it is busy with."""

    process: Any  # multiprocessing's SpawnProcess
    pipe: Connection
    task: Task
    tries: int


def run_here(tasks: Sequence[Task], options: Options, jobs: int) -> Iterator[tuple[Task, Answer]]:
    """Describe tasks in `jobs` processes; yields each task with its answer, in the order they are finished.

    Even a single job is a process of its own: what kills it costs one file, not the run. Every process loads the model
    once, when it first needs it; the machine's threads are shared out among them. When whoever iterates stops, or dies,
    the processes end.
    """
    shared = replace(options, threads=options.threads or max(1, (os.cpu_count() or 1) // jobs))
    waiting = deque(tasks)
    hands: list[_Hand] = []
    try:
        while waiting and len(hands) < jobs:
            hands.append(_start(shared, waiting.popleft()))
        while hands:
            ready = wait([hand.pipe for hand in hands])
            for hand in [hand for hand in hands if hand.pipe in ready]:
                try:
                    answer = hand.pipe.recv()
                except (EOFError, OSError):
                    _stop(hand)
                    hands.remove(hand)
                    if hand.tries < TRIES:
                        hands.append(_start(shared, hand.task, hand.tries + 1))
                        continue
                    answer = Answer(died(hand.task))
                    if waiting:
                        hands.append(_start(shared, waiting.popleft()))
                else:
                    done, hand.tries = hand.task, 1
                    if waiting:
                        hand.task = waiting.popleft()
                        _give(hand)
                    else:
                        _stop(hand)
                        hands.remove(hand)
                    yield done, answer
                    continue
                yield hand.task, answer
    finally:
        for hand in hands:
            hand.process.terminate()
        for hand in hands:
            _stop(hand)


def _start(options: Options, task: Task, tries: int = 1) -> _Hand:
    context = multiprocessing.get_context("spawn")  # a fork would take over locks of PyTorch's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, options), name="mgpt3-describe", daemon=True)
    process.start()
    theirs.close()  # so that the pipe ends with the process
    hand = _Hand(process, ours, task, tries)
    _give(hand)
    return hand


def _give(hand: _Hand) -> None:
    with contextlib.suppress(OSError):  # it has died already: reading from it will say so
        hand.pipe.send(hand.task)


def _stop(hand: _Hand) -> None:
    hand.pipe.close()
    hand.process.join(PATIENCE)
    if hand.process.is_alive():
        hand.process.kill()
        hand.process.join()


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended, in the middle of a file too: whoever goes on with the batch
    must not meet it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _serve(pipe: Connection, options: Options) -> None:
    """A process: tasks in, answers out, until the other end is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)  # before PyTorch is imported
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        answer = work(task, options)
        try:
            pipe.send(answer)
        except OSError:
            return
