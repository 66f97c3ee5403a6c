"""The N-panel's tab "MotionGPT3" and the preferences. Drawing reads what is there; it starts and looks up nothing."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty

from . import current, jobs, keymap, results, upkeep
from .describe import TITLE as DESCRIBE
from .drawing import draw_error, draw_task, draw_text
from .generatepresets import MGPT3_PT_generate_presets
from .i18n import say
from .modelfolder import short_licence
from .operators.running import APPLICABLE_MODES
from .panels_models import draw_model_in_use, draw_models
from .panels_rig import draw_map_problem
from .panels_setup import draw_setup
from .panels_shared import SidePanel, draw_choice, draw_run, draw_seed, settings_column


def note_icon(doubtful: bool) -> str:
    """Of the note on what the model took a prompt for."""
    return "ERROR" if doubtful else "INFO"


class MGPT3_PT_generate(SidePanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_generate"
    bl_label = "MotionGPT3"

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        MGPT3_PT_generate_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.mgpt3
        character = current.character(context)
        layout.prop(settings, "prompt", text="", placeholder="What does the character do?")
        column = settings_column(layout)
        column.prop(
            settings,
            "character",
            icon="ARMATURE_DATA",
            placeholder=character.name if character is not None else "Mannequin",
        )
        column.prop(settings, "seconds")
        draw_seed(column, settings, "mgpt3.seed_dice")
        column.prop(settings, "variations")
        draw_choice(column, settings, "guidance", "Guidance")
        column.prop(settings, "clean_feet")
        column.prop(settings, "literal")
        if upkeep.view.model is not None and not upkeep.view.model.bundled:  # the bundled one is fast as it is
            column.prop(settings, "fast")
        self._draw_action(context, character)

    def _draw_action(self, context: bpy.types.Context, character: bpy.types.Object | None) -> None:
        layout = self.layout
        job = jobs.view.job
        if job is not None and not job.ended:
            draw_run(layout, job, "mgpt3.cancel", 1.4)
            return
        task = upkeep.view.task
        if task is not None and task.about != upkeep.SETUP:
            draw_task(layout)
        if upkeep.view.missing is not None or (task is not None and task.about == upkeep.SETUP):
            draw_setup(layout)
            return
        draw_map_problem(layout, character)
        row = layout.row()
        row.scale_y = 1.4
        empty = current.has_none(context)
        button = row.operator(
            "mgpt3.generate",
            text=say("Add Mannequin and Generate") if empty else say("Generate"),
            icon="PLAY",
            translate=False,
        )
        button.create_mannequin = empty
        draw_model_in_use(layout)
        if context.mode not in APPLICABLE_MODES:
            draw_text(layout, "Go to Object or Pose Mode to generate.", "INFO")
        if jobs.view.about == DESCRIBE:  # its own sub-panel says it
            return
        if jobs.view.error is not None:
            draw_error(layout, jobs.view.error)
        elif jobs.view.line:
            if jobs.view.note:
                draw_text(layout, jobs.view.note, note_icon(jobs.view.doubtful))
            draw_text(layout, jobs.view.line, "CHECKMARK")
        for warning in jobs.view.warnings:
            draw_text(layout, warning, "ERROR")


class MGPT3_UL_results(bpy.types.UIList):
    """The file's actions, of which only the character's results are shown, the newest first."""

    only_favourites: BoolProperty(
        name="Favourites Only", description="Show only motions with a star", default=False, options=set()
    )

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: bpy.types.Object,
        item: bpy.types.Action,
        icon: int,
        active_data: bpy.types.PropertyGroup,
        active_property: str,
        index: int = 0,
    ) -> None:
        row = layout.row(align=True)
        shown = active_data.shown == index
        play = row.operator("mgpt3.result_show", text="", icon="RADIOBUT_ON" if shown else "RADIOBUT_OFF", emboss=False)
        play.action = item.name
        row.prop(item, "name", text="", emboss=False)  # a click shows the motion, a double-click renames it
        seed = row.row(align=True)
        seed.alignment = "RIGHT"
        seed.label(text=f"{item.get(results.SEED, 0)}", translate=False)
        star = "SOLO_ON" if results.favourite(item) else "SOLO_OFF"
        seed.prop(item, "mgpt3_favourite", text="", icon=star, emboss=False)
        seed.operator("mgpt3.result_remove", text="", icon="X", emboss=False).action = item.name

    def draw_filter(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        row = layout.row(align=True)
        row.prop(self, "filter_name", text="", icon="VIEWZOOM")
        row.prop(self, "only_favourites", text="", icon="SOLO_ON")

    def filter_items(
        self, context: bpy.types.Context, data: bpy.types.BlendData, propname: str
    ) -> tuple[list[int], list[int]]:
        character = current.character(context)
        actions = getattr(data, propname)
        wanted = self.filter_name.lower()
        flags, keys = [], []
        for index, action in enumerate(actions):
            fits = character is not None and results.belongs(action, character)
            words = f"{action.name}\n{action.get(results.PROMPT, '')}".lower()
            fits = fits and wanted in words and (results.favourite(action) or not self.only_favourites)
            flags.append(self.bitflag_filter_item if fits else 0)
            keys.append((results.sort_key(action), index))
        order = [0] * len(flags)
        for place, (_, index) in enumerate(sorted(keys)):
            order[index] = place
        return flags, order


class MGPT3_PT_results(SidePanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_results"
    bl_label = "Motions"
    bl_parent_id = "MGPT3_PT_generate"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        character = current.character(context)
        return character is not None and any(results.belongs(action, character) for action in bpy.data.actions)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        character = current.character(context)
        if character is None:
            return
        row = layout.row()
        row.template_list("MGPT3_UL_results", "", bpy.data, "actions", character.mgpt3, "shown", rows=3)
        row.column(align=True).operator("mgpt3.results_clear", text="", icon="TRASH")
        data = character.animation_data
        action = data.action if data else None
        if action is None or not results.belongs(action, character):
            return
        column = layout.column(align=True)
        draw_text(column, f'"{action[results.PROMPT]}"', translate=False)
        if note := results.note(action):
            draw_text(column, note, note_icon(results.doubtful(action)))
        seconds, seed = results.number(action, "mgpt3_seconds"), int(results.number(action, results.SEED))
        draw_text(column, say("{seconds:.1f} s, seed {seed}", seconds=seconds, seed=seed))
        licence = short_licence(str(action.get("mgpt3_licence", "")))
        draw_text(column, ", ".join(text for text in (str(action.get("mgpt3_model", "")), licence) if text))
        layout.operator("mgpt3.result_reuse", icon="LOOP_BACK").action = action.name


def draw_preferences(preferences: bpy.types.AddonPreferences, layout: bpy.types.UILayout) -> None:
    """The add-on's preferences: Python, model, device, licences."""
    layout.use_property_decorate = False
    box = layout.box()
    box.label(text="Python for the Motion Model", icon="CONSOLE")
    box.row().prop(preferences, "source", expand=True)
    column = box.column()
    column.use_property_split = True
    if preferences.source == "PRIVATE":
        column.prop(preferences, "build")
        column.prop(preferences, "wheels")
    else:
        column.prop(preferences, "existing_python")
    column.prop(preferences, "device")
    draw_setup(box, preferences=True)
    row = box.row()
    if preferences.source == "PRIVATE":
        row.operator_menu_enum("mgpt3.remove_environment", "what", text="Remove", icon="TRASH")
    row.operator("mgpt3.open_log", text="Log", icon="TEXT").log = "WORKER"
    row.operator("mgpt3.copy_report", text="Copy Report", icon="COPYDOWN")
    draw_text(box, say("Log: {file}", file=upkeep.view.log))
    if upkeep.view.overrides:
        names = ", ".join(upkeep.view.overrides)
        draw_text(box, say("Set in the environment, and stronger: {names}", names=names), "INFO")
    draw_models(layout)
    box = layout.box()
    box.label(text="Shortcut", icon="KEYINGSET")
    keymap.draw(box)
    box = layout.box()
    box.label(text="Licences", icon="TEXT")
    draw_text(box, "Add-on and model program: GPL-3.0-or-later.")
    draw_text(box, "Compact model: its licence and the data it learnt from are in its model card.")
    draw_text(box, "Other models: click a model's licence in the list. The official weights are for research only.")
    draw_text(box, "Every motion remembers its model and licence in its action's custom properties.")


classes = (MGPT3_PT_generate, MGPT3_PT_results, MGPT3_UL_results)
