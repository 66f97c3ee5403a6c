"""The preset files: one for each rig family, in `presets/`. Adding a family is adding a file.

A preset names bones, never code:

    name      what the animator reads
    sides     how left and right are written, e.g. ["Left", "Right"]; they replace {side} in every name
    more_sides   further pairs, [["左", "右"]], where the family writes them in more than one way
    prefix    optional regular expression in front of every name ("mixamorig\\d*[:_]?"). A namespace ("hero:") and
              what (nearly) all bones share in front or behind are taken off anyway
    signature names that tell this family from its relatives, each a name or a list of alternatives; where one is
              missing, a relative is likelier
    joints    joint -> bone name or list of alternatives. "hip" stands for l_hip and r_hip, and so on
    spine     all bones of the spine chain, lowest first, each a name or a list of alternatives; those that exist
              decide which bones are spine1 to spine3: 1 -> spine1; 2 -> spine1, spine3; 3 -> all; more -> the first, a
              middle one and the last
    neck      all bones of the neck, lowest first; the first that exists is the joint
    root      names of a bone on the ground over the pelvis
    fingers   "thumb", "index", "middle", "ring", "pinky" -> names from the palm outwards
    deform    control rigs: joint -> the bone that carries the mesh; where the joint truly is in rest
    deform_spine, deform_neck   control rigs: the deform bones along those chains
    also      control rigs: more bones to key, each with the joint whose orientation it takes
    hold      control rigs: controls kept at rest, so that an earlier pose on them does not bend the result
    switches  what puts the limbs in FK: bone and property and value, or bone and constraint and value (= influence)
    ik        control rigs: the IK controls that reproduce a pose. switches as above; controls: control -> joint whose
              place and orientation it takes; poles: pole target -> joint it stands before; keep: FK controls that are
              keyed as well; hold: controls kept at rest
    rest_is_pose   false where the rest is no body pose at all (found out by measuring, too)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .skeleton22 import INDEX, JOINTS, SPINE

PRESETS = Path(__file__).parent / "presets"


def _pairs(preset: dict[str, Any]) -> list[tuple[str, str]]:
    return [(left, right) for left, right in [preset.get("sides", ["", ""]), *preset.get("more_sides", [])]]


def _names(value: str | list[str], pairs: list[tuple[str, str]], side: int) -> list[str]:
    """The alternatives of one bone with the side written out in every way the family writes it."""
    out: dict[str, None] = {}
    for name in [value] if isinstance(value, str) else value:
        for pair in pairs if "{side}" in name else pairs[:1]:
            out[name.replace("{side}", pair[side])] = None
    return list(out)


def _both(table: dict[str, Any], pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Expand "hip": "{side}UpLeg" to l_hip and r_hip."""
    out: dict[str, list[str]] = {}
    for joint, value in table.items():
        if joint in INDEX:
            out[joint] = _names(value, pairs, 0)
        else:
            out.update({f"{letter}_{joint}": _names(value, pairs, i) for i, letter in enumerate("lr")})
    return out


def _keys(table: dict[str, str], pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Control -> joint with the side written out on both sides: "hand_ik.{side}": "wrist" gives two entries."""
    out: dict[str, str] = {}
    for bone, joint in table.items():
        for i, letter in enumerate("lr"):
            for name in _names(bone, pairs, i) if "{side}" in bone else [bone]:
                out[name] = joint if joint in INDEX else f"{letter}_{joint}"
    return out


def _listed(values: Iterable[str], pairs: list[tuple[str, str]]) -> list[str]:
    return [name for value in values for i in (0, 1) for name in _names(value, pairs, i) if "{side}" in value or i == 0]


def _switches(entries: list[dict[str, Any]], pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    out = []
    for entry in entries:
        if "bone" not in entry or "value" not in entry or ("property" in entry) == ("constraint" in entry):
            raise ValueError('a switch needs "bone", "value" and either "property" or "constraint"')
        out += [{**entry, "bone": name} for name in _listed([entry["bone"]], pairs)]
    return out


def write_out(preset: dict[str, Any]) -> dict[str, Any]:
    """A preset as read from its file -> the same with left and right written out and every name a list.

    Raises ValueError, TypeError, KeyError or re.error where the preset does not follow the schema.
    """
    if not isinstance(preset, dict) or not isinstance(preset.get("name"), str) or not preset.get("joints"):
        raise ValueError('a preset is an object with at least "name" and "joints"')
    pairs = _pairs(preset)
    re.compile(preset.get("prefix", ""))
    out = dict(preset)
    for key in ("joints", "deform"):
        out[key] = _both(preset.get(key, {}), pairs)
        unknown = set(out[key]) - set(JOINTS)
        if unknown:
            raise ValueError(f"joints that do not exist: {', '.join(sorted(unknown))}")
    for key in ("signature", "spine", "neck", "root", "deform_spine", "deform_neck"):
        out[key] = [
            _names(value, pairs, i) for value in preset.get(key, []) for i in ((0, 1) if _sided(value) else (0,))
        ]
    out["spine"] = out["spine"] or [out["joints"][joint] for joint in SPINE if joint in out["joints"]]
    out["neck"] = out["neck"] or [out["joints"][joint] for joint in ("neck",) if joint in out["joints"]]
    out["fingers"] = {
        (letter, finger): [_names(value, pairs, i) for value in chain]
        for finger, chain in preset.get("fingers", {}).items()
        for i, letter in enumerate("lr")
    }
    out["also"] = _keys(preset.get("also", {}), pairs)
    out["hold"] = _listed(preset.get("hold", []), pairs)
    out["switches"] = _switches(preset.get("switches", []), pairs)
    ik = preset.get("ik", {})
    if ik:
        out["ik"] = {
            "switches": _switches(ik.get("switches", []), pairs),
            "controls": _keys(ik.get("controls", {}), pairs),
            "poles": _keys(ik.get("poles", {}), pairs),
            "keep": _listed(ik.get("keep", []), pairs),
            "hold": _listed(ik.get("hold", []), pairs),
        }
    else:
        out["ik"] = {}
    return out


def _sided(value: str | list[str]) -> bool:
    return "{side}" in "".join(value)


@cache
def presets() -> tuple[dict[str, Any], ...]:
    """The built-in presets with left and right written out, in the order of their file names."""
    return tuple(write_out(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(PRESETS.glob("*.json")))


_USER: dict[tuple[str, int, int], dict[str, Any] | str] = {}  # path, time and size -> the preset, or what is wrong


def load_presets(folders: Sequence[Path]) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """The user's presets before the built-in ones, and one sentence for each file that cannot be used.

    Args:
        folders: folders of the user's preset files; one that does not exist counts as empty.
    """
    own: list[dict[str, Any]] = []
    warnings: list[str] = []
    for path in (path for folder in folders for path in sorted(Path(folder).glob("*.json"))):
        try:
            stat = path.stat()
            key = (str(path), stat.st_mtime_ns, stat.st_size)
            if key not in _USER:
                try:
                    _USER[key] = write_out(json.loads(path.read_text(encoding="utf-8")))
                except (ValueError, TypeError, KeyError, IndexError, AttributeError, re.error) as error:
                    _USER[key] = str(error)
            found = _USER[key]
        except OSError as error:
            found = str(error)
        if isinstance(found, str):
            warnings.append(f'The rig preset "{path.name}" cannot be used: {found}.')
        else:
            own.append(found)
    return tuple(own) + presets(), warnings
