"""Which bone plays which joint: what the animator chose, then names, then geometry.

`families` knows rig families by their names, `anatomy` finds a body by its shape, this file lets one check the other:

- A family whose names are all there decides. The shape only warns, or where the names say left for what is plainly
  the character's right, turns them round: a motion goes by what the animator sees.
- Names that fit a family in part give what they have; the shape fills in the rest.
- Names that say nothing leave it to the shape.
- A bone chosen by hand (the Bone Map in the panel) is stronger than both.

`find_mapping` knows nothing of Blender; `map_armature` is the one function that looks at an armature.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RigError
from .presetfiles import presets
from .skeleton22 import JOINTS, NEEDED, SPINE
from .tree import Tree, read_tree, skins

if TYPE_CHECKING:
    import bpy

__all__ = ["Chosen", "Mapping", "Switch", "best_mapping", "find_mapping", "map_armature", "presets"]

SURE = 0.9
"""A family recognised with this confidence needs no help from the shape."""
COMPLETE = 0.99
"""From this confidence on all of the family's bones are there and nothing is to be added to them."""
RELATED = 0.7
"""From this confidence on a rig is called by the family's name."""
LIKELY = 0.6
"""Below this confidence a family's name is no evidence."""
SIDES_SURE = 0.75
"""How sure the facing must be before names that say left for right are turned round."""


@dataclass(frozen=True)
class Switch:
    """What decides between a bone's keys and something else: a custom property, or the influence of a constraint.

    Attributes:
        bone: its owner.
        property: name of a custom property; "" where it is a constraint.
        value: what it has to be for the keys to count.
        constraint: name of a constraint on the bone; "" where it is a property.
    """

    bone: str
    property: str
    value: float
    constraint: str = ""


@dataclass(frozen=True)
class Mapping:
    """Joint -> bone for one character.

    Attributes:
        preset: name of the rig family; "Unknown" where only the shape was known.
        bones: joint name -> bone to key.
        deform: joint name -> bone that carries the mesh; equal to `bones` unless the rig has controls.
        also: further bones to key -> joint whose orientation they take.
        hold: controls that are kept at rest by one key.
        switches: what to set for the keyed bones to have an effect.
        rest_is_pose: False where the preset says that the rest pose is not a body.
        missing: joints this character has no bone for; they are bridged.
        confidence: 0..1, how sure the mapping is.
        spine: all bones of the spine to key, lowest first, 1 to 6; the bones of spine1 to spine3 are among them.
        neck: all bones of the neck to key, lowest first, 0 to 3.
        root: a bone on the ground that everything hangs from and that may carry the way travelled, or None.
        fingers: finger bones for a relaxed hand, bone -> [side "l"/"r", 0..2 which bone from the palm outwards].
        source: where it comes from: "names", "shape" (geometry), "names and shape", "yours" (set by hand).
        warnings: one sentence each: names and shape that contradict each other, and the like.
        ik: the family's IK controls as the preset describes them, {} where it has none.
    """

    preset: str
    bones: dict[str, str]
    deform: dict[str, str]
    also: dict[str, str] = field(default_factory=dict)
    hold: tuple[str, ...] = ()
    switches: tuple[Switch, ...] = ()
    rest_is_pose: bool = True
    missing: tuple[str, ...] = ()
    confidence: float = 1.0
    spine: tuple[str, ...] = ()
    neck: tuple[str, ...] = ()
    root: str | None = None
    fingers: dict[str, tuple[str, int]] = field(default_factory=dict)
    source: str = "names"
    warnings: tuple[str, ...] = ()
    ik: dict[str, Any] = field(default_factory=dict)

    @property
    def is_control_rig(self) -> bool:
        return self.deform != self.bones

    @property
    def needed_missing(self) -> tuple[str, ...]:
        """The joints without which no motion can be put on the character; "spine" stands for all of the spine."""
        gone = [joint for joint in NEEDED if joint not in self.bones]
        if not any(joint in self.bones for joint in SPINE):
            gone.append("spine")
        return tuple(gone)


UNKNOWN = "Unknown"
WORDS = {
    "pelvis": "hips", "spine": "spine", "head": "head", "l_hip": "left thigh", "r_hip": "right thigh",
    "l_knee": "left shin", "r_knee": "right shin", "l_ankle": "left foot", "r_ankle": "right foot",
    "l_shoulder": "left upper arm", "r_shoulder": "right upper arm", "l_elbow": "left forearm",
    "r_elbow": "right forearm", "l_wrist": "left hand", "r_wrist": "right hand", "l_foot": "left toes",
    "r_foot": "right toes", "l_collar": "left collarbone", "r_collar": "right collarbone", "neck": "neck",
    "spine1": "lower spine", "spine2": "mid spine", "spine3": "chest",
}  # fmt: skip
"""Joints in an animator's words: a joint is named after the bone that begins in it."""


@dataclass(frozen=True)
class Chosen:
    """What the animator said about a character's bones.

    Attributes:
        bones: joint -> bone.
        without: joints the character is to be driven without.
        root: the bone on the ground; "" for none, None where it is to be found.
    """

    bones: Table[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    root: str | None = None


def find_mapping(tree: Tree, chosen: Chosen | None = None, presets: Sequence[dict] | None = None) -> Mapping:
    """The best mapping there is, complete or not (`needed_missing` says).

    Args:
        tree: the armature's bones.
        chosen: what was set by hand; bones that no longer exist are passed over.
        presets: rig families, None for those that come with the add-on.
    """
    from .anatomy import contradictions, find_body  # they know Mapping
    from .families import match_names

    found = next(iter(match_names(tree, presets)), None)
    names = found.mapping if found is not None and found.confidence >= LIKELY else None
    body, why = None, ""
    try:
        body = find_body(tree)
    except RigError as error:
        why = error.message
    if names is None and body is None:
        mapping = Mapping(UNKNOWN, {}, {}, missing=JOINTS, confidence=0.0, source="shape", warnings=(why,))
    elif body is None:
        assert names is not None
        mapping = names
    elif names is None:
        mapping = _by_shape(body)
    elif names.confidence >= SURE and not names.needed_missing:
        mapping = _filled(_right_way_round(tree, names), body)
        if mapping.rest_is_pose:  # a rest that is no pose contradicts everything
            mapping = replace(mapping, warnings=mapping.warnings + contradictions(tree, mapping.deform, body))
    else:
        mapping = _together(tree, names, body)
    return _with_chosen(tree, mapping, chosen) if chosen is not None else mapping


def _by_shape(body: Any) -> Mapping:
    return Mapping(
        preset=UNKNOWN,
        bones=dict(body.bones),
        deform=dict(body.bones),
        missing=tuple(joint for joint in JOINTS if joint not in body.bones),
        confidence=body.confidence,
        spine=body.spine,
        neck=body.neck,
        root=body.root,
        source="shape",
        warnings=body.warnings,
    )


def _filled(names: Mapping, body: Any) -> Mapping:
    """A family's mapping with what this character has beyond the family's names: toes, more spine, a ground bone."""
    played = set(names.bones.values())
    root = names.root or (body.root if body.root not in played else None)
    if names.is_control_rig:
        return replace(names, root=root)
    more = {j: body.bones[j] for j in ("l_foot", "r_foot") if j not in names.bones and j in body.bones}
    if any(names.bones[f"{j[0]}_ankle"] != body.bones.get(f"{j[0]}_ankle") or more[j] in played for j in more):
        more = {}
    longer = (
        names.confidence < COMPLETE
        and len(body.spine) > len(names.spine)
        and set(names.spine) < set(body.spine)
        and not played & (set(body.spine) - set(names.spine))
    )
    spine = body.spine if longer else names.spine
    kept = {j: b for j, b in names.bones.items() if not (longer and j in SPINE)}
    bones = {**kept, **more, **({j: body.bones[j] for j in SPINE if j in body.bones} if longer else {})}
    return replace(
        names,
        bones={joint: bones[joint] for joint in JOINTS if joint in bones},
        deform={joint: bones[joint] for joint in JOINTS if joint in bones},
        missing=tuple(joint for joint in JOINTS if joint not in bones),
        spine=spine,
        root=root,
        source="names and shape" if more or longer else names.source,
    )


def _together(tree: Tree, names: Mapping, body: Any) -> Mapping:
    """Names that fit in part, and a body: the one they agree with fills the other's gaps; in doubt the shape."""
    from .anatomy import contradictions

    names = _right_way_round(tree, names)
    both = [joint for joint in names.deform if joint in body.bones and joint not in SPINE]
    agree = sum(names.deform[joint] == body.bones[joint] for joint in both) / max(len(both), 1)
    if names.is_control_rig or agree < 0.7:
        if names.is_control_rig and not names.needed_missing:
            return replace(names, warnings=names.warnings + contradictions(tree, names.deform, body))
        return _by_shape(body)
    family = names.preset if names.confidence >= RELATED else UNKNOWN  # a few names in common make no family
    taken = set(names.bones.values())
    more = {joint: bone for joint, bone in body.bones.items() if joint not in names.bones and bone not in taken}
    bones = {joint: names.bones.get(joint) or more[joint] for joint in JOINTS if joint in names.bones or joint in more}
    return replace(
        names,
        preset=family,
        bones=bones,
        deform=bones,
        missing=tuple(joint for joint in JOINTS if joint not in bones),
        spine=names.spine or body.spine,
        neck=names.neck or body.neck,
        root=names.root or body.root,
        confidence=max(names.confidence, body.confidence * agree),
        source="names and shape" if more else "names",
        warnings=names.warnings + contradictions(tree, bones, body),
    )


_OTHER = {joint: {"l": "r", "r": "l"}[joint[0]] + joint[1:] for joint in JOINTS if joint[1] == "_"}


def _right_way_round(tree: Tree, names: Mapping) -> Mapping:
    """Left and right swapped where the names say the opposite of what the body shows."""
    from .anatomy import facing

    at = {joint: tree.heads[tree.index[bone]] for joint, bone in names.deform.items()}
    if not names.rest_is_pose or "l_hip" not in at or "r_hip" not in at or "head" not in at:
        return names
    forward, sure = facing(tree, names.deform)
    up = at["head"] - 0.5 * (at["l_hip"] + at["r_hip"])
    left = at["l_hip"] - at["r_hip"]
    if "l_shoulder" in at and "r_shoulder" in at:
        left = left + at["l_shoulder"] - at["r_shoulder"]
    if sure < SIDES_SURE or float(np.cross(left, up) @ forward) >= 0.0:
        return names

    def turned(table: dict[str, str]) -> dict[str, str]:
        return {_OTHER.get(joint, joint): bone for joint, bone in table.items()}

    return replace(
        names,
        bones=turned(names.bones),
        deform=turned(names.deform),
        also={bone: _OTHER.get(joint, joint) for bone, joint in names.also.items()},
        fingers={bone: (_OTHER[f"{side}_hip"][0], part) for bone, (side, part) in names.fingers.items()},
        ik=_turned_ik(names.ik),
        warnings=(
            *names.warnings,
            "The bones' names say left for the character's right side, judging by its feet; the motion goes by the "
            "feet. If that is wrong, press Swap Sides under Bone Map.",
        ),
    )


def _turned_ik(ik: dict[str, Any]) -> dict[str, Any]:
    turned = {
        key: {bone: _OTHER.get(j, j) for bone, j in ik[key].items()} for key in ("controls", "poles") if key in ik
    }
    return {**ik, **turned}


def _with_chosen(tree: Tree, mapping: Mapping, chosen: Chosen) -> Mapping:
    """What the animator set by hand, over what was found. A bone plays one joint: a found one gives way."""
    hand = {joint: bone for joint, bone in chosen.bones.items() if bone in tree.index}
    if chosen.root is not None:
        mapping = replace(mapping, root=chosen.root if chosen.root in tree.index else None)
    changed = {joint for joint, bone in hand.items() if mapping.bones.get(joint) != bone}
    changed |= {joint for joint in chosen.without if joint in mapping.bones}
    if not changed:
        return mapping
    taken = set(hand.values())
    kept = {j: b for j, b in mapping.bones.items() if j not in hand and j not in chosen.without and b not in taken}
    bones = {joint: hand.get(joint) or kept[joint] for joint in JOINTS if joint in hand or joint in kept}
    deform = {j: b if j in changed else mapping.deform.get(j, b) for j, b in bones.items()}
    used = set(bones.values())
    spine = tuple(bones[joint] for joint in SPINE if joint in bones)
    if not changed & {"pelvis", *SPINE}:
        spine = tuple(bone for bone in mapping.spine if bone in spine or bone not in used)
    neck = tuple(bone for bone in mapping.neck if bone not in taken)
    if "neck" in changed:
        neck = (bones["neck"],) if "neck" in bones else ()
    return replace(
        mapping,
        bones=bones,
        deform=deform,
        missing=tuple(joint for joint in JOINTS if joint not in bones),
        spine=spine,
        neck=neck,
        source="yours",
        confidence=1.0 if set(NEEDED) <= set(hand) else mapping.confidence,
    )


def check_mapping(mapping: Mapping) -> Mapping:
    """The mapping itself, where it is enough to put a motion on. Raises RigError unknown_rig or missing_bones."""
    gone = mapping.needed_missing
    if not mapping.bones:
        why = mapping.warnings[0] if mapping.warnings else ""
        raise RigError(
            "unknown_rig",
            f"I find no body in this armature. {why}".strip(),
            "Choose the character's main armature, or say which bone is which under Bone Map.",
        )
    if gone:
        raise RigError(
            "missing_bones",
            f"I find no bone for: {', '.join(WORDS[joint] for joint in gone)}.",
            "Choose them under Bone Map in the MotionGPT3 tab, or pick the character's main armature.",
        )
    return mapping


class _Key:
    """What a mapping is found from, compared by what it contains: the same armature need not be looked at twice."""

    def __init__(self, tree: Tree, chosen: Chosen, presets: Sequence[dict], skins: tuple) -> None:
        self.tree = tree
        arrays = (tree.parents, tree.heads.astype(np.float32), tree.deform, tree.driven)
        hand = (tuple(sorted(chosen.bones.items())), chosen.without, chosen.root)
        self.key = (tree.names, tuple(array.tobytes() for array in arrays), hand, tuple(map(id, presets)), skins)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.key == other.key


REMEMBERED = 16
_known: dict[_Key, Mapping] = {}  # the last characters' mappings


def best_mapping(armature: bpy.types.Object) -> Mapping:
    """What is known of a character's bones, complete or not. Raises RigError no_armature; changes nothing."""
    from .. import bonemap
    from .families import load_presets

    if armature is None or armature.type != "ARMATURE":
        raise RigError("no_armature", "There is no character to animate.", "Select an armature.")
    chosen = Chosen()
    if hasattr(armature, "mgpt3_bones"):  # without the add-on's properties (a script, a test) nothing was chosen
        without = frozenset(bonemap.left_out(armature))
        chosen = Chosen(bonemap.overrides(armature), without, bonemap.root_override(armature))
    presets, _ = load_presets([bonemap.preset_folder()])
    key = _Key(read_tree(armature), chosen, presets, skins(armature))
    if key not in _known:
        mapping = find_mapping(key.tree, chosen, presets)
        if mapping.source != "names":  # then the shape has a say, and which bones the mesh follows helps it
            mapping = find_mapping(read_tree(armature, skin=True), chosen, presets)
        while len(_known) >= REMEMBERED:
            del _known[next(iter(_known))]
        _known[key] = mapping
    return _known[key]


def map_armature(armature: bpy.types.Object) -> Mapping:
    """Which bone plays which joint on a character. Raises RigError (no_armature, unknown_rig, missing_bones)."""
    return check_mapping(best_mapping(armature))
