"""The add-on behaves like a part of Blender: everything says what it does, and why it cannot be pressed."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from recorder import Recorder

import mgpt3_blender
from mgpt3_blender import drawing, jobs, keymap, library, menus, preferences, search, upkeep
from mgpt3_blender.errors import UserError
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.operators import report


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def classes(kind: type) -> list[type]:
    found = [c for module in mgpt3_blender._modules() for c in getattr(module, "classes", ()) if issubclass(c, kind)]
    assert found
    return found


def rna(operator: type) -> bpy.types.Struct:
    return getattr(bpy.ops.mgpt3, operator.bl_idname.removeprefix("mgpt3.")).get_rna_type()


def is_sentence(text: str) -> bool:
    """As Blender writes tooltips: a capital at the start, no full stop at the end."""
    return bool(text) and text[0] == text[0].upper() and not text.endswith(".") and len(text) > 5


def properties_of(struct: bpy.types.Struct) -> list[bpy.types.Property]:
    return [p for p in struct.properties if p.identifier not in ("rna_type", "name", "bl_idname")]


def all_properties() -> dict[str, bpy.types.Property]:
    found = {}
    for operator in classes(bpy.types.Operator):
        found |= {f"{operator.__name__}.{p.identifier}": p for p in properties_of(rna(operator))}
    for kind in (*classes(bpy.types.PropertyGroup), *classes(bpy.types.AddonPreferences)):
        found |= {f"{kind.__name__}.{p.identifier}": p for p in properties_of(kind.bl_rna)}
    for owner in (bpy.types.Scene, bpy.types.Object, bpy.types.Action, bpy.types.Armature, bpy.types.WindowManager):
        mine = [p for p in owner.bl_rna.properties if p.identifier.startswith("mgpt3")]
        found |= {f"{owner.__name__}.{p.identifier}": p for p in mine}
    return found


def test_every_operator_says_what_it_does() -> None:
    for operator in classes(bpy.types.Operator):
        assert operator.bl_label, operator.__name__
        assert is_sentence(rna(operator).description), (operator.__name__, rna(operator).description)


def test_every_property_has_a_label_and_a_tooltip() -> None:
    names = all_properties()
    assert len(names) > 150
    assert "Action.mgpt3_favourite" in names
    for name, prop in names.items():
        if "_" not in name.split(".")[0] and prop.type == "POINTER":
            continue  # groups of settings, which are not drawn as such
        assert prop.name, name
        assert is_sentence(prop.description), (name, prop.description)
        for item in getattr(prop, "enum_items", ()) if prop.type == "ENUM" else ():
            assert item.name, name
            assert is_sentence(item.description), (name, item.identifier, item.description)


def test_nothing_of_ours_can_be_animated() -> None:
    owners, seen = (*classes(bpy.types.PropertyGroup), *classes(bpy.types.AddonPreferences)), 0
    for owner in owners:
        for prop in properties_of(owner.bl_rna):
            seen += 1
            assert not prop.is_animatable, f"{owner.__name__}.{prop.identifier}"
    assert seen > 100
    for name, prop in all_properties().items():  # also what is on Blender's own types, and with the window
        if "_" not in name.split(".")[0]:
            assert not prop.is_animatable, name


def test_seconds_are_shown_as_seconds_and_frames_as_frames() -> None:
    seconds, frames, lengths = set(), set(), set()
    for owner in classes(bpy.types.PropertyGroup):
        for prop in properties_of(owner.bl_rna):
            name = f"{owner.__name__}.{prop.identifier}"
            if prop.identifier in ("seconds", "transition"):
                assert (prop.type, prop.subtype, prop.unit) == ("FLOAT", "TIME_ABSOLUTE", "TIME_ABSOLUTE"), name
                seconds.add(name)
            elif prop.type == "INT" and prop.name.endswith("Frame"):
                assert prop.subtype == "TIME", name  # as scene.frame_start and the like
                frames.add(name)
            elif prop.identifier == "floor":
                assert (prop.subtype, prop.unit) == ("DISTANCE", "LENGTH")
                lengths.add(name)
    assert bpy.types.Scene.bl_rna.properties["frame_start"].subtype == "TIME"
    assert (len(seconds), len(frames), len(lengths)) == (4, 5, 1)


@pytest.mark.parametrize("time", [0.1, 0.7, 3.3, 4.0, 9.6, 9.8])
def test_a_time_is_asked_for_as_it_was_typed(time: float) -> None:
    """Blender keeps 9.8 as 9.8000002, which the core refuses where 9.8 is the most it can do."""
    scene = bpy.context.scene
    segment = scene.mgpt3_sequence.segments.add()
    asked = {
        (scene.mgpt3, "seconds"): lambda: scene.mgpt3.request().seconds,
        (segment, "seconds"): lambda: scene.mgpt3_sequence.request().segments[0].seconds,
        (scene.mgpt3_sequence, "transition"): lambda: scene.mgpt3_sequence.request().transition,
        (scene.mgpt3_extend, "seconds"): lambda: scene.mgpt3_extend.request().seconds,
    }
    for (settings, name), request in asked.items():
        prop = settings.bl_rna.properties[name]
        setattr(settings, name, time)
        wanted = min(max(time, round(prop.hard_min, 3)), round(prop.hard_max, 3))
        assert request() == wanted, (type(settings).__name__, name)


def test_what_is_secondary_is_folded_at_first() -> None:
    panels = [panel for panel in classes(bpy.types.Panel) if panel.bl_region_type == "UI"]
    open_at_first = {p.bl_idname for p in panels if "DEFAULT_CLOSED" not in getattr(p, "bl_options", ())}
    assert open_at_first == {"MGPT3_PT_generate", "MGPT3_PT_results"}
    assert {p.bl_parent_id for p in panels if p.bl_idname != "MGPT3_PT_generate"} == {"MGPT3_PT_generate"}


def test_panels_and_menus_have_titles() -> None:
    for panel in classes(bpy.types.Panel):
        assert panel.bl_label, panel.__name__
        assert panel.bl_region_type == "HEADER" or panel.bl_category == "MotionGPT3"  # presets pop over
    for menu in classes(bpy.types.Menu):
        assert menu.bl_label, menu.__name__


def test_names_to_search_for_make_sense() -> None:
    labels = [o.bl_label for o in classes(bpy.types.Operator) if "INTERNAL" not in getattr(o, "bl_options", ())]
    assert len(labels) == len(set(labels)) > 7
    for label in labels:  # found without the panel around them
        assert len(label.split()) >= 2, label
        assert label[0].isupper(), label


def test_what_can_be_searched_for_stands_in_a_menu() -> None:
    """F3 searches the menus; each operator that is not internal stands in one of Blender's."""
    drawn = Recorder()
    menu = type("Menu", (), {"layout": drawn})()
    for _, draw in menus._MENUS:
        draw(menu, bpy.context)
    menus.MGPT3_MT_motion.draw(menu, bpy.context)
    wanted = {o.bl_idname for o in classes(bpy.types.Operator) if "INTERNAL" not in getattr(o, "bl_options", ())}
    assert wanted <= set(drawn.operators)
    for name, draw in menus._MENUS:
        assert draw in getattr(bpy.types, name)._dyn_ui_initialize()


# -- poll messages -----------------------------------------------------------------------------------------------------


class Idle:
    """Stands for a run under way: nothing here asks it for more."""

    ended = over = False


def situations(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One situation after the other in which some buttons cannot be pressed."""
    yield "empty"
    armature = create_mannequin(bpy.context)
    yield "nothing made yet"
    running = jobs.Job("Generate", "generate", {}, print, state=jobs.State.RUNNING)
    jobs.view.job = running
    yield "a motion is being made"
    jobs.view.job = None
    upkeep.view.task = upkeep.Task("Set-up")
    yield "set-up"
    upkeep.view.task = None
    for module in (library, search):
        monkeypatch.setattr(module.view, "run", Idle())
        yield f"{module.__name__} is busy"
        monkeypatch.setattr(module.view, "run", None)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    yield "edit mode"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_button_that_cannot_be_pressed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: set[str] = set()
    operators = classes(bpy.types.Operator)
    for situation in situations(monkeypatch):
        for operator in operators:
            call = getattr(bpy.ops.mgpt3, operator.bl_idname.removeprefix("mgpt3."))
            if call.poll():
                continue
            refused.add(operator.__name__)
            with pytest.raises(RuntimeError, match=r"poll\(\) (?!failed)\w+") as caught:
                call()
            assert "context is incorrect" not in str(caught.value), (situation, operator.__name__)
    with_poll = {o.__name__ for o in operators if any("poll" in vars(base) for base in o.__mro__[:-1])}
    assert len(with_poll) > 30
    assert refused >= with_poll, with_poll - refused


# -- the shortcut ------------------------------------------------------------------------------------------------------


def test_generate_has_a_shortcut_that_can_be_changed() -> None:
    addon = bpy.context.window_manager.keyconfigs.addon
    mine = [item for item in addon.keymaps["3D View"].keymap_items if item.idname == "mgpt3.generate"]
    assert len(mine) == 1
    assert (mine[0].type, mine[0].ctrl, mine[0].alt, mine[0].shift) == ("M", True, True, False)
    bpy.context.window_manager.keyconfigs.update()  # a window does this by itself
    _, entry = keymap.entry()
    assert (entry.idname, entry.type, entry.active) == ("mgpt3.generate", "M", True)
    entry.type, entry.active = "F5", False
    layout = Recorder()
    keymap.draw(layout)
    assert "Generate Motion in the 3D View" in layout.texts
    assert (keymap.entry()[1].type, keymap.entry()[1].active) == ("F5", False)
    mgpt3_blender.unregister()
    assert not [item for item in addon.keymaps["3D View"].keymap_items if item.idname.startswith("mgpt3")]
    mgpt3_blender.register()


MODES = {"Window", "Screen", "Screen Editing", "3D View", "3D View Generic", "Object Mode", "Pose",
         "Object Non-modal", "Frames", "Animation", "User Interface"}  # fmt: skip


@pytest.mark.parametrize("name", ["blender_default", "industry_compatible_data"])
@pytest.mark.parametrize("select", ["LEFT", "RIGHT"])
def test_the_shortcut_is_free_in_blenders_own_keymaps(name: str, select: str) -> None:
    folder = Path(bpy.utils.resource_path("LOCAL")) / "scripts" / "presets" / "keyconfig" / "keymap_data"
    spec = importlib.util.spec_from_file_location(f"keys_{name}", folder / f"{name}.py")
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    params = data.Params(select_mouse=select) if name == "blender_default" else data.Params()
    keymaps = [(title, content["items"]) for title, _, content in data.generate_keymaps(params) if title in MODES]
    assert len(keymaps) >= 8
    pressed = tuple(bool(keymap.KEY.get(key)) for key in ("ctrl", "alt", "shift", "oskey"))
    seen = 0
    for title, items in keymaps:
        for operator, event, *_ in items:
            seen += 1
            if event["type"] != keymap.KEY["type"]:
                continue
            asked = [event.get(key, False) for key in ("ctrl", "alt", "shift", "oskey")]
            free = [(False, True) if event.get("any") or value == -1 else (bool(value),) for value in asked]
            assert pressed not in set(itertools.product(*free)), (title, operator)
    assert seen > 200


# -- the report --------------------------------------------------------------------------------------------------------


def test_the_report_says_what_is_wrong_and_not_who_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    home = tmp_path / "annlee home"
    home.mkdir()
    log = home / "worker.log"
    log.write_text(
        f"loaded {home}/models/hero in 2 s\nhf_abcdefghijkl for annlee\n"
        f'  File "{preferences.PACKAGE}/worker.py", line 3, in wait\nValueError: 3 values are not finite\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("USER", "annlee")
    monkeypatch.setenv("HF_TOKEN", "swordfish")
    monkeypatch.setattr(preferences, "worker_log", lambda: log)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "Secret Film.blend"))
    jobs.view.error = UserError("worker_crashed", "It stopped.", "Open the log.")
    capfd.readouterr()  # Blender says where it saved
    assert bpy.ops.mgpt3.copy_report() == {"FINISHED"}
    text = capfd.readouterr().out
    for wanted in ("Last error: worker_crashed", bpy.app.version_string, mgpt3_blender.VERSION, "Model: ",
                   "ValueError: 3 values are not finite", "File <mgpt3_blender/worker.py>, line 3",
                   "loaded ~/<path>"):  # fmt: skip
        assert wanted in text
    for hidden in ("annlee", "hero", "hf_a", "swordfish", "Secret", str(tmp_path), os.environ["HOME"], "It stopped"):
        assert hidden not in report.text()
        assert hidden not in text, hidden


def test_the_report_is_offered_where_a_fault_is_shown() -> None:
    for code, offered in (("worker_crashed", True), ("internal_error", True), ("not_set_up", False)):
        layout = Recorder()
        drawing.draw_error(layout, UserError(code, "It stopped.", "Try again."))
        assert ("mgpt3.copy_report" in layout.operators) == offered
