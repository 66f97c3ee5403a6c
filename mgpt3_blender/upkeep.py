"""Set-up, check, conversion, download: a thread that works, and what drawing shows of it. Knows nothing of Blender."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UserError
from .modelfolder import Model
from .runtime import State

Work = Callable[[Callable[[float, str], None], Callable[[], bool]], str]
"""What a task does: (progress, cancelled) -> the line that says how it ended. May raise UserError."""

SETUP, MODELS = "setup", "models"
"""What a task is about, which is where the preferences show it."""


@dataclass
class Task:
    """A piece of work under way; fraction is None where how much is left is not known."""

    title: str
    about: str = SETUP
    fraction: float = 0.0
    message: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    line: str = ""
    error: UserError | None = None


@dataclass
class View:
    """What the preferences and the panel show: the task under way, how the last one ended, and what is missing."""

    task: Task | None = None
    about: str = SETUP  # what the line and the error are about
    line: str = ""
    error: UserError | None = None
    missing: UserError | None = None  # why no request can be made yet, None where one can
    state: State | None = None  # where the add-on's own environment stands; None where another Python is used
    rebuild: bool = False  # it has another build of PyTorch than is chosen now
    disk: str = ""  # what a set-up takes and what there is, for people
    log: str = ""  # where the worker's log is
    overrides: tuple[str, ...] = ()  # environment variables that win over the preferences
    models: tuple[Model, ...] = ()
    model: Model | None = None  # the one in use
    checkpoint: Path | None = None  # the one that was to be converted last
    licence_needed: bool = False  # its licence was not accepted yet

    def forget(self) -> None:
        """Forget what was read of the Python in use: it is read anew, or another one is in use."""
        self.missing, self.state, self.rebuild, self.disk = None, None, False, ""


@dataclass(frozen=True)
class Step:
    """The button that does what is to be done next: its operator, what it says, its icon."""

    operator: str
    label: str
    icon: str


_STEPS = {
    "missing": Step("mgpt3.setup", "Set Up", "IMPORT"),
    "interrupted": Step("mgpt3.setup", "Continue Set-up", "IMPORT"),
    "broken": Step("mgpt3.setup", "Repair", "TOOL_SETTINGS"),
    "outdated": Step("mgpt3.setup", "Update", "FILE_REFRESH"),
    "working": Step("mgpt3.check", "Check Again", "FILE_REFRESH"),  # another Blender is at it
    "ready": Step("mgpt3.check", "Check", "CHECKMARK"),
}
"""Name of an environment's state -> what to do about it."""


view = View()


def next_step() -> Step:
    """The one button of the set-up."""
    if view.task is not None and view.task.about == SETUP:
        return Step("mgpt3.setup_cancel", "Stop", "X")
    if view.state is None:
        return _STEPS["ready"]
    if view.state.name == "ready" and view.rebuild:
        return Step("mgpt3.setup", "Set Up Again", "IMPORT")
    return _STEPS[view.state.name]


def busy() -> bool:
    return view.task is not None


def start(title: str, work: Work, about: str = SETUP) -> Task:
    """Begin a task in a thread. Raises UserError("busy") while there is one."""
    task = _begin(title, about)
    threading.Thread(target=_work, args=(task, work), name=f"mgpt3 {title}", daemon=True).start()
    return task


def run(title: str, work: Work, about: str = SETUP) -> str:
    """Do a task here and now, for background mode. Returns its line, raises its UserError."""
    task = _begin(title, about)
    _work(task, work)
    finish()
    if task.error is not None:
        raise task.error
    return task.line


def finish() -> bool:
    """Take in the end of the task; True where it has ended. Called from the main thread."""
    task = view.task
    if task is None or not task.done.is_set():
        return False
    view.task, view.line, view.error = None, task.line, task.error
    return True


def cancel() -> None:
    """Ask the task to stop; it ends with the error "cancelled" within a moment."""
    if view.task is not None:
        view.task.stop.set()
        view.task.message = "Stopping"


def reset(timeout: float = 2.0) -> None:
    """Stop the task and forget it: the add-on goes."""
    task = view.task
    if task is not None:
        task.stop.set()
        task.done.wait(timeout)
    view.task, view.line, view.error = None, "", None
    view.models, view.model, view.checkpoint, view.licence_needed = (), None, None, False
    view.forget()


def say(about: str, line: str = "", error: UserError | None = None) -> None:
    """Show how something ended that took no time. Nothing is said over a task under way."""
    if view.task is None:
        view.about, view.line, view.error = about, line, error


def _begin(title: str, about: str) -> Task:
    if view.task is not None:
        raise UserError("busy", f"{view.task.title} is still under way.", "Wait for it, or cancel it.")
    view.task, view.about, view.line, view.error = Task(title, about), about, "", None
    return view.task


def _work(task: Task, work: Work) -> None:
    def tell(fraction: float, message: str) -> None:
        if not task.stop.is_set():
            task.fraction, task.message = fraction, message

    try:
        task.line = work(tell, task.stop.is_set)
    except UserError as error:
        task.error = error
    except Exception as error:  # reported like any other end: a thread has nobody else to tell
        task.error = UserError("internal_error", f"{task.title} failed ({type(error).__name__}: {error}).", "")
    finally:
        task.done.set()
