"""The built-in figure."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from mgpt3_blender.mannequin import ROOM, add_mannequin, create_mannequin
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.skeleton22 import JOINTS


@pytest.fixture
def figure() -> bpy.types.Object:
    return create_mannequin(bpy.context)


def test_it_is_selected_active_and_known(figure):
    assert bpy.context.view_layer.objects.active == figure
    assert bpy.context.selected_objects == [figure]
    assert figure.mode == "OBJECT"
    mapping = map_armature(figure)
    assert mapping.preset == "MotionGPT3 mannequin"
    assert set(mapping.bones) == set(JOINTS)
    assert mapping.confidence == 1.0
    assert len(figure.data.bones) == 22


def test_it_stands_on_the_floor_facing_minus_y(figure):
    body = figure.children[0]
    points = np.array([v.co for v in body.data.vertices])
    assert points[:, 2].min() == pytest.approx(0.0, abs=0.006)
    assert 1.6 < points[:, 2].max() < 1.8
    assert abs(points[:, 0].mean()) < 0.01
    bones = figure.data.bones
    assert bones["thigh.L"].head_local.x > 0.05
    assert bones["toe.L"].head_local.y < bones["foot.L"].head_local.y - 0.08


def test_every_vertex_hangs_on_one_bone_and_the_mesh_is_whole(figure):
    body = figure.children[0]
    assert {group.name for group in body.vertex_groups} <= set(figure.data.bones.keys())
    assert all(len(v.groups) == 1 and v.groups[0].weight == 1.0 for v in body.data.vertices)
    assert all(polygon.use_smooth for polygon in body.data.polygons)
    assert len(body.data.materials) == 2
    assert not body.data.validate()
    normals = np.array([polygon.normal for polygon in body.data.polygons])
    centres = np.array([polygon.center for polygon in body.data.polygons])
    head = centres[:, 2] > centres[:, 2].max() - 0.08
    away = centres[head] - centres[head].mean(0)
    assert (np.einsum("ij,ij->i", normals[head], away) > 0).mean() > 0.95  # outwards


def test_the_mesh_follows_the_bones(figure):
    body = figure.children[0]
    before = np.array([v.co for v in body.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.vertices])
    figure.pose.bones["upper_arm.L"].rotation_quaternion = (0.7071, 0.7071, 0, 0)
    bpy.context.view_layer.update()
    after = np.array([v.co for v in body.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.vertices])
    moved = np.linalg.norm(after - before, axis=-1) > 0.01
    assert moved.any()
    assert before[moved, 0].min() > 0.0
    assert not moved[before[:, 0] < 0.1].any()


def test_a_second_one_and_a_call_from_pose_mode(figure):
    bpy.ops.object.mode_set(mode="POSE")
    second = create_mannequin(bpy.context)
    assert second != figure
    assert bpy.context.selected_objects == [second]
    assert len([m for m in bpy.data.materials if m.name.startswith("Mannequin")]) == 2


def test_it_stands_beside_what_is_in_its_way_and_on_a_floor_not_beside_it():
    bpy.ops.mesh.primitive_plane_add(size=40.0)
    bpy.ops.mesh.primitive_cube_add(size=30.0)  # a room to be in
    first = add_mannequin(bpy.context)
    assert first.location.x == 0.0
    bpy.ops.mesh.primitive_cube_add(size=2.0, location=(0.0, 0.0, 0.0))
    second = add_mannequin(bpy.context)
    assert second.location.x == pytest.approx(1.0 + ROOM)
    third = add_mannequin(bpy.context)
    assert third.location.x > second.location.x + ROOM
    assert first.location.x == 0.0
