"""The worker's side of the seam: reads requests from stdin, works on them one at a time, answers on stdout.

A thread reads, so that a cancel is heard while the main thread works. What is wrong with a message is answered at
once; what is asked for waits its turn. Whatever a request does, the worker lives on; it ends with a shutdown request,
with the end of stdin, or when nobody reads its answers any more.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from core import protocol
from core.errors import Cancelled, CoreError
from core.fullmemory import memory_is_full
from core.lifeline import tie
from core.methods import METHODS
from core.protocol import VERSION, Params, ProtocolError, Request
from core.skeleton import FPS, JOINTS

log = logging.getLogger("core.serve")

MAX_WAITING = 64
"""Requests that may wait; each can be as large as a line."""

MAX_SEED = 2**31 - 1
SHUTDOWN_PATIENCE = 2.0
"""Seconds that a shutdown waits for the work under way to notice that it was cancelled."""

Work = Callable[["Job"], Any]


class Job:
    """One request waiting or under way."""

    def __init__(self, request_id: str | int, work: Work) -> None:
        self.id = request_id
        self.work = work
        self.cancelled = threading.Event()


class Worker:
    """Serves one client.

    Args:
        incoming, outgoing: the two ends of the conversation, binary.
        model_path: the model's folder, None for the bundled one.
        device: "auto", "cpu" or "cuda".
        precision: "float32" or "bfloat16", of matrix products.
    """

    def __init__(
        self,
        incoming: BinaryIO,
        outgoing: BinaryIO,
        model_path: Path | None = None,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self._precision = precision
        self._incoming, self._outgoing = incoming, outgoing
        self._model_path, self._device = model_path, device
        self._model: Any = None
        self._write_lock = threading.Lock()
        self._jobs: dict[str | int, Job] = {}  # waiting or under way
        self._jobs_lock = threading.Lock()
        self._waiting: queue.Queue[Job] = queue.Queue()
        self._idle = threading.Event()
        self._prepare: dict[str, Callable[[Params], Work]] = {
            "hello": self._hello,
            "generate": self._generate,
            "caption": self._caption,
            **{name: partial(method, self) for name, method in METHODS.items()},
        }

    def run(self) -> None:
        """Work until the process ends; never returns."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while True:
            self._idle.set()
            job = self._waiting.get()
            self._idle.clear()
            self._do(job)

    # -- the reading thread ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            for line in protocol.read_lines(self._incoming):
                self._receive(line)
            log.info("stdin has ended")
        except Exception:
            log.exception("reading failed")
        # Nobody is there to hear an answer. Not sys.exit: the main thread may be deep in a computation.
        self._exit()

    def _receive(self, line: bytes | protocol.Oversized) -> None:
        request: Request | None = None
        try:
            if isinstance(line, protocol.Oversized):
                raise ProtocolError(
                    protocol.INVALID_REQUEST,
                    "message_too_large",
                    f"The message is longer than {protocol.MAX_LINE >> 20} MiB.",
                    "Send a shorter motion.",
                )
            request = protocol.parse(line)
            self._accept(request)
        except ProtocolError as error:
            if request is None or request.answer:
                request_id = request.id if request else error.request_id
                self._send(protocol.error_message(request_id, error.number, error.code, error.message, error.remedy))
        except Exception as error:
            log.exception("a message could not be handled")
            self._send(_error(request.id if request else None, error))

    def _accept(self, request: Request) -> None:
        params = Params(request.params)
        if request.method == "cancel":
            found = self._cancel(params.request_id("id"))
            params.done()
            if request.answer:
                self._send(protocol.result_message(request.id, {"cancelled": found}))
        elif request.method == "shutdown":
            params.done()
            self._shutdown(request)
        elif request.method not in self._prepare:
            raise ProtocolError(
                protocol.METHOD_NOT_FOUND,
                "method_unknown",
                f'The worker has no method "{request.method[:60]}".',
                "Use an add-on and a core of the same version.",
            )
        elif request.id is not None:  # nobody would hear the answer to a notification
            work = self._prepare[request.method](params)
            params.done()
            self._enqueue(Job(request.id, work))

    def _enqueue(self, job: Job) -> None:
        with self._jobs_lock:
            if job.id in self._jobs:
                raise ProtocolError(
                    protocol.INVALID_REQUEST, "id_in_use", "A request with this id is under way.", "Use a new id."
                )
            if len(self._jobs) >= MAX_WAITING:
                raise ProtocolError(
                    protocol.CORE_ERROR, "busy", f"{MAX_WAITING} requests are waiting already.", "Try again later."
                )
            self._jobs[job.id] = job
        self._waiting.put(job)

    def _cancel(self, request_id: str | int) -> bool:
        """True if the request was waiting or under way; then its answer is "cancelled" for certain."""
        with self._jobs_lock:
            job = self._jobs.get(request_id)
            if job:
                job.cancelled.set()
            return job is not None

    def _shutdown(self, request: Request) -> None:
        with self._jobs_lock:
            for job in self._jobs.values():
                job.cancelled.set()
        patience = time.monotonic() + SHUTDOWN_PATIENCE
        while (self._jobs or not self._idle.is_set()) and time.monotonic() < patience:
            time.sleep(0.01)
        if request.answer:
            self._send(protocol.result_message(request.id, None))
        self._exit()

    # -- the working thread ------------------------------------------------------------------------------------------

    def _do(self, job: Job) -> None:
        answer: bytes
        try:
            if job.cancelled.is_set():
                raise Cancelled
            answer = protocol.result_message(job.id, job.work(job))
        except Exception as error:
            if not isinstance(error, Cancelled | CoreError):
                log.exception("request %r failed", job.id)
            answer = _error(job.id, error)
        with self._jobs_lock:  # from here on a cancel comes too late, and says so
            del self._jobs[job.id]
            if job.cancelled.is_set():
                answer = _error(job.id, Cancelled())
        self._send(answer)

    def _progress(self, job: Job) -> Callable[[float, str], None]:
        def report(fraction: float, message: str) -> None:
            if not job.cancelled.is_set():
                self._send(protocol.progress_message(job.id, round(min(max(fraction, 0.0), 1.0), 4), message))

        return report

    def _loaded(self, job: Job) -> Any:
        if self._model is None:
            self._progress(job)(0.0, "Loading the model")
            from core.model.checkpoint import load_model

            started = time.monotonic()
            self._model = load_model(self._model_path, self._device, self._precision)
            log.info("loaded %s in %.1f s", self._model.info.get("path"), time.monotonic() - started)
        return self._model

    # -- the methods: check the params now, work later -----------------------------------------------------------------

    def _hello(self, params: Params) -> Work:
        def work(job: Job) -> dict[str, Any]:
            model = self._loaded(job)
            import torch

            from core.model.checkpoint import device_name
            from core.tasks.generate import MAX_SECONDS, MIN_SECONDS

            return {
                "protocol": protocol.PROTOCOL,
                "core": VERSION,
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "device": device_name(model.device),
                "model": model.info,
                "joints": list(JOINTS),
                "fps": FPS,
                "min_seconds": MIN_SECONDS,
                "max_seconds": MAX_SECONDS,
            }

        return work

    def _generate(self, params: Params) -> Work:
        prompt = params.text("prompt")
        seconds = params.number("seconds")
        seed = params.integer("seed", 0, MAX_SEED)
        variations = params.integer("variations", 1, 64, default=1)
        guidance = params.optional_number("guidance")
        steps = params.optional_integer("steps", 1, 1000)
        fast = params.flag("fast", default=False)
        literal = params.flag("literal", default=False)

        def work(job: Job) -> dict[str, Any]:
            model = self._loaded(job)
            from core.tasks.generate import generate
            from core.tasks.understand import Understood

            timings: dict[str, float] = {}
            read: list[Understood] = []
            motions = generate(
                model,
                prompt,
                seconds,
                seed,
                variations=variations,
                guidance=guidance,
                steps=steps,
                fast=fast,
                literal=literal,
                progress=self._progress(job),
                cancelled=job.cancelled.is_set,
                timings=timings,
                told=read.append,
            )
            own = model.cfg.diffusion
            usual, sampler = (own.fast_steps, own.fast_sampler) if fast else (own.steps, own.sampler)
            return {
                "motions": [
                    {"joints": protocol.encode_array(joints), "seed": (seed + i) % (MAX_SEED + 1)}
                    for i, joints in enumerate(motions)
                ],
                "fps": FPS,
                "prompt": prompt,
                "prompt_used": read[0].prompt_used,
                "understood": read[0].kind,
                "note": read[0].note,
                "seconds": seconds,
                "guidance": own.guidance if guidance is None else guidance,
                "steps": usual if steps is None else steps,
                "sampler": sampler,
                "model": model.info,
                "timings": timings,
            }

        return work

    def _caption(self, params: Params) -> Work:
        joints = params.array("joints", (None, 22, 3))
        alternatives = params.integer("alternatives", 0, 32, default=0)
        fast = params.flag("fast", default=False)

        def work(job: Job) -> dict[str, Any]:
            model = self._loaded(job)
            from core.tasks.caption import caption

            captions = caption(
                model,
                joints,
                alternatives=alternatives,
                fast=fast,
                progress=self._progress(job),
                cancelled=job.cancelled.is_set,
            )
            return {"captions": captions}

        return work

    # -- out ---------------------------------------------------------------------------------------------------------

    def _send(self, line: bytes) -> None:
        with self._write_lock:
            try:
                self._outgoing.write(line)
                self._outgoing.flush()
            except OSError:
                log.info("nobody reads the answers any more")
                os._exit(0)

    def _exit(self) -> None:
        # No line is left half written, unless the client has stopped reading: that must not keep the process alive.
        self._write_lock.acquire(timeout=1.0)
        logging.shutdown()
        os._exit(0)


def _error(request_id: protocol.Id, error: Exception) -> bytes:
    """The answer that says what went wrong."""
    if isinstance(error, Cancelled):
        return protocol.error_message(request_id, protocol.CANCELLED, "cancelled", "The request was cancelled.")
    if memory_is_full(error):  # before the others: a file that could not be read for want of memory is not broken
        message = "The memory is full."
        remedy = "Close other programs or ask for fewer variations; where it is the graphics card's, choose the CPU."
        return protocol.error_message(request_id, protocol.CORE_ERROR, "out_of_memory", message, remedy)
    if isinstance(error, CoreError):
        return protocol.error_message(request_id, protocol.CORE_ERROR, error.code, error.message, error.remedy)
    if isinstance(error, ImportError):
        message = f"The core's Python lacks a package: {error}."
        remedy = "Press Set up in the add-on's preferences, or choose a Python that has the packages."
        return protocol.error_message(request_id, protocol.CORE_ERROR, "packages_missing", message, remedy)
    return protocol.error_message(
        request_id,
        protocol.INTERNAL_ERROR,
        "internal_error",
        f"The core failed: {type(error).__name__}: {error}",
        "Please report this, with the log.",
        "".join(traceback.format_exception(error)),
    )


def serve(model_path: Path | None = None, device: str = "auto", precision: str = "float32") -> None:
    """Serve this process's stdin and stdout; never returns.

    The real stdin and stdout are put aside first: what a library prints goes to stderr, and none can read a message.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s: %(message)s", force=True
    )
    faulthandler.enable(sys.stderr)
    incoming = os.fdopen(os.dup(0), "rb", buffering=1 << 20)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout = sys.stderr
    tied = tie(incoming.fileno())  # before there are threads
    log.info("MotionGPT3 core %s, process %d, tied by %s", VERSION, os.getpid(), tied or "stdin")
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches the whole group; the client decides for itself
        Worker(incoming, outgoing, model_path, device, precision).run()
    os._exit(0)
