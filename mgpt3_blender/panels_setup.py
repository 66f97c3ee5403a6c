"""How the set-up is shown, in the tab and in the preferences: where it stands, and the one button that goes on."""

from __future__ import annotations

import bpy

from . import upkeep
from .drawing import draw_error, draw_progress, draw_text


def draw_setup(layout: bpy.types.UILayout, *, preferences: bool = False) -> None:
    """The state of the set-up and its button; in the tab also the way to the preferences."""
    view = upkeep.view
    mine = view.task is not None and view.task.about == upkeep.SETUP
    if view.task is not None and mine:
        draw_progress(layout, view.task)
    elif view.about == upkeep.SETUP and view.error is not None:
        draw_error(layout, view.error, without="mgpt3.setup")  # says more than that there is none
    elif view.missing is not None:
        box = layout.box()
        draw_text(box, view.missing.message, "INFO")
        draw_text(box, view.missing.remedy)
    elif view.about == upkeep.SETUP and view.line:
        draw_text(layout, view.line, "CHECKMARK")
    elif preferences and view.state is not None:
        draw_text(layout, view.state.line, "CHECKMARK")
    if view.missing is not None and not mine and view.disk:
        draw_text(layout, view.disk, "DISK_DRIVE")
    row = layout.row(align=True)
    row.scale_y = 1.4
    step = upkeep.next_step()
    # Without a Python there is nothing to check: it is chosen in the preferences.
    if view.missing is None or view.state is not None or mine:
        row.operator(step.operator, text=step.label, icon=step.icon)
    if not preferences:
        row.operator("mgpt3.open_preferences", text="Preferences", icon="PREFERENCES")
