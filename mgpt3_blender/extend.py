"""Continue: what comes after the last keys of a character's action, as further keys of the same action.

`continue_character` does it all and blocks; the panel goes through `extend_job`, so that the window stays alive.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import bpy
import numpy as np

from . import action as actions
from . import jobs, results
from .errors import UserError
from .framerate import frame_rate
from .generate import MAX_PROMPT, MAX_SEED, Outcome, check_applicable, need_character
from .rig.mapping import Mapping, map_armature
from .rig.options import DEFAULT, Options
from .targets import Target
from .wire import decode_array, encode_array

MIN_SECONDS, MAX_SECONDS = 0.5, 9.6  # the model sees up to 196 frames at 20 a second, some of them what came before
MODEL_FPS = 20.0
CONTEXT_SECONDS = 3.0
"""How much of the motion before is shown to the model."""
LEAST_FRAMES = 8
EXTENDED = "mgpt3_continued"
"""Custom property of an action that was gone on with: list of how, as JSON."""


@dataclass(frozen=True)
class Request:
    """How to go on.

    Args:
        seconds: 0.5 to 9.6.
        prompt: what comes next; empty for whatever follows from the motion.
        seed: 0 to 2^31-1.
        clean_feet, retarget: as in `generate.Request`; the limbs' controls are those in charge.
    """

    seconds: float = 2.0
    prompt: str = ""
    seed: int = 0
    clean_feet: bool = True
    retarget: Options = DEFAULT

    def check(self) -> None:
        """Raises UserError where the core would refuse the request."""
        if not (math.isfinite(self.seconds) and MIN_SECONDS <= self.seconds <= MAX_SECONDS):
            raise UserError(
                "duration_out_of_range",
                f"A motion cannot go on for {self.seconds:g} seconds at once.",
                f"Choose between {MIN_SECONDS:g} and {MAX_SECONDS:g} seconds, and press Continue again.",
            )
        if len(self.prompt) > MAX_PROMPT:
            raise UserError("prompt_too_long", "The prompt is too long.", "Describe one motion in a sentence or two.")
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError("seed_out_of_range", "The seed is out of range.", f"Choose 0 to {MAX_SEED}.")


@dataclass(frozen=True)
class Ending:
    """How an action ends.

    Attributes:
        last: scene frame of the last key of a bone that plays a part. count: scene frames to add.
        joints: (A, 22, 3) the motion up to and with that frame, in the model's steps.
    """

    last: float
    count: int
    joints: np.ndarray


def continue_character(
    armature: bpy.types.Object | None,
    request: Request,
    *,
    scene: bpy.types.Scene | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Outcome:
    """Go on with a character's action, blocking until done. Raises UserError; nothing is changed then."""
    job = extend_job(request, scene or bpy.context.scene, armature)
    jobs.run_blocking(job, progress=progress, cancelled=cancelled)
    assert isinstance(job.outcome, Outcome)
    return job.outcome


def extend_job(request: Request, scene: bpy.types.Scene, armature: bpy.types.Object | None = None) -> jobs.Job:
    """The job of going on. Raises UserError where it is already clear that it cannot work."""
    request.check()
    if armature is None:
        armature = need_character(scene, None, bpy.context.view_layer.objects.active)
    check_applicable(armature)
    mapping = map_armature(armature)
    action = own_action(armature)
    ending = read_ending(armature, scene, mapping, action, request.seconds)
    frames = max(round(ending.count / _step(scene)), LEAST_FRAMES)
    target, goes_on = Target.to(armature, scene), results.Reference.to(action)

    def apply(reply: object) -> Outcome:
        where, home = target.find()
        there = where.animation_data.action if where.animation_data else None
        if there is None or goes_on.find([there]) is None or last_key(there, where, mapping) != ending.last:
            raise UserError(
                "action_changed",
                "The character's action was changed while its continuation was being made.",
                "Press Continue again.",
            )
        return _apply(reply, request, where, home, mapping, ending)

    params = {
        "before": encode_array(ending.joints.astype(np.float32)),
        "frames": frames,
        "prompt": request.prompt.strip(),
        "seed": int(request.seed),
        "variations": 1,
    }
    return jobs.Job("Continue", "predict", params, apply)


def own_action(armature: bpy.types.Object) -> bpy.types.Action:
    """The action that a character plays. Raises UserError where there is none that can be edited."""
    from .rig.splice import check_action

    action = armature.animation_data.action if armature.animation_data else None
    check_action(action, armature)
    assert action is not None
    return action


def last_key(action: bpy.types.Action, armature: bpy.types.Object, mapping: Mapping) -> float:
    """Scene frame of the last key of the bones that play a part. Raises UserError("no_keys")."""
    from .rig.ik import ik_mapping

    described = ik_mapping(mapping)
    bones = {*mapping.bones.values(), *mapping.also, *mapping.spine, *mapping.neck, mapping.root}
    if described is not None:
        bones |= {*described.controls, *described.poles}
    ends = [
        curve.keyframe_points[-1].co[0]
        for curve in actions.fcurves(action, armature)
        if len(curve.keyframe_points) and curve.data_path.partition('["')[2].partition('"]')[0] in bones
    ]
    if not ends:
        raise UserError("no_keys", f'"{action.name}" has no keys on the body.', "Key a pose first (I), then go on.")
    return float(max(ends))


def read_ending(
    armature: bpy.types.Object, scene: bpy.types.Scene, mapping: Mapping, action: bpy.types.Action, seconds: float
) -> Ending:
    """The last seconds of a motion, in steps that lead on to a whole scene frame."""
    from .rig.poses import read_poses

    fps = frame_rate(scene)
    last = last_key(action, armature, mapping)
    count = max(round(seconds * fps), 1)
    step = count / max(round(count / _step(scene)), LEAST_FRAMES)
    first = float(action.frame_range[0])
    known = int(np.floor((last - first) / step + 1e-6))
    before = min(max(known, LEAST_FRAMES), round(CONTEXT_SECONDS * MODEL_FPS))
    times = last - step * np.arange(before, -1, -1)
    return Ending(last, count, read_poses(armature, scene, mapping, times).joints)


def _step(scene: bpy.types.Scene) -> float:
    """Scene frames for one of the model's."""
    return frame_rate(scene) / MODEL_FPS


def _apply(
    reply: object,
    request: Request,
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    mapping: Mapping,
    ending: Ending,
) -> Outcome:
    """Key what comes next. Everything is checked before anything is changed."""
    from .rig.splice import splice

    entries = reply.get("motions") if isinstance(reply, dict) else None
    if not isinstance(reply, dict) or not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        raise UserError("bad_answer", "The motion model's answer holds no motion.", "Try again.")
    joints = decode_array(entries[0].get("joints"))
    done = splice(
        armature,
        scene,
        joints,
        ending.last,
        ending.last + ending.count,
        mapping=mapping,
        options=replace(request.retarget, foot_lock=request.clean_feet, loop=False, in_place=False),
        open_end=True,
        context_before=ending.joints[:-1],
    )
    action, end = done.action, float(done.frames[-1])
    if action.use_frame_range and action.frame_end < end:
        action.frame_end = end
    model = reply.get("model")
    _note(action, request, ending, end, model if isinstance(model, dict) else {})
    line = f'"{action.name}" goes on for {len(done.frames)} frames, to frame {end:.0f}.'
    if end > scene.frame_end:
        line += f" The scene plays frames {scene.frame_start} to {scene.frame_end} only."
    note = str(reply.get("note") or "")
    return Outcome(armature, [action], line, list(done.warnings), note[:1].upper() + note[1:])


def _note(action: bpy.types.Action, request: Request, ending: Ending, end: float, model: dict[str, Any]) -> None:
    """Remember on the action how it went on."""
    try:
        before = json.loads(str(action.get(EXTENDED, "[]")))
    except ValueError:
        before = []
    before.append({
        "first": ending.last, "last": end, "prompt": request.prompt.strip(), "seed": request.seed,
        "model": str(model.get("name", "")), "licence": str(model.get("licence", "")),
    })  # fmt: skip
    action[EXTENDED] = json.dumps(before, ensure_ascii=False)
