"""What the tests of reading share: a motion put on a character, the action read back, and what is to be seen of it."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender.errors import UserError
from mgpt3_blender.reading import Reading, read_action
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.skeleton22 import INDEX as J

SLOTS = "slots" in bpy.types.Action.bl_rna.properties
needs_slots = pytest.mark.skipif(not SLOTS, reason="actions have slots from Blender 4.4 on")


def put(rig: Any, joints: np.ndarray, *, fps: float = 20.0, start: float = 1.0, name: str = "Motion") -> Any:
    """A motion as an action of the character, which plays it."""
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = int(np.ceil(fps)), float(np.ceil(fps) / fps)
    return apply_motion(rig, joints, scene=scene, name=name, start_frame=start, fps=20.0).action


def read(rig: Any, action: Any = None, slot: Any = None, **options: Any) -> Reading:
    return read_action(rig, bpy.context.scene, action, slot, **options)


def arm_raised(joints: np.ndarray) -> float:
    """How high the left wrist gets over its shoulder, metres."""
    return float((joints[:, J["l_wrist"], 1] - joints[:, J["l_shoulder"], 1]).max())


def code_of(call: Any) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert error.value.remedy
    return error.value.code
