"""The request under way: one at a time, from its start to its result in the scene.

The window polls (`pump`, from a modal operator's timer); background mode, the command line and tests block
(`run_blocking`). What a job does with its answer is its `apply`, which runs in Blender's main thread and looks its
objects up anew: between asking and answering a file may be undone, renamed in or emptied.
"""

from __future__ import annotations

import atexit
import enum
import math
import sys
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from .errors import UserError
from .worker import Failure, Launch, Progress, Result, Worker


class State(enum.Enum):
    WAITING = "waiting"  # not sent yet
    RUNNING = "running"
    READY = "ready"  # answered, to be applied as soon as it is worked out and the editing mode allows
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


STARTING = "Starting the motion model"
PIECE = 0.15
"""Seconds of a tick that go into putting a request together."""
ENDED = (State.DONE, State.FAILED, State.CANCELLED)


class Preparation(Protocol):
    """Work in a thread between an answer and its application."""

    @property
    def done(self) -> bool: ...

    def give_up(self) -> None: ...


@dataclass
class Job:
    """A request and what to do with its answer.

    Args:
        title: for the user, e.g. "Generate".
        method, params: of the worker's request.
        apply: answer -> an object with a `line` for the user, or a generator that ends with one: that is gone on with
            at each look, and closed where the job is cancelled. In the main thread; may raise UserError, having
            changed nothing then.
        prepare: answer -> something with `done` and `give_up`, which works out in a thread what `apply` will need, so
            that the window need not wait; in the main thread, changes nothing; may raise UserError. None where `apply`
            takes no time to speak of.
        then: answer -> the params of a further request, None after the last one, whose answer `apply` gets. May raise
            UserError. parts: how many requests there will be, for the progress.
    """

    title: str
    method: str
    params: dict
    apply: Callable[[object], object]
    then: Callable[[object], dict | None] | None = None
    parts: int = 1
    prepare: Callable[[object], Preparation | None] | None = None
    part: int = 0
    state: State = State.WAITING
    fraction: float = 0.0
    message: str = STARTING
    error: UserError | None = None
    outcome: object = None
    gather: Callable[[float], dict | None] | None = None
    gathering: Callable[[], str] | None = None
    reply: object = None
    preparation: Preparation | None = None
    applying: Generator[None, None, object] | None = None
    id: int | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def gather_with(self, gather: Callable[[float], dict | None], said: Callable[[], str]) -> None:
        """Have the params put together piece by piece; begins at once, and so raises the UserErrors that come at once.

        Args:
            gather: until when (of time.monotonic()) it may work -> the params, None where that was not enough. In the
                main thread; changes nothing; may raise UserError.
            said: how far it is, for the user.
        """
        self.gather, self.gathering = gather, said
        self.gather_some(PIECE)

    def gather_some(self, seconds: float) -> bool:
        """Go on for about so long; True when the params are there. Raises UserError."""
        params = self.gather(time.monotonic() + seconds) if self.gather is not None else self.params
        if params is None:
            assert self.gathering is not None
            self.message = self.gathering()
            return False
        self.params, self.gather = params, None
        return True

    def tell(self, fraction: float, message: str) -> None:
        """Note how far the request under way is."""
        self.fraction = (self.part + fraction) / max(self.parts, 1)
        self.message = message if self.parts < 2 else f"{self.part + 1} of {self.parts}: {message}"

    def further(self, answer: object) -> dict | None:
        """The params of the next request, where there is one. Raises UserError."""
        params = self.then(answer) if self.then is not None else None
        if params is not None:
            self.part += 1
        return params


@dataclass
class View:
    """What the panel shows; drawing reads this and nothing else."""

    job: Job | None = None
    line: str = ""
    warnings: tuple[str, ...] = ()
    error: UserError | None = None
    note: str = ""
    doubtful: bool = False
    about: str = ""
    """Title of the request that line, error and the others belong to; a sub-panel shows those of its own."""


view = View()
_worker: Worker | None = None


def busy() -> bool:
    """Whether a request is under way."""
    return view.job is not None and not view.job.ended


def worker(launch: Launch | None = None) -> Worker:
    """The warm worker; another one where the settings changed since.

    Raises UserError where it is not set up.
    """
    global _worker
    if launch is None:
        from .preferences import launch as current_launch

        launch = current_launch()
    if _worker is None or _worker.launch != launch:
        if _worker is None:
            atexit.register(stop_worker)
        else:
            _worker.stop()
        _worker = Worker(launch)
    return _worker


def stop_worker() -> None:
    """End the worker process. The next request starts one again."""
    global _worker
    if _worker is not None:
        _worker.stop()
        _worker = None
        atexit.unregister(stop_worker)


def start(job: Job, launch: Launch | None = None) -> None:
    """Send a job's request; returns at once. How the core is started comes from the preferences, if not given.

    Raises UserError: "busy", that the model's licence is to be accepted first, or that the worker cannot be started.
    """
    if busy():
        raise UserError("busy", "Another motion is being made.", "Wait for it, or cancel it.")
    _show(job)
    try:
        if launch is None:
            from .preferences import check_licence

            check_licence()
        speaker = worker(launch)
        if job.gather is None:
            job.id = speaker.request(job.method, job.params)
            job.state = State.RUNNING
    except UserError as error:
        _fail(job, error)
        raise


def pump(*, may_apply: bool = True) -> bool:
    """Take in what the worker said; True where something that is shown has changed. Never blocks.

    Args:
        may_apply: False while the scene cannot take a result (a mode with an undo of its own): the answer waits.
    """
    job = view.job
    if job is None or job.ended or _worker is None:
        return False
    before = (job.state, job.fraction, job.message)
    if job.state is State.WAITING and may_apply:
        _gather(job)
    for event in _worker.poll():
        if event.id != job.id:
            continue
        if isinstance(event, Progress):
            job.tell(event.fraction, event.message)
        elif isinstance(event, Result):
            _answered(job, event.value)
        elif isinstance(event, Failure):
            _end_by_failure(job, event.error)
    if job.state is State.READY:
        if not may_apply:
            job.message = "Ready: leave this editing mode to put the motion on the character"
        else:
            job.message = "Putting it on the character"
            if _prepared(job):
                _apply(job)
    return before != (job.state, job.fraction, job.message)


def _gather(job: Job) -> None:
    """Put the params together for a while; send the request where they are there."""
    assert _worker is not None
    try:
        if job.gather_some(PIECE):
            job.id = _worker.request(job.method, job.params)
            job.state, job.message = State.RUNNING, STARTING
    except UserError as error:
        _fail(job, error)
    except Exception as error:
        _fail(job, _bug(error))


def _answered(job: Job, answer: object) -> None:
    """Ask on, or have the answer ready."""
    assert _worker is not None
    try:
        params = job.further(answer)
        if params is not None:
            job.id = _worker.request(job.method, params)
            return
    except UserError as error:
        _fail(job, error)
    except Exception as error:
        _fail(job, _bug(error))
    else:
        job.state, job.reply, job.fraction = State.READY, answer, 1.0


def _prepared(job: Job) -> bool:
    """Whether what applying needs is worked out; begins with it at the first call. A failure ends the job."""
    begin, job.prepare = job.prepare, None
    if begin is not None:
        try:
            job.preparation = begin(job.reply)
        except UserError as error:
            _fail(job, error)
        except Exception as error:
            _fail(job, _bug(error))
    return job.state is State.READY and (job.preparation is None or job.preparation.done)


def cancel(line: str = "Cancelled. Nothing was changed.") -> None:
    """End the job under way; its result will never arrive, whatever the worker still sends."""
    job = view.job
    if job is None or job.ended:
        return
    if _worker is not None and job.id is not None:
        _worker.cancel(job.id)
    if job.preparation is not None:
        job.preparation.give_up()
    if job.applying is not None:
        job.applying.close()
    job.state, job.reply = State.CANCELLED, None
    view.line = line


def run_blocking(
    job: Job,
    launch: Launch | None = None,
    *,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Start a job and see it through; for background mode. Ctrl-C cancels.

    Raises UserError; code "cancelled" where it was cancelled.
    """
    start(job, launch)
    told: tuple[float, str] | None = None

    def tell(fraction: float, message: str) -> None:
        nonlocal told
        job.tell(fraction, message)
        if progress is not None and told != (job.fraction, job.message):
            told = (job.fraction, job.message)
            progress(*told)

    assert _worker is not None
    try:
        if job.gather is not None:
            job.gather_some(math.inf)
            job.id, job.message = _worker.request(job.method, job.params), STARTING
        assert job.id is not None
        job.state = State.RUNNING
        tell(0.0, job.message)
        job.reply = _worker.wait(job.id, progress=tell, cancelled=cancelled)
        while (params := job.further(job.reply)) is not None:
            job.id = _worker.request(job.method, params)
            job.reply = _worker.wait(job.id, progress=tell, cancelled=cancelled)
        job.state = State.READY
        while job.state is State.READY:
            _apply(job)
    except UserError as error:
        _end_by_failure(job, error)
        raise
    except BaseException:
        cancel()
        raise
    if job.error is not None:
        raise job.error


def reset() -> None:
    """Forget the job and what is shown: another file is being loaded, or the add-on goes."""
    cancel("")
    _show(None)


def prepare(about: str) -> None:
    """A request with this title is being put together: what an earlier one said is shown no more.

    What goes wrong before there is a job is then known to belong to it. Does nothing while a request is under way.
    """
    if not busy():
        _show(None)
        view.about = about


def _show(job: Job | None) -> None:
    """Show this job, and nothing of what an earlier one said."""
    view.job, view.line, view.warnings, view.error = job, "", (), None
    view.note, view.doubtful = "", False
    view.about = job.title if job is not None else ""


def _apply(job: Job) -> None:
    """Apply the answer, or a part of it; where that was the last one, the job is done."""
    try:
        if job.applying is None:
            reply, job.reply = job.reply, None
            made = job.apply(reply)
            job.applying = made if isinstance(made, Generator) else None
        if job.applying is not None:
            try:
                next(job.applying)
                return
            except StopIteration as end:
                made = end.value
        job.outcome = made
    except UserError as error:
        _fail(job, error)
    except Exception as error:
        _fail(job, _bug(error))
    else:
        job.state = State.DONE
        view.line = str(getattr(job.outcome, "line", ""))
        view.warnings = tuple(getattr(job.outcome, "warnings", ()))
        view.note = str(getattr(job.outcome, "note", ""))
        view.doubtful = bool(getattr(job.outcome, "doubtful", False))


def _bug(error: Exception) -> UserError:
    """A bug of ours while an answer is taken in: logged, and said; the job is over all the same."""
    traceback.print_exc(file=sys.stderr)
    return UserError(
        "internal_error",
        f"The motion model's answer could not be used ({type(error).__name__}: {error}).",
        "Please report this with the text in the system console.",
    )


def _end_by_failure(job: Job, error: UserError) -> None:
    if error.code == "cancelled":
        job.state, job.error = State.CANCELLED, error
        view.line = "Cancelled. Nothing was changed."
    else:
        _fail(job, error)


def _fail(job: Job, error: UserError) -> None:
    job.state, job.error = State.FAILED, error
    view.error = error
