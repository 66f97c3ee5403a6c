"""What operators that ask the worker share: modal in a window, blocking in background mode."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable

import bpy

from .. import jobs
from ..errors import UserError
from ..generate import MAX_SEED

TICK = 0.1  # seconds between looks at the worker

# These modes have an undo history of their own, in which a new action could not be undone.
APPLICABLE_MODES = ("OBJECT", "POSE")

_timer: bpy.types.Timer | None = None


def in_applicable_mode(operator: type, context: bpy.types.Context) -> bool:
    """For `poll`: whether the mode allows a new action. Where not, the button says so."""
    if context.mode in APPLICABLE_MODES:
        return True
    operator.poll_message_set("Go to Object or Pose Mode first")  # type: ignore[attr-defined]
    return False


def may_make_motion(operator: type, context: bpy.types.Context) -> bool:
    """For `poll`: whether motion can be made now. Where not, the button says why."""
    if jobs.busy():
        operator.poll_message_set("Another motion is being made")  # type: ignore[attr-defined]
        return False
    return in_applicable_mode(operator, context)


class SeedDice:
    """Mixin: an operator that draws a new seed for `settings`, which names a group of the scene's."""

    bl_label = "New Seed"
    bl_options = {"UNDO", "INTERNAL"}
    settings = ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        getattr(context.scene, self.settings).seed = random.SystemRandom().randint(0, MAX_SEED)
        return {"FINISHED"}


class JobOperator:
    """Mixin: `make_job(context)` says what to ask; the rest is the same for every capability.

    The class needs "UNDO" in bl_options: the undo step is pushed by Blender when the operator returns FINISHED, from
    the modal handler too, and by then `apply` has run. So one undo takes back all of it, and a cancelled or failed
    request leaves no step at all. "REGISTER" must not be there: its redo panel would ask the worker again.
    """

    make_job: Callable[[bpy.types.Context], jobs.Job]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return may_make_motion(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            job = self.make_job(context)
            if bpy.app.background or context.window is None:
                jobs.run_blocking(job, progress=print_progress)
                self.report({"INFO"}, jobs.view.line)  # type: ignore[attr-defined]
                return {"FINISHED"}
            jobs.start(job)
        except UserError as error:
            if error.code == "licence_not_accepted" and not bpy.app.background and context.window is not None:
                jobs.view.error = error
                bpy.ops.mgpt3.accept_licence("INVOKE_DEFAULT")
                return {"CANCELLED"}
            return report(self, error)  # type: ignore[arg-type]
        return self._go_modal(context)

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if jobs.view.job is not self._job:  # a reset came between: the file was changed, the add-on reloaded
            return self._leave(context, {"CANCELLED"})
        if event.type == "ESC" and event.value == "PRESS":
            jobs.cancel()
            self._leave(context, set())
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if jobs.pump(may_apply=context.mode in APPLICABLE_MODES):
            redraw(context)
        job = jobs.view.job
        if job is None or not job.ended:
            return {"PASS_THROUGH"}
        if job.state is jobs.State.DONE:
            self.report({"INFO"}, jobs.view.line)  # type: ignore[attr-defined]
            return self._leave(context, {"FINISHED"})
        if job.error is not None and job.state is jobs.State.FAILED:
            self.report({"WARNING"}, str(job.error))  # type: ignore[attr-defined]
        return self._leave(context, {"CANCELLED"})

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender takes the operator away: a file is loaded, the window closed."""
        jobs.cancel("")
        remove_timer()

    def _go_modal(self, context: bpy.types.Context) -> set[str]:
        global _timer
        self._job = jobs.view.job
        remove_timer()
        _timer = context.window_manager.event_timer_add(TICK, window=context.window)
        context.window_manager.modal_handler_add(self)  # type: ignore[arg-type]
        redraw(context)
        return {"RUNNING_MODAL"}

    def _leave(self, context: bpy.types.Context, result: set[str]) -> set[str]:
        if jobs.view.job is self._job or not jobs.busy():
            remove_timer()
        redraw(context)
        return result


def remove_timer() -> None:
    """Remove the window's timer; one left behind keeps Blender from quitting."""
    global _timer
    if _timer is not None:
        with contextlib.suppress(ReferenceError, RuntimeError):  # it went with its window
            bpy.context.window_manager.event_timer_remove(_timer)
        _timer = None


def report(operator: bpy.types.Operator, error: UserError) -> set[str]:
    """Tell an error where the user looks: the panel keeps it, Blender shows it."""
    if error.code == "cancelled":
        operator.report({"INFO"}, error.message)
    else:
        if error.code != "busy":
            jobs.view.error = error
        operator.report({"ERROR"}, str(error))
    return {"CANCELLED"}


def redraw(context: bpy.types.Context) -> None:
    """Draw the side panels anew, and only them: a whole 3D view costs a tenth of a second in software GL."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
            elif area.type == "PREFERENCES":
                area.tag_redraw()


def print_progress(fraction: float, message: str) -> None:
    print(f"MotionGPT3: {fraction:4.0%} {message}", file=sys.stderr, flush=True)
