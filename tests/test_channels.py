"""Poses of a gap: read off the action's curves where nothing else counts, else as Blender shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
import pytest
import rigs
from motions import walk
from splicing import MAKERS, key_motion

from mgpt3_blender import action
from mgpt3_blender.rig import channels
from mgpt3_blender.rig.poses import held


def posed_both_ways(rig: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, tuple, tuple]:
    """Whether the curves alone count, and the poses of all bones: as read for a gap, and with every frame set."""
    scene, played = bpy.context.scene, rig.animation_data.action
    curves = {(c.data_path, c.array_index): c for c in action.fcurves(played, rig)}
    names, times = [bone.name for bone in rig.pose.bones], np.array([1.0, 7.5, 20.0, 33.0, 61.25])
    alone = channels.moved_by_curves_alone(rig, played, curves, names)

    def look() -> tuple:
        with held(rig, scene):
            keyed = channels.read_keyed(rig, curves, names, times)
            return channels.posed(rig, scene, played, curves, keyed, times)

    read = look()
    with monkeypatch.context() as patch:
        patch.setattr(channels, "moved_by_curves_alone", lambda *_: False)
        return alone, read, look()


def check_same(read: tuple, seen: tuple) -> None:
    off = {name: float(np.abs(read[0][name] - seen[0][name]).max()) for name in seen[0]}
    assert max(off.values()) < 2e-5, max(off, key=off.get)
    assert np.allclose(read[1], seen[1], atol=1e-6)


@pytest.mark.parametrize("kind", MAKERS)
def test_poses_read_off_the_curves_are_those_that_blender_shows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, limbs = MAKERS[kind]
    rig = make()
    key_motion(rig, walk(4.0), limbs=limbs)
    rig.pose.bones[-1].scale = (1.2, 0.8, 1.1)
    rig.pose.bones[-1].keyframe_insert("scale", frame=1)
    rig.pose.bones[-1].scale = (0.7, 1.0, 1.3)
    rig.pose.bones[-1].keyframe_insert("scale", frame=70)
    alone, read, seen = posed_both_ways(rig, monkeypatch)
    assert alone
    check_same(read, seen)


def test_a_parent_that_stands_still_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    _on_a_tilted_stage(rig)
    bpy.context.view_layer.update()
    alone, read, seen = posed_both_ways(rig, monkeypatch)
    assert alone
    check_same(read, seen)


def _driven(rig: Any) -> None:
    driver = rig.pose.bones[rig.data.bones[0].name].driver_add("location", 0).driver
    driver.expression = "frame / 100"


def _child(rig: Any) -> None:
    rig.parent = bpy.data.objects.new("cart", None)
    bpy.context.collection.objects.link(rig.parent)
    for frame, place in ((1, 0.0), (60, 3.0)):
        rig.parent.location[0] = place
        rig.parent.keyframe_insert("location", frame=frame)


def _on_a_tilted_stage(rig: Any) -> None:
    """Parents that only stand there, as in a set."""
    floor, stage = bpy.data.objects.new("floor", None), bpy.data.objects.new("stage", None)
    for thing in (floor, stage):
        bpy.context.collection.objects.link(thing)
    stage.parent, rig.parent = floor, stage
    floor.rotation_euler, stage.location, stage.scale = (0.1, 0.0, 0.7), (2.0, -1.0, 0.5), (1.5, 1.5, 1.5)


def _grandchild(rig: Any) -> None:
    _on_a_tilted_stage(rig)
    floor = rig.parent.parent
    for frame, turn in ((1, 0.0), (60, 1.0)):
        floor.rotation_euler[2] = turn
        floor.keyframe_insert("rotation_euler", frame=frame)


def _object_keyed(rig: Any) -> None:
    for frame, place in ((1, 0.0), (60, 3.0)):
        rig.location[0] = place
        rig.keyframe_insert("location", frame=frame)


def _follows(rig: Any) -> None:
    _child(rig)
    cart, rig.parent = rig.parent, None
    rig.constraints.new("COPY_LOCATION").target = cart


def _layered(rig: Any) -> None:
    """A second action in the NLA, added to what the first one does."""
    data = rig.animation_data
    strip = data.nla_tracks.new().strips.new("again", 1, data.action)
    strip.blend_type = "ADD"
    data.action_blend_type = "COMBINE"


def _muted(rig: Any) -> None:
    action.fcurves(rig.animation_data.action, rig)[0].mute = True


def _half(rig: Any) -> None:
    rig.animation_data.action_influence = 0.5


@pytest.mark.parametrize("change", [_driven, _child, _grandchild, _object_keyed, _follows, _layered, _muted, _half])
def test_whatever_else_moves_a_character_counts(change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    change(rig)
    bpy.context.view_layer.update()
    alone, read, seen = posed_both_ways(rig, monkeypatch)
    assert not alone
    check_same(read, seen)
