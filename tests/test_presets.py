"""Presets of how motion is made: Blender's own menu, files in the user's folder, some that come with the add-on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from recorder import Recorder

import mgpt3_blender
from mgpt3_blender import current, example, generatepresets, mannequin, panels
from mgpt3_blender.mannequin import create_mannequin

OURS = Path(generatepresets.__file__).parent / "presets" / generatepresets.SUBFOLDER
FILES = sorted(OURS.glob("*.py"))
UNTOUCHED = {"seconds", "limbs"}
"""What a shipped preset leaves alone, though a user's own holds it."""


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BLENDER_USER_SCRIPTS", str(tmp_path / "scripts"))
    shown = generatepresets.MGPT3_PT_generate_presets
    monkeypatch.setattr(shown, "bl_label", shown.bl_label)  # Blender writes the preset's name there when one is used
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def values() -> dict[str, object]:
    scene = bpy.context.scene
    pairs = [(scene.mgpt3, name) for name in generatepresets.GENERATE]
    pairs += [(scene.mgpt3_rig, name) for name in generatepresets.RIG]
    return {name: getattr(group, name) for group, name in pairs}


def use(file: Path) -> None:
    assert bpy.ops.script.execute_preset(filepath=str(file), menu_idname="MGPT3_PT_generate_presets") == {"FINISHED"}


def change_everything() -> None:
    """Each setting that a preset holds gets a value that is not its default, and so does what it must not hold."""
    scene = bpy.context.scene
    for group, names in ((scene.mgpt3, generatepresets.GENERATE), (scene.mgpt3_rig, generatepresets.RIG)):
        for name in names:
            prop = group.bl_rna.properties[name]
            if prop.type == "BOOLEAN":
                setattr(group, name, not prop.default)
            elif prop.type == "ENUM":
                setattr(
                    group, name, next(item.identifier for item in prop.enum_items if item.identifier != prop.default)
                )
            else:
                setattr(group, name, prop.default + 1)
    scene.mgpt3.prompt, scene.mgpt3.seed = "a person bows", 77
    scene.mgpt3_rig.use_floor, scene.mgpt3_rig.floor = True, 0.5


def test_what_comes_with_the_add_on_is_listed_and_goes_with_it() -> None:
    assert {file.stem for file in FILES} >= {"Default", "Quick_Look", "Four_Takes", "Loop_on_the_Spot"}
    assert str(OURS) in bpy.utils.preset_paths(generatepresets.SUBFOLDER)
    mgpt3_blender.unregister()
    assert str(OURS) not in bpy.utils.preset_paths(generatepresets.SUBFOLDER)
    mgpt3_blender.register()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_preset_that_comes_with_the_add_on(file: Path) -> None:
    """It sets every setting, so that nothing of the last one stays, and touches nothing else."""
    character = create_mannequin(bpy.context)
    scene = bpy.context.scene
    scene.mgpt3.character = character
    change_everything()
    before = values()
    lines = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)]
    targets = {ast.unparse(line.targets[0]) for line in lines}
    wanted = set(generatepresets.MGPT3_OT_generate_preset_add.preset_values)
    assert targets == {path for path in wanted if path.rpartition(".")[2] not in UNTOUCHED}
    assert len(ast.parse(file.read_text(encoding="utf-8")).body) == len(lines) + 1  # and the import: it does no more
    use(file)
    said = {ast.unparse(line.targets[0]).rpartition(".")[2]: ast.literal_eval(line.value) for line in lines}
    assert values() == {**before, **said}
    assert (scene.mgpt3.prompt, scene.mgpt3.seed, scene.mgpt3.character) == ("a person bows", 77, character)
    assert (scene.mgpt3_rig.use_floor, scene.mgpt3_rig.floor) == (True, 0.5)


def test_the_default_one_is_what_a_new_scene_has() -> None:
    fresh = values()
    change_everything()
    bpy.context.scene.mgpt3.seconds, bpy.context.scene.mgpt3_rig.limbs = fresh["seconds"], fresh["limbs"]
    use(OURS / "Default.py")
    assert values() == fresh


def test_a_preset_reaches_the_request() -> None:
    use(OURS / "Loop_on_the_Spot.py")
    request = bpy.context.scene.mgpt3.request()
    assert (request.retarget.loop, request.retarget.in_place, request.variations) == (True, True, 1)
    use(OURS / "Four_Takes.py")
    request = bpy.context.scene.mgpt3.request()
    assert (request.retarget.loop, request.retarget.in_place, request.variations) == (False, False, 4)


def test_a_preset_of_ones_own_is_saved_used_and_removed(tmp_path: Path) -> None:
    change_everything()
    saved = values()
    assert bpy.ops.mgpt3.generate_preset_add(name="Mine, für Läufe") == {"FINISHED"}
    folder = tmp_path / "scripts" / "presets" / generatepresets.SUBFOLDER
    (file,) = folder.glob("*.py")
    text = file.read_text(encoding="utf-8")
    assert "prompt" not in text
    assert "character" not in text
    assert "seed" not in text
    use(OURS / "Default.py")
    assert values() != saved
    use(file)
    assert values() == saved
    name = bpy.path.display_name(file.name, title_case=False)
    assert bpy.ops.mgpt3.generate_preset_add(name=name, remove_name=True) == {"FINISHED"}
    assert not file.exists()


def test_what_comes_with_the_add_on_cannot_be_removed_or_hidden(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Unable to remove"):
        bpy.ops.mgpt3.generate_preset_add(name="Default", remove_name=True)
    assert (OURS / "Default.py").is_file()
    bpy.ops.mgpt3.generate_preset_add(name="Default")
    assert not (tmp_path / "scripts" / "presets" / generatepresets.SUBFOLDER / "Default.py").exists()


def test_the_panels_header_has_the_menu() -> None:
    drawn = Recorder()
    panels.MGPT3_PT_generate.draw_header_preset(type("Panel", (), {"layout": drawn})(), bpy.context)
    assert drawn.popovers == ["MGPT3_PT_generate_presets"]


# -- the example -------------------------------------------------------------------------------------------------------


def test_the_example_is_ready_to_generate_and_leaves_the_rest_alone() -> None:
    own = create_mannequin(bpy.context)
    scene = bpy.context.scene
    scene.mgpt3.character, scene.mgpt3.seed, scene.mgpt3.variations = own, 5, 3
    there = {thing.name: thing.matrix_world.copy() for thing in bpy.data.objects}
    assert bpy.ops.mgpt3.add_example() == {"FINISHED"}
    assert {name: bpy.data.objects[name].matrix_world.copy() for name in there} == there
    character = current.character(bpy.context)
    assert character is not None
    assert character.name not in there
    request = scene.mgpt3.request()
    request.check()
    assert (request.prompt, request.seconds, request.seed, request.variations) == (example.PROMPT, 4.0, 0, 1)


def test_the_example_does_not_stand_in_something() -> None:
    bpy.ops.mgpt3.add_example()
    first = current.character(bpy.context)
    assert first.location.x == 0.0
    bpy.ops.mesh.primitive_cube_add(size=2.0, location=(2.0, 0.0, 0.0))
    bpy.ops.mesh.primitive_cube_add(size=2.0, location=(9.0, 5.0, 0.0))  # not where it walks
    bpy.ops.mgpt3.add_example()
    second = current.character(bpy.context)
    assert second != first
    assert second.location.x == pytest.approx(3.0 + mannequin.ROOM)
    assert tuple(second.location)[1:] == (0.0, 0.0)


def test_one_undo_takes_the_example_back() -> None:
    bpy.context.scene.mgpt3.prompt = "a person bows"
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mgpt3.add_example()
    bpy.ops.ed.undo_push(message="after")  # in a window the operator's own UNDO does this
    assert any(thing.type == "ARMATURE" for thing in bpy.data.objects)
    bpy.ops.ed.undo()
    assert not any(thing.type == "ARMATURE" for thing in bpy.data.objects)
    assert bpy.context.scene.mgpt3.prompt == "a person bows"
