"""Generate, cancel, and the results: from a prompt to keys on the character."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import current, example, jobs, results
from ..errors import UserError
from ..generate import character_job
from ..i18n import say, tip
from .running import JobOperator, SeedDice, in_applicable_mode, redraw, report


class MGPT3_OT_generate(JobOperator, bpy.types.Operator):
    """Make a motion from the prompt and put it on the character as a new action, from the current frame on"""

    bl_idname = "mgpt3.generate"
    bl_label = "Generate Motion"
    bl_options = {"UNDO"}

    create_mannequin: BoolProperty(
        name="Add Mannequin",
        description="Add the built-in mannequin where the scene has no character",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.create_mannequin:
            return tip("Add the built-in mannequin to the scene and make it move to the prompt")
        return tip(cls.__doc__ or "")

    def make_job(self, context: bpy.types.Context) -> jobs.Job:
        request = context.scene.mgpt3.request()
        request.check()
        armature = current.character(context)
        return character_job(request, context.scene, armature, create_mannequin=self.create_mannequin)


class MGPT3_OT_cancel(bpy.types.Operator):
    """Stop making this motion. Nothing is changed"""

    bl_idname = "mgpt3.cancel"
    bl_label = "Cancel Motion"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not jobs.busy():
            cls.poll_message_set("No motion is being made")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.cancel()
        redraw(context)
        return {"FINISHED"}


class MGPT3_OT_seed_dice(SeedDice, bpy.types.Operator):
    """Throw the dice: another seed for another take"""

    bl_idname = "mgpt3.seed_dice"
    settings = "mgpt3"


class _Adds:
    """Mixin: an operator that adds a character to the scene."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Go to Object Mode first")  # type: ignore[attr-defined]
            return False
        return True


class MGPT3_OT_add_mannequin(_Adds, bpy.types.Operator):
    """Add the built-in mannequin: a simple character that takes every motion"""

    bl_idname = "mgpt3.add_mannequin"
    bl_label = "Add Mannequin"

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..mannequin import add_mannequin

        add_mannequin(context)
        return {"FINISHED"}


class MGPT3_OT_add_example(_Adds, bpy.types.Operator):
    """Add a mannequin with an example prompt, ready to press Generate. What is in the scene stays as it is"""

    bl_idname = "mgpt3.add_example"
    bl_label = "Add Example Character"

    def execute(self, context: bpy.types.Context) -> set[str]:
        example.add(context)
        self.report({"INFO"}, "Press Generate in the sidebar (N), tab MotionGPT3")
        redraw(context)
        return {"FINISHED"}


class _ResultOperator:
    """Mixin: an operator on one of the character's motions, named by its action."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return in_applicable_mode(cls, context)

    def target(self, context: bpy.types.Context) -> tuple[bpy.types.Object, bpy.types.Action]:
        """The character and the action. Raises UserError where the action is no motion of the character."""
        character = current.character(context)
        action = bpy.data.actions.get(self.action)  # type: ignore[attr-defined]
        if character is None or action is None or not results.belongs(action, character):
            raise UserError("no_result", "This motion is no longer there.", "Choose another one in the list.")
        return character, action


class MGPT3_OT_result_show(_ResultOperator, bpy.types.Operator):
    """Apply: let the character play this motion. The one it plays now stays in the list"""

    bl_idname = "mgpt3.result_show"
    bl_label = "Show Motion"
    bl_options = {"UNDO", "INTERNAL"}

    action: StringProperty(name="Action", description="Name of the motion's action", options={"SKIP_SAVE", "HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            results.activate(*self.target(context))
        except UserError as error:
            return report(self, error)
        return {"FINISHED"}


class MGPT3_OT_result_remove(_ResultOperator, bpy.types.Operator):
    """Delete this motion from the file. One with a star is asked for first"""

    bl_idname = "mgpt3.result_remove"
    bl_label = "Remove Motion"
    bl_options = {"UNDO", "INTERNAL"}

    action: StringProperty(name="Action", description="Name of the motion's action", options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        action = bpy.data.actions.get(self.action)
        if action is None or not results.favourite(action):
            return self.execute(context)
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Remove Motion",
            message=say('"{name}" has a star.', name=action.name),
            confirm_text="Remove",
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            results.remove(*self.target(context))
        except UserError as error:
            return report(self, error)
        return {"FINISHED"}


class MGPT3_OT_results_clear(bpy.types.Operator):
    """Delete the character's motions that have no star. Those that something else uses stay, too"""

    bl_idname = "mgpt3.results_clear"
    bl_label = "Remove Motions Without a Star"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not in_applicable_mode(cls, context):
            return False
        character = current.character(context)
        mine = [a for a in bpy.data.actions if results.belongs(a, character)] if character is not None else []
        if all(results.favourite(action) for action in mine):
            cls.poll_message_set("There are no motions without a star")
            return False
        if not any(results.favourite(action) for action in mine):
            cls.poll_message_set("Click the star of the motions to keep first")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Remove Motions Without a Star",
            message="Motions with a star stay. One undo brings the others back.",
            confirm_text="Remove",
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            gone, kept = results.remove_without_star(current.needed(context))
        except UserError as error:
            return report(self, error)
        words = "Removed motions: {gone}. Used elsewhere, so they stay: {kept}" if kept else "Removed motions: {gone}"
        self.report({"INFO"}, say(words, gone=gone, kept=kept))
        return {"FINISHED"}


class MGPT3_OT_result_reuse(_ResultOperator, bpy.types.Operator):
    """Take this motion's prompt, duration and seed over into the panel"""

    bl_idname = "mgpt3.result_reuse"
    bl_label = "Use Its Prompt and Seed"
    bl_options = {"UNDO", "INTERNAL"}

    action: StringProperty(name="Action", description="Name of the motion's action", options={"SKIP_SAVE", "HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            _, action = self.target(context)
        except UserError as error:
            return report(self, error)
        settings = context.scene.mgpt3
        settings.prompt = str(action[results.PROMPT])
        settings.seed = int(results.number(action, results.SEED))
        settings.literal = bool(action.get(results.LITERAL, False))
        settings.seconds = results.number(action, "mgpt3_seconds") or settings.seconds
        return {"FINISHED"}


classes = (
    MGPT3_OT_generate,
    MGPT3_OT_cancel,
    MGPT3_OT_seed_dice,
    MGPT3_OT_add_mannequin,
    MGPT3_OT_add_example,
    MGPT3_OT_result_show,
    MGPT3_OT_result_remove,
    MGPT3_OT_results_clear,
    MGPT3_OT_result_reuse,
)
