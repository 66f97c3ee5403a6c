"""What test_soak.py measures with: what a user has in a file, as text, and how much memory a process has."""

from __future__ import annotations

from pathlib import Path

import bpy

KINDS = ("scenes", "objects", "actions", "armatures", "meshes", "collections", "materials", "texts")


def everything() -> dict[str, str]:
    """Each datablock of the file -> what it holds: custom properties and ours, poses, places, keys, what plays.

    Two equal ones mean: nothing was added, removed, renamed, moved, keyed or set in between. Numbers count bit by bit.
    """
    return {f"{kind}/{block.name}": _told(block) for kind in KINDS for block in getattr(bpy.data, kind)}


def _told(block: bpy.types.ID) -> str:
    words = [f"[{key}]={_value(block[key])}" for key in sorted(block.keys())]
    if isinstance(block, bpy.types.Object):
        data = block.animation_data
        words += [
            f"plays {data.action.name if data and data.action else None}",
            f"data {block.data.name if block.data else None}",
        ]
        words += [f"track {track.name}" for track in (data.nla_tracks if data else ())]
        words += [f"{number.hex()}" for row in block.matrix_basis for number in row]
        for bone in block.pose.bones if block.pose else ():
            words += [bone.name, bone.rotation_mode, *(number.hex() for row in bone.matrix_basis for number in row)]
            words += [f"{held.name} {held.influence.hex()}" for held in bone.constraints]
    elif isinstance(block, bpy.types.Scene):
        words += [str(n) for n in (block.frame_current, block.frame_start, block.frame_end, block.render.fps)]
        words += sorted(inner.name for inner in block.objects)
    elif isinstance(block, bpy.types.Action):
        words += [n.hex() for curve in _curves(block) for key in curve.keyframe_points for n in key.co]
    return "\n".join(words)


def _curves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    if not hasattr(action, "layers"):  # before Blender 4.4
        return list(action.fcurves)
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [curve for bag in bags for curve in bag.fcurves]


def _value(entry: object) -> str:
    if isinstance(entry, float):
        return entry.hex()
    if hasattr(entry, "to_dict"):
        return repr(entry.to_dict())
    return repr(entry.to_list() if hasattr(entry, "to_list") else entry)


def memory(process_id: int | str = "self") -> float:
    """MB that a process has in memory (Linux)."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
