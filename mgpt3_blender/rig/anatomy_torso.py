"""The middle of the body, once legs and arms are supposed: pelvis, spine, neck, head, and a bone on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .anatomy_forest import Forest
from .anatomy_limbs import Limb, unit
from .tree import Tree
from .words import hints


@dataclass(frozen=True)
class Torso:
    """Bones of the forest along the middle of the body, and how likely they are.

    Attributes:
        pelvis: moves everything.
        spine: from above the pelvis up to the one that carries the arms.
        neck: between spine and head, 0 to 3.
        head: or -1.
        score: how much it looks like a torso, 0 is in doubt.
    """

    pelvis: int
    spine: list[int]
    neck: list[int]
    head: int
    score: float


def middle(limb: Limb, joint: int) -> np.ndarray:
    """Between the two hips (joint 0), knees, ... of a pair of limbs. (3,)"""
    return limb.way.at[limb.joints[joint]].mean(0)


def across(limb: Limb) -> np.ndarray:
    """From the second to the first of the two hips or shoulders. (3,)"""
    first, second = limb.way.at[limb.joints[0]]
    return first - second


def torso(forest: Forest, names: Sequence[str], leg: Limb, arm: Limb) -> Torso | None:
    """What lies between legs and arms and beyond the arms; None where no spine can lie between them."""
    top, way = forest.between(leg.way.top, arm.way.top)
    if top < 0 or leg.way.top == arm.way.top:
        return None
    hips, shoulders = middle(leg, 0), middle(arm, 0)
    tall = float(np.linalg.norm(shoulders - hips))
    if tall < 0.15 * leg.length:
        return None
    up = unit(shoulders - hips)
    score = 0.0
    pelvis, spine = _pelvis_and_spine(forest, leg.way.top, top, way, hips, up, tall)
    if top == arm.way.top:  # the hierarchy begins at the chest
        score -= 0.5
    spine, low_neck = _without_neck(forest, spine, arm, shoulders, up, tall)
    if not spine:
        return None
    wide = float(np.linalg.norm(across(arm)))
    limbs = {arm.way.a[0], arm.way.b[0], leg.way.a[0], leg.way.b[0], *way}
    chain = _chain_up(forest, names, [arm.way.top, *spine[::-1]], limbs, shoulders, up, tall, wide)
    neck, head, sure = _head(forest, names, low_neck, chain, shoulders, up, tall)
    return Torso(pelvis, spine, neck, head, score + sure)


def _pelvis_and_spine(
    forest: Forest, legs: int, top: int, way: list[int], hips: np.ndarray, up: np.ndarray, tall: float
) -> tuple[int, list[int]]:
    """The bone that moves legs and spine, and the bones from there to the one that carries the arms."""
    turn = way.index(top)
    spine = way[turn + 1 :]
    if top == way[-1]:  # rooted at the chest: the spine runs the other way, up to the chest
        return legs, way[1:]
    if top == legs:
        height = float((forest.at[legs] - hips) @ up)
        above = forest.parent[legs]
        # 3ds Max Biped hangs the thighs from the first spine bone: the pelvis is above it in the tree, at the hips.
        if above >= 0 and height > 0.04 * tall:
            near = float(np.linalg.norm(forest.at[above] - hips))
            lower = float((forest.at[above] - hips) @ up) < height - 0.03 * tall
            if lower and near < min(0.35 * tall, float(np.linalg.norm(forest.at[legs] - hips))):
                return above, [legs, *spine]
        return legs, spine
    if forest.joined:  # which of two loose pieces hangs from which was guessed
        return legs, way[1:]
    # Legs hang from a side branch. What both hang from is the pelvis if it is at the hips, else it is a root.
    if float(np.linalg.norm(forest.at[top] - hips)) < 0.5 * tall:
        return top, spine
    return legs, spine


def _without_neck(
    forest: Forest, spine: list[int], arm: Limb, shoulders: np.ndarray, up: np.ndarray, tall: float
) -> tuple[list[int], list[int]]:
    """Arms that hang from the neck (3ds Max): their shoulders are under the head of the bone they hang from."""
    if len(spine) > 1:
        begins = arm.way.at[0].mean(0)
        height = float((forest.at[spine[-1]] - shoulders) @ up)
        if height > 0.02 * tall and float((forest.at[spine[-1]] - begins) @ up) > 0.02 * tall:
            return spine[:-1], spine[-1:]
    return spine, []


def _chain_up(
    forest: Forest,
    names: Sequence[str],
    starts: list[int],
    limbs: set[int],
    shoulders: np.ndarray,
    up: np.ndarray,
    tall: float,
    wide: float,
) -> list[int]:
    """The chain in the middle of the body from the bone with the arms (or one under it) up, coincident bones once."""

    def rise(bone: int) -> float:
        return float((forest.at[bone] - shoulders) @ up) / tall

    def best(bones: list[int], least: float) -> int:
        found, value = -1, -1e9
        for bone in bones:
            offset = forest.at[bone] - shoulders
            aside = offset - up * (offset @ up)
            if bone in limbs or rise(bone) < least or float(np.linalg.norm(aside)) > max(0.45 * wide, 0.3 * tall):
                continue
            kind = hints(names[bone])
            far = max([rise(bone)] + [rise(k) for k in forest.kids[bone]])
            good = far + 0.15 * min(forest.size[bone], 6) / 6 - 1.0 * bool(kind & {"cloth", "helper", "face"})
            if good > value and not _has_brother(forest, bone, limbs, wide):
                found, value = bone, good
        return found

    for start in dict.fromkeys(starts):
        bone = best(forest.kids[start], -0.25)
        chain: list[int] = []
        while bone >= 0 and len(chain) < 8:
            if not chain or forest.length[bone] > 0.004 * tall:
                chain.append(bone)
            bone = best(forest.kids[bone], rise(bone) - 0.05)
        if chain and max(rise(b) for b in chain) > 0.03:
            return chain
    return []


def _has_brother(forest: Forest, bone: int, limbs: set[int], wide: float) -> bool:
    """Whether a bone has a mirrored one beside it, such as an ear or a strand of hair."""
    long = forest.length[bone] + forest.reach[bone]
    for other in forest.kids[forest.parent[bone]]:
        if other == bone or other in limbs or forest.size[other] != forest.size[bone]:
            continue
        alike = abs(forest.length[other] - forest.length[bone]) < 0.03 * forest.length[bone]
        alike = alike and abs(forest.length[other] + forest.reach[other] - long) < 0.03 * long
        if alike and float(np.linalg.norm(forest.at[other] - forest.at[bone])) > 0.05 * wide:
            return True
    return False


def _head(
    forest: Forest,
    names: Sequence[str],
    low_neck: list[int],
    chain: list[int],
    shoulders: np.ndarray,
    up: np.ndarray,
    tall: float,
) -> tuple[list[int], int, float]:
    """Which bone of the chain above the arms is the head: (neck bones, head, how sure -1..2)."""
    if not chain:
        return [], -1, -1.0
    values, many = [], False
    first = forest.at[low_neck[0]] if low_neck else forest.at[chain[0]]
    for i, bone in enumerate(chain[:6]):
        height = float((forest.at[bone] - shoulders) @ up) / tall
        off = abs(height - 0.27)
        if i > 0 or low_neck:  # shoulders sit lower or higher; then the length of the neck tells
            over = float((forest.at[bone] - first) @ up) / tall
            off = min(off, max(abs(over - 0.24) - 0.08, 0.0) if i == 1 and not low_neck else abs(over - 0.22))
        value = 1.2 - min((off / 0.12) ** 2, 2.5) - 0.12 * i
        fan = len(forest.kids[bone]) + sum(
            len(forest.kids[k]) for k in forest.kids[bone] if forest.length[k] < 0.01 * tall
        )
        value += 0.5 * (min(fan, 4) - 1) / 3 if fan else 0.0
        if fan >= 4:
            value += 0.5
        value -= 0.8 * many  # beyond a bone with many children: parts of a face, or hair
        many = many or fan >= 4
        if i + 1 < len(chain):
            out = forest.at[chain[i + 1]] - forest.at[bone]
            long = float(np.linalg.norm(out)) / tall
            rising = float(unit(out) @ up)
            # Necks are short and lead upwards; a head is long, or what follows it is a jaw or hair.
            value += 0.45 * float(np.clip((long - 0.33) / 0.08, -1.0, 1.0)) if rising > 0.6 else 0.4
        if i > 0:
            into = forest.at[bone] - forest.at[chain[i - 1]]
            long = float(np.linalg.norm(into)) / tall
            if float(unit(into) @ up) < 0.35:
                value -= 1.5
            if i == 1 and not forest.kids[bone] and not low_neck:
                value += 0.2  # a neck and a head are far more usual than a head without a neck but with an end
            if i > 1 or not forest.kids[bone]:
                value -= 1.0 * float(np.clip((long - (0.3 if i > 1 else 0.4)) / 0.08, 0.0, 1.0))
            kids = forest.kids[bone]
            if kids and all(float((forest.at[k] - forest.at[bone]) @ up) < -0.05 * tall for k in kids):
                value -= 0.8  # what turns down again is hair
        if len(low_neck) + i > 3:
            value -= 1.0
        if not low_neck and i == 0:  # at the height of the shoulders: a neck
            value -= 0.6 * float(np.clip((0.16 - height) / 0.1, 0.0, 1.0))
        kind = hints(names[bone])
        value += 0.8 * ("head" in kind and "end" not in kind) - 0.8 * ("neck" in kind)
        value -= 1.5 * ("end" in kind and not forest.kids[bone]) + 1.0 * bool(kind & {"cloth", "face"})
        values.append(value)
    pick = int(np.argmax(values))
    neck = [*low_neck, *chain[:pick]]
    long = float(np.linalg.norm(forest.at[chain[pick]] - first)) / tall
    sure = float(np.clip(values[pick], -0.2, 1.5)) - (1.0 if long > 0.8 else 0.0)
    return neck, chain[pick], sure


def ground_bone(tree: Tree, pelvis: int, floor: float, up: np.ndarray, tall: float) -> int:
    """The topmost bone above the pelvis (indices of the tree) that lies at the feet or far from the hips, or -1."""
    found = -1
    for bone in tree.ancestors(pelvis):
        low = float(tree.heads[bone] @ up) - floor < 0.2 * tall
        if low or float(np.linalg.norm(tree.heads[bone] - tree.heads[pelvis])) > 0.6 * tall:
            found = bone
    return found
