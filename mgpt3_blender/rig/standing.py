"""Where a motion will be when it is put on a character as the character stands now."""

from __future__ import annotations

import bpy
import numpy as np

from .character import Character
from .figure import stage
from .mapping import Mapping
from .poses import Space
from .rest import read_rig
from .skeleton22 import NEUTRAL
from .solve import leg_length


def standing_space(armature: bpy.types.Object, mapping: Mapping) -> Space:
    """The space of motions that `apply_motion` takes. Unlike that of `read_poses` it is carried along by the bones
    above the hips and by the object as they stand at the current frame: that is where they will stay."""
    character = Character(read_rig(armature, mapping))
    scale = character.leg_length() / leg_length(NEUTRAL)
    floor, _ = character.floor(scale)
    return Space(stage(character, scale, floor), np.array(armature.matrix_world))
