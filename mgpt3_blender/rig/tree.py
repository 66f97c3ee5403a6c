"""An armature as the bone finders see it: names, hierarchy and rest positions, as plain arrays.

Only `read_tree` looks at Blender objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import bpy


@dataclass(frozen=True)
class Tree:
    """The bones of one armature in rest, parents before children.

    Attributes:
        names: (N,) bone names.
        parents: (N,) index of the parent, -1 at the top.
        heads, tails: (N, 3) rest positions with the world's axes (Z up): the armature object's rotation is applied,
            its location and scale are not, so lengths are in armature units.
        deform: (N,) the bone is marked as carrying the mesh (Blender's "Deform").
        driven: (N,) a constraint that is on moves or turns the bone, so that keys on it alone do not decide.
        skinned: (N,) number of mesh vertices that follow the bone most of all; all zero where there is no
            mesh or where it was not counted.
    """

    names: tuple[str, ...]
    parents: np.ndarray
    heads: np.ndarray
    tails: np.ndarray
    deform: np.ndarray
    driven: np.ndarray
    skinned: np.ndarray

    @cached_property
    def index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        out: list[list[int]] = [[] for _ in self.names]
        for i, parent in enumerate(self.parents):
            if parent >= 0:
                out[parent].append(i)
        return tuple(tuple(kids) for kids in out)

    def ancestors(self, bone: int) -> list[int]:
        """Indices from the parent up to the top."""
        out = []
        while self.parents[bone] >= 0:
            bone = int(self.parents[bone])
            out.append(bone)
        return out


def plain_tree(
    names: Sequence[str],
    parents: Sequence[int],
    heads: np.ndarray,
    tails: np.ndarray | None = None,
    **changes: np.ndarray,
) -> Tree:
    """A tree without Blender. Tails default to the mean of the children's heads; all bones deform, none is driven."""
    heads = np.asarray(heads, np.float64)
    if tails is None:
        tails = heads.copy()
        for i in range(len(names)):
            kids = [k for k, parent in enumerate(parents) if parent == i]
            tails[i] = heads[kids].mean(0) if kids else heads[i]
    count = len(names)
    flags = {"deform": np.ones(count, bool), "driven": np.zeros(count, bool), "skinned": np.zeros(count, int)}
    return Tree(tuple(names), np.asarray(parents, int), heads, np.asarray(tails, np.float64), **{**flags, **changes})


_HARMLESS = {"COPY_SCALE", "LIMIT_SCALE", "MAINTAIN_VOLUME", "STRETCH_TO"}
"""Constraints that leave a bone's head and aim alone."""


def read_tree(armature: bpy.types.Object, skin: bool = False) -> Tree:
    """Read an armature's bones, in any mode but Edit Mode. Changes nothing.

    Args:
        skin: count the vertices that follow each bone, which takes tens of milliseconds on a large mesh.
    """
    bones = list(armature.data.bones)
    index = {bone.name: i for i, bone in enumerate(bones)}
    matrix = np.array(armature.matrix_world)[:3, :3]
    turn = matrix / np.maximum(np.cbrt(abs(np.linalg.det(matrix))), 1e-12)
    heads = np.array([bone.head_local for bone in bones]).reshape(-1, 3) @ turn.T
    tails = np.array([bone.tail_local for bone in bones]).reshape(-1, 3) @ turn.T
    driven = [
        any(
            not c.mute and c.influence > 0.0 and c.type not in _HARMLESS
            for c in armature.pose.bones[bone.name].constraints
        )
        for bone in bones
    ]
    return Tree(
        names=tuple(bone.name for bone in bones),
        parents=np.array([index[bone.parent.name] if bone.parent else -1 for bone in bones], int),
        heads=heads,
        tails=tails,
        deform=np.array([bone.use_deform for bone in bones], bool),
        driven=np.array(driven, bool),
        skinned=_skinned(armature, index) if skin else np.zeros(len(bones), int),
    )


def skins(armature: bpy.types.Object) -> tuple[tuple[str, int], ...]:
    """The meshes that follow an armature, name and number of vertices: cheap, and different where the skin is."""
    import bpy

    return tuple(
        (mesh.name, len(mesh.data.vertices))
        for mesh in bpy.data.objects
        if mesh.type == "MESH" and any(m.type == "ARMATURE" and m.object == armature for m in mesh.modifiers)
    )


def _skinned(armature: bpy.types.Object, index: dict[str, int]) -> np.ndarray:
    """For each bone the number of vertices that it moves most of all, over the meshes that follow the armature."""
    import bpy

    count = np.zeros(len(index), int)
    for name, _ in skins(armature):
        mesh = bpy.data.objects[name]
        groups = {group.index: index.get(group.name, -1) for group in mesh.vertex_groups}
        for vertex in mesh.data.vertices:
            if vertex.groups:
                bone = groups.get(max(vertex.groups, key=lambda g: g.weight).group, -1)
                if bone >= 0:
                    count[bone] += 1
    return count
