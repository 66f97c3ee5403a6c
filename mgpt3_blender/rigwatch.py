"""A motion on a character, as Blender shows it: baked, played frame by frame, and judged against the motion itself.

Nothing here asks the solve how well it did. Which bones are watched, which way the character faces and what its
proportions are comes from the file's own description and rest pose; where a description is silent, from the mapping.
"""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import Any

import bpy
import numpy as np

from . import action as actions
from .measure_motions import FPS, Motion
from .rig import ground
from .rig.apply import ApplyResult, apply_motion, remove_motion
from .rig.character import Character
from .rig.mapping import Mapping
from .rig.options import Options
from .rig.poses import read_poses
from .rig.report import Report, judge
from .rig.rest import read_rig
from .rig.skeleton22 import INDEX as J
from .rig.skeleton22 import JOINTS, NEUTRAL, NEXT
from .rig.solve import COMPARED, leg_length, resample
from .rigcompare import complete, own_axes, round_trip_mm, slide_mm, standing_axes, travel_ratio
from .rigfiles import RigEntry

SCENE_FPS = 24  # not the motion's 20: animators work at 24, and keys then lie between the motion's frames
START = 1.0
TIMED_FRAMES = 200


_CHANNEL = re.compile(r'pose\.bones\["((?:[^"\\]|\\.)*)"\]\.(?:location|scale|rotation_\w+)')


@dataclass(frozen=True)
class Truth:
    """Where a character's joints are, whatever the mapping says.

    Attributes:
        bones: joint -> bone whose head is that joint, on the deforming skeleton.
        rest: (22, 3) joints in rest, world space; NaN where there is none.
        axes: (3, 3) columns left, up and forward of the character in world space: how the motion comes to it.
        own_axes: (3, 3) left, up and forward of its body in rest; the same, unless the rest lies or leans.
        is_pose: whether the rest is a body's pose.
    """

    bones: dict[str, str]
    rest: np.ndarray
    axes: np.ndarray
    own_axes: np.ndarray
    is_pose: bool

    @property
    def present(self) -> np.ndarray:
        return np.isfinite(self.rest).all(-1)

    def next(self, joint: int) -> int | None:
        """The joint at the far end of a joint's bone, over missing ones; None where the bone has no length."""
        other = NEXT.get(joint)
        while other is not None and not self.present[other]:
            other = NEXT.get(other)
        if other is None or not self.present[joint]:
            return None
        size = float(np.nanmax(np.ptp(self.rest[self.present], axis=0)))
        return other if np.linalg.norm(self.rest[other] - self.rest[joint]) > 1e-4 * size else None

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(j, k) for j in COMPARED if (k := self.next(j)) is not None]


def accepted(entry: RigEntry, joint: str) -> set[str]:
    """The bones that are right for a joint."""
    listed = (entry.mapping.get(joint), entry.deform.get(joint), *entry.alternatives.get(joint, ()))
    return {bone for bone in listed if bone}


def wrong_joints(entry: RigEntry, mapping: Mapping) -> dict[str, str | None]:
    """Joints that the character has and whose bone is not the right one -> the bone that was taken."""
    return {joint: mapping.bones.get(joint) for joint in entry.mapping if mapping.bones.get(joint) not in
            accepted(entry, joint)}  # fmt: skip


def find_truth(armature: bpy.types.Object, entry: RigEntry, mapping: Mapping) -> Truth:
    """The joints to watch: the mapping's where it is right, else the description's."""
    bones = {}
    for joint in JOINTS:
        if joint in entry.missing:
            continue
        taken, told = mapping.deform.get(joint), entry.deform.get(joint) or entry.mapping.get(joint)
        good = {*accepted(entry, joint)} if not entry.deform else {told, *entry.alternatives.get(joint, ())}
        bone = taken if taken in good or told is None else told
        if bone is not None and bone in armature.data.bones:
            bones[joint] = bone
    matrix = np.array(armature.matrix_world)
    rest = np.full((22, 3), np.nan)
    for joint, bone in bones.items():
        rest[J[joint]] = matrix[:3, :3] @ np.array(armature.data.bones[bone].head_local) + matrix[:3, 3]
    is_pose = entry.is_pose and mapping.rest_is_pose
    axes = standing_axes(rest)
    return Truth(bones, rest, axes, own_axes(rest) if is_pose else axes, is_pose)


@dataclass
class Watched:
    """What Blender shows, frame by frame.

    Attributes:
        joints: (T, 22, 3) world space, NaN where the character has no such joint.
        turns: bone -> (T, 3, 3) orientation in armature space.
    """

    joints: np.ndarray
    turns: dict[str, np.ndarray]


@dataclass(frozen=True)
class Feet:
    """How a character stands, as Character has it: a convention, not something to be measured.

    Attributes:
        floor: world height of its floor.
        heights: (4,) of ground.FEET over it while the character stands flat, the motion's metres.
        toes: joint without a bone -> (bone of the ankle, where the joint would be from there in rest, armature space).
    """

    floor: float
    heights: np.ndarray
    toes: dict[str, tuple[str, np.ndarray]]


def find_feet(armature: bpy.types.Object, truth: Truth, mapping: Mapping, motion: np.ndarray) -> Feet:
    """How the character stands in rest, for a motion (T, 22, 3)."""
    character = Character(read_rig(armature, mapping))
    scale = character.leg_length() / leg_length(motion)
    level, heights = character.floor(scale)
    point = np.array(armature.matrix_world) @ np.append(character.to_armature @ np.array([0.0, level, 0.0]), 1.0)
    toes = {}
    for side in "lr":
        if not truth.present[J[f"{side}_foot"]]:
            there = character.to_motion.T @ character.foot_vector(J[f"{side}_ankle"])
            toes[f"{side}_foot"] = (truth.bones[f"{side}_ankle"], there)
    return Feet(float(point[2]), np.array(heights).ravel() / scale, toes)


def watch(
    armature: bpy.types.Object, bones: dict[str, str], turning: set[str], count: int, feet: Feet | None = None
) -> Watched:
    """Play `count` frames from START on and note where the joints are and how the bones are turned."""
    scene = bpy.context.scene
    joints = np.full((count, 22, 3), np.nan)
    pose = armature.pose.bones
    turning = {bone for bone in turning if bone in pose}
    turns = {bone: np.empty((count, 3, 3)) for bone in turning}
    for t in range(count):
        scene.frame_set(round(START) + t)
        matrix = np.array(armature.matrix_world)
        for joint, bone in bones.items():
            joints[t, J[joint]] = matrix[:3, :3] @ np.array(pose[bone].head) + matrix[:3, 3]
        for joint, (bone, there) in (feet.toes if feet else {}).items():
            turned = np.array(pose[bone].matrix @ pose[bone].bone.matrix_local.inverted())[:3, :3]
            joints[t, J[joint]] = matrix[:3, :3] @ (np.array(pose[bone].head) + turned @ there) + matrix[:3, 3]
        for bone in turning:
            turned = np.array(pose[bone].matrix)[:3, :3]
            turns[bone][t] = turned / np.maximum(np.linalg.norm(turned, axis=0), 1e-9)
    scene.frame_set(round(START))
    return Watched(joints, turns)


def keyed_bones(action: bpy.types.Action, armature: bpy.types.Object) -> set[str]:
    """Bones with keys on their location, rotation or scale."""
    found = (_CHANNEL.fullmatch(curve.data_path) for curve in actions.fcurves(action, armature))
    return {bpy.utils.unescape_identifier(match[1]) for match in found if match}


def allowed_bones(mapping: Mapping) -> set[str]:
    """Bones that the mapping gives leave to key."""
    out = {*mapping.bones.values(), *mapping.spine, *mapping.neck, *mapping.also, *mapping.hold, *mapping.fingers}
    ik: dict[str, Any] = mapping.ik or {}
    out |= {*ik.get("controls", {}), *ik.get("poles", {}), *ik.get("keep", ()), *ik.get("hold", ())}
    return out | ({mapping.root} if mapping.root else set())


@dataclass
class MotionRow:
    """One motion on one character.

    Attributes:
        name: of the motion.
        report: as Blender shows it; what feet do is told of the frames in which the motion's stand.
        told: what the add-on itself said of it.
        travel: hips travelled against expected; None on the spot.
        round_trip_mm: see `round_trip_mm`; of the motion as it is, for pinned feet are meant to be elsewhere.
        round_trip_pinned_mm: the same with pinned feet.
        unmapped: bones that were keyed without being mapped.
        warnings: what the add-on told.
    """

    name: str
    report: Report
    told: Report
    travel: float | None
    round_trip_mm: float
    round_trip_pinned_mm: float | None = None
    unmapped: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


def bake(armature: bpy.types.Object, motion: Motion, options: Options) -> ApplyResult:
    """Put the motion on the character. Raises RigError."""
    scene = bpy.context.scene
    return apply_motion(
        armature, motion.joints, scene=scene, name=motion.name, start_frame=START, fps=FPS, options=options
    )


def prepare(scene: bpy.types.Scene) -> None:
    scene.render.fps, scene.render.fps_base = SCENE_FPS, 1.0
    scene.frame_set(round(START))


def try_motion(
    armature: bpy.types.Object, truth: Truth, mapping: Mapping, motion: Motion, options: Options
) -> MotionRow:
    """Bake a motion with and without pinned feet, look at both and take it off again.

    Raises RigError where the character cannot take it.
    """
    scene = bpy.context.scene
    wanted = resample(motion.joints, FPS, SCENE_FPS)
    count = len(wanted)
    matrix = truth.axes * (leg_length(truth.rest[None]) / leg_length(wanted))  # motion's axes and size -> world
    feet = find_feet(armature, truth, mapping, wanted)
    standing = ground.contacts(wanted[:, ground.FEET], float(SCENE_FPS))

    def look(result: ApplyResult) -> tuple[np.ndarray, Watched]:
        turning = {*truth.bones.values(), *keyed_bones(result.action, armature)}
        seen = watch(armature, truth.bones, turning, count, feet)
        return (seen.joints - [0.0, 0.0, feet.floor]) @ np.linalg.inv(matrix).T, seen

    def meet(figure: np.ndarray) -> ground.Ground:
        """Feet and floor while the motion's feet stand."""
        met = ground.measure_ground(complete(figure, wanted), standing, feet.heights, float(SCENE_FPS))
        return replace(met, slide_mm=slide_mm(figure, standing, SCENE_FPS))

    free = bake(armature, motion, replace(options, foot_lock=False))
    loose, _ = look(free)
    rest = (truth.rest - truth.rest[0]) @ truth.own_axes * (leg_length(wanted) / leg_length(truth.rest[None]))

    times = START + np.arange(len(motion.joints)) * (SCENE_FPS / FPS)
    times = times[times < START + count - 1 + 1e-6]

    def round_trip() -> float:
        sampled = read_poses(armature, scene, mapping, times).joints
        sampled *= leg_length(NEUTRAL) / leg_length(sampled)
        return round_trip_mm(motion.joints[: len(sampled)], sampled, rest, truth.is_pose)

    returned = round_trip()
    remove_motion(armature, free.action)
    result = bake(armature, motion, options)
    figure, seen = look(result)
    keyed = keyed_bones(result.action, armature)
    played = {bone: J[joint] for joint, bone in (*truth.bones.items(), *mapping.bones.items())}
    played |= {bone: J[joint] for bone, joint in mapping.also.items()}
    report = judge(
        wanted,
        complete(figure, wanted),
        float(SCENE_FPS),
        compared=truth.pairs,
        orientations=seen.turns,
        plays=played,
        present=truth.present,
        rest=_rest_as_mapped(armature, mapping) if truth.is_pose else None,
        mapping=mapping,
        ground_source=slide_mm(wanted, standing, SCENE_FPS),
        ground_before=meet(loose),
        ground_after=meet(figure),
        warnings=result.warnings,
        milliseconds=result.report.milliseconds,
    )
    row = MotionRow(
        name=motion.name,
        report=report,
        told=result.report,
        travel=travel_ratio(wanted, figure),
        round_trip_mm=returned,
        round_trip_pinned_mm=round_trip(),
        unmapped=tuple(sorted(keyed - allowed_bones(mapping))),
        warnings=list(result.warnings),
    )
    remove_motion(armature, result.action)
    return row


def _rest_as_mapped(armature: bpy.types.Object, mapping: Mapping) -> np.ndarray:
    """The rest pose in the axes that the mapping's own hips give it. (22, 3), NaN where a joint is missing."""
    matrix = np.array(armature.matrix_world)[:3, :3]
    rest = np.full((22, 3), np.nan)
    for joint, bone in mapping.deform.items():
        rest[J[joint]] = matrix @ np.array(armature.data.bones[bone].head_local)
    return rest @ own_axes(rest)


def milliseconds(armature: bpy.types.Object, motion: Motion, options: Options, runs: int = 5) -> float:
    """Median time to solve and bake TIMED_FRAMES keyed frames; a shorter motion goes to and fro until it is as long."""
    to_and_fro = np.concatenate([motion.joints, motion.joints[-2:0:-1]])
    count = int(np.ceil((TIMED_FRAMES - 1) * FPS / SCENE_FPS)) + 1
    long = Motion(motion.name, to_and_fro[np.arange(count) % len(to_and_fro)])
    took = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        result = bake(armature, long, options)
        took.append((time.perf_counter() - started) * 1000.0)
        remove_motion(armature, result.action)
    return statistics.median(took[1:])  # the first one warms up
