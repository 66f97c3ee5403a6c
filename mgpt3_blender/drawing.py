"""What the panels share: wrapped text, an error with the buttons that fix it, the progress of a task."""

from __future__ import annotations

import textwrap

import bpy

from . import upkeep
from .errors import UserError
from .i18n import say, told

# Which buttons fix an error: code -> [(operator, text, properties)].
_PREFERENCES = ("mgpt3.open_preferences", "Open Preferences", {})
_LOG = ("mgpt3.open_log", "Open Log", {})
_SETUP_LOG = ("mgpt3.open_log", "Open Log", {"log": "SETUP"})
_FIND_BONES = ("mgpt3.bones_find", "Find Bones", {})
Remedies = dict[str, list[tuple[str, str, dict]]]
REMEDIES: Remedies = {
    "not_set_up": [("mgpt3.setup", "Set Up", {}), _PREFERENCES],
    "setup_interrupted": [("mgpt3.setup", "Continue Set-up", {}), _PREFERENCES],
    "environment_broken": [("mgpt3.setup", "Repair", {}), _PREFERENCES],
    "environment_unproven": [("mgpt3.setup", "Repair", {}), _SETUP_LOG, _PREFERENCES],
    "environment_outdated": [("mgpt3.setup", "Update", {}), _PREFERENCES],
    "packages_missing": [("mgpt3.setup", "Set Up", {}), _PREFERENCES],
    "python_missing": [_PREFERENCES],
    "python_broken": [_PREFERENCES],
    "python_unsuitable": [_PREFERENCES],
    "protocol_mismatch": [_PREFERENCES],
    "model_missing": [_PREFERENCES],
    "model_broken": [_PREFERENCES],
    "device_missing": [_PREFERENCES],
    "licence_not_accepted": [("mgpt3.accept_licence", "Read and Accept", {}), _PREFERENCES],
    "offline": [
        ("mgpt3.open_preferences", "Open System Preferences", {"system": True}),
        _PREFERENCES,
    ],
    "worker_crashed": [_LOG],
    "worker_silent": [_LOG],
    "internal_error": [_LOG],
    "network_failed": [_SETUP_LOG],
    "proxy_refused": [_SETUP_LOG],
    "certificate_untrusted": [_SETUP_LOG],
    "package_missing": [_SETUP_LOG],
    "wheels_incomplete": [_SETUP_LOG],
    "build_unavailable": [_SETUP_LOG],
    "motion_wrong": [_LOG],
    "setup_failed": [_SETUP_LOG],
    "setup_stalled": [_SETUP_LOG],
    "venv_missing": [_PREFERENCES],
    "unknown_rig": [_FIND_BONES],
    "missing_bones": [_FIND_BONES],
}


# What may be a fault of the add-on's, so that its makers want to hear of it.
BUGS = {"worker_crashed", "worker_silent", "internal_error", "protocol_mismatch", "setup_failed", "setup_stalled",
        "motion_wrong", "command_crashed", "command_stalled", "model_broken", "python_broken"}  # fmt: skip


def draw_text(
    layout: bpy.types.UILayout, text: str, icon: str = "NONE", letters: int = 0, *, translate: bool = True
) -> None:
    """A text over several lines; Blender's labels do not wrap.

    Args:
        letters: how many fit into a line, in a dialog of a known width; 0: as many as the region is wide.
        translate: off for a user's own words and names.
    """
    context = bpy.context
    pixels = context.region.width if context.region else 300
    scale = context.preferences.system.ui_scale or 1.0  # 0 without a window
    width = letters or max(int(pixels / (6.6 * scale)) - (9 if icon != "NONE" else 5), 16)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(told(text) if translate else text, width) or [""]):
        column.label(text=line, icon=icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE"), translate=False)


def draw_error(
    layout: bpy.types.UILayout, error: UserError, first: Remedies | None = None, *, without: str = ""
) -> None:
    """What went wrong, what to do about it, and where there are any the buttons that do it.

    Args:
        first: buttons that go before those of REMEDIES.
        without: an operator that has its button elsewhere.
    """
    box = layout.box()
    draw_text(box, error.message, "ERROR")
    if error.remedy:
        draw_text(box, error.remedy)
    for operator, text, properties in {**REMEDIES, **(first or {})}.get(error.code, ()):
        if operator == without:
            continue
        button = box.operator(operator, text=text)
        for name, value in properties.items():
            setattr(button, name, value)
    if error.code in BUGS:
        box.operator("mgpt3.copy_report", text="Copy Report for a Bug", icon="COPYDOWN")


def draw_progress(layout: bpy.types.UILayout, task: upkeep.Task) -> None:
    """The bar of what is under way: its title, the step and, after a colon, more on it, each translated by itself."""
    step = ": ".join(told(part) for part in task.message.split(": "))
    layout.progress(factor=task.fraction, text=f"{say(task.title)}: {step}")


def draw_task(layout: bpy.types.UILayout) -> None:
    """The progress of what is under way, and what stops it."""
    task = upkeep.view.task
    if task is None:
        return
    row = layout.row(align=True)
    draw_progress(row, task)
    row.operator("mgpt3.setup_cancel", text="", icon="X")
