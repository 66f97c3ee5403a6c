"""What the panels edit: per scene the next request, per character its results. Saved with the file."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from . import results
from .generate import MAX_SECONDS, MAX_VARIATIONS, MIN_SECONDS, Request
from .i18n import CONTEXT
from .properties_shared import prompt_property, seconds_property, seed_property, typed


def _is_character(settings: bpy.types.PropertyGroup, candidate: bpy.types.Object) -> bool:
    return candidate.type == "ARMATURE" and candidate.name in settings.id_data.objects


class MGPT3_SceneSettings(bpy.types.PropertyGroup):
    """The request being written. Nothing here can be animated: it says how to make motion, it is none."""

    character: PointerProperty(
        name="Character",
        description="The armature that moves. Leave empty for the active one",
        type=bpy.types.Object,
        poll=_is_character,
    )
    prompt: prompt_property(
        'What the character does, in English: "a person walks forward and waves"', "a person walks forward"
    )
    seconds: seconds_property(
        "Duration",
        "How long the motion is, in seconds. The scene's frame rate is kept",
        4.0,
        MIN_SECONDS,
        MAX_SECONDS,
        step=50,
    )
    seed: seed_property(
        "The same prompt, duration and seed give the same motion again; another seed gives another take"
    )
    variations: IntProperty(
        name="Variations",
        description="How many takes to make at once, with this seed and the ones after it",
        default=1,
        min=1,
        max=MAX_VARIATIONS,
        options=set(),
    )
    use_guidance: BoolProperty(
        name="Set Guidance",
        description="Choose the guidance yourself; otherwise the model's own value is used",
        default=False,
        options=set(),
    )
    guidance: FloatProperty(
        name="Guidance",
        description="How closely to follow the prompt: 1 is free, high values follow it strictly but move stiffly",
        default=2.0,
        min=1.0,
        max=15.0,
        step=10,
        precision=1,
        options=set(),
    )
    clean_feet: BoolProperty(
        name="Clean Feet",
        description="Pin each foot where it stands, so that it does not slide over the floor",
        default=True,
        options=set(),
    )

    fast: BoolProperty(
        name="Fast",
        translation_context=CONTEXT,
        description="Fewer sampling steps: nearly the same quality, but not the exact motion of the full recipe",
        default=False,
        options=set(),
    )

    literal: BoolProperty(
        name="Take Words Literally",
        description=(
            "Let the model read words it has never met. Otherwise a prompt with such words is replaced by the nearest "
            "one the model knows, and the panel says which"
        ),
        default=False,
        options=set(),
    )

    def request(self) -> Request:
        """What the panel asks for."""
        guidance = self.guidance if self.use_guidance else None
        return Request(
            self.prompt,
            typed(self.seconds),
            self.seed,
            self.variations,
            guidance,
            clean_feet=self.clean_feet,
            fast=self.fast,
            literal=self.literal,
            retarget=self.id_data.mgpt3_rig.options(self.clean_feet),
        )


def _shown_index(character: bpy.types.PropertyGroup) -> int:
    data = character.id_data.animation_data
    action = data.action if data else None
    if action is None or not results.belongs(action, character.id_data):
        return -1
    return bpy.data.actions.find(action.name)


def _show_index(character: bpy.types.PropertyGroup, index: int) -> None:
    if 0 <= index < len(bpy.data.actions):
        action = bpy.data.actions[index]
        if results.belongs(action, character.id_data):
            results.activate(character.id_data, action)


class MGPT3_CharacterSettings(bpy.types.PropertyGroup):
    """What an armature knows of the motions made for it."""

    uid: StringProperty(
        name="Character ID",
        description="Ties the motions made for this character to it, whatever it is called",
        options={"HIDDEN"},
    )
    # The list's index is not stored but read off the character: it is right after undo, renaming and new actions.
    shown: IntProperty(
        name="Shown Motion",
        description="Click to let the character play this motion",
        get=_shown_index,
        set=_show_index,
        options=set(),
    )


classes = (MGPT3_SceneSettings, MGPT3_CharacterSettings)


def register() -> None:
    bpy.types.Action.mgpt3_favourite = BoolProperty(
        name="Favourite",
        description="Keep this motion when those without a star are removed",
        default=False,
        options=set(),
    )
    bpy.types.Scene.mgpt3 = PointerProperty(type=MGPT3_SceneSettings)
    bpy.types.Object.mgpt3 = PointerProperty(type=MGPT3_CharacterSettings)


def unregister() -> None:
    del bpy.types.Object.mgpt3
    del bpy.types.Scene.mgpt3
    del bpy.types.Action.mgpt3_favourite
