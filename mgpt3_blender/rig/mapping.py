"""Which bone plays which joint, by name.

Each rig family is one file in `presets/`; adding a family is adding a file. A preset names bones, never code:

    name      what the animator reads
    sides     how left and right are written, e.g. ["Left", "Right"]; they replace {side} in the names
    prefix    optional regular expression in front of every name ("mixamorig\\d*[:_]?"); a namespace ("hero:") is
              dropped anyway
    signature bones that only this family has; without them another family is likelier
    joints    joint -> bone name or list of alternatives. "hip" stands for l_hip and r_hip, and so on
    deform    control rigs: joint -> the bone that carries the mesh; where the joint truly is in rest
    also      control rigs: more bones to key, each with the joint whose orientation it takes
    hold      control rigs: controls kept at rest, so that an earlier pose on them does not bend the result
    switches  control rigs: custom properties that put the limbs in FK: bone, property, value
    rest_is_pose   false where the rest is no body pose at all (found out by measuring, too)

The name logic knows nothing of Blender; `map_armature` is the one function that looks at an armature.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RigError
from .skeleton22 import INDEX, JOINTS, NEEDED, PARENTS, SPINE

if TYPE_CHECKING:
    import bpy

PRESETS = Path(__file__).parent / "presets"


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
        preset: name of the rig family.
        bones: joint name -> bone to key.
        deform: joint name -> bone that carries the mesh; equal to `bones` unless the rig has controls.
        also: further bones to key -> joint whose orientation they take.
        hold: controls that are kept at rest by one key.
        switches: properties to set for the keyed bones to have an effect.
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


def _sides(text: str, sides: list[str], side: int) -> str:
    return text.replace("{side}", sides[side])


def _both_sides(table: dict[str, Any], sides: list[str]) -> dict[str, Any]:
    """Expand "hip": "{side}UpLeg" to l_hip and r_hip. Values may be strings or lists of strings."""
    out: dict[str, Any] = {}
    for joint, names in table.items():
        if joint in INDEX:
            out[joint] = names
            continue
        for i, letter in enumerate("lr"):
            listed = [names] if isinstance(names, str) else names
            out[f"{letter}_{joint}"] = [_sides(name, sides, i) for name in listed]
    return {joint: [names] if isinstance(names, str) else names for joint, names in out.items()}


@cache
def presets() -> tuple[dict[str, Any], ...]:
    """All presets with left and right written out, in the order of their file names."""
    out = []
    for path in sorted(PRESETS.glob("*.json")):
        preset = json.loads(path.read_text(encoding="utf-8"))
        sides = preset.get("sides", ["", ""])
        for key in ("joints", "deform"):
            preset[key] = _both_sides(preset.get(key, {}), sides)
        unknown = set(preset["joints"]) - set(JOINTS)
        if unknown:
            raise ValueError(f"{path.name} names joints that do not exist: {sorted(unknown)}")
        both = [(s, i) for s in preset.get("switches", []) for i in ((0, 1) if "{side}" in s["bone"] else (0,))]
        preset["switches"] = [{**s, "bone": _sides(s["bone"], sides, i)} for s, i in both]
        out.append(preset)
    return tuple(out)


def _loose(name: str) -> str:
    """Names that differ only in capitals or in the sign between words count as the same."""
    return re.sub(r"[\s._\-]+", "_", name).lower()


def _index(names: list[str], prefix: str, loose: bool) -> dict[str, str]:
    """Bare name -> bone name, without namespace and family prefix; the first bone of a bare name wins."""
    out: dict[str, str] = {}
    pattern = re.compile(f"^(?:{prefix})", re.IGNORECASE) if prefix else None
    for name in names:
        for bare in {name, re.split(r"[:|]", name)[-1]}:
            short = pattern.sub("", bare, count=1) if pattern else bare
            for key in {bare, short}:
                out.setdefault(_loose(key) if loose else key, name)
    return out


def _ancestors(name: str, parents: dict[str, str | None]) -> set[str]:
    out: set[str] = set()
    parent = parents.get(name)
    while parent is not None and parent not in out:
        out.add(parent)
        parent = parents.get(parent)
    return out


def _order(bones: dict[str, str], parents: dict[str, str | None]) -> float:
    """Share of mapped joints whose bone hangs below the bone of the joint above. 1.0 = as a body is built."""
    right = total = 0
    for joint, bone in bones.items():
        above = PARENTS[INDEX[joint]]
        while above >= 0 and JOINTS[above] not in bones:
            above = PARENTS[above]
        if above >= 0 and bones[JOINTS[above]] != bone:
            total += 1
            right += bones[JOINTS[above]] in _ancestors(bone, parents)
    return right / total if total else 0.0


def _try_preset(preset: dict[str, Any], index: dict[str, str], parents: dict[str, str | None], loose: bool) -> Mapping:

    def find(candidates: list[str]) -> str | None:
        keys = (_loose(c) if loose else c for c in candidates)
        return next((index[key] for key in keys if key in index), None)

    def table(wanted: dict[str, list[str]]) -> dict[str, str]:
        found = {joint: find(candidates) for joint, candidates in wanted.items()}
        return {joint: bone for joint, bone in found.items() if bone is not None}

    bones = table(preset["joints"])
    deform = table(preset["deform"]) if preset["deform"] else bones
    share = len(bones) / len(preset["joints"])
    if any(find([name]) is None for name in preset.get("signature", [])):
        share *= 0.8
    if preset["deform"]:
        share *= len(deform) / len(preset["deform"])  # controls hang together through constraints, not as a tree
    else:
        share *= 0.5 + 0.5 * _order(bones, parents)
    switches = [Switch(index[s["bone"]], s["property"], s["value"]) for s in preset["switches"] if s["bone"] in index]
    also = {index[bone]: joint for bone, joint in preset.get("also", {}).items() if bone in index}
    return Mapping(
        preset=preset["name"],
        bones=bones,
        deform=deform,
        also=also,
        hold=tuple(index[bone] for bone in preset.get("hold", []) if bone in index),
        switches=tuple(switches),
        rest_is_pose=preset.get("rest_is_pose", True),
        missing=tuple(joint for joint in JOINTS if joint not in bones),
        confidence=share * (0.95 if loose else 1.0),
    )


def match(parents: dict[str, str | None]) -> Mapping:
    """Recognise the rig family from bone names and hierarchy.

    Args:
        parents: bone name -> parent's name or None, in the armature's order.
    Raises:
        RigError: unknown_rig when no family fits; missing_bones when one fits but needed bones are gone.
    """
    names = list(parents)
    tried: list[Mapping] = []
    for loose in (False, True):
        prefixes = {preset.get("prefix", "") for preset in presets()}
        indices = {prefix: _index(names, prefix, loose) for prefix in prefixes}
        tried += [_try_preset(preset, indices[preset.get("prefix", "")], parents, loose) for preset in presets()]
        best = max(tried, key=lambda m: (round(m.confidence, 3), len(m.bones)))
        if best.confidence > 0.95:  # names spelt as the family spells them: no need to look more loosely
            break
    gone = [joint for joint in NEEDED if joint not in best.bones]
    if not any(joint in best.bones for joint in SPINE):
        gone.append("spine")
    if best.confidence < 0.6:
        raise RigError(
            "unknown_rig",
            "The bone names of this character belong to no rig I know.",
            "Pick a character with one of these rigs, or add a small preset file for yours: "
            + ", ".join(preset["name"] for preset in presets())
            + ".",
        )
    if gone:
        raise RigError(
            "missing_bones",
            f"This looks like a {best.preset} rig, but I find no bone for: {', '.join(gone)}.",
            "Rename those bones to the family's names, or pick the character's main armature.",
        )
    return best


def map_armature(armature: bpy.types.Object) -> Mapping:
    """Recognise a character's rig. Raises RigError (no_armature, unknown_rig, missing_bones); changes nothing."""
    if armature is None or armature.type != "ARMATURE":
        raise RigError("no_armature", "There is no character to animate.", "Select an armature.")
    return match({bone.name: bone.parent.name if bone.parent else None for bone in armature.data.bones})
