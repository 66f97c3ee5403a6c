"""The character as it is animated -> joints at any scene frames, in one motion space that stays where it is.

Whatever animates it counts (keys, constraints, drivers, the NLA), because Blender itself evaluates each frame. What is
read here is in the space that `splice` takes motion in: nothing is moved to the origin or turned to face anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import bpy
import numpy as np

from .character import Character
from .figure import bridge
from .mapping import Mapping
from .rest import read_rig
from .skeleton22 import INDEX, JOINTS
from .space import Space, at_rest, stage_of

TRANSFORMS = (("location", 3), ("rotation_quaternion", 4), ("rotation_euler", 3), ("rotation_axis_angle", 4),
               ("scale", 3))  # fmt: skip
"""A pose bone\'s channels, and how many numbers each has."""


@dataclass(frozen=True)
class Poses:
    """What was read.

    Attributes:
        joints: (N, 22, 3) float64 in `space`; joints that the character has no bone for are put between their
            neighbours.
        times: (N,) scene frames.
        space: where the joints are.
    """

    joints: np.ndarray
    times: np.ndarray
    space: Space


def read_poses(
    armature: bpy.types.Object, scene: bpy.types.Scene, mapping: Mapping, times: Sequence[float] | np.ndarray
) -> Poses:
    """The character's joints at some scene frames, as Blender shows them.

    Args:
        mapping: which bone plays which joint.
        times: (N,) scene frames, whole or not.

    The scene is at the same frame afterwards, and the character's bones stand as they did, keyed or not.
    """
    times = np.asarray(times, np.float64).reshape(-1)
    world = np.zeros((len(times), 22, 3))
    with held(armature, scene):
        go_to(scene, scene.frame_start)
        rig = at_rest(read_rig(armature, mapping))
        space = Space(stage_of(rig), np.array(armature.matrix_world))
        reader = JointReader(armature, mapping, Character(rig))
        for n in visited(scene, times):
            world[n] = reader.world()
    joints = space.motion(world)
    bridge(joints, reader.present)
    return Poses(joints, times, space)


def space_of(armature: bpy.types.Object, scene: bpy.types.Scene, mapping: Mapping) -> Space:
    """The space that `read_poses` reads in."""
    return read_poses(armature, scene, mapping, ()).space


class JointReader:
    """Reads a character's joints off its bones as they stand.

    Args:
        character: of the armature, for the feet of characters without toes.

    Attributes:
        present: indices of the joints that can be read; the others are `bridge`d.
    """

    def __init__(self, armature: bpy.types.Object, mapping: Mapping, character: Character) -> None:
        self._armature = armature
        self._character = character
        bones = armature.pose.bones
        self._heads = [(INDEX[joint], bones[bone]) for joint, bone in mapping.deform.items()]
        self._tips = []
        for side in "lr":
            if f"{side}_foot" not in mapping.deform:
                tip, shoe = INDEX[f"{side}_foot"], bones[mapping.deform[f"{side}_ankle"]]
                rest = np.array(shoe.bone.matrix_local)[:3, :3]
                self._tips.append((tip, shoe, rest, character.foot_vector(INDEX[f"{JOINTS[tip][0]}_ankle"])))
        self.present = {joint for joint, _ in self._heads} | {tip[0] for tip in self._tips}

    def world(self) -> np.ndarray:
        """(22, 3) joints in world space; zero where there is none."""
        character, out = self._character, np.zeros((22, 3))
        for joint, bone in self._heads:
            out[joint] = bone.head
        for joint, bone, rest, reach in self._tips:
            posed = np.array(bone.matrix)
            turned = posed[:3, :3] @ rest.T @ character.carried.T
            out[joint] = posed[:3, 3] + turned @ character.to_motion.T @ reach
        matrix = np.array(self._armature.matrix_world)
        return out @ matrix[:3, :3].T + matrix[:3, 3]


def go_to(scene: bpy.types.Scene, time: float) -> None:
    """Set the scene to a frame, whole or not."""
    whole = int(np.floor(time + 1e-6))
    scene.frame_set(whole, subframe=float(max(0.0, min(time - whole, 0.9999))))


@contextmanager
def held(armature: bpy.types.Object, scene: bpy.types.Scene) -> Iterator[None]:
    """Frames may be set within; afterwards the scene is at the frame it was, and poses not yet keyed are back."""
    frame, subframe = scene.frame_current, scene.frame_subframe
    before = _transforms(armature)
    try:
        yield
    finally:
        scene.frame_set(frame, subframe=subframe)
        changed = False
        for (name, _), old, new in zip(TRANSFORMS, before, _transforms(armature), strict=True):
            if not np.array_equal(old, new):
                armature.pose.bones.foreach_set(name, old)
                changed = True
        if changed:
            armature.update_tag(refresh={"DATA"})
            layer = bpy.context.view_layer
            if layer is not None and armature.name in layer.objects:
                layer.update()


def _transforms(armature: bpy.types.Object) -> list[np.ndarray]:
    bones = armature.pose.bones
    out = []
    for name, size in TRANSFORMS:
        values = np.empty(len(bones) * size, np.float32)
        bones.foreach_get(name, values)
        out.append(values)
    return out


def visited(scene: bpy.types.Scene, times: Iterable[float]) -> Iterator[int]:
    """Go to each frame in turn; yields which one it is. To be used within `held`."""
    for n, time in enumerate(times):
        go_to(scene, time)
        yield n
