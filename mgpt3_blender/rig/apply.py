"""A motion onto a character: the one function that turns joints into a new action.

Control rigs: what puts the keyed controls in charge (the IK/FK switch, a constraint's influence) is set *and* keyed.
Keyed, because the motion must bring it along wherever the action is played; set, so that the character stands right
at once and stays so when the action is taken off half way. How the switches stood before is noted on the action, and
`remove_motion` sets them back with everything else.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace

import bpy
import numpy as np

from .. import VERSION
from .. import action as actions
from ..errors import RigError
from ..framerate import frame_rate
from . import controls, hands, ik
from . import rotation as rot
from .keys import all_location_curves, rotation_curves, switch_curve
from .mapping import WORDS, Mapping, map_armature
from .options import DEFAULT, IK, Options
from .report import PROPERTY, Report, judge
from .rest import Rig
from .skeleton22 import FPS, JOINTS
from .solve import Solution, resample, solve

OPTIONS = "mgpt3_retarget"
"""Custom property of a generated action: how it was put on the character, JSON."""


@dataclass
class ApplyResult:
    """What happened.

    Attributes:
        action: the new action, bound to the character.
        mapping: which bone plays which joint.
        report: how well the motion arrived; also on the action, as JSON.
        warnings: one sentence each.
    """

    action: bpy.types.Action
    mapping: Mapping
    report: Report
    warnings: list[str] = field(default_factory=list)


def check_motion(joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) finite positions as float64. Raises RigError bad_motion, motion_too_short."""
    try:
        joints = np.asarray(joints, np.float64)
    except (TypeError, ValueError) as error:
        raise RigError("bad_motion", "The motion is not a table of numbers.", "Generate it again.") from error
    if joints.ndim != 3 or joints.shape[1:] != (22, 3):
        raise RigError(
            "bad_motion",
            f"The motion has the shape {joints.shape}, not (frames, 22, 3).",
            "Generate it again; if it came from a file, the file has another skeleton.",
        )
    if not np.isfinite(joints).all():
        raise RigError("bad_motion", "The motion contains values that are no numbers.", "Generate it again.")
    if len(joints) < 2:
        raise RigError("motion_too_short", "The motion is shorter than two frames.", "Ask for a longer duration.")
    return joints


def check_armature(armature: bpy.types.Object) -> None:
    """Raises RigError where the character cannot take a motion; changes nothing."""
    if armature is None or armature.type != "ARMATURE":
        raise RigError("no_armature", "There is no character to animate.", "Select an armature.")
    override = armature.override_library
    if armature.library is not None or (override is not None and override.is_system_override):
        raise RigError(
            "linked_armature",
            f'"{armature.name}" is linked from another file and cannot be animated here.',
            "Make a library override of it: Object > Relations > Make Library Override.",
        )
    if armature.data.is_editmode:
        raise RigError("edit_mode", f'"{armature.name}" is in Edit Mode.', "Leave Edit Mode (Tab), then try again.")
    matrix = np.array(armature.matrix_world)[:3, :3]
    size = np.linalg.norm(matrix, axis=0)
    skew = np.abs((matrix.T @ matrix) - np.diag(size**2)).max() / max(size.max() ** 2, 1e-12)
    if size.min() < 1e-8 or size.max() / size.min() > 1.01 or skew > 0.01:
        raise RigError(
            "non_uniform_scale",
            f'"{armature.name}" is scaled differently along its axes ({size[0]:.3g}, {size[1]:.3g}, {size[2]:.3g}), '
            "which would bend the motion.",
            "Apply the scale: Object > Apply > Scale.",
        )
    if np.linalg.det(matrix) < 0.0:
        raise RigError(
            "mirrored_scale", f'"{armature.name}" has a negative scale.', "Apply the scale: Object > Apply > Scale."
        )
    data = armature.animation_data
    if data is not None and data.use_tweak_mode:
        raise RigError(
            "tweak_mode",
            f'An NLA strip of "{armature.name}" is being tweaked.',
            "Leave Tweak Mode in the NLA Editor (Tab), then try again.",
        )


@dataclass(frozen=True)
class Reading:
    """A character as it was read: all that solving a motion for it needs, so that a thread can do that.

    Attributes:
        rig: as the solve needs it. with_controls: as the keys need it.
        still: bone -> (1, 3, 3) rotation channel that is kept throughout.
        modes: bone -> its rotation mode.
        warnings: one sentence each.
    """

    mapping: Mapping
    plan: controls.Plan
    rig: Rig
    with_controls: Rig
    still: dict[str, np.ndarray]
    modes: dict[str, str]
    warnings: list[str]


def read(armature: bpy.types.Object, options: Options = DEFAULT, mapping: Mapping | None = None) -> Reading:
    """Read a character. Changes nothing. mapping: found where not given. Raises RigError."""
    mapping = mapping or map_armature(armature)
    plan = controls.plan(armature, mapping, options.limbs)
    rig, with_controls = controls.read(armature, mapping, plan)
    still = {bone: np.eye(3)[None] for bone in plan.hold if bone in armature.pose.bones}
    if options.relaxed_hands:
        still |= hands.relaxed(armature, mapping)
    modes = {bone.name: bone.rotation_mode for bone in armature.pose.bones}
    warnings = [*mapping.warnings, *plan.warnings, *rig.warnings]
    if mapping.missing:
        gone = ", ".join(WORDS[joint] for joint in mapping.missing)
        warnings.append(f"No bone for: {gone}; the bones next to it do the work.")
    if options.relaxed_hands and not mapping.fingers:
        warnings.append("I know no finger bones on this character: the hands keep what they have.")
    return Reading(mapping, plan, rig, with_controls, still, modes, list(dict.fromkeys(warnings)))


@dataclass
class Prepared:
    """A motion solved for one character: what to key and what to switch, before anything is changed.

    Attributes:
        reading: the character as it was read, the controls to key among its bones.
        curves: what to key on the bones, counted from frame 0.
        seconds: that it took.
    """

    reading: Reading
    solution: Solution
    curves: list[actions.Curve]
    seconds: float


def prepare(reading: Reading, joints: np.ndarray, fps: float, options: Options) -> Prepared:
    """Solve a motion for a character. NumPy only: may run in a thread.

    Args:
        joints: (T, 22, 3) at the frame rate of the keys, `fps`.
    """
    began = time.perf_counter()
    solution = solve(reading.rig, joints, fps, options)
    rotations, locations = solution.rotations, solution.locations
    if reading.plan.limbs == IK:
        rotations, locations = ik.channels(reading.with_controls, solution, reading.mapping, reading.rig)
    frames = np.arange(len(solution.motion), dtype=np.float64)
    curves = rotation_curves(rotations, reading.modes, frames)
    curves += rotation_curves(reading.still, reading.modes, frames[:1])
    curves += all_location_curves(locations, frames)
    return Prepared(reading, solution, curves, time.perf_counter() - began)


def _curves(armature: bpy.types.Object, job: Prepared, start: float) -> list[actions.Curve]:
    """Everything to key, from a scene frame on."""
    curves = [replace(curve, frames=start + curve.frames) for curve in job.curves]
    switches = job.reading.plan.switches
    exist = {(row[0], row[1], *row[3:]) for row in controls.read_switches(armature, switches)}
    for switch in switches:
        if (switch.bone, switch.property, *([switch.constraint] if switch.constraint else [])) in exist:
            curves.append(switch_curve(switch, start))
    return curves


def apply_motion(
    armature: bpy.types.Object,
    joints: np.ndarray,
    *,
    scene: bpy.types.Scene,
    name: str,
    start_frame: float,
    fps: float = FPS,
    metadata: dict[str, str | int | float] | None = None,
    options: Options = DEFAULT,
    mapping: Mapping | None = None,
    prepared: Prepared | None = None,
    shown: bool = True,
) -> ApplyResult:
    """Put a motion on a character as a new action, played from `start_frame` on.

    Mapped bones are keyed at each scene frame, nothing else; the scene, the selection, the mode, the current frame and
    other actions stay as they are. The motion starts where the character's rest pose stands (carried along by the
    bones above its hips, say a root control) and walks the way the character faces.

    Args:
        armature: the character.
        joints: (T, 22, 3) metres, Y up, facing +Z at frame 0, floor at 0.
        scene: its frame rate is the keys' frame rate.
        name: of the new action.
        start_frame: scene frame of the motion's first frame.
        fps: frame rate of `joints`.
        metadata: custom properties for the action ("mgpt3_prompt", ...).
        options: which controls, the feet, the way travelled.
        mapping: which bone plays which joint; found where not given.
        prepared: the motion as it was solved for this very character, scene and options, where it was.
        shown: compare the pose that Blender shows with the motion, which has Blender evaluate the whole scene once;
            not wanted of motions that another one is about to replace.

    Raises RigError before anything is changed.
    """
    began = time.perf_counter()
    joints = check_motion(joints)
    check_armature(armature)
    scene_fps = frame_rate(scene)
    if prepared is not None:
        began -= prepared.seconds
    else:
        prepared = prepare(read(armature, options, mapping), resample(joints, fps, scene_fps), scene_fps, options)
    reading, solution = prepared.reading, prepared.solution
    curves = _curves(armature, prepared, float(start_frame))

    action = actions.new_action(name)
    try:
        actions.write_fcurves(action, armature, curves)
        action[actions.GENERATED] = VERSION
        for key, value in (metadata or {}).items():
            action[key] = value
        action["mgpt3_rig"] = reading.mapping.preset
        action[OPTIONS] = json.dumps(asdict(options))
        controls.note_switches(action, armature, reading.plan.switches)
        actions.remember(armature, action)
        actions.bind_action(armature, action)
    except Exception:
        actions.release(armature, action)
        bpy.data.actions.remove(action)
        raise
    controls.set_switches(armature, reading.plan.switches)
    warnings = list(dict.fromkeys([*reading.warnings, *solution.warnings]))
    off = verify(armature, reading.mapping, solution, start_frame, scene) if shown else None
    if off is not None and off > OFF:
        warnings.append(
            f"Constraints or drivers on this rig turn bones by up to {off:.0f} degrees away from the motion."
        )
    report = judge(
        solution.asked,
        solution.figure,
        scene_fps,
        compared=solution.compared,
        orientations=solution.orientations,
        plays=solution.plays,
        present=solution.present,
        rest=solution.rest if reading.mapping.rest_is_pose else None,
        mapping=reading.mapping,
        ground_source=solution.ground_source,
        ground_before=solution.ground_before,
        ground_after=solution.ground_after,
        warnings=warnings,
        milliseconds=(time.perf_counter() - began) * 1000.0,
    )
    action[PROPERTY] = report.to_json()
    return ApplyResult(action, reading.mapping, report, warnings)


OFF = 8.0
"""Degrees that a bone may be away from what was solved before that is said."""


def verify(
    armature: bpy.types.Object, mapping: Mapping, solution: Solution, start_frame: float, scene: bpy.types.Scene
) -> float | None:
    """Largest angle at the scene's current frame between the character as Blender shows it and as solved, degrees.

    None where the current frame is outside the motion or the character is not in the current view layer. The frame is
    not changed: that would undo poses that the animator has not keyed yet.
    """
    at = round(scene.frame_current - start_frame)
    layer = bpy.context.view_layer
    if not 0 <= at < len(solution.motion) or bpy.context.scene != scene or armature.name not in layer.objects:
        return None
    layer.update()
    bones = armature.pose.bones
    worst = 0.0
    for j, k in solution.compared:
        if JOINTS[j] not in mapping.deform or JOINTS[k] not in mapping.deform:
            continue
        here, there = (np.array(bones[mapping.deform[JOINTS[i]]].head) for i in (j, k))
        wanted = solution.joints_armature[at, k] - solution.joints_armature[at, j]
        worst = max(worst, float(np.degrees(rot.angle_between(there - here, wanted))))
    return worst


def remove_motion(armature: bpy.types.Object, action: bpy.types.Action) -> None:
    """Take a generated action off its character and delete it: the action and the switches from before come back."""
    data = armature.animation_data
    if data is not None and data.action == action:
        before = controls.switches_before(action)
        actions.release(armature, action)
        controls.restore_switches(armature, before)
    bpy.data.actions.remove(action)
