"""A motion put between (or after) the keys that an animator has set, on whatever rig, as new keys of the same action.

The keys at both ends and everything outside stay equal to the bit. The motion is read and given in the space of
poses.py; between.py turns it into channels, action_splice.py writes them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import bpy
import numpy as np

from .. import action as actions
from .. import action_splice
from ..action_splice import Refill
from ..errors import UserError
from ..framerate import frame_rate
from . import channels, controls
from .apply import check_armature
from .between import Keys, Moving, posed_at, solve_between
from .bridge import values
from .channels import CHANNELS, bone_path, evaluated, rotation_channel
from .incharge import InCharge, in_charge
from .mapping import Mapping
from .options import DEFAULT, Options
from .poses import go_to, held, space_of
from .rest import Rig, read_rig
from .solve import at_times

_AROUND = 0.5
"""Seconds of motion around the keys that the solve sees where it is there."""


@dataclass(frozen=True)
class SpliceResult:
    """What was done.

    Attributes:
        action: that was written to.
        frames: (N,) scene frames that got keys.
        bones: that got keys.
        warnings: one sentence each.
        in_ik: limbs whose IK controls got the keys.
        channels: (path, index) of the curves that have other keys now.
    """

    action: bpy.types.Action
    frames: np.ndarray
    bones: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)
    in_ik: tuple[str, ...] = ()
    channels: tuple[tuple[str, int], ...] = ()


def splice(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    joints: np.ndarray,
    first: float,
    last: float,
    *,
    mapping: Mapping,
    options: Options = DEFAULT,
    bones: Collection[str] | None = None,
    open_end: bool = False,
    context_before: np.ndarray | None = None,
    context_after: np.ndarray | None = None,
    action: bpy.types.Action | None = None,
) -> SpliceResult:
    """Key a motion between two keys of an action, on every scene frame strictly between them.

    Args:
        joints: (n + 1, 22, 3) in the space of `read_poses`, n equal steps from frame `first` to frame `last`.
        first, last: scene frames of the keys.
        mapping: which bone plays which joint.
        options: foot lock and places of hands and feet count; the limbs' controls are those in charge.
        bones: only these get keys; None: all mapped ones.
        open_end: there is no key at `last`: frames up to it get keys, and what the keys at `first` ask for is carried
            on.
        context_before, context_after: (A, 22, 3) the motion up to but without `joints[0]` and after but without
            `joints[-1]`, in the same steps. Where given, the velocity there is gone on with.
        action: to write to; None: the one the armature plays.

    The scene stays at its frame. Raises UserError (RigError) before anything is changed.
    """
    joints = np.asarray(joints, np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) < 2 or not np.isfinite(joints).all():
        raise UserError("bad_answer", "The motion to put between the keys cannot be read.", "Try again.")
    check_armature(armature)
    action = action or (armature.animation_data.action if armature.animation_data else None)
    check_action(action, armature)
    assert action is not None
    frames = new_frames(first, last, open_end)
    if not len(frames):
        raise UserError("no_gap", "There is no frame between the two keys.", "Move the keys further apart.")
    fps = frame_rate(scene)
    times, motion, start, end = _grid(joints, first, last, frames, fps, open_end, context_before, context_after)
    warnings: list[str] = []
    curves = {(c.data_path, c.array_index): c for c in actions.fcurves(action, armature)}
    space = space_of(armature, scene, mapping)
    with held(armature, scene):
        go_to(scene, first)
        charge = in_charge(armature, mapping)
        rig, with_controls = _read(armature, mapping, charge)
        names = list(dict.fromkeys(bone.name for bone in (*rig.bones, *with_controls.bones)))
        keyed = channels.read_keyed(armature, curves, names, times)
        basis, world = channels.posed(armature, scene, action, curves, keyed, times)
        carried = np.linalg.inv(world) @ space.matrix
    fixed = posed_at(rig, basis)
    moving = Moving(
        fixed,
        fixed if with_controls is rig else posed_at(with_controls, basis),
        charge.mapping,
        space,
        carried,
    )
    keys = Keys(
        times,
        start,
        end,
        *keyed,
        before=context_before is not None and len(context_before) > 0,
        after=context_after is not None and len(context_after) > 0,
        fps=fps,
    )
    rotations, locations = solve_between(moving, motion, keys, options)
    driven = {(d.data_path, d.array_index) for d in armature.animation_data.drivers}
    at = np.searchsorted(times, frames)
    writer = _Writer(armature, curves, driven, times, at, start, end)
    chosen = [
        bone.name
        for bone in armature.pose.bones
        if (bones is None or bone.name in bones) and bone.name not in charge.idle
    ]
    for name in chosen:
        if name in rotations:
            writer.rotation(name, rotations[name])
        if name in locations:
            writer.location(name, locations[name])
    others = writer.others()
    inserted = action_splice.refill(action, armature, writer.refills, first, last, open_end=open_end, clear=others)
    armature.update_tag(refresh={"OBJECT", "DATA"})
    warnings += writer.warnings() + _mode_warnings(charge, curves, first, last)
    if inserted:
        gone = len({_bone_of(path) for path in inserted})
        warnings.append(
            f"{gone} {'bone' if gone == 1 else 'bones'} had no key of their own at the ends of the gap: keys were "
            "added there, and the curves keep their shape."
        )
    written = (*((item.path, item.index) for item in writer.refills), *others)
    return SpliceResult(action, frames, tuple(writer.bones), warnings, charge.ik, written)


def check_action(action: bpy.types.Action | None, armature: bpy.types.Object) -> None:
    """Raises UserError where an action has no keys to go between, or cannot be written to."""
    if action is None or not actions.fcurves(action, armature):
        raise UserError(
            "no_keys", f'"{armature.name}" has no keys yet.', "Key two poses (I), then fill the frames between them."
        )
    if action.library is not None:
        raise UserError(
            "linked_action",
            f'The action "{action.name}" is linked from another file and cannot be edited here.',
            "Make it local: Object > Relations > Make Local.",
        )


def new_frames(first: float, last: float, open_end: bool = False) -> np.ndarray:
    """The whole scene frames that get keys: strictly between, or up to and with an open end. (N,) float64."""
    after = np.floor(first + action_splice.NEAR) + 1.0
    until = np.floor(last + action_splice.NEAR) if open_end else np.ceil(last - action_splice.NEAR) - 1.0
    return np.arange(after, until + 0.5)


def _grid(
    joints: np.ndarray,
    first: float,
    last: float,
    frames: np.ndarray,
    fps: float,
    open_end: bool,
    before: np.ndarray | None,
    after: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, int, int | None]:
    """The motion at scene frames: (T,) frames, (T, 22, 3), and the indices of the keys among them."""
    step = (last - first) / (len(joints) - 1)
    parts = [np.asarray(part, np.float64) for part in (before, after) if part is not None and len(part)]
    lead = len(before) if before is not None else 0
    whole = np.concatenate([*parts[: int(lead > 0)], joints, *parts[int(lead > 0) :]])
    most = int(_AROUND * fps)
    front = min(most, int(np.floor(lead * step + 1e-6)))
    back = min(most, int(np.floor((len(after) if after is not None and not open_end else 0) * step + 1e-6)))
    around = [first - np.arange(front, -1, -1.0), frames]
    if not open_end:
        around.append(last + np.arange(back + 1.0))
    times = np.concatenate(around)
    return times, at_times(whole, lead + (times - first) / step), front, None if open_end else front + 1 + len(frames)


def _read(armature: bpy.types.Object, mapping: Mapping, charge: InCharge) -> tuple[Rig, Rig]:
    """The rig as the solve needs it and as the keys need it, at the frame the scene is at."""
    there = armature.pose.bones
    # Controls that a generated motion would hold at rest are the animator's here: what they do counts.
    own = [bone for bone in (*mapping.hold, *mapping.ik.get("hold", ())) if bone in there]
    rig = read_rig(armature, charge.mapping, own)
    if not charge.ik:
        return rig, rig
    parts = charge.mapping.ik
    more = [bone for bone in (*parts["controls"], *parts["poles"]) if bone in there]
    return rig, read_rig(armature, charge.mapping, (*own, *more))


class _Writer:
    """Collects the new keys of each channel, and why some channels get none."""

    def __init__(
        self,
        armature: bpy.types.Object,
        curves: dict,
        driven: set[tuple[str, int]],
        times: np.ndarray,
        at: np.ndarray,
        first: int,
        last: int | None,
    ) -> None:
        self.armature, self.curves, self.driven = armature, curves, driven
        self.times, self.at, self.first, self.last = times, at, first, last
        self.refills: list[Refill] = []
        self.bones: list[str] = []
        self.left: dict[str, list[str]] = {}

    def rotation(self, name: str, channel: np.ndarray) -> None:
        """Key a bone's rotation in its own mode, going on from the key's own numbers. (T, 3, 3)."""
        bone = self.armature.pose.bones[name]
        prop, size = rotation_channel(bone)
        ends = evaluated(
            bone, prop, size, self.curves, self.times[[self.first, -1 if self.last is None else self.last]]
        )
        begin = self.first + 1
        until = len(channel) if self.last is None else self.last + 1
        written = values(channel[begin:until], bone.rotation_mode, ends[0])
        jumps = False
        if self.last is not None:  # the last one is the user's own key, perhaps written as other numbers
            jumps = bool(np.abs(written[-1] - ends[1]).max() > 1.0)
            written = written[:-1]
        self._add(name, prop, written, ends, jumps)

    def location(self, name: str, channel: np.ndarray) -> None:
        bone = self.armature.pose.bones[name]
        ends = evaluated(
            bone, "location", 3, self.curves, self.times[[self.first, -1 if self.last is None else self.last]]
        )
        self._add(name, "location", channel[self.at], ends, False)

    def _add(self, name: str, prop: str, written: np.ndarray, ends: np.ndarray, jumps: bool) -> None:
        path = bone_path(name, prop)
        for i in range(written.shape[1]):
            curve = self.curves.get((path, i))
            why = "driven" if (path, i) in self.driven else action_splice.unusable(curve) if curve is not None else ""
            if why:
                self.left.setdefault(why, []).append(name)
                return
        for i in range(written.shape[1]):
            self.refills.append(
                Refill(
                    path,
                    i,
                    self.times[self.at],
                    written[:, i],
                    name,
                    float(ends[0, i]),
                    None if self.last is None else float(ends[1, i]),
                    jumps,
                )
            )
        if name not in self.bones:
            self.bones.append(name)

    def others(self) -> list[tuple[str, int]]:
        """Other transform channels of the bones that get keys: they only lose what is keyed in between."""
        written = {(item.path, item.index) for item in self.refills}
        paths = {bone_path(name, channel) for name in self.bones for channel in CHANNELS}
        return [
            key
            for key, curve in self.curves.items()
            if key[0] in paths and key not in written and key not in self.driven and not action_splice.unusable(curve)
        ]

    def warnings(self) -> list[str]:
        words = {"driven": "driven", "locked": "locked", "muted": "muted", "has modifiers": "under curve modifiers",
                 "baked to samples": "baked to samples"}  # fmt: skip
        out = []
        for why, bones in self.left.items():
            some = ", ".join(dict.fromkeys(bones))
            out.append(f"Left alone because their curves are {words[why]}: {some}.")
        return out


def _mode_warnings(charge: InCharge, curves: dict, first: float, last: float) -> list[str]:
    out = []
    if charge.between:
        out.append("Some limbs are between FK and IK: the controls that have the greater say got the keys.")
    for switch in charge.switches:
        curve = curves.get((controls.switch_curve(switch, 0.0).path, 0))
        if curve is not None and abs(curve.evaluate(first) - curve.evaluate(last)) > 0.5:
            out.append(
                "A limb is switched between FK and IK within the gap: the controls of its beginning got the keys."
            )
            break
    return out


def _bone_of(path: str) -> str:
    return path.partition('["')[2].rpartition('"]')[0]
