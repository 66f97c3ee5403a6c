"""Which way a character looks, by what sticks out in front of it: toes, knees, backs of elbows, thumbs, face."""

from __future__ import annotations

import math
from collections.abc import Mapping as Table
from itertools import pairwise

import numpy as np

from .anatomy_limbs import unit
from .tree import Tree
from .words import side


def axes(at: Table[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Up (from the feet to the head) and across (right to left as the joints are named) of a body in rest.

    Args:
        at: joint -> (3,) position; hips and shoulders or head must be there.
    """
    hips = 0.5 * (at["l_hip"] + at["r_hip"])
    over = [at[j] for j in ("l_shoulder", "r_shoulder") if j in at] or [at["head"]]
    up = unit(np.mean(over, 0) - hips)
    if "l_ankle" in at and "r_ankle" in at:
        legs = unit(hips - 0.5 * (at["l_ankle"] + at["r_ankle"]))
        if legs @ up > 0.2:
            up = unit(up + legs)
    side_ways = unit(at["l_hip"] - at["r_hip"])
    if "l_shoulder" in at and "r_shoulder" in at:
        wide = unit(at["l_shoulder"] - at["r_shoulder"])
        side_ways = unit(side_ways + wide) if wide @ side_ways > 0.2 else side_ways
    return up, unit(side_ways - up * (side_ways @ up))


def facing(tree: Tree, bones: Table[str, str]) -> tuple[np.ndarray, float]:
    """The direction a character looks in, level with its up, and how sure that is.

    Names of sides play no part unless nothing else says anything. Works for swapped left and right.

    Args:
        bones: joint -> bone, any mapping.
    Returns:
        (3,) unit vector with the tree's axes, zero where hips or shoulders are missing; 0..1.
    """
    at = {joint: tree.heads[tree.index[bone]] for joint, bone in bones.items() if bone in tree.index}
    if "l_hip" not in at or "r_hip" not in at or not ("head" in at or "l_shoulder" in at or "r_shoulder" in at):
        return np.zeros(3), 0.0
    up, left = axes(at)
    forward = unit(np.cross(left, up))
    if not forward.any():
        return np.zeros(3), 0.0
    doubt = _no_pose(at, up)
    votes = _votes(tree, bones, at, up, forward)
    total = float(sum(weight * value for weight, value in votes))
    if abs(total) > 0.25:
        sure = 1.0 - math.exp(-1.1 * abs(total))
        against = float(sum(weight * abs(value) for weight, value in votes if value * total < 0))
        sure *= abs(total) / (abs(total) + against)
        return math.copysign(1.0, total) * forward, float(min(sure, 0.2) if doubt else sure)
    named = _named(bones)
    if named:  # nothing to see: the names' left and right
        return math.copysign(1.0, named) * forward, 0.25
    towards = -forward[1] if abs(forward[1]) > 0.3 else forward[0]
    sign = math.copysign(1.0, towards if abs(total) < 0.05 else total)  # -Y is front, as Blender has it
    return sign * forward, 0.1


def _no_pose(at: Table[str, np.ndarray], up: np.ndarray) -> bool:
    """Some BVH files have no body in their zero pose: legs beside the spine, or left hip and left arm opposite."""
    if "l_ankle" in at and "r_ankle" in at:
        legs = 0.5 * (at["l_hip"] + at["r_hip"] - at["l_ankle"] - at["r_ankle"])
        if unit(legs) @ up < 0.5:
            return True
    if "l_shoulder" in at and "r_shoulder" in at:
        return bool(unit(at["l_hip"] - at["r_hip"]) @ unit(at["l_shoulder"] - at["r_shoulder"]) < 0.2)
    return False


def _votes(
    tree: Tree, bones: Table[str, str], at: dict[str, np.ndarray], up: np.ndarray, forward: np.ndarray
) -> list[tuple[float, float]]:
    """(weight, -1..1) of each sign seen: 1 where the character looks along `forward`."""
    votes: list[tuple[float, float]] = []
    legs = [float(np.linalg.norm(at[f"{s}_ankle"] - at[f"{s}_hip"])) for s in "lr" if f"{s}_ankle" in at]
    leg = sum(legs) / len(legs) if legs else 1.0
    for s in "lr":
        if f"{s}_ankle" not in at:
            continue
        ankle = at[f"{s}_ankle"]
        if f"{s}_foot" in at:
            toe = at[f"{s}_foot"] - ankle
            votes.append((1.6 * min(float(np.linalg.norm(toe)) / (0.08 * leg), 1.0), _share(toe, forward)))
        elif _tails_speak(tree, bones):
            votes.append((1.0, _share(tree.tails[tree.index[bones[f"{s}_ankle"]]] - ankle, forward)))
        below = _below(tree, tree.index[bones[f"{s}_ankle"]])
        spread = (tree.heads[below] - ankle) @ forward if below else np.zeros(0)
        if len(spread) and np.abs(spread).max() > 0.03 * leg:
            votes.append((0.6, float(np.clip(spread[np.abs(spread).argmax()] / (0.1 * leg), -1, 1))))
        if f"{s}_knee" in at:
            votes.append((0.5, math.tanh(_bow(at[f"{s}_hip"], at[f"{s}_knee"], ankle, forward) / (0.02 * leg))))
    for s in "lr":
        if all(f"{s}_{j}" in at for j in ("shoulder", "elbow", "wrist")):
            bow = _bow(at[f"{s}_shoulder"], at[f"{s}_elbow"], at[f"{s}_wrist"], forward)
            votes.append((0.4, -math.tanh(bow / (0.03 * leg))))
            votes.append((0.3, _thumb(tree, tree.index[bones[f"{s}_wrist"]], forward, leg)))
    if "head" in at:
        votes.append((0.5, _face(tree, tree.index[bones["head"]], up, forward, leg)))
        if "neck" in at:
            votes.append((0.2, math.tanh(float((at["head"] - at["neck"]) @ forward) / (0.02 * leg))))
    return votes


def _share(vector: np.ndarray, forward: np.ndarray) -> float:
    return float(unit(vector) @ forward)


def _bow(start: np.ndarray, mid: np.ndarray, end: np.ndarray, forward: np.ndarray) -> float:
    """How far the middle joint lies before the straight line from the first to the last."""
    line = end - start
    share = float((mid - start) @ line) / max(float(line @ line), 1e-18)
    return float((mid - start - share * line) @ forward)


def _below(tree: Tree, bone: int) -> list[int]:
    out, heap = [], list(tree.children[bone])
    while heap:
        out.append(heap.pop())
        heap.extend(tree.children[out[-1]])
    return out


def _tails_speak(tree: Tree, bones: Table[str, str]) -> bool:
    """Whether tails lie along the limbs; importers of formats without tails invent them."""
    chains = [[f"{s}_{j}" for j in joints] for s in "lr" for joints in (("hip", "knee", "ankle"),
              ("shoulder", "elbow", "wrist"))]  # fmt: skip
    cosines = []
    for chain in chains:
        for joint, after in pairwise(chain):
            if joint in bones and after in bones:
                i, k = tree.index[bones[joint]], tree.index[bones[after]]
                cosines.append(float(unit(tree.tails[i] - tree.heads[i]) @ unit(tree.heads[k] - tree.heads[i])))
    return bool(cosines) and float(np.mean(cosines)) > 0.95


def _thumb(tree: Tree, wrist: int, forward: np.ndarray, leg: float) -> float:
    """The finger that begins nearest to the wrist, or leaves the others' row, is the thumb; it is in front."""
    hand = wrist
    while len(tree.children[hand]) == 1:
        hand = tree.children[hand][0]
    roots = [k for k in tree.children[hand] if tree.children[k]]
    if len(roots) < 3:
        return 0.0
    place = tree.heads[roots] - tree.heads[wrist]
    far = np.linalg.norm(place, axis=1)
    thumb = int(far.argmin())
    rest = np.delete(place, thumb, 0).mean(0)
    if far[thumb] > 0.8 * float(np.delete(far, thumb).mean()):
        return 0.0
    return math.tanh(
        float((place[thumb] - rest * far[thumb] / max(np.linalg.norm(rest), 1e-9)) @ forward) / (0.015 * leg)
    )


def _face(tree: Tree, head: int, up: np.ndarray, forward: np.ndarray, leg: float) -> float:
    """Eyes, jaw and brows are many small bones in front of the head's joint."""
    leaves = [k for k in _below(tree, head) if not tree.children[k]]
    if len(leaves) < 2:
        return 0.0
    offset = tree.heads[leaves] - tree.heads[head]
    over = offset @ up > -0.02 * leg  # hair that hangs down the back is no face
    if over.sum() < 2:
        return 0.0
    return math.tanh(float(np.median(offset[over] @ forward)) / (0.04 * leg)) * min(len(leaves) / 6.0, 1.0)


def _named(bones: Table[str, str]) -> int:
    """1 where the joints called left are on bones that say left, -1 where they say right, 0 where nothing is said."""
    score = sum((1 if joint[0] == "l" else -1) * side(bone) for joint, bone in bones.items() if joint[1] == "_")
    return (score > 0) - (score < 0)
