"""The models in the preferences: a line each, the buttons to get more, and how the last of that ended."""

from __future__ import annotations

import bpy

from . import upkeep
from .drawing import Remedies, draw_task, draw_text
from .hub import MODEL_PAGE
from .i18n import say
from .modelfolder import Model, short_licence
from .panels_shared import draw_told

# As drawing.REMEDIES, for what can go wrong with getting a model: there the same code can want another button, and the
# preferences are open.
_AGAIN = ("mgpt3.model_download", "Download Again", {})
_PARTS = ("mgpt3.model_parts", "Download What Is Missing", {})
_SET_UP = ("mgpt3.setup", "Set Up", {})
_SIGN_IN = ("mgpt3.hub_sign_in", "Sign In...", {})
_SYSTEM = ("mgpt3.open_preferences", "Open System Preferences", {"system": True})
_LOG = ("mgpt3.open_log", "Open Log", {"log": "MODELS"})
_PAGE = ("wm.url_open", "Open the Model's Page", {"url": MODEL_PAGE})
MODEL_REMEDIES: Remedies = {
    "offline": [_SYSTEM],
    "tokenizer_missing": [_PARTS],
    "statistics_missing": [_PARTS],
    "login_needed": [_PAGE, _SIGN_IN],
    "token_refused": [_SIGN_IN],
    "access_needed": [_PAGE, _AGAIN],
    "repo_missing": [_PAGE],
    "file_missing": [_PAGE],
    "no_network": [_AGAIN],
    "hub_busy": [_AGAIN],
    "download_failed": [_AGAIN, _LOG],
    "checksum_wrong": [_AGAIN],
    "command_crashed": [_LOG],
    "command_stalled": [_LOG],
    "disk_full": [],
    "model_broken": [],
    "python_missing": [],
    "python_broken": [],
    "not_set_up": [_SET_UP],
    "packages_missing": [_SET_UP],
}


# Where a checkpoint is being added, only what it lacks is to be downloaded again, not the whole model.
_CHECKPOINT_REMEDIES: Remedies = {
    code: [_PARTS if button is _AGAIN else button for button in buttons] for code, buttons in MODEL_REMEDIES.items()
}


def draw_model_in_use(layout: bpy.types.UILayout) -> None:
    """Which model will make the motion and what its licence allows, small, and where to choose another one."""
    model = upkeep.view.model
    if model is None:
        return
    row = layout.row(align=True)
    row.scale_y = 0.8
    words = row.column(align=True)
    words.active = False
    words.label(text=model.name, icon="ERROR" if model.problem else "NONE", translate=False)
    if model.use:
        words.label(text=model.use.capitalize())
    row.operator("mgpt3.open_preferences", text="", icon="PREFERENCES", emboss=False)


def draw_models(layout: bpy.types.UILayout) -> None:
    """Draw the list and its buttons; what is shown was read before."""
    view = upkeep.view
    box = layout.box()
    box.label(text="Models", icon="ARMATURE_DATA")
    column = box.column(align=True)
    for model in view.models:
        _draw_model(column, model, view.model is not None and view.model.folder == model.folder)
    if "MGPT3_MODEL" in view.overrides and view.model is not None:
        words = "The environment variable MGPT3_MODEL decides: {name}, {folder}"
        draw_text(box, say(words, name=view.model.name, folder=view.model.folder), "INFO")
    if view.model is not None and view.licence_needed:
        row = box.row()
        text = say("The licence of {name} is not accepted yet.", name=view.model.name)
        row.label(text=text, icon="INFO", translate=False)
        row.operator("mgpt3.accept_licence", text="Read and Accept").folder = str(view.model.folder)
    if view.task is not None and view.task.about == upkeep.MODELS:
        draw_task(box)
    else:
        row = box.row()
        row.operator("mgpt3.model_add", text="Add from File...", icon="FILE_FOLDER")
        download = row.row()
        download.enabled = bool(bpy.app.online_access)
        download.operator("mgpt3.model_download", text="Download...", icon="IMPORT")
        if not bpy.app.online_access:
            row = box.row()
            row.label(text="To download, allow online access in Preferences > System.", icon="INFO")
            row.operator("mgpt3.open_preferences", text="Open System Preferences").system = True
    if view.about != upkeep.MODELS:
        return
    draw_told(box, view, MODEL_REMEDIES if view.checkpoint is None else _CHECKPOINT_REMEDIES)


def _draw_model(layout: bpy.types.UILayout, model: Model, used: bool) -> None:
    """One line: in use or not, name, size, licence, origin, and what takes it off the list."""
    line = layout.row(align=True)
    parts = line.split(factor=0.36, align=True)
    name = parts.row(align=True)
    name.alignment = "LEFT"
    if model.problem:
        name.label(text=model.name, icon="ERROR", translate=False)
    else:
        mark = "RADIOBUT_ON" if used else "RADIOBUT_OFF"
        button = name.operator("mgpt3.model_use", text=model.name, icon=mark, emboss=False, translate=False)
        button.folder = str(model.folder)
    parts = parts.split(factor=0.15, align=True)
    parts.label(text=model.size, translate=False)
    parts = parts.split(factor=0.5, align=True)
    licence = parts.row(align=True)
    licence.alignment = "LEFT"
    if model.licence:
        text = short_licence(model.licence, 40)
        if model.use not in text.lower():  # its own words may say it already
            text = f"{text}, {model.use}"
        button = licence.operator("mgpt3.accept_licence", text=text, icon="TEXT", emboss=False, translate=False)
        button.folder = str(model.folder)
    else:
        licence.label(text="no licence stated" if not model.problem else "")
    parts.label(text=model.origin or str(model.folder), translate=False)
    remove = line.row(align=True)
    if model.bundled:
        remove.label(text="", icon="LOCKED")
    else:
        remove.operator("mgpt3.model_remove", text="", icon="X", emboss=False).folder = str(model.folder)
    if model.problem:
        draw_text(layout, f"{say(model.problem)}.")
