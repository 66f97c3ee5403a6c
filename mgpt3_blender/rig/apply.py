"""A motion onto a character: the one function that turns joints into a new action.

Control rigs: the IK/FK switch is set *and* keyed. Keyed, because the motion needs FK and must bring it along wherever
the action is played; set, so that the character stands right at once and FK stays when the action is taken off half
way. How the switches stood before is noted on the action, and `remove_motion` sets them back with everything else.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

import bpy
import numpy as np

from .. import VERSION
from .. import action as actions
from ..errors import RigError
from . import controls, ground
from . import rotation as rot
from .keys import location_curves, property_curve, rotation_curves
from .mapping import Mapping, map_armature
from .rest import Rig, read_rig
from .skeleton22 import FPS, JOINTS
from .solve import Solution, resample, solve


@dataclass
class ApplyResult:
    """What happened.

    Attributes:
        action: the new action, bound to the character.
        mapping: which bone plays which joint.
        errors_deg: mean and 95th percentile of the angle between a bone and the motion's, over limbs, spine and neck.
        foot_slide_mm: millimetres a 1/20 s frame that standing feet travel, at the size of the model's body.
        milliseconds: time taken, keys included.
        warnings: one sentence each.
    """

    action: bpy.types.Action
    mapping: Mapping
    errors_deg: tuple[float, float]
    foot_slide_mm: float
    milliseconds: float
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


def curves_for(rig: Rig, solution: Solution, mapping: Mapping, armature: bpy.types.Object, frames: np.ndarray) -> list:
    """Everything to key, as curves. frames: (T,) scene frames."""
    modes = {bone.name: bone.rotation_mode for bone in rig.bones}
    curves = rotation_curves(solution.rotations, modes, frames)
    curves += location_curves(solution.root, solution.location, frames)
    for bone in mapping.hold:
        modes[bone] = armature.pose.bones[bone].rotation_mode
    if mapping.hold:
        still = {bone: np.eye(3)[None] for bone in mapping.hold}
        curves += rotation_curves(still, modes, frames[:1])
    there = {(bone, name) for bone, name, _ in controls.read_switches(armature, mapping.switches)}
    for switch in mapping.switches:
        if (switch.bone, switch.property) in there:
            curves.append(property_curve(switch.bone, switch.property, switch.value, float(frames[0])))
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
    foot_lock: bool = False,
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
        foot_lock: pin standing feet first.

    Raises RigError before anything is changed.
    """
    began = time.perf_counter()
    joints = check_motion(joints)
    check_armature(armature)
    mapping = map_armature(armature)
    rig = read_rig(armature, mapping)
    sliding = ground.slide(joints[:, ground.FEET], fps)
    if foot_lock:
        joints = ground.clean_feet(joints, fps)
    scene_fps = scene.render.fps / scene.render.fps_base
    joints = resample(joints, fps, scene_fps)
    solution = solve(rig, joints, scene_fps)
    frames = float(start_frame) + np.arange(len(joints), dtype=np.float64)
    curves = curves_for(rig, solution, mapping, armature, frames)
    errors = (float(solution.errors.mean()), float(np.percentile(solution.errors, 95)))
    slide = ground.slide(solution.feet, scene_fps)

    action = actions.new_action(name)
    try:
        actions.write_fcurves(action, armature, curves)
        before = controls.read_switches(armature, mapping.switches)
        notes = {
            actions.GENERATED: VERSION,
            **(metadata or {}),
            "mgpt3_rig": mapping.preset,
            "mgpt3_error_mean_deg": errors[0],
            "mgpt3_error_p95_deg": errors[1],
            "mgpt3_foot_slide_mm": slide,  # millimetres a frame of 1/20 s, as is the next
            "mgpt3_foot_slide_before_mm": sliding,
        }
        for key, value in notes.items():
            action[key] = value
        if before:
            current = armature.animation_data.action if armature.animation_data else None
            earlier = current.get(controls.SWITCHES_BEFORE) if current is not None else None
            action[controls.SWITCHES_BEFORE] = earlier or json.dumps(before)
        actions.remember(armature, action)
        actions.bind_action(armature, action)
    except Exception:
        actions.release(armature, action)
        bpy.data.actions.remove(action)
        raise
    controls.set_switches(armature, [[s.bone, s.property, s.value] for s in mapping.switches])

    result = ApplyResult(action, mapping, errors, slide, 0.0, list(rig.warnings))
    if mapping.missing:
        result.warnings.append("No bone for " + ", ".join(mapping.missing) + "; the bones next to it do the work.")
    off = verify(armature, mapping, solution, joints, start_frame, scene)
    if off is not None and off > 8.0:
        result.warnings.append(
            f"Constraints or drivers on this rig turn bones by up to {off:.0f} degrees away from the motion."
        )
    result.milliseconds = (time.perf_counter() - began) * 1000.0
    return result


def verify(
    armature: bpy.types.Object,
    mapping: Mapping,
    solution: Solution,
    joints: np.ndarray,
    start_frame: float,
    scene: bpy.types.Scene,
) -> float | None:
    """Largest angle at the scene's current frame between the character as Blender shows it and the motion, degrees.

    None where the current frame is outside the motion or the character is not in the current view layer. The frame is
    not changed: that would undo poses that the animator has not keyed yet.
    """
    at = round(scene.frame_current - start_frame)
    layer = bpy.context.view_layer
    if not 0 <= at < len(joints) or bpy.context.scene != scene or armature.name not in layer.objects:
        return None
    layer.update()
    bones = armature.pose.bones
    worst = 0.0
    for j, k in solution.compared:
        if JOINTS[j] not in mapping.deform or JOINTS[k] not in mapping.deform:
            continue
        here, there = (np.array(bones[mapping.deform[JOINTS[i]]].head) for i in (j, k))
        wanted = rot.turn(solution.to_armature, joints[at, k] - joints[at, j])
        worst = max(worst, float(np.degrees(rot.angle_between(there - here, wanted))))
    return worst


def remove_motion(armature: bpy.types.Object, action: bpy.types.Action) -> None:
    """Take a generated action off its character and delete it: the action and the switches from before come back."""
    data = armature.animation_data
    if data is not None and data.action == action:
        before = controls.switches_before(action)
        actions.release(armature, action)
        controls.set_switches(armature, before)
    bpy.data.actions.remove(action)
