"""Rig families that a user saved: one small JSON file each, in the schema on top of presetfiles.py. Knows no Blender.

A file is written whole or not at all. One that cannot be read is listed with the reason, so that it can be deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .presetfiles import PRESETS, write_out
from .skeleton22 import INDEX, JOINTS, SPINE

MAX_NAME = 60  # characters
_MAX_STEM = 100  # bytes: file systems allow 255, paths on Windows 260 in all
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(1, 10))}


@dataclass(frozen=True)
class UserPreset:
    """One file of the folder.

    Attributes:
        name: what the animator called it; the file's name where it cannot be read.
        path: the file.
        problem: why it cannot be used, "" where it can.
    """

    name: str
    path: Path
    problem: str = ""


def read(path: Path) -> dict[str, Any]:
    """The preset as it is written. Raises UserError("preset_broken") where it is none."""
    try:
        preset = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _broken(path, f"it cannot be opened ({error.strerror})") from error
    except ValueError as error:  # no JSON, or not in UTF-8
        raise _broken(path, "it is not a JSON file") from error
    if not isinstance(preset, dict):
        raise _broken(path, "it holds no preset")
    if not isinstance(preset.get("name"), str) or not preset["name"].strip():
        raise _broken(path, "it has no name in it")
    joints = preset.get("joints")
    if not isinstance(joints, dict) or not joints:
        raise _broken(path, "it names no bones")
    both_sides = {joint[2:] for joint in JOINTS if joint[1] == "_"}
    for joint, names in joints.items():
        if joint not in INDEX and joint not in both_sides:
            raise _broken(path, f'it names a joint that there is not: "{joint}"')
        listed = [names] if isinstance(names, str) else names
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise _broken(path, f'what it says of "{joint}" is no name of a bone')
    try:
        write_out(preset)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, re.error) as error:
        raise _broken(path, str(error)) from error
    return preset


def _broken(path: Path, why: str) -> UserError:
    return UserError(
        "preset_broken",
        f'The preset "{path.name}" cannot be used: {why}.',
        "Delete it, or save it again from a character.",
    )


def listing(folder: Path) -> list[UserPreset]:
    """All presets in a folder by name, those that cannot be read with the reason; none where there is no folder."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.glob("*.json"):
            try:
                found.append(UserPreset(read(path)["name"].strip(), path))
            except UserError as error:
                found.append(UserPreset(path.stem, path, error.message))
    return sorted(found, key=lambda preset: (preset.name.casefold(), preset.path.name))


def same_name(one: str, two: str) -> bool:
    """Whether an animator would take two names for one: capitals, spaces around and the way accents are encoded."""
    return _key(one) == _key(two)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def check_name(name: str) -> str:
    """The name without what is around it. Raises UserError("preset_name") where it is empty or too long."""
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if not name:
        raise UserError("preset_name", "The preset has no name yet.", "Type one, the character's for example.")
    if len(name) > MAX_NAME:
        raise UserError("preset_name", "The preset's name is too long.", f"Use at most {MAX_NAME} letters.")
    return name


def file_stem(name: str) -> str:
    """A file name, without its ending, that every system takes; letters of all languages stay."""
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]+', "_", unicodedata.normalize("NFC", name)).strip(" .")
    while len(stem.encode()) > _MAX_STEM:
        stem = stem[:-1]
    stem = stem.strip(" .") or "preset"
    return f"{stem}_" if stem.split(".")[0].casefold() in _RESERVED else stem


def builtin(name: str) -> dict[str, Any] | None:
    """The file of a built-in family as it is written, None where there is none of this name."""
    for path in sorted(PRESETS.glob("*.json")):
        preset = json.loads(path.read_text(encoding="utf-8"))
        if same_name(preset["name"], name):
            return preset
    return None


def save(
    folder: Path,
    name: str,
    bones: Mapping[str, str],
    *,
    spine: Sequence[str] = (),
    neck: Sequence[str] = (),
    root: str | None = None,
    family: str = "",
    others: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write a character's bone map as a preset; the file.

    Args:
        folder: where to; made where it is not there.
        name: what to call it.
        bones: joint -> bone.
        spine, neck: all bones of the chains, lowest first.
        root: the bone on the ground, where there is one.
        family: the family that the character is of, built-in or of the user's own. What it says beyond joints (IK and
            FK switches, controls, fingers, how the mesh is carried) goes into the preset too.
        others: all bones of the character. Where the mapped ones share a namespace ("hero:") and their names without
            it are still unique among these, they are saved without, so that the preset fits the next character.
        overwrite: replace a preset of this name.

    Raises UserError: preset_name, preset_empty, preset_exists, preset_builtin, preset_unwritable.
    """
    name = check_name(name)
    bones = {joint: bones[joint] for joint in JOINTS if bones.get(joint)}
    if not bones:
        raise UserError("preset_empty", "There is no bone in the map to save.", "Press Find Bones first.")
    if builtin(name) is not None:
        raise UserError("preset_builtin", f'"{name}" is the name of a built-in rig family.', "Choose another name.")
    there = next((preset for preset in listing(folder) if same_name(preset.name, name)), None)
    if there is not None and not overwrite:
        raise UserError(
            "preset_exists", f'There is a preset called "{name}" already.', "Choose another name, or replace it."
        )
    bare = _bare_names([*bones.values(), *spine, *neck, *([root] if root else [])], others)
    preset = _family(folder, family)
    preset.pop("signature", None)  # of the family as it comes; this character was changed
    preset["name"] = name
    preset["joints"] = {joint: bare.get(bone, bone) for joint, bone in bones.items()}
    if "also" in preset:
        preset["also"] = {bone: joint for bone, joint in preset["also"].items() if bone not in bones.values()}
    spine_joints = [bones[joint] for joint in SPINE if joint in bones]
    tells = {  # a chain also tells which bones play the joints (see presetfiles.py); where it would tell others, none
        "spine": _spread(spine) == spine_joints,
        "neck": not neck or neck[0] == bones.get("neck"),
        "root": True,
    }
    for key, chain in (("spine", spine), ("neck", neck), ("root", [root] if root else [])):
        preset.pop(key, None)
        if chain and tells[key]:
            preset[key] = [bare.get(bone, bone) for bone in chain]
    path = there.path if there is not None else _free_path(folder, file_stem(name))
    _write(path, json.dumps(preset, ensure_ascii=False, indent=2) + "\n")
    return path


def delete(folder: Path, file: str) -> None:
    """Delete a preset by its file's name. Raises UserError("preset_gone", "preset_unwritable")."""
    path = next((preset.path for preset in listing(folder) if preset.path.name == file), None)
    if path is None:
        raise UserError("preset_gone", "This preset is no longer there.", "Open the list again.")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _family(folder: Path, name: str) -> dict[str, Any]:
    """What a family's file says, {} where there is none."""
    if not name:
        return {}
    for preset in listing(folder):
        if not preset.problem and same_name(preset.name, name):
            return read(preset.path)
    return dict(builtin(name) or {})


def _spread(chain: Sequence[str]) -> list[str]:
    """Which of a spine's bones play the joints spine1 to spine3."""
    if len(chain) <= 2:
        return list(chain)
    return [chain[0], chain[(len(chain) - 1) // 2], chain[-1]]


def _bare_names(bones: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Bone -> its name without the namespace that all of them share; {} where there is none, or it is needed."""
    spaces = {bone.rpartition(":")[0] for bone in bones}
    if len(spaces) != 1 or spaces == {""}:
        return {}
    start = f"{spaces.pop()}:"
    bare = {bone: bone.removeprefix(start) for bone in bones}
    wanted = set(bare.values())
    if any(other not in bare and other.rpartition(":")[2] in wanted for other in others):
        return {}
    return bare


def _free_path(folder: Path, stem: str) -> Path:
    """A file that is not there yet; two names may come down to one stem, and some systems tell no capitals apart."""
    taken = set()
    with contextlib.suppress(OSError):
        taken = {_key(path.stem) for path in folder.iterdir()}
    number, free = 1, stem
    while _key(free) in taken:
        number += 1
        free = f"{stem}_{number}"
    return folder / f"{free}.json"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        "preset_unwritable",
        f"{path} cannot be changed ({error.strerror}).",
        "Free some space, or give yourself the right to write there.",
    )
