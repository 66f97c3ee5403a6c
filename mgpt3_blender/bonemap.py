"""The bone map: which bone plays which joint, on the armature object itself, so that it travels with the file.

Each joint's bone was either found (by names or shape, stored to be shown) or set by hand, and what was set by hand
wins over what is found. The properties are in properties_rig.py. Reading is a few look-ups by name, cheap enough for
drawing; nothing here is written but by an operator or by an animator's own edit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping as Table
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy

from .errors import RigError
from .rig import userpresets
from .rig.mapping import WORDS, Mapping
from .rig.skeleton22 import INDEX, JOINTS, NEEDED, SPINE

SURE = 0.75
"""A bone found with less confidence than this is shown as a guess."""

OK, GUESSED, MISSING, OPTIONAL, GONE, DOUBLE = "OK", "GUESSED", "MISSING", "OPTIONAL", "GONE", "DOUBLE"
"""The states of a joint: a bone that is there; one that may be wrong; none, though it is needed; none, and none needed;
a bone that is no longer in the armature (renamed, deleted); a bone that another joint has as well."""

LABELS: dict[str, str] = {joint: WORDS[joint].title() for joint in JOINTS}
"""What animators call the bone of each joint."""


@dataclass
class View:
    """What drawing shows of the user's presets; read from the disk before."""

    presets: tuple[userpresets.UserPreset, ...] = ()


view = View()


def preset_folder() -> Path:
    """Where the user's presets are; it need not exist yet."""
    from . import preferences

    return preferences.user_folder() / "presets"


def refresh_presets() -> None:
    """Read once which presets there are."""
    view.presets = tuple(userpresets.listing(preset_folder()))


def read_map(armature: bpy.types.Object) -> dict[str, str] | None:
    """Joint -> bone as the map has it, also bones that are gone; None where nothing was found or set yet."""
    stored = _known(armature)
    return None if stored is None else _bones(stored)


def overrides(armature: bpy.types.Object) -> dict[str, str]:
    """Joint -> bone as set by hand, only bones that are there. Fast: 22 flags and a look-up each."""
    stored = _known(armature)
    if stored is None:
        return {}
    hand, there = stored.by_hand, armature.data.bones
    return {
        joint: bone for i, joint in enumerate(JOINTS) if hand[i] and (bone := getattr(stored, joint)) and bone in there
    }


def left_out(armature: bpy.types.Object) -> set[str]:
    """Joints that were emptied by hand: the character is to be driven without a bone for them."""
    stored = _known(armature)
    if stored is None:
        return set()
    hand = stored.by_hand
    return {joint for i, joint in enumerate(JOINTS) if hand[i] and not getattr(stored, joint)}


def root_override(armature: bpy.types.Object) -> str | None:
    """The bone on the ground as set by hand, "" where there is to be none; None where that is to be found."""
    stored = _known(armature)
    if stored is None or not stored.root_by_hand:
        return None
    return stored.root if not stored.root or stored.root in armature.data.bones else None


def store_map(armature: bpy.types.Object, bones: Table[str, str], *, by_hand: bool = True) -> None:
    """Set the whole map, joint -> bone. Joints that are not named get no bone and are to be found.

    Raises RigError where the armature cannot be written to.
    """
    stored = writable(armature)
    for joint in JOINTS:
        _set(stored, joint, bones.get(joint, ""), by_hand and bool(bones.get(joint)))
    stored.known = True


def set_bone(armature: bpy.types.Object, joint: str, bone: str) -> None:
    """Set one joint's bone (or the "root" bone) by hand; "": leave it out, or where it is needed, let it be found.

    Raises RigError: missing_bones where the armature has no such bone.
    """
    stored = writable(armature)
    if bone and bone not in armature.data.bones:
        raise RigError("missing_bones", f'"{armature.name}" has no bone "{bone}".', "Choose one of its bones.")
    setattr(stored, joint, bone)  # its update notes that it was set by hand


def release(armature: bpy.types.Object, joint: str) -> None:
    """Let a joint be found again: what was set by hand is forgotten."""
    stored = writable(armature)
    if joint == "root":
        stored.root, stored.root_by_hand = "", False
    else:
        _set(stored, joint, "", False)


def found(armature: bpy.types.Object, mapping: Mapping) -> bool:
    """Store what was found, to be shown; what was set by hand stays. False where it cannot be stored."""
    stored = getattr(armature, "mgpt3_bones", None)
    if stored is None or locked(armature):
        return False
    sure = getattr(mapping, "joint_confidence", None) or {}
    for i, joint in enumerate(JOINTS):
        if not stored.by_hand[i]:
            _set(stored, joint, mapping.bones.get(joint, ""), False, sure.get(joint, mapping.confidence))
    if not stored.root_by_hand and stored.root != (mapping.root or ""):
        stored.root = mapping.root or ""
        stored.root_by_hand = False  # setting it says otherwise
    for name, value in (
        ("spine_chain", json.dumps(mapping.spine, ensure_ascii=False)),
        ("neck_chain", json.dumps(mapping.neck, ensure_ascii=False)),
        ("warnings", json.dumps(mapping.warnings, ensure_ascii=False)),
        ("family", mapping.preset),
        ("source", mapping.source),
        ("confidence", float(mapping.confidence)),
        ("controls", mapping.is_control_rig),
        ("ik", bool(mapping.ik)),
        ("searched", True),
        ("known", True),
    ):
        if getattr(stored, name) != value:
            setattr(stored, name, value)
    return True


def clear_map(armature: bpy.types.Object) -> None:
    """Forget everything, found and set by hand."""
    stored = writable(armature)
    for prop in type(stored).bl_rna.properties:
        if prop.identifier not in ("rna_type", "name"):
            stored.property_unset(prop.identifier)


def mirror_map(armature: bpy.types.Object, source: str = "l") -> tuple[list[str], list[str]]:
    """Give each joint of the other side the bone that mirrors its counterpart's.

    By name (Blender's own left and right, and other spellings of them), else by where the bones lie in rest.

    Args:
        source: "l" or "r": the side that is taken over.
    Returns:
        the joints that have another bone now, and those for which no counterpart was found; these stay as they are.
    """
    from .rig.mirror import mirrored
    from .rig.tree import read_tree

    stored = writable(armature)
    if armature.data.is_editmode:
        raise RigError("edit_mode", f'"{armature.name}" is in Edit Mode.', "Leave Edit Mode (Tab), then try again.")
    changed, without = [], []
    pairs = mirrored(read_tree(armature), _bones(stored), source, bpy.utils.flip_name)
    for joint, bone in pairs.items():
        if bone is None:
            without.append(joint)
        elif getattr(stored, joint) != bone:
            _set(stored, joint, bone, True)
            changed.append(joint)
    out = left_out(armature)
    for joint in sorted(out):  # left out on this side: on the other one, too
        if joint.startswith(f"{source}_") and _opposite(joint) not in out:
            _set(stored, _opposite(joint), "", True)
            changed.append(_opposite(joint))
    if changed:
        stored.known = True
    return changed, without


def swap_sides(armature: bpy.types.Object) -> list[str]:
    """Let left and right change places; the joints that have another bone now, as set by hand."""
    stored = writable(armature)
    before = {joint: getattr(stored, joint) for joint in JOINTS}
    changed = [joint for joint in JOINTS if joint[1] == "_" and before[joint] != before[_opposite(joint)]]
    for joint in changed:
        _set(stored, joint, before[_opposite(joint)], True)
        if joint in NEEDED and not before[_opposite(joint)]:
            stored.by_hand[INDEX[joint]] = False  # a needed joint without a bone is to be found
    return changed


def _opposite(joint: str) -> str:
    return ("r" if joint[0] == "l" else "l") + joint[1:]


def states(armature: bpy.types.Object) -> dict[str, str]:
    """The state of every joint, see OK and the others. Nothing is searched: a look-up by name each."""
    stored, there = armature.mgpt3_bones, armature.data.bones
    bones = _bones(stored)
    users: dict[str, int] = {}
    for bone in bones.values():
        users[bone] = users.get(bone, 0) + 1
    spine = any(bones.get(joint) in there for joint in SPINE if joint in bones)
    hand, sure = stored.by_hand, stored.sureness
    out = {}
    for i, joint in enumerate(JOINTS):
        bone = bones.get(joint)
        if bone is None:
            needed = joint in NEEDED or (joint == SPINE[0] and not spine)
            out[joint] = MISSING if needed else OPTIONAL
        elif bone not in there:
            out[joint] = GONE
        elif users[bone] > 1:
            out[joint] = DOUBLE
        else:
            out[joint] = OK if hand[i] or sure[i] >= SURE else GUESSED
    return out


def state(armature: bpy.types.Object, joint: str) -> str:
    """The state of one joint."""
    return states(armature)[joint]


def problem(armature: bpy.types.Object) -> RigError | None:
    """What an animator has to see to before the character can be driven; None where nothing, or nothing known yet.

    A bone that was found and is gone is none: it is looked for again when the next motion is made.
    """
    stored = _known(armature)
    if stored is None:
        return None
    now = states(armature)
    gone = [joint for joint, is_now in now.items() if is_now == GONE and stored.by_hand[INDEX[joint]]]
    if gone:
        lost = ", ".join(f"{LABELS[joint]} ({getattr(stored, joint)})" for joint in gone[:4])
        return RigError(
            "bones_gone",
            f"Bones of the bone map are no longer in the armature: {lost}.",
            "Choose them again under Bone Map, or press Find Bones.",
        )
    missing = [joint for joint, is_now in now.items() if is_now == MISSING] if stored.searched else []
    if missing:
        return RigError(
            "bones_missing",
            f"No bone was found for: {name_joints(missing)}.",
            "Choose them under Bone Map.",
        )
    double = [joint for joint, is_now in now.items() if is_now == DOUBLE]
    if double:
        return RigError(
            "bones_double",
            f"One bone plays several parts: {name_joints(double)}.",
            "Choose another one for all but one of them under Bone Map.",
        )
    return None


def name_joints(joints: list[str]) -> str:
    """Joints in animators' words, in the order of the skeleton: "Left Hand, Right Hand"."""
    return ", ".join(LABELS[joint] for joint in sorted(joints, key=INDEX.__getitem__))


def chain(armature: bpy.types.Object, name: str) -> tuple[str, ...]:
    """All bones of the "spine" or the "neck", lowest first, in keeping with what was set by hand.

    The chain that was found where the joints' bones are in it, else the bones from the lowest of them to the highest.
    """
    stored, there = armature.mgpt3_bones, armature.data.bones
    joints = SPINE if name == "spine" else ("neck",)
    own = [bone for joint in joints if (bone := getattr(stored, joint)) and bone in there]
    listed = tuple(bone for bone in texts(getattr(stored, f"{name}_chain")) if bone in there)
    if set(own) <= set(listed):
        return listed
    path, bone = [], there[own[-1]]
    while bone is not None:
        path.insert(0, bone.name)
        if bone.name == own[0]:
            return tuple(path)
        bone = bone.parent
    return tuple(dict.fromkeys(own))  # they do not hang together: a control rig


def texts(stored: str) -> list[str]:
    """The texts in a property that keeps several; none where it was tampered with."""
    try:
        listed = json.loads(stored) if stored else []
    except ValueError:
        return []
    return [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []


def save_preset(armature: bpy.types.Object, name: str, *, overwrite: bool = False) -> Path:
    """Save the map for other characters of this build; the file. Raises UserError, see userpresets.save."""
    stored, there = armature.mgpt3_bones, armature.data.bones
    path = userpresets.save(
        preset_folder(),
        name,
        {joint: bone for joint, bone in _bones(stored).items() if bone in there},
        spine=chain(armature, "spine"),
        neck=chain(armature, "neck"),
        root=stored.root if stored.root in there else None,
        family=stored.family,
        others=[bone.name for bone in there],
        overwrite=overwrite,
    )
    refresh_presets()
    return path


def load_preset(armature: bpy.types.Object, file: str) -> tuple[int, int]:
    """Take over the bones that a user's preset names, as set by hand; how many were found, and how many it names.

    Raises UserError: preset_broken, preset_unfit, linked_armature.
    """
    from .rig.families import match_names
    from .rig.presetfiles import write_out
    from .rig.tree import read_tree

    writable(armature)
    preset = write_out(userpresets.read(preset_folder() / Path(file).name))
    matches = match_names(read_tree(armature), [preset])
    if not matches:
        raise RigError(
            "preset_unfit",
            f'Too few of the bones of "{preset["name"]}" are in "{armature.name}".',
            "Choose another preset, or press Find Bones.",
        )
    mapping = replace(matches[0].mapping, source="yours")
    clear_map(armature)
    store_map(armature, mapping.bones)
    found(armature, mapping)
    return len(mapping.bones), len(preset["joints"])


def summary(armature: bpy.types.Object) -> str:
    """What was recognised, in a line: "Mixamo, by names, 98 % sure"."""
    stored = armature.mgpt3_bones
    if not (stored.family or stored.source):
        return "not recognised"
    how = {"names": "by names", "shape": "by shape", "names and shape": "by names and shape", "yours": "chosen by you"}
    words = (stored.family, how.get(stored.source, stored.source), f"{stored.confidence:.0%} sure".replace("%", " %"))
    return ", ".join(word for word in words if word)


def locked(armature: bpy.types.Object) -> bool:
    """Whether the armature belongs to another file, so that nothing can be stored on it here."""
    override: Any = armature.override_library
    return armature.library is not None or (override is not None and override.is_system_override)


def writable(armature: bpy.types.Object) -> bpy.types.PropertyGroup:
    """The stored map, to be changed. Raises RigError("linked_armature") where the armature is another file's."""
    if locked(armature):
        raise RigError(
            "linked_armature",
            f'"{armature.name}" is linked from another file; its bone map cannot be changed here.',
            "Make a library override of it: Object > Relations > Make Library Override.",
        )
    return armature.mgpt3_bones


def _known(armature: bpy.types.Object) -> bpy.types.PropertyGroup | None:
    """The stored map where there is one; also None while the add-on is not registered: a script may use rig/ alone."""
    stored = getattr(armature, "mgpt3_bones", None)
    return stored if stored is not None and stored.known else None


def _bones(stored: bpy.types.PropertyGroup) -> dict[str, str]:
    return {joint: bone for joint in JOINTS if (bone := getattr(stored, joint))}


def _set(stored: bpy.types.PropertyGroup, joint: str, bone: str, by_hand: bool, sure: float = 1.0) -> None:
    """Set a joint's bone and say where it is from; the flags come second, because setting the bone sets them too."""
    i = INDEX[joint]
    if getattr(stored, joint) != bone:
        setattr(stored, joint, bone)
    if stored.by_hand[i] != by_hand:
        stored.by_hand[i] = by_hand
    if abs(stored.sureness[i] - sure) > 1e-6:
        stored.sureness[i] = sure
