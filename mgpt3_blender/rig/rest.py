"""An armature's rest pose, its bone tree and how the tree moves, as plain arrays.

Only `read_rig` looks at Blender objects; everything else is NumPy and works without Blender.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from . import rotation as rot
from .mapping import Mapping
from .skeleton22 import INDEX

if TYPE_CHECKING:
    import bpy


@dataclass(frozen=True)
class Follow:
    """A constraint through which a bone inside a control rig follows others.

    Attributes:
        kind: "rotation", "location", "transform", "scale" (the Copy constraints), "local rotation", "local transform"
            (the same in Local Space), "carry" (Child Of and Armature constraints), "aim" (Damped Track, Stretch To).
        target: index of the bone that is followed; the first one of a "carry".
        influence: 0..1.
        weights: "carry": (bone, weight) of each bone followed, weights adding up to 1.
        offsets: "carry": for each of those the (4, 4) matrix that its pose matrix is multiplied by.
        axis: "aim": (3,) the axis of the bone itself that points at the target.
        along: how far along the target from its head to its tail the followed point is, 0..1.
    """

    kind: str
    target: int
    influence: float
    weights: tuple[tuple[int, float], ...] = ()
    offsets: tuple[np.ndarray, ...] = ()
    axis: tuple[float, float, float] = (0.0, 1.0, 0.0)
    along: float = 0.0


@dataclass
class Bone:
    """One bone: rest in armature space, its place in the tree, and the pose it holds while nobody keys it.

    Scale is one number a bone: how large a control was posed. `inherit_scale` False: it does not grow with its parent.
    """

    name: str
    parent: int
    rotation: np.ndarray  # (3, 3) rest orientation, armature space
    head: np.ndarray  # (3,) rest head, armature space
    tail: np.ndarray  # (3,)
    inherit_rotation: bool = True
    local_location: bool = True
    connected: bool = False
    rotation_mode: str = "QUATERNION"
    pose_rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    pose_location: np.ndarray = field(default_factory=lambda: np.zeros(3))
    follows: tuple[Follow, ...] = ()
    inherit_scale: bool = True
    pose_scale: float = 1.0


@dataclass
class Rig:
    """A character ready to be solved for.

    Attributes:
        bones: every bone that matters (keyed ones, what they hang from, what those follow), parents and followed
            bones before their dependants.
        keyed: index into `bones` -> joint index whose orientation the bone takes.
        joint_bone: joint index -> index into `bones` of the bone that plays it.
        root: index of the bone that plays the pelvis.
        joint_heads: (22, 3) joints in rest, armature space; NaN where the character has none.
        foot_tips: (2, 3) tails of the left and right foot bones in rest, for characters without toes.
        controls: the keyed bones are controls; the joints are elsewhere (on the deform bones).
        to_world: (3, 3) rotation from armature space to world space; the scale is uniform and does not matter here.
        height_in_world: height of the armature's origin over the world's floor, armature units.
        size_in_world: metres of the world for one armature unit.
        rest_is_pose: False when the preset says that the rest is no body pose.
        warnings: what was found odd, one sentence each.
        spine, neck: indices of all bones of those chains, lowest first; those that play no joint are not in `keyed`.
        root_bone: index of the bone on the ground that everything hangs from, None where there is none.
        growth: size that the pelvis's bone has in the pose that is held, against its rest.
    """

    bones: list[Bone]
    keyed: dict[int, int]
    joint_bone: dict[int, int]
    root: int
    joint_heads: np.ndarray
    foot_tips: np.ndarray
    controls: bool
    to_world: np.ndarray
    height_in_world: float = 0.0
    size_in_world: float = 1.0
    rest_is_pose: bool = True
    warnings: list[str] = field(default_factory=list)
    spine: list[int] = field(default_factory=list)
    neck: list[int] = field(default_factory=list)
    root_bone: int | None = None
    growth: float = 1.0


@dataclass
class Posed:
    """What forward kinematics gives: T frames, or 1 where nothing moves.

    Attributes:
        rotations: orientation of each bone, armature space, (T or 1, 3, 3).
        heads: head of each bone, armature space, (T or 1, 3).
        channels: for each bone in `targets` the rotation channel that brings it there, (T or 1, 3, 3).
        shifts: for each bone in `places` the location channel that brings it there, (T or 1, 3).
        scales: size of each bone against its rest; 1.0 unless a control above it is posed larger or smaller.
        bases: orientation of each bone before its own rotation channel, (T or 1, 3, 3).
    """

    rotations: list[np.ndarray] = field(default_factory=list)
    heads: list[np.ndarray] = field(default_factory=list)
    channels: dict[int, np.ndarray] = field(default_factory=dict)
    shifts: dict[int, np.ndarray] = field(default_factory=dict)
    scales: list[float] = field(default_factory=list)
    bases: list[np.ndarray] = field(default_factory=list)


def pose(
    bones: list[Bone],
    targets: dict[int, np.ndarray],
    locations: dict[int, np.ndarray] | None = None,
    places: dict[int, np.ndarray] | None = None,
    basis: dict[int, np.ndarray] | None = None,
) -> Posed:
    """Forward kinematics the way Blender does it: parents, inheritance switches, the constraints inside control rigs.

    Args:
        bones: in evaluation order.
        targets: bone index -> wanted orientation in armature space, (T, 3, 3) or (3, 3).
        locations: bone index -> its location channel, (T, 3) or (3,), instead of the pose it holds.
        places: bone index -> wanted head in armature space, (T, 3) or (3,); stronger than `locations`. A connected
            bone has no location of its own and stays where it is connected.
        basis: bone index -> its rotation channel, (T, 3, 3) or (3, 3), instead of the pose it holds; `targets` are
            stronger.
    """
    out = Posed()
    for i, bone in enumerate(bones):
        base, axes, head = base_frame(bones, i, out.rotations, out.heads, out.scales)
        above = out.scales[bone.parent] if bone.parent >= 0 else 1.0
        scale = bone.pose_scale * (above if bone.inherit_scale else 1.0)
        for follow in bone.follows:
            if follow.kind != "carry" or follow.influence < 1.0:
                continue  # a bone carried as a whole: its own channels count in the carrier's space
            turn, shift, grown = _carried(out, follow)
            base, axes, scale, above = turn @ base, turn @ axes, scale * grown, above * grown
            if not bone.connected:  # no constraint tears it from its parent
                head = _moved(turn, shift, grown, head)
        if places is not None and i in places and not bone.connected:
            place = places[i].reshape(-1, 3)
            out.shifts[i] = rot.turn(rot.transposed(axes), place - head) / above
            head = np.broadcast_to(place, np.broadcast_shapes(place.shape, head.shape))
        else:
            location = bone.pose_location if locations is None else locations.get(i, bone.pose_location)
            if not bone.connected and np.any(location):
                head = head + above * rot.turn(axes, location)
        if i in targets:
            turned = targets[i].reshape(-1, 3, 3)
            out.channels[i] = rot.transposed(base) @ turned
        else:
            held = bone.pose_rotation if basis is None else basis.get(i, bone.pose_rotation)
            turned = base @ held.reshape(-1, 3, 3)
        joined = head
        for follow in bone.follows:
            if follow.kind != "carry" or follow.influence < 1.0:
                turned, head, scale = _follow(bones, out, follow, base, turned, head, scale)
        if bone.connected:
            head = joined
        out.rotations.append(turned)
        out.heads.append(head)
        out.scales.append(scale)
        out.bases.append(base)
    return out


def _moved(turn: np.ndarray, shift: np.ndarray, grown: float, point: np.ndarray) -> np.ndarray:
    return grown * rot.turn(turn, point) + shift


def _carried(out: Posed, follow: Follow) -> tuple[np.ndarray, np.ndarray, float]:
    """What a "carry" does to everything of its owner: turn (T, 3, 3), shift (T, 3), growth."""
    turns, shifts, growth = 0.0, 0.0, 0.0
    for (k, weight), offset in zip(follow.weights, follow.offsets, strict=True):
        size = float(np.cbrt(np.linalg.det(offset[:3, :3])))
        turns = turns + weight * (out.rotations[k] @ (offset[:3, :3] / size))
        shifts = shifts + weight * (out.heads[k] + out.scales[k] * rot.turn(out.rotations[k], offset[:3, 3]))
        growth += weight * out.scales[k] * size
    if len(follow.weights) > 1:  # Blender adds up the matrices; the nearest rotation to the sum
        U, _, Vt = np.linalg.svd(turns)
        turns = U @ Vt
    return turns, shifts, growth


def _point(bones: list[Bone], out: Posed, follow: Follow) -> np.ndarray:
    """The followed point of a target: its head, or further along to its tail. (T, 3)."""
    k = follow.target
    if follow.along == 0.0:
        return out.heads[k]
    reach = follow.along * float(np.linalg.norm(bones[k].tail - bones[k].head)) * out.scales[k]
    return out.heads[k] + reach * out.rotations[k][..., 1]


def _follow(
    bones: list[Bone],
    out: Posed,
    follow: Follow,
    base: np.ndarray,
    turned: np.ndarray,
    head: np.ndarray,
    scale: float,
) -> tuple[np.ndarray, np.ndarray, float]:
    """One constraint after the bone's own channels: orientation, head and size with it."""
    k, part = follow.target, follow.influence
    if follow.kind == "carry":
        turn, shift, grown = _carried(out, follow)
        return (
            rot.between(turned, turn @ turned, part),
            head + part * (_moved(turn, shift, grown, head) - head),
            scale * (1.0 + part * (grown - 1.0)),
        )
    if follow.kind == "aim":
        now = rot.turn(turned, np.asarray(follow.axis))
        aimed = rot.swing(now, _point(bones, out, follow) - head) @ turned
        return rot.between(turned, aimed, part), head, scale
    if follow.kind.startswith("local"):
        turned = rot.between(turned, base @ rot.transposed(out.bases[k]) @ out.rotations[k], part)
        return turned, head, scale
    if follow.kind in ("rotation", "transform"):
        turned = rot.between(turned, out.rotations[k], part)
    if follow.kind in ("location", "transform"):
        head = head + part * (_point(bones, out, follow) - head)
    if follow.kind in ("scale", "transform"):
        scale += part * (out.scales[k] - scale)
    return turned, head, scale


def base_frame(
    bones: list[Bone],
    i: int,
    rotations: list[np.ndarray],
    heads: list[np.ndarray],
    scales: list[float] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a bone is before its own channels: orientation, the axes its location channel is in, and its head."""
    bone = bones[i]
    if bone.parent < 0:
        base, head = bone.rotation[None], bone.head[None]
        return base, base if bone.local_location else np.eye(3)[None], head
    parent, turned = bones[bone.parent], rotations[bone.parent]
    to_local = parent.rotation.T
    inherited = turned @ (to_local @ bone.rotation)
    offset = to_local @ (bone.head - parent.head)
    head = heads[bone.parent] + rot.turn(turned, offset if scales is None else scales[bone.parent] * offset)
    # Without "Local Location" a location counts along the axes of the parent bone, not along the armature's.
    return (
        inherited if bone.inherit_rotation else bone.rotation[None],
        inherited if bone.local_location else turned,
        head,
    )


def _wanted(
    armature: bpy.types.Object, names: list[str], own: Collection[str], off: Container[tuple[str, str]]
) -> list[str]:
    """The named bones, all they hang from and all they follow, in an order that can be evaluated."""
    from .controls import followed  # bpy objects only; imported here so that this module stays importable alone

    order: list[str] = []
    state: dict[str, int] = {}

    def visit(name: str) -> None:
        if state.get(name):  # 1: under way (a circle, which Blender would not evaluate either), 2: done
            return
        state[name] = 1
        bone = armature.pose.bones[name]
        if bone.parent:
            visit(bone.parent.name)
        for other in followed(armature, bone, name in own, off):
            visit(other)
        state[name] = 2
        order.append(name)

    for name in names:
        visit(name)
    return order


def read_rig(
    armature: bpy.types.Object,
    mapping: Mapping,
    more: Sequence[str] = (),
    off: Container[tuple[str, str]] = (),
) -> Rig:
    """Read what the solve needs from an armature. Changes nothing.

    Args:
        armature: an armature object, in Object or Pose Mode.
        mapping: which bone plays which joint.
        more: further bones to read (IK controls); they are not among `keyed`.
        off: (bone, constraint) of constraints that will be switched off.
    """
    from .controls import read_follows

    there = armature.pose.bones
    keyed_names = {**{bone: joint for joint, bone in mapping.bones.items()}, **mapping.also}
    chains = [bone for bone in (*mapping.spine, *mapping.neck) if bone in there]
    ground = [mapping.root] if mapping.root and mapping.root in there else []
    own = {*keyed_names, *chains, *more}
    order = _wanted(armature, [*ground, *keyed_names, *chains, *more], own, off)
    index = {name: i for i, name in enumerate(order)}
    still = {*mapping.hold, *mapping.ik.get("hold", ())} - own  # kept at rest, whatever pose they hold now
    warnings: list[str] = []
    lost: list[str] = []
    uneven: list[str] = []
    bones: list[Bone] = []
    read: dict[str, int] = {}
    for name in order:
        posed = there[name]
        rest = posed.bone
        basis = np.eye(4) if name in still else np.array(posed.matrix_basis)
        size = np.linalg.norm(basis[:3, :3], axis=0)
        if size.max() > 1.01 * size.min():
            uneven.append(name)
        matrix = np.array(rest.matrix_local)
        bones.append(
            Bone(
                name=name,
                parent=index[posed.parent.name] if posed.parent else -1,
                rotation=matrix[:3, :3],
                head=matrix[:3, 3],
                tail=np.array(rest.tail_local),
                inherit_rotation=rest.use_inherit_rotation,
                local_location=rest.use_local_location,
                connected=bool(rest.use_connect and posed.parent),
                rotation_mode=posed.rotation_mode,
                pose_rotation=basis[:3, :3] / np.maximum(size, 1e-9),
                pose_location=basis[:3, 3],
                follows=read_follows(armature, posed, read, lost, own, still, off) if posed.constraints else (),
                inherit_scale=rest.inherit_scale not in ("NONE", "NONE_LEGACY"),
                pose_scale=float(np.cbrt(np.prod(size))),
            )
        )
        read[name] = index[name]
    if uneven:
        warnings.append(
            f"Posed with different sizes along their axes, which the motion may shear: {', '.join(uneven)}."
        )
    if lost:
        shown = ", ".join(lost[:4]) + (f" and {len(lost) - 4} more" if len(lost) > 4 else "")
        warnings.append(f"Not followed, so bones below may come out turned: {shown}.")
    heads = np.full((22, 3), np.nan)
    tips = np.full((2, 3), np.nan)
    for joint, name in mapping.deform.items():
        heads[INDEX[joint]] = armature.data.bones[name].head_local
        if joint in ("l_ankle", "r_ankle"):
            tips[int(joint == "r_ankle")] = armature.data.bones[name].tail_local
    matrix = np.array(armature.matrix_world)
    size = np.cbrt(np.linalg.det(matrix[:3, :3]))
    return Rig(
        bones=bones,
        keyed={index[name]: INDEX[joint] for name, joint in keyed_names.items()},
        joint_bone={INDEX[joint]: index[name] for joint, name in mapping.bones.items()},
        root=index[mapping.bones["pelvis"]],
        joint_heads=heads,
        foot_tips=tips,
        controls=mapping.is_control_rig,
        to_world=matrix[:3, :3] / size,
        height_in_world=matrix[2, 3] / size,
        size_in_world=float(size),
        rest_is_pose=mapping.rest_is_pose,
        warnings=warnings,
        spine=[index[name] for name in mapping.spine if name in index],
        neck=[index[name] for name in mapping.neck if name in index],
        root_bone=index[ground[0]] if ground else None,
        growth=pose(bones, {}).scales[index[mapping.bones["pelvis"]]]
        if any(abs(b.pose_scale - 1.0) > 1e-3 for b in bones)
        else 1.0,
    )
