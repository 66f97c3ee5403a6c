"""Bone maps for the tests: the add-on with its rig panels, and maps written down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np
import pytest
import rigs

import mgpt3_blender
from mgpt3_blender import bonemap, preferences, properties_rig
from mgpt3_blender.rig.mapping import Mapping
from mgpt3_blender.rig.skeleton22 import JOINTS


@contextmanager
def registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The add-on, its own files in a folder of the test.

    It stays registered to the end: an add-on with property callbacks that goes may crash the wheel of 4.2 later.
    """
    monkeypatch.setattr(preferences, "user_folder", lambda: folder / "user")
    if not hasattr(bpy.types.Object, "mgpt3_bones"):
        mgpt3_blender.register()
    bonemap.view.presets = ()
    yield


def names(pattern: str = "bone {}") -> dict[str, str]:
    """Joint -> a name that tells nothing."""
    order = np.random.default_rng(5).permutation(len(JOINTS))
    return {joint: pattern.format(number) for joint, number in zip(JOINTS, order, strict=True)}


def mixamo_bones(prefix: str = "mixamorig:") -> dict[str, str]:
    return {joint: prefix + name for joint, name in rigs.names_of("Mixamo").items()}


def mapping(bones: dict[str, str], **changes: object) -> Mapping:
    missing = tuple(joint for joint in JOINTS if joint not in bones)
    return Mapping("Test", bones, dict(bones), missing=missing, **changes)  # type: ignore[arg-type]


def stored(armature: bpy.types.Object) -> dict:
    """Everything of the map as plain values."""
    out = {}
    for prop in properties_rig.MGPT3_BoneMap.bl_rna.properties:
        if prop.identifier not in ("rna_type", "name"):
            value = getattr(armature.mgpt3_bones, prop.identifier)
            out[prop.identifier] = tuple(value) if getattr(prop, "is_array", False) else value
    return out


def rename(armature: bpy.types.Object, old: str, new: str) -> None:
    armature.data.bones[old].name = new
