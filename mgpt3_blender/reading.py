"""An action, or a character as it is animated now -> joints for the model: what captions and searches are made from.

The animation is played in a scene of its own, that holds nothing but the character and is gone afterwards: the user's
scene stays at its frame, poses that are not keyed yet stay as they are, and meshes that follow the character cost no
time (handlers of frame changes are called for these frames, too). An action is played on a copy of the character, so
that not even which action the character plays changes. Whatever animates it counts (keys, constraints, drivers, the
NLA), because Blender itself evaluates each frame. What is read is turned into the model's own body (rig/canon.py): a
caption tells the motion, not how a character is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from .errors import RigError, UserError
from .framerate import frame_rate
from .playedby import playing_range, range_of, slot_for, strips_of
from .rig.apply import OPTIONS
from .rig.canon import Seen, canonical, mirrored, placed
from .rig.character import Character
from .rig.mapping import WORDS, Mapping, map_armature
from .rig.poses import go_to
from .rig.rest import read_rig
from .rig.skeleton22 import FPS, INDEX
from .rig.solve import at_times
from .rig.space import at_rest

MOST_STEP = 2.0
"""Scene frames a frame of the model up to which whole scene frames are read, as an animator sees them, and smooth
curves laid through them. Above, frames are so close that what Blender has between them will do."""


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        joints: (T, 22, 3) float32, metres on the model's own body, Y up, the floor at 0, 20 frames a second, the
            first frame facing +Z with the root over the origin.
        first, last: scene frames that were read, both included.
        step: scene frames a frame of `joints`: frame n lies at first + n * step.
        fps: the scene's frame rate.
        family: name of the character's rig family.
        notes: what could not be seen on this character, one sentence each.
    """

    joints: np.ndarray
    first: float
    last: float
    step: float
    fps: float
    family: str
    notes: tuple[str, ...] = ()


def read_action(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    action: bpy.types.Action | None = None,
    slot: Any = None,
    *,
    first: float | None = None,
    last: float | None = None,
    seen: Frames | None = None,
) -> Reading:
    """Read one action of a character, or the character as it is animated now. Changes nothing.

    Args:
        armature: the character.
        scene: its frame rate says how long a frame is.
        action: played alone, over the rest pose, the NLA put aside; None: whatever animates the character now.
        slot: which slot of the action; by default the one that is this character's.
        first, last: scene frames, both included; by default the action's range, or of what animates the character.
        seen: what was seen of it by an earlier call that was broken off, to go on from.

    Raises RigError (no_armature, unknown_rig, missing_bones, edit_mode, motion_too_short, not_humanoid), UserError
    (empty_action, object_action, no_character_for_action, no_animation, rest_position, motion_static), and Unfinished
    where `seen` sets a time that was not enough.
    """
    with Stage(armature, scene) as stage:
        return stage.read(action, slot, first=first, last=last, seen=seen)


class Unfinished(Exception):
    """The time was over before all frames were seen: call again."""


@dataclass
class Frames:
    """What was seen of one action so far: a large rig takes hundredths of a second a frame, and the window waits.

    Attributes:
        until: of time.monotonic(), when to break off. One frame at least is added in each call.
        count: how many frames there are to see in all, once that is known.
    """

    until: float = math.inf
    count: int = 0
    _poses: dict[float, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _added: bool = False

    @property
    def fraction(self) -> float:
        return len(self._poses) / max(self.count, 1)

    def at(self, time: float, look: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """The pose at a scene frame, as it was seen, or as it is seen now. Raises Unfinished."""
        if time not in self._poses:
            if self._added and monotonic() > self.until:
                raise Unfinished
            self._poses[time] = look()
            self._added = True
        return self._poses[time]

    def begin(self, count: int) -> None:
        """A call begins, which has so many frames to see."""
        self.count, self._added = count, False


class Stage:
    """A scene to play actions of one character in, quicker than one `read_action` after the other.

        with Stage(armature, scene) as stage:
            readings = [stage.read(action) for action in actions]

    Args:
        armature: the character. scene: its frame rate says how long a frame is.

    Raises RigError (no_armature, unknown_rig, missing_bones, edit_mode).
    """

    def __init__(self, armature: bpy.types.Object, scene: bpy.types.Scene) -> None:
        self.armature = armature
        self.mapping = _mapping(armature)
        self.fps = frame_rate(scene)
        if armature.data.is_editmode:
            raise RigError("edit_mode", f'"{armature.name}" is in Edit Mode.', "Leave Edit Mode (Tab), then try again.")
        self._rate = (scene.render.fps, scene.render.fps_base)
        self._scene: bpy.types.Scene | None = None
        self._double: bpy.types.Object | None = None
        bones = armature.data.bones
        self._bones = {INDEX[joint]: bones.find(bone) for joint, bone in self.mapping.deform.items()}
        self._rest = {j: np.array(bones[i].matrix_local, np.float64)[:3, :3] for j, i in self._bones.items()}
        self._rig = at_rest(read_rig(armature, self.mapping))

    def __enter__(self) -> Stage:
        self._scene = bpy.data.scenes.new("MotionGPT3")
        self._scene.render.fps, self._scene.render.fps_base = self._rate
        return self

    def __exit__(self, *_: object) -> None:
        if self._scene is not None:
            bpy.data.scenes.remove(self._scene)
        if self._double is not None:
            bpy.data.objects.remove(self._double)
        self._scene = self._double = None

    def read(
        self,
        action: bpy.types.Action | None = None,
        slot: Any = None,
        *,
        first: float | None = None,
        last: float | None = None,
        seen: Frames | None = None,
    ) -> Reading:
        """As `read_action`."""
        seen = seen or Frames()
        if action is not None and slot is None:
            slot = slot_for(action, self.armature)
        if first is None or last is None:
            start, end = range_of(action, slot) if action is not None else playing_range(self.armature)
            first, last = (start if first is None else first), (end if last is None else last)
        times, step = self._times(float(first), float(last), action)
        ours = retargeted(self.armature, action)
        with self._playing(action, slot) as actor:
            if step > MOST_STEP or np.allclose(times, np.round(times)):
                joints = self._joints(actor, times, FPS, ours, seen)
            else:
                whole = np.arange(np.floor(first), np.ceil(last) + 1.0)
                joints = _between(self._joints(actor, whole, self.fps, ours, seen), times - whole[0])
        return Reading(
            placed(joints).astype(np.float32), float(first), float(last), step, self.fps, self.mapping.preset,
            self._notes(),
        )  # fmt: skip

    def _times(self, first: float, last: float, action: bpy.types.Action | None) -> tuple[np.ndarray, float]:
        """The scene frames of the model's frames, and how many scene frames lie between two."""
        step = self.fps / FPS
        # The last frame is shown until the next one would come: as many frames of the model as begin in that time.
        count = int(np.floor((last - first + min(1.0, step)) / step - 1e-6)) + 1
        if last <= first and action is not None:
            raise UserError(
                "motion_static", f'"{action.name}" is a single pose, not a motion.', "Choose an action that moves."
            )
        if last - first < 1.0 or count < 2:
            raise RigError("motion_too_short", "The range is shorter than two frames.", "Choose a longer frame range.")
        return first + step * np.arange(count), step

    def _notes(self) -> tuple[str, ...]:
        gone = [WORDS[joint] for joint in self.mapping.missing]
        return (f"Not seen, for want of a bone: {', '.join(gone)}.",) if gone else ()

    @contextmanager
    def _playing(self, action: bpy.types.Action | None, slot: Any) -> Iterator[bpy.types.Object]:
        """The character, or its double that plays an action alone over its rest pose, in the stage's scene."""
        assert self._scene is not None, "a Stage is to be used in a with statement"
        data, linked = self.armature.data, self._scene.collection.objects
        if action is None and data.pose_position == "REST":
            raise UserError(
                "rest_position",
                f'"{self.armature.name}" is shown in its rest position.',
                "Choose Pose Position in the armature's properties.",
            )
        if action is not None and self._double is None:
            self._double = _double(self.armature)
        actor = self.armature if action is None else self._double
        assert actor is not None
        hidden, position = actor.hide_viewport, data.pose_position
        try:
            if hidden:
                actor.hide_viewport = False
            if position != "POSE":
                data.pose_position = "POSE"
            if action is not None:
                _assign(actor, action, slot)
            if actor.name not in linked:
                for other in list(linked):
                    linked.unlink(other)
                linked.link(actor)
            yield actor
        finally:
            if actor is self.armature:
                linked.unlink(actor)
            if hidden and actor is self.armature:
                actor.hide_viewport = True
            if position != "POSE":
                data.pose_position = position

    def _joints(self, actor: bpy.types.Object, times: np.ndarray, fps: float, ours: bool, seen: Frames) -> np.ndarray:
        """(T, 22, 3) the model's body at scene frames (T,), which are `fps` a second; `ours`: we made the motion."""
        scene = self._scene
        assert scene is not None
        where = list(self._bones.values())
        every = np.empty(len(self.armature.data.bones) * 16, np.float32)
        objects, poses = np.empty((len(times), 4, 4)), np.empty((len(times), len(where), 4, 4))
        seen.begin(len(times))
        for n, time in enumerate(times):

            def look(time: float = time) -> tuple[np.ndarray, np.ndarray]:
                go_to(scene, time)
                shown = actor.evaluated_get(scene.view_layers[0].depsgraph)
                shown.pose.bones.foreach_get("matrix", every)
                # Blender gives columns
                return every.reshape(-1, 4, 4)[where].transpose(0, 2, 1).copy(), np.array(shown.matrix_world)

            poses[n], objects[n] = seen.at(float(time), look)
        mirrored_object = np.linalg.det(objects[0, :3, :3]) < 0.0
        if mirrored_object:  # seen in a mirror it is the character as it was built
            objects = np.diag([-1.0, 1.0, 1.0, 1.0]) @ objects
        matrices = (np.linalg.inv(objects[0]) @ objects)[:, None] @ poses
        heads = np.zeros((len(times), 22, 3))
        heads[:, list(self._bones)] = matrices[..., :3, 3]
        turns = matrices[..., :3, :3]
        turns = turns / np.maximum(np.linalg.norm(turns, axis=-2, keepdims=True), 1e-12)
        body = Seen(heads, {j: turns[:, k] for k, j in enumerate(self._bones)}, self._rest)
        joints = canonical(self._character(objects[0]), body, fps, retargeted=ours)
        return mirrored(joints) if mirrored_object else joints

    def _character(self, stands: np.ndarray) -> Character:
        """The character at rest, where its object stands in the world as (4, 4) says."""
        size = float(np.cbrt(np.linalg.det(stands[:3, :3])))
        u, _, vt = np.linalg.svd(stands[:3, :3])
        return Character(replace(self._rig, to_world=u @ vt, height_in_world=stands[2, 3] / size, size_in_world=size))


def retargeted(armature: bpy.types.Object, action: bpy.types.Action | None) -> bool:
    """Whether an action, or all that a character plays, was put on a character by this add-on: it is marked so."""
    if action is not None:
        return OPTIONS in action
    data = armature.animation_data
    played = [data.action] if data is not None and data.action is not None else []
    played += [strip.action for strip in strips_of(armature)]
    return bool(played) and all(one is not None and OPTIONS in one for one in played)


def _mapping(armature: bpy.types.Object) -> Mapping:
    """Which bone plays which joint; of a character that its object mirrors, as it was built."""
    if armature is None or armature.type != "ARMATURE" or armature.matrix_world.determinant() >= 0.0:
        return map_armature(armature)
    twin = armature.copy()
    try:
        twin.matrix_world = Matrix.Diagonal((-1.0, 1.0, 1.0, 1.0)) @ armature.matrix_world
        return map_armature(twin)
    finally:
        bpy.data.objects.remove(twin)


def _between(joints: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Joints at whole scene frames -> at times between them; past the last one the motion goes evenly on."""
    return at_times(np.concatenate([joints, 2.0 * joints[-1:] - joints[-2:-1]]), times)


def _double(armature: bpy.types.Object) -> bpy.types.Object:
    """A copy of a character at rest, without an NLA. Its own constraints and drivers look at the copy itself."""
    actor = armature.copy()
    actor.hide_viewport = False
    data = actor.animation_data or actor.animation_data_create()
    if data.use_tweak_mode:
        data.use_tweak_mode = False
    data.use_nla = False
    data.action_influence, data.action_blend_type, data.action_extrapolation = 1.0, "REPLACE", "HOLD"
    bones = actor.pose.bones
    for name, rest in (
        ("location", (0.0, 0.0, 0.0)), ("scale", (1.0, 1.0, 1.0)), ("rotation_quaternion", (1.0, 0.0, 0.0, 0.0)),
        ("rotation_euler", (0.0, 0.0, 0.0)), ("rotation_axis_angle", (0.0, 0.0, 1.0, 0.0)),
    ):  # fmt: skip
        bones.foreach_set(name, np.tile(np.float32(rest), len(bones)))
    return actor


def _assign(actor: bpy.types.Object, action: bpy.types.Action, slot: Any) -> None:
    data = actor.animation_data
    data.action = action
    if slot is not None:
        data.action_slot = slot
