"""Which node of a BVH file plays which of the 22 joints: by name, one row a naming convention.

Adding a convention is adding a row. Names are compared without case, punctuation and prefixes such as "mixamorig:".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from core.errors import CoreError
from core.restpose import LENGTHS, REST_OFFSETS
from core.skeleton import JOINTS

EXPORT_NAMES: dict[str, str] = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    "l_collar": "LeftShoulder", "l_shoulder": "LeftArm", "l_elbow": "LeftForeArm", "l_wrist": "LeftHand",
    "l_hip": "LeftUpLeg", "l_knee": "LeftLeg", "l_ankle": "LeftFoot", "l_foot": "LeftToeBase",
    "r_collar": "RightShoulder", "r_shoulder": "RightArm", "r_elbow": "RightForeArm", "r_wrist": "RightHand",
    "r_hip": "RightUpLeg", "r_knee": "RightLeg", "r_ankle": "RightFoot", "r_foot": "RightToeBase",
}  # fmt: skip
"""The names this project's own files use: those of MotionBuilder and Mixamo, which every retargeter knows."""

EXPORT_HELPERS: dict[str, str] = {
    "l_hip": "LHipJoint", "r_hip": "RHipJoint", "l_collar": "LShoulderJoint", "r_collar": "RShoulderJoint",
}  # fmt: skip
"""Nodes of no length that this project's own files have before these joints; see core/bvh.py."""


@dataclass(frozen=True)
class Convention:
    """One way to name a skeleton.

    Args:
        limbs: hip, knee, ankle, foot, shoulder, elbow, wrist; {s} stands for the side. "" where there is none.
        sides: left and right.
        pelvis, neck, head: of the trunk.
        marker: a node that tells this convention from one with the same names.
        trunk: spine1, spine2, spine3 and collars by name, where the nodes are the 22 joints themselves. Without it
            pelvis, spine, collars and head are placed from the hips, shoulders and the nodes between.
    """

    name: str
    limbs: tuple[str, str, str, str, str, str, str]
    sides: tuple[str, str]
    pelvis: str = "Hips"
    neck: str = "Neck"
    head: str = "Head"
    marker: str = ""
    trunk: tuple[str, str, str, str] | None = None


_BIOVISION = ("{s}UpLeg", "{s}Leg", "{s}Foot", "{s}ToeBase", "{s}Arm", "{s}ForeArm", "{s}Hand")
_LEFT_RIGHT = ("Left", "Right")
_SMPL = ("{s}hip", "{s}knee", "{s}ankle", "{s}foot", "{s}shoulder", "{s}elbow", "{s}wrist")

CONVENTIONS: tuple[Convention, ...] = (
    Convention("MotionGPT3", _BIOVISION, _LEFT_RIGHT, marker="LShoulderJoint",
               trunk=("Spine", "Spine1", "Spine2", "{s}Shoulder")),
    Convention("SMPL", _SMPL, ("l", "r"), pelvis="pelvis", trunk=("spine1", "spine2", "spine3", "{s}collar")),
    Convention("SMPL", _SMPL, ("left", "right"), pelvis="pelvis", trunk=("spine1", "spine2", "spine3", "{s}collar")),
    Convention("CMU, MotionBuilder-friendly (cgspeed)", _BIOVISION, _LEFT_RIGHT, neck="Neck1", marker="LHipJoint"),
    Convention("MotionBuilder, Mixamo, ACCAD", _BIOVISION, _LEFT_RIGHT),
    Convention("CMU, 3dsMax-friendly (cgspeed), Biovision",
               ("{s}Hip", "{s}Knee", "{s}Ankle", "{s}Toe", "{s}Shoulder", "{s}Elbow", "{s}Wrist"), _LEFT_RIGHT),
    Convention("Poser, Daz", ("{s}Thigh", "{s}Shin", "{s}Foot", "{s}Toe", "{s}Shldr", "{s}ForeArm", "{s}Hand"),
               ("l", "r"), pelvis="hip"),
    Convention("iClone, Character Creator",
               ("{s}Thigh", "{s}Calf", "{s}Foot", "{s}ToeBase", "{s}Upperarm", "{s}Forearm", "{s}Hand"), ("l", "r"),
               pelvis="hip", neck="NeckTwist01"),
    Convention("3ds Max Biped", ("{s}Thigh", "{s}Calf", "{s}Foot", "{s}Toe0", "{s}UpperArm", "{s}Forearm", "{s}Hand"),
               ("l", "r"), pelvis="pelvis"),
    Convention("Unreal Engine",
               ("thigh_{s}", "calf_{s}", "foot_{s}", "ball_{s}", "upperarm_{s}", "lowerarm_{s}", "hand_{s}"),
               ("l", "r"), pelvis="pelvis", neck="neck_01"),
    Convention("Rigify",
               ("thigh.{s}", "shin.{s}", "foot.{s}", "toe.{s}", "upper_arm.{s}", "forearm.{s}", "hand.{s}"), ("l", "r"),
               pelvis="spine", neck="spine.004", head="spine.006"),
)  # fmt: skip

_PREFIXES = re.compile(r"^(.*:|mixamorig\d*_?|cc_base_|bip0*1[ _]?)", re.IGNORECASE)
_LIMB_JOINTS = ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
_OPTIONAL = {"foot", "head", "wrist"}
_SPINE_AT = np.cumsum(LENGTHS[[3, 6, 9, 12]])[:3] / LENGTHS[[3, 6, 9, 12]].sum()  # where spine1..3 lie, 0..1


def find(names: list[str]) -> tuple[Convention, dict[str, int]]:
    """The convention that fits and the index of the node of each joint found.

    Raises:
        CoreError: bvh_unknown_skeleton.
    """
    index: dict[str, int] = {}
    for number, name in enumerate(names):
        index.setdefault(_plain(name), number)
    for convention in CONVENTIONS:
        if convention.marker and _plain(convention.marker) not in index:
            continue
        wanted = {joint: _plain(name) for joint, name in node_names(convention).items()}
        found = {joint: index[name] for joint, name in wanted.items() if name in index}
        if all(joint in found or joint.split("_")[-1] in _OPTIONAL for joint in wanted):
            return convention, found
    known = ", ".join(dict.fromkeys(convention.name for convention in CONVENTIONS))
    raise CoreError(
        "bvh_unknown_skeleton",
        f"The joint names of this BVH file are not known (it has {', '.join(names[:6])}, ...).",
        f"Rename its joints to one of: {known}.",
    )


def to_joints(
    positions: np.ndarray, convention: Convention, found: dict[str, int], parents: list[int], ends: list[bool]
) -> np.ndarray:
    """The 22 joints of a file's nodes.

    Args:
        positions: (T, N, 3) of the nodes, Y up, about human size in metres.
        convention, found: from `find`.
        parents, ends: of the nodes: the index of the parent, and whether it is an End Site.
    Returns:
        (T, 22, 3). Joints that the file lacks are placed: see `Convention` and the comments below.
    """
    out = np.full((len(positions), 22, 3), np.nan)
    for joint, node in found.items():
        out[:, JOINTS.index(joint)] = positions[:, node]

    def at(joint: str) -> np.ndarray:
        return out[:, JOINTS.index(joint)]

    def end_of(node: int) -> np.ndarray | None:
        """(T, 3) from the node to its End Site, where it has one away from itself."""
        for number, (parent, end) in enumerate(zip(parents, ends, strict=True)):
            if end and parent == node:
                bone = positions[:, number] - positions[:, node]
                return bone if np.linalg.norm(bone, axis=-1).max() > 0.01 else None
        return None

    if convention.trunk is None:
        _place_trunk(out, positions, found, parents)
    for joint, (parent, before) in _LEAVES.items():
        if joint not in found:
            bone = end_of(found[parent])
            if bone is None and joint.endswith("foot"):  # flat on the ground, forward
                bone = _unit(np.cross(at("l_hip") - at("r_hip"), [0.0, 1.0, 0.0])) - [0.0, 0.45, 0.0]
            elif bone is None:  # straight on
                bone = at(parent) - at(before)
            out[:, JOINTS.index(joint)] = at(parent) + _unit(bone) * LENGTHS[JOINTS.index(joint)]
    return out


# Joints that a file may lack: the joint before, and the one before that.
_LEAVES = {"l_foot": ("l_ankle", "l_knee"), "r_foot": ("r_ankle", "r_knee"), "head": ("neck", "spine3"),
           "l_wrist": ("l_elbow", "l_shoulder"), "r_wrist": ("r_elbow", "r_shoulder")}  # fmt: skip


def _place_trunk(out: np.ndarray, positions: np.ndarray, found: dict[str, int], parents: list[int]) -> None:
    """Fill in pelvis, spine, collars and head of `out` (T, 22, 3).

    Files disagree about where these are (some put the pelvis below the hips, or the collars on the spine), while the
    model knows one body whose hips and chest are rigid. So the pelvis is placed from the hips, the collars from the
    shoulders, and the spine along the nodes between pelvis and neck.
    """
    neck = out[:, 12]
    hips = (out[:, 1] + out[:, 2]) / 2
    between = _ancestors(found["neck"], found["pelvis"], parents)
    # The lower back's direction, from the first node that is far enough from the hips to show it.
    low = next((p for n in between if np.median(np.linalg.norm((p := positions[:, n]) - hips, axis=-1)) > 0.12), neck)
    pelvis_offset = -(REST_OFFSETS[1] + REST_OFFSETS[2]) / 2
    out[:, 0] = hips + _frame(low - hips, out[:, 1] - out[:, 2]) @ pelvis_offset

    up = neck - out[:, 0]
    along = np.einsum("tni,ti->tn", positions[:, between] - out[:, :1], up) / (up**2).sum(1)[:, None]
    line, last = [out[:, 0]], 0.0
    for node, share in zip(between, np.median(along, axis=0), strict=True):
        if max(last, 0.1) < share < 0.95:
            line.append(positions[:, node])
            last = share
    line.append(neck)
    points = np.stack(line)  # (K, T, 3)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(1)
    where = np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
    for joint, share in zip((3, 6, 9), _SPINE_AT, strict=True):
        k = int(np.clip(np.searchsorted(where, share) - 1, 0, len(lengths) - 1))
        part = (share - where[k]) / max(where[k + 1] - where[k], 1e-9)
        out[:, joint] = points[k] * (1 - part) + points[k + 1] * part

    left = out[:, 16] - out[:, 17]
    chest = _frame(neck - out[:, 9], left)
    rest = _frame(REST_OFFSETS[12][None], np.array([[1.0, 0, 0]]))[0]
    for collar in (13, 14):
        out[:, collar] = out[:, 9] + chest @ rest.T @ REST_OFFSETS[collar]
    if "head" in found:  # files have the head above the neck, the canonical one lies before it
        out[:, 15] = neck + _frame(out[:, 15] - neck, left) @ REST_OFFSETS[15]


def _frame(up: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(T, 3) up and roughly left -> (T, 3, 3) rotations with columns left, up, forward."""
    up = _unit(up)
    forward = _unit(np.cross(left, up))
    return np.stack([np.cross(up, forward), up, forward], axis=-1)


def _ancestors(node: int, stop: int, parents: list[int]) -> list[int]:
    """The nodes between `stop` and `node`, from `stop` on; up to the root where `stop` is not above `node`."""
    out: list[int] = []
    while (node := parents[node]) not in (-1, stop):
        out.append(node)
    return out[::-1]


def node_names(convention: Convention) -> dict[str, str]:
    """Joint -> the name its node has in this convention."""
    out = {"pelvis": convention.pelvis, "neck": convention.neck, "head": convention.head}
    limbs = dict(zip(_LIMB_JOINTS, convention.limbs, strict=True))
    if convention.trunk:
        out |= dict(zip(("spine1", "spine2", "spine3"), convention.trunk[:3], strict=True))
        limbs["collar"] = convention.trunk[3]
    for side, word in zip("lr", convention.sides, strict=True):
        out |= {f"{side}_{joint}": name.format(s=word) for joint, name in limbs.items()}
    return out


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", _PREFIXES.sub("", name).lower())


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
