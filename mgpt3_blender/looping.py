"""Make Loop: a cyclic action from the one that a character plays; its own action stays in the file as it was.

The body is read as it is animated, made cyclic (rig/place.loop) and keyed anew. What else the action moves (fingers,
a face, properties) comes along, cut to the same frames, and its ends meet, too.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import bpy
import numpy as np

from . import VERSION, bonemap, results
from . import action as actions
from .errors import UserError
from .extend import own_action
from .framerate import frame_rate
from .generate import Outcome, action_name, check_applicable
from .rig.channels import CHANNELS
from .rig.options import DEFAULT, IK, Options

LEAST_SECONDS = 0.7
LOOP = "mgpt3_loop"
"""Custom property of an action made by Make Loop: what it was made from and how well its ends meet, as JSON."""
_COPIED = ("mgpt3_seed", "mgpt3_seconds", "mgpt3_guidance", "mgpt3_steps", "mgpt3_sampler", "mgpt3_model",
           "mgpt3_licence", "mgpt3_model_origin", results.LITERAL, results.PROMPT_USED, results.UNDERSTOOD,
           results.NOTE)  # fmt: skip


def make_loop(
    armature: bpy.types.Object, scene: bpy.types.Scene, *, clean_feet: bool = True, retarget: Options = DEFAULT
) -> Outcome:
    """A new action for the character that can be repeated without a seam.

    Args:
        clean_feet: pin standing feet.
        retarget: `in_place` leaves the way travelled out; `loop` is set. A limb that is in IK stays in IK.

    The new action has the range of one round as its frame range, its last frame being the first one again (moved by
    what a round travels). Raises UserError; nothing is changed then.
    """
    from .rig.apply import apply_motion
    from .rig.incharge import in_charge
    from .rig.mapping import map_armature
    from .rig.place import kept, loop
    from .rig.poses import read_poses
    from .rig.standing import standing_space

    check_applicable(armature)
    action = own_action(armature)
    mapping = map_armature(armature)
    fps = frame_rate(scene)
    begin, end = (float(np.round(frame)) for frame in action.frame_range)
    if end - begin < LEAST_SECONDS * fps:
        raise UserError(
            "motion_too_short",
            f'"{action.name}" is too short to be repeated.',
            f"A cycle takes {LEAST_SECONDS:g} seconds at the least.",
        )
    times = np.arange(begin, end + 0.5)
    poses = read_poses(armature, scene, mapping, times)
    # The new action does not move what is above the hips: the body goes where it went all the same.
    joints = standing_space(armature, mapping).motion(poses.space.world(poses.joints))
    first, last = kept(joints, fps)
    limbs = IK if in_charge(armature, mapping).ik else retarget.limbs
    options = replace(retarget, loop=True, limbs=limbs, foot_lock=clean_feet)
    others = _others(action, armature, times[first : last + 1])
    previous = results.Binding.of(armature)
    prompt = str(action.get(results.PROMPT, action.name))
    result = apply_motion(
        armature,
        loop(joints, fps),
        scene=scene,
        name=action_name(f"Loop of {action.name}"),
        start_frame=begin,
        fps=fps,
        metadata={
            **{key: action[key] for key in _COPIED if key in action},
            results.PROMPT: prompt,
            results.MADE: time.time(),
            "mgpt3_version": VERSION,
        },
        options=options,
        mapping=mapping,
    )
    made = result.action
    _carry_over(made, armature, others, begin)
    made.use_frame_range, made.use_cyclic = True, True
    made.frame_start, made.frame_end = (float(frame) for frame in made.curve_frame_range)
    previous.keep()
    results.remember(armature, [made])
    bonemap.found(armature, result.mapping)
    seam = measure_seam(armature, scene, made)
    made[LOOP] = json.dumps({"from": action.name, "in_place": options.in_place, **seam}, ensure_ascii=False)
    line = (
        f'"{made.name}": frames {made.frame_start:.0f} to {made.frame_end:.0f}, the last one being the first again '
        f"(within {max(seam['seam_mm'], 0.1):.1f} mm)."
    )
    return Outcome(armature, [made], line, result.warnings)


def measure_seam(armature: bpy.types.Object, scene: bpy.types.Scene, action: bpy.types.Action) -> dict[str, float]:
    """How well the ends of the character's action meet, once moved onto each other on the floor.

    Returns seam_mm, the largest distance of a joint, and speed_jump, the largest change of a joint's speed over the
    seam, metres a second at the model's size.
    """
    from .rig.mapping import map_armature
    from .rig.place import seam
    from .rig.poses import read_poses

    first, last = (float(frame) for frame in action.curve_frame_range)
    ends = read_poses(armature, scene, map_armature(armature), [first, first + 1, last - 1, last]).joints
    turn, shift = seam(ends[[0, 3]])
    onward = ends[:2] @ turn.T + shift
    fps = frame_rate(scene)
    jump = (onward[1] - onward[0]) - (ends[3] - ends[2])
    apart = np.linalg.norm(onward[0] - ends[3], axis=-1).max()
    return {"seam_mm": float(apart * 1000), "speed_jump": float(np.linalg.norm(jump, axis=-1).max() * fps)}


def _others(action: bpy.types.Action, armature: bpy.types.Object, times: np.ndarray) -> list[actions.Curve]:
    """Every curve of an action at scene frames; its ends meet where it is smooth."""
    from .rig.place import meet

    out = []
    for curve in actions.fcurves(action, armature):
        if not len(curve.keyframe_points):
            continue
        values = np.array([curve.evaluate(frame) for frame in times])
        keys = np.empty(2 * len(curve.keyframe_points), np.float32)
        curve.keyframe_points.foreach_get("co", keys)
        # Between its keys a switch has the values of its keys alone, whatever interpolation they claim to have.
        steps = bool(np.isin(values.astype(np.float32), keys[1::2]).all())
        if not steps and np.ptp(values) > 0.0:
            values = meet(values, 0.3 * (len(values) - 1), 0.0)
        group = curve.group.name if curve.group else ""
        kind = "CONSTANT" if steps else "LINEAR"
        if np.ptp(values) == 0.0:
            out.append(actions.Curve(curve.data_path, curve.array_index, times[:1], values[:1], group, kind))
        else:
            out.append(actions.Curve(curve.data_path, curve.array_index, times, values, group, kind))
    return out


def _carry_over(made: bpy.types.Action, armature: bpy.types.Object, others: list[actions.Curve], begin: float) -> None:
    """Write what the new action does not key itself. Bones above the body's stay as they stand: the body's keys were
    made for that."""
    own = {(curve.data_path, curve.array_index) for curve in actions.fcurves(made, armature)}
    written = {path for path, _ in own}
    keyed = {_bone_of(path) for path in written if ".constraints[" not in path} - {""}
    above = _above(armature, keyed)
    curves = []
    for curve in others:
        bone = _bone_of(curve.path)
        transform = curve.path.rpartition(".")[2] in CHANNELS and ".constraints[" not in curve.path
        if (curve.path, curve.index) in own or (transform and bone in keyed and curve.path in written):
            continue
        if transform and bone == "":
            continue  # of the object: what it did is in the body's keys now
        if transform and bone in keyed and "scale" not in curve.path:
            continue
        if transform and bone in above and bone not in keyed:
            here = armature.path_resolve(curve.path)[curve.index]
            curve = replace(curve, frames=np.array([begin]), values=np.array([here]))
        curves.append(replace(curve, frames=curve.frames - curve.frames[0] + begin))
    actions.write_fcurves(made, armature, curves)


def _above(armature: bpy.types.Object, bones: set[str]) -> set[str]:
    """Bones that some bones hang on: as children, or on a control rig by constraints."""
    found: set[str] = set()
    ask = list(bones)
    while ask:
        bone = armature.pose.bones.get(ask.pop())
        if bone is None:
            continue
        holders = {bone.parent.name} if bone.parent is not None else set()
        for constraint in bone.constraints:
            for held in (constraint, *getattr(constraint, "targets", ())):
                if getattr(held, "target", None) == armature and getattr(held, "subtarget", ""):
                    holders.add(held.subtarget)
        ask += holders - found
        found |= holders
    return found


def _bone_of(path: str) -> str:
    return path.partition('pose.bones["')[2].partition('"]')[0]


def loop_character(armature: bpy.types.Object, scene: bpy.types.Scene) -> Outcome:
    """`make_loop` as the scene's panels are set."""
    clean_feet = scene.mgpt3.clean_feet
    options = replace(scene.mgpt3_rig.options(clean_feet), in_place=scene.mgpt3_extend.in_place)
    return make_loop(armature, scene, clean_feet=clean_feet, retarget=options)
