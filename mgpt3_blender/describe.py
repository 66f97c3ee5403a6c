"""Describe: what a character does in its action, as a sentence, with what can be measured beside it.

`describe_character` does it all and blocks; the panel goes through `describe_job`, so that the window stays alive.
What comes back lies on the action (`drafts`) as a draft, to be edited and then applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import bonemap, drafts, finding, jobs
from .action import has_slots
from .described import refusal
from .errors import UserError
from .framerate import frame_rate
from .generate import need_character
from .playedby import bones_named, curves_of, find_character, slots_of, strips_of
from .reading import Frames, Reading, Unfinished, read_action
from .results import Reference
from .rig.mapping import map_armature
from .wire import encode_array

ALTERNATIVES, MAX_ALTERNATIVES = 2, 8
MAX_SECONDS = 1800.0
TITLE = "Describe"


@dataclass(frozen=True)
class Request:
    """What to describe.

    Args:
        first, last: scene frames, both included; None for those of the action.
        alternatives: how many further sentences, 0 to 8.
        fast: a large model's quick recipe.
    """

    first: float | None = None
    last: float | None = None
    alternatives: int = ALTERNATIVES
    fast: bool = False

    def check(self) -> None:
        """Raises UserError where the request cannot be met, whatever the action."""
        given = [frame for frame in (self.first, self.last) if frame is not None]
        if not all(math.isfinite(frame) for frame in given) or (len(given) == 2 and given[0] >= given[1]):
            raise UserError(
                "range_empty",
                f"There is no motion from frame {self.first:g} to {self.last:g}."
                if len(given) == 2
                else "The frame range cannot be read.",
                "Let the range end after it begins.",
            )
        if not 0 <= self.alternatives <= MAX_ALTERNATIVES:
            raise UserError(
                "alternatives_out_of_range",
                f"{self.alternatives} alternatives cannot be made.",
                f"Choose 0 to {MAX_ALTERNATIVES}.",
            )


@dataclass(frozen=True)
class Subject:
    """What is described of a character.

    Attributes:
        action: what the description is about. slot: which slot of it, None up to Blender 4.3.
        alone: it is played alone; otherwise whatever animates the character now counts.
        first, last: scene frames where they are not those of the action; else None.
        notes: what was found odd, one sentence each.
    """

    action: bpy.types.Action
    slot: Any
    alone: bool = False
    first: float | None = None
    last: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was described, and a line for people. `description` is the draft on the action, or on its slot."""

    armature: bpy.types.Object
    action: bpy.types.Action
    description: Any
    line: str
    warnings: tuple[str, ...] = ()


def describe_character(
    armature: bpy.types.Object | None = None,
    request: Request | None = None,
    *,
    scene: bpy.types.Scene | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Outcome:
    """Describe what a character does, blocking until done.

    Args:
        armature: the character; None for the active or only one of the scene.
        scene: None for the current one.
        progress: told (fraction 0..1, message). cancelled: polled; true ends the request.

    Raises UserError (WorkerError, RigError); nothing is changed then.
    """
    job = describe_job(request or Request(), scene or bpy.context.scene, armature)
    jobs.run_blocking(job, progress=progress, cancelled=cancelled)
    assert isinstance(job.outcome, Outcome)
    return job.outcome


def describe_job(request: Request, scene: bpy.types.Scene, armature: bpy.types.Object | None = None) -> jobs.Job:
    """The job of describing; holds no references to Blender's data, which may change meanwhile.

    Raises UserError where it is already clear that it cannot work: no_action, empty_action, object_action,
    no_character_for_action, motion_static, range_empty, range_too_long, and those of `reading`.
    """
    request.check()
    if armature is None:
        armature = need_character(scene, None, bpy.context.view_layer.objects.active)
    mapping = map_armature(armature)
    about = subject(armature)
    who, what, home = Reference.to(armature), Reference.to(about.action), Reference.to(scene)
    handle = drafts.handle_of(about.slot)
    before = finding.content_key(about.action, about.slot, armature, frame_rate(scene))
    seen = Frames()
    reading: Reading | None = None

    def found() -> tuple[bpy.types.Object, bpy.types.Action]:
        there, action = who.find(bpy.data.objects), what.find(bpy.data.actions)
        if there is None or action is None or not drafts.has_slot(action, handle):
            raise UserError(
                "action_gone", f'"{what.name}" was deleted while it was being described.', "Describe another action."
            )
        return there, action

    def changed() -> UserError:
        return UserError("action_changed", f'"{what.name}" was changed while it was being read.', "Describe again.")

    def gather(until: float) -> dict | None:
        """Read on; the request's params when all is read."""
        nonlocal reading
        there, action = found()
        where, now = home.find(bpy.data.scenes), subject(there)
        if where is None or now.action != action:
            raise changed()
        seen.until = until
        try:
            reading = _read(request, there, where, now, seen)
        except Unfinished:
            return None
        if finding.content_key(action, now.slot, there, frame_rate(where)) != before:  # half a second on a large action
            raise changed()
        return {
            "motions": [{"joints": encode_array(np.asarray(reading.joints, np.float32))}],
            "alternatives": int(request.alternatives),
            "fast": bool(request.fast),
            "embed": False,
        }

    def apply(reply: object) -> Outcome:
        answer, model = read_reply(reply)
        there, action = found()
        assert reading is not None
        bonemap.found(there, mapping)
        whole = request.first is None and request.last is None
        draft = drafts.keep(action, handle, answer, model, reading, before if whole else "")
        return Outcome(there, action, draft, _line(action, draft), (*about.notes, *reading.notes))

    job = jobs.Job(TITLE, "describe", {}, apply)
    job.gather_with(gather, lambda: f"Reading the motion, {seen.fraction:.0%}")
    return job


def subject(armature: bpy.types.Object) -> Subject:
    """What there is to describe of a character.

    That is the action it plays; the one of its NLA strips, where they all play the same. An action that is assigned
    without being played, because its slot belongs to another object, is described as if it were played.

    Raises UserError: no_action, several_actions, empty_action, object_action, no_character_for_action.
    """
    data = armature.animation_data
    action = data.action if data is not None else None
    if action is None:
        return _from_strips(armature)
    slot = data.action_slot if has_slots(action) else None
    found = slots_of(action, armature)
    if found and not any(playable.slot == slot for playable in found):
        whose = f'The slot of "{action.name}" is that of another object' if slot is None else "Another slot is bound"
        note = f'{whose}: "{armature.name}" does not play it. It is described as if it did.'
        return Subject(action, found[0].slot, alone=True, notes=(note,))
    if not found and not _moved_otherwise(armature):
        find_character(action, [armature])  # says what is wrong with it
    if data.use_tweak_mode:
        first, last = (float(data.nla_tweak_strip_time_to_scene(frame)) for frame in action.frame_range)
        return Subject(action, slot, first=first, last=last)
    return Subject(action, slot)


def read_reply(reply: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The worker's one description, checked, and its model. Raises UserError: what the core refused, or bad_answer."""
    entries = reply.get("descriptions") if isinstance(reply, dict) else None
    answer = entries[0] if isinstance(entries, list) and len(entries) == 1 else None
    error = refusal(answer)
    if error is not None:
        raise error
    if not isinstance(answer, dict) or not str(answer.get("sentence") or "").strip() or not drafts.whole(answer):
        raise UserError("bad_answer", "The motion model's answer holds no description.", "Describe again.")
    assert isinstance(reply, dict)
    model = reply.get("model")
    return answer, model if isinstance(model, dict) else {}


def _read(
    request: Request, armature: bpy.types.Object, scene: bpy.types.Scene, about: Subject, seen: Frames
) -> Reading:
    """The motion. Raises Unfinished, UserError as `reading` does, and motion_static, range_too_long."""
    first = about.first if request.first is None else request.first
    last = about.last if request.last is None else request.last
    span = (first, last) if first is not None and last is not None else _keyed(armature, about)
    if span is not None:
        seconds = (span[1] - span[0]) / frame_rate(scene)
        if seconds > MAX_SECONDS:
            raise UserError(
                "range_too_long",
                f"{seconds / 60:.0f} minutes are too long to describe at once.",
                f"Choose a range of at most {MAX_SECONDS / 60:.0f} minutes.",
            )
        if span[1] - span[0] < 1e-3:  # of an action: there is no such range
            raise UserError(
                "motion_static",
                f'"{about.action.name}" holds one pose: nothing moves.',
                "Choose an action with at least half a second of motion.",
            )
    if about.alone:
        return read_action(armature, scene, about.action, about.slot, first=first, last=last, seen=seen)
    return read_action(armature, scene, first=first, last=last, seen=seen)


def _keyed(armature: bpy.types.Object, about: Subject) -> tuple[float, float] | None:
    """First and last key of an action; None where they do not say how long the motion is."""
    if about.action.use_frame_range or (not about.alone and _strips(armature)):
        return None
    ends = [curve.range() for curve in curves_of(about.action, about.slot) if len(curve.keyframe_points)]
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None


def _from_strips(armature: bpy.types.Object) -> Subject:
    """The action of the character's NLA strips. Raises UserError: no_action, several_actions."""
    strips = _strips(armature)
    played = {(strip.action.name, getattr(strip, "action_slot_handle", 0)): strip for strip in strips}
    if not played:
        raise UserError(
            "no_action",
            f'"{armature.name}" plays no action.',
            "Give it one; where something else moves it, bake its motion first (Object > Animation > Bake Action).",
        )
    if len(played) > 1:
        raise UserError(
            "several_actions",
            f'"{armature.name}" plays {len(played)} actions in the NLA, and none of them is the active one.',
            "Press Tab on a strip in the NLA editor, or describe them all under Library.",
        )
    strip = next(iter(played.values()))
    slot = strip.action_slot if has_slots(strip.action) else None
    return Subject(strip.action, slot)


def _strips(armature: bpy.types.Object) -> list[bpy.types.NlaStrip]:
    """The NLA strips that play an action of their own on a character."""
    return [strip for strip in strips_of(armature) if strip.action is not None]


def _moved_otherwise(armature: bpy.types.Object) -> bool:
    """Whether anything but the active action moves the character's bones: the NLA, constraints, drivers."""
    data = armature.animation_data
    if _strips(armature) or bones_named(data.drivers):
        return True
    return any(not constraint.mute for bone in armature.pose.bones for constraint in bone.constraints)


def _line(action: bpy.types.Action, draft: Any) -> str:
    count = len(draft.segments)
    parts = f", in {count} segments" if count > 1 else ""
    return f'"{action.name}" described, frames {draft.first:.0f} to {draft.last:.0f}{parts}.'
