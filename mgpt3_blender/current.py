"""The character that panels and buttons are about: the one chosen in the panel, else the active one."""

from __future__ import annotations

import bpy

from .generate import find_character, need_character


def character(context: bpy.types.Context) -> bpy.types.Object | None:
    """The character that is meant; None where there is none, or it cannot be said which."""
    return find_character(context.scene, context.scene.mgpt3.character, context.view_layer.objects.active)


def needed(context: bpy.types.Context) -> bpy.types.Object:
    """As `character`. Raises UserError "no_character" or "character_unclear" instead of returning None."""
    return need_character(context.scene, context.scene.mgpt3.character, context.view_layer.objects.active)


def action(context: bpy.types.Context) -> bpy.types.Action | None:
    """The action that the character plays."""
    armature = character(context)
    data = armature.animation_data if armature is not None else None
    return data.action if data is not None else None


def has_none(context: bpy.types.Context) -> bool:
    """Whether the scene has no character at all, so that the mannequin is offered."""
    return character(context) is None and not any(o.type == "ARMATURE" for o in context.scene.objects)
