"""The rig's sub-panels and buttons: pressed for real, drawn against Blender's own layout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
import rigs
from maps import mapping, mixamo_bones, registered, rename, stored
from recorder import Recorder

from mgpt3_blender import bonemap, jobs, panels_rig, preferences
from mgpt3_blender.operators import rig as rig_operators
from mgpt3_blender.rig import userpresets
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.report import Report
from mgpt3_blender.rig.skeleton22 import JOINTS


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with registered(tmp_path, monkeypatch):
        yield


def test_find_pick_mirror_release_reset() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    assert bpy.ops.mgpt3.bones_find() == {"FINISHED"}
    assert bonemap.read_map(rig) == bones
    assert rig.mgpt3_bones.family == "Mixamo"
    assert set(bonemap.states(rig).values()) == {"OK"}
    with pytest.raises(RuntimeError, match="No bone"):
        bpy.ops.mgpt3.bones_pick(joint="l_elbow")
    bpy.ops.object.mode_set(mode="POSE")
    rig.data.bones.active = rig.data.bones[bones["l_shoulder"]]
    assert bpy.ops.mgpt3.bones_pick(joint="l_elbow") == {"FINISHED"}
    assert bpy.ops.mgpt3.bones_pick(joint="root") == {"FINISHED"}
    assert rig.mgpt3_bones.root == bonemap.root_override(rig) == bones["l_shoulder"]
    assert bonemap.overrides(rig) == {"l_elbow": bones["l_shoulder"]}
    assert bpy.ops.mgpt3.bones_mirror(source="l") == {"FINISHED"}
    assert bonemap.overrides(rig)["r_elbow"] == bones["r_shoulder"]
    assert bpy.ops.mgpt3.bones_release(joint="r_elbow") == {"FINISHED"}
    assert bpy.ops.mgpt3.bones_release(joint="root") == {"FINISHED"}
    assert bonemap.root_override(rig) is None
    with pytest.raises(RuntimeError, match="no part"):
        bpy.ops.mgpt3.bones_release(joint="known")
    assert bpy.ops.mgpt3.bones_reset() == {"FINISHED"}
    assert bonemap.read_map(rig) is None


def test_a_prop_is_no_character_and_that_is_shown() -> None:
    data = bpy.data.armatures.new("Door")
    door = bpy.data.objects.new("Door", data)
    bpy.context.collection.objects.link(door)
    bpy.context.view_layer.objects.active = door
    bpy.ops.object.mode_set(mode="EDIT")
    for name, height in (("frame", 0.0), ("hinge", 1.0)):
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = (0, 0, height), (0, 0, height + 1)
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(RuntimeError):
        bpy.ops.mgpt3.bones_find()
    assert jobs.view.error.code in rig_operators.PROBLEMS
    assert bonemap.problem(door).code == "bones_missing"
    layout = Layout()
    assert panels_rig.draw_map_problem(layout, door)
    assert layout.operators == ["mgpt3.bones_find"]
    hero = rigs.mixamo()
    assert bpy.ops.mgpt3.bones_find() == {"FINISHED"}
    assert jobs.view.error is None, "a map that is right settles it"
    layout = Layout()
    assert not panels_rig.draw_map_problem(layout, hero)
    assert not panels_rig.draw_map_problem(layout, None)
    assert layout.texts == []


def test_polls() -> None:
    assert not bpy.ops.mgpt3.bones_find.poll()  # no character
    rig = rigs.mixamo()
    assert bpy.ops.mgpt3.bones_find.poll()
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.ops.mgpt3.bones_find.poll()
    assert not bpy.ops.mgpt3.bones_mirror.poll()


class Layout(Recorder):
    """A recorder that knows a layout: its functions, their arguments, its icons, and each button's properties."""

    def __getattr__(self, name: str) -> object:
        known = bpy.types.UILayout.bl_rna.functions
        assert name in known, name
        parameters = known[name].parameters
        record = super().__getattr__(name)

        def call(*args: object, **kwargs: object) -> object:
            assert set(kwargs) <= set(parameters.keys()), (name, kwargs)
            if "icon" in kwargs:
                assert kwargs["icon"] in parameters["icon"].enum_items, kwargs["icon"]
            if name == "prop_search":
                assert args[1] in args[0].bl_rna.properties, args[1]
                assert args[3] in args[2].bl_rna.properties, args[3]
            made = record(*args, **kwargs)  # type: ignore[operator]
            return Button(args[0]) if name == "operator" else made

        return call

    def __setattr__(self, name: str, value: object) -> None:
        assert name in ("texts", "operators", "popovers") or name in bpy.types.UILayout.bl_rna.properties, name
        super().__setattr__(name, value)


class Button:
    """A button's properties."""

    def __init__(self, operator: object) -> None:
        self.__dict__["known"] = getattr(bpy.ops.mgpt3, str(operator).split(".")[1]).get_rna_type().properties

    def __setattr__(self, name: str, value: object) -> None:
        prop = self.known[name]
        assert prop.type != "ENUM" or value in prop.enum_items, (name, value)


def draw(panel: type) -> Layout:
    layout = Layout()
    panel.draw(SimpleNamespace(layout=layout), bpy.context)
    return layout


def test_drawing_looks_nothing_up_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, within: Callable[..., None]
) -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    panels = (panels_rig.MGPT3_PT_bone_map, panels_rig.MGPT3_PT_on_character, panels_rig.MGPT3_MT_bone_presets)
    bonemap.found(rig, mapping(bones, warnings=("Left and right look swapped.",), root="x"))
    bonemap.save_preset(rig, "Mine")
    (bonemap.preset_folder() / "bad.json").write_text("{")
    bonemap.refresh_presets()

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("drawing must not look anything up")

    from mgpt3_blender.rig import families, tree
    from mgpt3_blender.rig import mapping as mapping_module

    monkeypatch.setattr(tree, "read_tree", forbidden)
    monkeypatch.setattr(mapping_module, "map_armature", forbidden)
    monkeypatch.setattr(families, "match_names", forbidden)
    monkeypatch.setattr(userpresets, "listing", forbidden)
    monkeypatch.setattr(preferences, "user_folder", forbidden)
    for change in (
        lambda: None,
        lambda: bonemap.set_bone(rig, "head", bones["neck"]),
        lambda: rename(rig, bones["head"], "gone"),
        lambda: bonemap.clear_map(rig),
    ):
        change()
        before = stored(rig)
        drawn = [draw(panel) for panel in panels]
        header = Layout()
        panels[0].draw_header(SimpleNamespace(layout=header), bpy.context)
        assert bool(header.texts) == (bonemap.problem(rig) is not None)
        assert stored(rig) == before
    assert {"mgpt3.bones_find", "mgpt3.bones_mirror", "mgpt3.bones_reset", "mgpt3.bones_save_preset"} <= set(
        drawn[0].operators
    )
    assert drawn[0].operators.count("mgpt3.bones_pick") == len(JOINTS) + 1
    assert drawn[2].operators.count("mgpt3.bones_delete_preset") == 2
    assert drawn[2].operators.count("mgpt3.bones_load_preset") == 1
    bonemap.found(rig, mapping({}, warnings=("Left and right look swapped.",)))
    assert "Left and right look swapped." in draw(panels_rig.MGPT3_PT_bone_map).texts
    bonemap.found(rig, mapping(bones))
    start = time.perf_counter()
    for _ in range(50):
        bonemap.states(rig)
        bonemap.problem(rig)
    within((time.perf_counter() - start) / 50, 0.002, "a draw")


def test_the_report_is_shown() -> None:
    rig = rigs.mixamo()
    panel = panels_rig.MGPT3_PT_result_check
    assert not panel.poll(bpy.context)
    action = bpy.data.actions.new("Walk")
    rig.animation_data_create().action = action
    assert not panel.poll(bpy.context)
    action[panels_rig.PROPERTY] = Report(
        source="names", family="Mixamo", confidence=0.98, mean_deg=1.2, p95_deg=3.4
    ).to_json()
    assert panel.poll(bpy.context)
    assert any("Mixamo" in text for text in draw(panel).texts)
    for broken in ("{", "[]", "null"):
        action[panels_rig.PROPERTY] = broken
        assert any("The report on this" in text for text in draw(panel).texts)
    action[panels_rig.PROPERTY] = 3.0
    assert not panel.poll(bpy.context)


def test_options() -> None:
    settings = bpy.context.scene.mgpt3_rig
    assert settings.options(False) == Options()
    assert settings.options(True) == Options(foot_lock=True)
    settings.limbs, settings.root, settings.floor = "IK", "ROOT", 0.5
    settings.hands = settings.feet = settings.in_place = settings.loop = settings.relaxed_hands = True
    wanted = Options(
        limbs="IK", hands=True, feet=True, root="ROOT", in_place=True, loop=True, floor=None, relaxed_hands=True
    )
    assert settings.options(False) == wanted
    settings.use_floor = True
    assert settings.options(False).floor == 0.5


def test_nothing_can_be_animated_and_everything_has_a_tooltip() -> None:
    for group in (bpy.types.Scene.bl_rna.properties["mgpt3_rig"], bpy.types.Object.bl_rna.properties["mgpt3_bones"]):
        for prop in group.fixed_type.properties:
            if prop.identifier not in ("rna_type", "name"):
                assert not prop.is_animatable, prop.identifier
                assert prop.description, prop.identifier
    for cls in rig_operators.classes:
        kind = getattr(bpy.ops.mgpt3, cls.bl_idname.split(".")[1]).get_rna_type()
        assert kind.description, cls.bl_idname
