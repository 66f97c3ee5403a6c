"""What operators share whose work goes on step by step: modal in a window, blocking in background mode."""

from __future__ import annotations

import contextlib
from typing import Any

import bpy

from ..errors import UserError
from .running import print_progress, redraw

TICK = 0.04  # seconds between steps
SLICE = 0.05  # seconds of each step, so that the window stays alive; reading one action takes about as long

_timers: dict[str, bpy.types.Timer] = {}


class StepOperator:
    """Mixin: an operator that begins a run and sees it through. `kind` says whose run it is: one of each at a time."""

    kind = ""

    def begin(self, context: bpy.types.Context) -> None:
        """Start the run. Raises UserError."""
        raise NotImplementedError

    def current(self) -> Any:
        """The run under way, None where there is none."""
        raise NotImplementedError

    def step(self, run: Any, context: bpy.types.Context) -> bool:
        """Go on a little; True when it is over."""
        raise NotImplementedError

    def stop(self) -> None:
        """Forget the run: Blender takes the operator away, or it failed."""
        raise NotImplementedError

    def refused(self, error: UserError) -> None:
        """Show why it did not begin."""
        raise NotImplementedError

    def end(self, context: bpy.types.Context) -> set[str]:
        """Tell how it went."""
        raise NotImplementedError

    def tell(self, error: UserError | None, line: str) -> None:
        """Say where Blender says such things how it went: the error, or the line where there is none."""
        kind = "INFO" if error is None or error.code == "cancelled" else "ERROR"
        self.report({kind}, line if error is None else str(error))  # type: ignore[attr-defined]

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            self.begin(context)
        except UserError as error:
            self.refused(error)
            if error.code == "licence_not_accepted" and not bpy.app.background and context.window is not None:
                bpy.ops.mgpt3.accept_licence("INVOKE_DEFAULT")
            else:
                self.report({"ERROR"}, str(error))  # type: ignore[attr-defined]
            return {"CANCELLED"}
        self._run = self.current()
        assert self._run is not None
        if bpy.app.background or context.window is None:
            with contextlib.suppress(UserError):  # the run keeps it, and `end` tells it
                self._run.finish(print_progress)
            return self.end(context)
        remove_timer(self.kind)
        _timers[self.kind] = context.window_manager.event_timer_add(TICK, window=context.window)
        context.window_manager.modal_handler_add(self)  # type: ignore[arg-type]
        redraw(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        run = self.current()
        if run is None or run is not self._run:  # a reset came between, and maybe another run after it
            if run is None:
                remove_timer(self.kind)
            return {"CANCELLED"}
        if event.type == "ESC" and event.value == "PRESS":
            run.cancel()
        elif event.type != "TIMER":
            return {"PASS_THROUGH"}
        before = (run.fraction, run.message)
        try:
            over = self.step(run, context)
        except Exception:  # a bug of ours: Blender tells of it, and the next run can begin
            self.stop()
            remove_timer(self.kind)
            raise
        if before != (run.fraction, run.message):
            redraw(context)
        if not over:
            return {"PASS_THROUGH"}
        remove_timer(self.kind)
        return self.end(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender takes the operator away: a file is loaded, the window closed."""
        self.stop()
        remove_timer(self.kind)


def remove_timer(kind: str) -> None:
    """Remove a window's timer; one left behind keeps Blender from quitting."""
    timer = _timers.pop(kind, None)
    if timer is not None:
        with contextlib.suppress(ReferenceError, RuntimeError):  # it went with its window
            bpy.context.window_manager.event_timer_remove(timer)
