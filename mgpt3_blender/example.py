"""An example to begin with: a mannequin and a prompt that the bundled model knows well, ready to press Generate."""

from __future__ import annotations

import bpy

from .mannequin import add_mannequin

PROMPT = "a person walks forward and waves"
SECONDS = 4.0


def add(context: bpy.types.Context) -> bpy.types.Object:
    """Add the mannequin to the scene, choose it in the panel and fill in the prompt.

    What is in the scene stays as it is. Object Mode is entered.

    Returns:
        The armature object.
    """
    character = add_mannequin(context)
    settings = context.scene.mgpt3
    settings.property_unset("seed")
    settings.property_unset("variations")
    settings.character, settings.prompt, settings.seconds = character, PROMPT, SECONDS
    return character
