"""Which bone plays which joint, by shape: for characters whose bone names say nothing, or the wrong thing.

A humanoid is two pairs of mirrored limbs with a chain of bones between them that goes on beyond the arms to a head.
All mirrored branches are tried as legs and as arms (`anatomy_limbs`), each combination is completed by what lies
between (`anatomy_torso`), and the likeliest wins. Left and right follow from the direction the character looks in
(`anatomy_facing`). Names are hints that break ties (`words`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Table
from dataclasses import dataclass

import numpy as np

from ..errors import RigError
from .anatomy_facing import axes, facing
from .anatomy_forest import Forest, views
from .anatomy_limbs import Limb, limbs, played, unit, ways
from .anatomy_torso import Torso, across, ground_bone, middle, torso
from .skeleton22 import JOINTS
from .tree import Tree
from .words import hints

__all__ = ["Anatomy", "contradictions", "facing", "find_body"]

LEAST = 0.42
"""Below this confidence there is no humanoid."""
FOLDED = -0.8
"""Cosine below which legs lie beside the spine: the zero pose of some BVH files, which no animal has."""
LEAN = 68.0
"""Legs go on where the spine ends, within so many degrees; those of animals stand across it."""


@dataclass(frozen=True)
class Anatomy:
    """A body found by shape.

    Attributes:
        bones: joint -> bone whose head is the joint.
        spine: all bones between pelvis and neck, lowest first.
        neck: all bones between spine and head, lowest first.
        root: a bone at the feet from which the pelvis hangs, or None.
        up, forward: (3,) unit vectors of the rest pose, the tree's axes.
        confidence: 0..1 for the whole.
        joint_confidence: joint -> 0..1.
        warnings: one sentence each.
    """

    bones: dict[str, str]
    spine: tuple[str, ...]
    neck: tuple[str, ...]
    root: str | None
    up: np.ndarray
    forward: np.ndarray
    confidence: float
    joint_confidence: dict[str, float]
    warnings: tuple[str, ...] = ()


def find_body(tree: Tree) -> Anatomy:
    """Find the humanoid in an armature.

    Raises:
        RigError: no_body: it is an animal, a part of a body, or no character.
    """
    best: Anatomy | None = None
    for forest in views(tree):
        found = _in_view(tree, forest)
        if found is not None and (best is None or found.confidence > best.confidence + 0.1):
            best = found
        if best is not None and best.confidence > 0.6:
            break
    if best is None or best.confidence < LEAST:
        raise RigError(
            "no_body",
            "No human-like body was found in the armature's bones: two legs, two arms and a head are needed.",
            "Choose the armature of a humanoid character, or set its bones by hand in the Bone Map.",
        )
    return best


@dataclass(frozen=True)
class _Body:
    leg: Limb
    arm: Limb
    torso: Torso
    score: float
    odd: float  # how unusual legs, arms and spine stand to each other, 0 is not at all
    upright: float  # cosine between the spine and the legs' line


def _in_view(tree: Tree, forest: Forest) -> Anatomy | None:
    """The best body in one selection of bones, whatever its confidence."""
    names = [tree.names[i] for i in forest.bones]
    found = ways(forest, names)
    if len(found) < 2:
        return None
    scale = max(float(np.linalg.norm(np.diff(way.at, axis=0), axis=-1).sum(0).min()) for way in found)
    both = [limbs(way, 0.8 * scale) for way in found]
    legs = _best_of([leg for leg, _ in both])
    arms = _best_of([arm for _, arm in both])
    best: _Body | None = None
    for leg in legs:
        for arm in arms:
            body = _together(forest, names, leg, arm)
            if body is not None and (best is None or body.score > best.score):
                best = body
    return _described(tree, forest, names, best) if best is not None else None


def _best_of(found: list[Limb]) -> list[Limb]:
    """The best way down each pair of branches, the likeliest pairs only."""
    by_pair: dict[tuple[int, int], Limb] = {}
    for limb in found:
        key = (limb.way.a[0], limb.way.b[0])
        if key not in by_pair or limb.score > by_pair[key].score:
            by_pair[key] = limb
    out: list[Limb] = []
    places: dict[int, int] = {}
    for limb in sorted(by_pair.values(), key=lambda limb: -limb.score):
        places[limb.way.top] = places.get(limb.way.top, 0) + 1
        if places[limb.way.top] <= 6:
            out.append(limb)
    return out[:16]


def _together(forest: Forest, names: list[str], leg: Limb, arm: Limb) -> _Body | None:
    """Score a pair of legs with a pair of arms; None where they cannot be of one body."""
    own = set(leg.way.a) | set(leg.way.b)
    if arm.way.top in own or leg.way.top in set(arm.way.a) | set(arm.way.b) or own & {*arm.way.a, *arm.way.b}:
        return None
    if set(forest.path_up(arm.way.top)) & own:
        return None
    hips, shoulders = middle(leg, 0), middle(arm, 0)
    tall = float(np.linalg.norm(shoulders - hips))
    down = middle(leg, 2) - hips
    spine = unit(shoulders - hips)
    upright = -float(unit(down) @ spine)
    first = len(forest.path_up(leg.way.top)) <= len(forest.path_up(arm.way.top))
    folded = upright < FOLDED and first
    if upright < math.cos(math.radians(LEAN)) and not folded:
        return None
    hanging = float(unit(middle(arm, 2) - shoulders) @ unit(down))
    if not folded and upright < 0.75 and hanging > 0.8:
        return None  # four legs under a body that leans
    hip, shoulder = across(leg), across(arm)
    parallel = abs(float(unit(hip) @ unit(shoulder)))
    square = abs(float(unit(hip + shoulder * math.copysign(1.0, float(hip @ shoulder))) @ spine))
    if square > 0.6 or parallel < 0.5:
        return None
    found = torso(forest, names, leg, arm)
    if found is None:
        return None
    ways_down = [unit(leg.way.at[leg.joints[2], s] - leg.way.at[leg.joints[0], s]) for s in (0, 1)]
    straight = float(ways_down[0] @ ways_down[1])
    odd = (
        4.0 * (1.0 - parallel)
        + 3.0 * square
        + (3.0 if folded else 4.0 * max(0.95 - upright, 0.0))
        + 0.7 * (1.0 - straight)
        + 0.5 * min((math.log(tall / leg.length / 0.75) / 0.6) ** 2, 4.0)
        + 0.5 * min((math.log(arm.length / leg.length / 0.75) / 0.5) ** 2, 4.0)
    )
    score = leg.score + arm.score + found.score - odd + 0.5 * _feet(leg, unit(down)) + (1.5 if first else 0.0)
    return _Body(leg, arm, found, score, odd, upright)


def _feet(leg: Limb, down: np.ndarray) -> float:
    """1 where both feet point the same way, across the legs; 0 where there are none to see."""
    k = leg.joints[2]
    if k + 1 >= len(leg.way.a):
        return 0.0
    toes = [leg.way.at[k + 1, s] - leg.way.at[k, s] for s in (0, 1)]
    flat = [unit(toe - down * float(toe @ down)) for toe in toes]
    lying = min(1.0, min(float(np.linalg.norm(np.cross(unit(toe), down))) for toe in toes) / 0.5)
    return float(flat[0] @ flat[1]) * lying


_LIMB = {"leg": ("hip", "knee", "ankle"), "arm": ("shoulder", "elbow", "wrist")}


def _described(tree: Tree, forest: Forest, names: list[str], body: _Body) -> Anatomy:
    """Names for joints, sides by the facing, confidences."""
    leg, arm, mid = body.leg, body.arm, body.torso
    flip = float(across(leg) @ across(arm)) < 0
    index: dict[str, int] = {"pelvis": mid.pelvis}
    for limb, kind in ((leg, "leg"), (arm, "arm")):
        turned = kind == "arm" and flip
        firsts = (limb.way.a[0], limb.way.b[0])
        for letter, chain, first in zip("rl" if turned else "lr", played(limb), firsts, strict=True):
            index.update({f"{letter}_{joint}": bone for joint, bone in zip(_LIMB[kind], chain, strict=True)})
            if kind == "arm" and limb.joints[0] > 0:
                index[f"{letter}_collar"] = first
    index.update(_spine_joints(mid.spine))
    if mid.head >= 0:
        index["head"] = mid.head
    if mid.neck:
        index["neck"] = mid.neck[0]
    step = leg.joints[2] + 1
    if step < len(leg.way.a):
        index.update({"l_foot": leg.way.a[step], "r_foot": leg.way.b[step]})
    forward, sure = facing(tree, {joint: names[i] for joint, i in index.items()})
    toes = _toes(forest, names, index, forward)
    index = {joint: i for joint, i in index.items() if not joint.endswith("foot")} | toes
    bones = {joint: names[i] for joint, i in index.items()}
    forward, sure = facing(tree, bones)
    at = {joint: forest.at[i] for joint, i in index.items()}
    up, left = axes(at)
    if float(np.cross(left, up) @ forward) < 0:
        bones = {_other(joint): bone for joint, bone in bones.items()}
        index = {_other(joint): i for joint, i in index.items()}
    confidence = _confidence(body, mid)
    floor = min(float(at[joint] @ up) for joint in at if joint.endswith(("ankle", "foot")))
    ground = ground_bone(tree, forest.bones[mid.pelvis], floor, up, leg.length)
    warnings = []
    if body.upright < 0.8:
        confidence, sure = min(confidence, 0.6), min(sure, 0.3)
        warnings.append("The rest pose does not look like a standing body, so the bones found may be wrong.")
    if sure < 0.4:
        warnings.append("It is hard to see which way the character looks; left and right may be swapped.")
    order = [joint for joint in JOINTS if joint in bones]
    return Anatomy(
        bones={joint: bones[joint] for joint in order},
        spine=tuple(names[i] for i in mid.spine),
        neck=tuple(names[i] for i in mid.neck),
        root=tree.names[ground] if ground >= 0 else None,
        up=up,
        forward=forward,
        confidence=confidence,
        joint_confidence={joint: _joint_confidence(joint, body, confidence, sure) for joint in order},
        warnings=tuple(warnings),
    )


def _other(joint: str) -> str:
    """l_knee for r_knee and back; the joints in the middle are their own."""
    if joint[1] != "_":
        return joint
    return ("r" if joint[0] == "l" else "l") + joint[1:]


def _spine_joints(spine: list[int]) -> dict[str, int]:
    """spine1..3 of a chain of any length: first, middle, last."""
    if len(spine) == 1:
        return {"spine1": spine[0]}
    if len(spine) == 2:
        return {"spine1": spine[0], "spine3": spine[1]}
    return {"spine1": spine[0], "spine2": spine[(len(spine) - 1) // 2], "spine3": spine[-1]}


def _toes(forest: Forest, names: list[str], index: dict[str, int], forward: np.ndarray) -> dict[str, int]:
    """The toe bone of each foot: in front of the ankle, of five the big one, on the inner side."""
    ankles = [index["l_ankle"], index["r_ankle"]]
    leg = float(np.linalg.norm(forest.at[index["l_hip"]] - forest.at[ankles[0]]))
    inwards = unit(forest.at[ankles[1]] - forest.at[ankles[0]])
    out = {}
    for letter, ankle, inner in zip("lr", ankles, (inwards, -inwards), strict=True):
        kids = [k for k in forest.kids[ankle] if forest.length[k] > 0.04 * leg]
        ends = [k for k in kids if not hints(names[k]) & {"helper", "end"} or forest.kids[k]] or kids
        ahead = [float((forest.at[k] - forest.at[ankle]) @ forward) for k in ends]
        ends = [k for k, far in zip(ends, ahead, strict=True) if far > max(0.6 * max(ahead), 0.0)] or ends
        if not ends:
            return {}
        side = [float((forest.at[k] - forest.at[ankle]) @ inner) for k in ends]
        wide = [k for k, far in zip(ends, side, strict=True) if far > max(side) - 0.02 * leg]
        out[f"{letter}_foot"] = max(wide, key=lambda k: (forest.size[k], forest.length[k]))
    return out


def _confidence(body: _Body, mid: Torso) -> float:
    """0..1 from how well legs, arms and torso fit."""
    parts = (
        1 / (1 + math.exp(-1.6 * (body.leg.score - 1.0))),
        1 / (1 + math.exp(-1.6 * (body.arm.score - 1.0))),
        1 / (1 + math.exp(-2.0 * (mid.score + 0.4))) if mid.head >= 0 else 0.05,
        math.exp(-0.5 * max(body.odd - 0.8, 0.0)),
    )
    return float(np.prod(parts)) ** 0.5


def _joint_confidence(joint: str, body: _Body, confidence: float, sure: float) -> float:
    """The whole's confidence, less where this joint's part is in doubt or sides are."""
    part = joint.split("_")[-1]
    score = body.leg.score if part in _LIMB["leg"] else body.arm.score if part in _LIMB["arm"] else body.torso.score + 1
    own = confidence / (1 + math.exp(-2.0 * score))
    if joint[1] == "_":
        own *= 0.5 + 0.5 * sure
    return round(float(own), 3)


def contradictions(tree: Tree, bones: Table[str, str], anatomy: Anatomy) -> tuple[str, ...]:
    """Where a mapping and the shape disagree, one sentence each; left and right swapped is one sentence.

    Args:
        bones: joint -> bone, from names or set by hand.
    """
    size = max(float(np.ptp(tree.heads, axis=0).max()), 1e-12)

    def apart(one: str, other: str) -> bool:
        """Bones that begin at one place, or a hip bone and its thigh, do not disagree."""
        i, k = tree.index[one], tree.index[other]
        near = 0.08 if int(tree.parents[i]) == k or int(tree.parents[k]) == i else 0.03
        return bool(np.linalg.norm(tree.heads[i] - tree.heads[k]) > near * size)

    paired = [j for j in LIMB_JOINTS if j in bones and bones[j] in tree.index and j in anatomy.bones]
    crossed = [j for j in paired if _other(j) in anatomy.bones]
    swapped = [
        j for j in crossed if not apart(bones[j], anatomy.bones[_other(j)]) and apart(bones[j], anatomy.bones[j])
    ]
    out = []
    turned = len(swapped) > 0.6 * len(crossed) > 0
    if turned:
        out.append("By their names the bones' left and right are swapped: the character looks the other way.")
    for joint in paired:
        mine = anatomy.bones[_other(joint) if turned else joint] if not turned or joint in crossed else bones[joint]
        if anatomy.joint_confidence.get(joint, 0.0) >= 0.5 and apart(bones[joint], mine):
            out.append(f'The {WORDS[joint]} is "{bones[joint]}" by name, but by its place it would be "{mine}".')
    return tuple(out)


LIMB_JOINTS = tuple(f"{s}_{j}" for s in "lr" for j in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"))
_PARTS = {"hip": "thigh", "knee": "shin", "ankle": "foot", "shoulder": "upper arm", "elbow": "forearm", "wrist": "hand"}
WORDS = {j: f"{'left' if j[0] == 'l' else 'right'} {_PARTS[j[2:]]}" for j in LIMB_JOINTS}
"""Limb joints in an animator's words: a joint is named after the bone that begins in it."""
