"""Characters from a folder of rig files: what its rigs.json says of them, and how each comes into Blender.

The folder may come from elsewhere: every field but the file's name may be missing, and every file may be broken.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .errors import RigError, UserError
from .rig.skeleton22 import INDEX


@dataclass(frozen=True)
class RigEntry:
    """One character of a rigs.json.

    Attributes:
        path: the file.
        convention: what family it is, in words.
        importer: the operator it is to be brought in with, in words; "" for the one its ending asks for.
        armature: name of the armature object, None where the file has to be looked through.
        mapping: joint -> bone, the truth; only joints that the character has.
        alternatives: joint -> further bones that count as right.
        deform: for control rigs: joint -> bone that carries the mesh.
        missing: joints that the character has no bone for.
        facing: where it looks in world space: "-Y", "+Y", ...; "" where that is not told.
        is_pose: whether the rest pose is a body's.
    """

    path: Path
    convention: str = ""
    importer: str = ""
    armature: str | None = None
    mapping: dict[str, str] = field(default_factory=dict)
    alternatives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deform: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    facing: str = ""
    is_pose: bool = True

    @property
    def name(self) -> str:
        return self.path.name


def _bones(raw: Any) -> dict[str, str]:
    """A joint -> bone table, without joints that have none and without names that are no joints."""
    rows = raw.items() if isinstance(raw, dict) else ()
    first = {joint: bone[0] if isinstance(bone, list) and bone else bone for joint, bone in rows}
    return {joint: bone for joint, bone in first.items() if joint in INDEX and isinstance(bone, str) and bone}


def _entry(folder: Path, raw: Any) -> RigEntry | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("file"), str):
        return None
    text = {key: raw[key] if isinstance(raw.get(key), str) else "" for key in ("convention", "importer", "facing")}
    alternatives: dict[str, tuple[str, ...]] = {}
    for joint, bones in (raw.get("mapping_alt") if isinstance(raw.get("mapping_alt"), dict) else {}).items():
        listed = [bones] if isinstance(bones, str) else bones if isinstance(bones, list) else []
        alternatives[joint] = tuple(bone for bone in listed if isinstance(bone, str))
    for joint, bones in (raw.get("mapping") if isinstance(raw.get("mapping"), dict) else {}).items():
        if isinstance(bones, list):
            alternatives[joint] = (*alternatives.get(joint, ()), *[bone for bone in bones if isinstance(bone, str)])
    mapping = _bones(raw.get("mapping"))
    told = raw.get("null_joints") if isinstance(raw.get("null_joints"), list) else []
    nulls = raw["mapping"].items() if isinstance(raw.get("mapping"), dict) else ()
    missing = {joint for joint in told if joint in INDEX} | {joint for joint, bone in nulls if bone is None}
    for joint in missing:
        mapping.pop(joint, None)
    armature = raw.get("armature_object")
    return RigEntry(
        path=folder / raw["file"],
        armature=armature if isinstance(armature, str) and armature else None,
        mapping=mapping,
        alternatives=alternatives,
        deform=_bones(raw.get("mapping_deform")),
        missing=tuple(sorted(missing, key=lambda joint: INDEX.get(joint, 99))),
        is_pose=raw.get("rest_pose") != "other",
        **text,
    )


def read_listing(folder: Path) -> list[RigEntry]:
    """The characters of a folder's rigs.json. Raises UserError (no_rigs) where there is nothing to read."""
    path = folder / "rigs.json"
    remedy = "Give the folder that holds rigs.json and the files it names."
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError("no_rigs", f"'{path}' cannot be read: {error.strerror or error}.", remedy) from error
    except ValueError as error:
        raise UserError("no_rigs", f"'{path}' is no JSON: {error}.", remedy) from error
    listed = raw.get("rigs") if isinstance(raw, dict) else raw
    entries = [_entry(folder, one) for one in listed] if isinstance(listed, list) else []
    good = [entry for entry in entries if entry is not None]
    if not good:
        raise UserError("no_rigs", f"'{path}' names no rig files.", 'It needs "rigs": [{"file": ...}, ...].')
    return good


# --- into Blender


def _operator(name: str) -> Callable[..., Any] | None:
    """The operator "group.name", or None where this Blender has none of that name."""
    group, _, own = name.partition(".")
    found = getattr(getattr(bpy.ops, group), own)
    try:
        found.get_rna_type()
    except KeyError:
        return None
    return found


def _enable(*modules: str) -> None:
    """Switch on importers that come with Blender; BVH's is off from 5.0 on."""
    import addon_utils

    for module in modules:
        with contextlib.suppress(Exception):  # a Blender without it has the operator elsewhere, or says so below
            addon_utils.enable(module, default_set=True)


_IMPORTERS: dict[str, tuple[str, ...]] = {
    ".fbx": ("import_scene.fbx", "wm.fbx_import"),
    ".glb": ("import_scene.gltf",),
    ".gltf": ("import_scene.gltf",),
    ".vrm": ("import_scene.gltf",),
    ".bvh": ("import_anim.bvh",),
    ".dae": ("wm.collada_import",),
    ".usd": ("wm.usd_import",),
    ".usda": ("wm.usd_import",),
    ".usdc": ("wm.usd_import",),
    ".usdz": ("wm.usd_import",),
}


def _import(path: Path, importer: str) -> None:
    """Bring a file into the current scene. Raises RigError (rig_not_loaded)."""
    names = _IMPORTERS.get(path.suffix.lower())
    if names is None:
        raise RigError("rig_not_loaded", f"Files of the type '{path.suffix}' are not known here.", "Convert the file.")
    _enable("io_scene_fbx", "io_scene_gltf2", "io_anim_bvh")
    names = tuple(sorted(names, key=lambda name: importer.find(name) if name in importer else len(importer)))
    there = [(name, found) for name in names if (found := _operator(name)) is not None]
    if not there:
        raise RigError("rig_not_loaded", f"This Blender cannot import '{path.suffix}' files.", "Use another version.")
    reasons = []
    for name, found in there:
        try:
            if "FINISHED" in found(filepath=str(path)):
                return
            reasons.append(f"{name} gave up")
        except Exception as error:  # an importer may fail in any way on a broken file
            reasons.append(f"{name}: {str(error).strip().splitlines()[-1] if str(error).strip() else error!r}")
    raise RigError("rig_not_loaded", f"Blender cannot load it ({'; '.join(reasons)}).", "Export it again.")


def load(entry: RigEntry) -> bpy.types.Object:
    """The character alone in a fresh scene, its pose at rest, playing nothing. -> the armature object.

    Raises RigError (rig_not_loaded).
    """
    if not entry.path.is_file():
        raise RigError("rig_not_loaded", f"There is no file '{entry.path}'.", "Check rigs.json.")
    if entry.path.suffix.lower() == ".blend":
        try:
            bpy.ops.wm.open_mainfile(filepath=str(entry.path), load_ui=False, use_scripts=False)
        except RuntimeError as error:
            raise RigError("rig_not_loaded", f"Blender cannot open it: {error}", "Save it again.") from error
    else:
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)
        _import(entry.path, entry.importer)
    armature = _armature(entry)
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":  # a file may be saved in any mode
        bpy.ops.object.mode_set(mode="OBJECT")
    if armature.name not in bpy.context.view_layer.objects:
        bpy.context.scene.collection.objects.link(armature)
    for item in bpy.data.objects:
        _take_off(item)
        if item.type == "MESH" and item.data.shape_keys is not None:
            _take_off(item.data.shape_keys)
    for bone in armature.pose.bones:
        bone.matrix_basis.identity()
    armature.data.pose_position = "POSE"
    armature.hide_viewport = False
    bpy.context.view_layer.update()
    return armature


def _take_off(owner: bpy.types.ID) -> None:
    """Let it play nothing; drivers stay."""
    data = owner.animation_data
    if data is not None:
        data.action = None
        while data.nla_tracks:
            data.nla_tracks.remove(data.nla_tracks[0])


def _armature(entry: RigEntry) -> bpy.types.Object:
    """The armature that the entry names, else the one with most of its bones, else the one with most bones."""
    found = [item for item in bpy.data.objects if item.type == "ARMATURE"]
    if not found:
        raise RigError("rig_not_loaded", "There is no armature in the file.", "Export it with its skeleton.")
    named = next((item for item in found if item.name == entry.armature), None)
    wanted = {*entry.mapping.values(), *entry.deform.values()}
    return named or max(found, key=lambda o: (sum(b.name in wanted for b in o.data.bones), len(o.data.bones)))


def meshes_of(armature: bpy.types.Object) -> list[bpy.types.Object]:
    """The meshes that follow an armature: through a modifier, or hung from it or one of its bones."""
    out = []
    for item in bpy.data.objects:
        if item.type == "MESH":
            bound = any(m.type == "ARMATURE" and m.object == armature for m in item.modifiers)
            if bound or item.parent == armature:
                out.append(item)
    return out
