"""A file as somebody wicked would make it, and what the add-on does with it: run by test_security.py.

`stranger.py make FILE TRAP`: every text of ours that a file can hold, and some of Blender's, tries to be run or opened.
`stranger.py load FILE TRAP`: opens it with the add-on enabled, draws every panel, and prints as JSON what Python was
asked to do meanwhile: what is opened, looked at, started, connected to, imported, run. TRAP is a folder whose name no
harmless thing has.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import bpy  # noqa: E402

import mgpt3_blender  # noqa: E402

HOLDERS = ("Scene", "Object", "Armature", "Action", "Bone", "PoseBone", "WindowManager")


def wicked(trap: Path) -> list[str]:
    """Texts that would do something if they were run, opened, or asked for over a network."""
    ran = trap / "ran"
    return [
        f"__import__('pathlib').Path('{ran}').touch()",
        f"$(touch '{ran}')",
        f"'; touch '{ran}'; echo '",
        f"file://{trap}/index.json",
        rf"\\{trap.name}\share\library",
        f"http://{trap.name}.invalid/python",
        str(trap),
        f"//../../../../../../../..{trap}",
        str(trap / "python"),
    ]


def fill(group: bpy.types.bpy_struct, texts: list[str], seen: list[str]) -> None:
    """Put wicked texts into every text of a property group and of the groups inside."""
    for prop in group.bl_rna.properties:
        name = prop.identifier
        if name == "rna_type":
            continue
        if prop.type == "STRING" and not prop.is_readonly:
            setattr(group, name, texts[len(seen) % len(texts)])
            seen.append(f"{group.bl_rna.identifier}.{name}")
        elif prop.type == "POINTER" and isinstance(getattr(group, name), bpy.types.PropertyGroup):
            fill(getattr(group, name), texts, seen)
        elif prop.type == "COLLECTION" and hasattr(getattr(group, name), "add"):
            for _ in range(3):
                fill(getattr(group, name).add(), texts, seen)


def own(block: bpy.types.bpy_struct, texts: list[str], seen: list[str]) -> None:
    """As `fill`, for what the add-on keeps on one of Blender's own."""
    for prop in block.bl_rna.properties:
        if prop.identifier.startswith("mgpt3"):
            if prop.type == "POINTER" and isinstance(getattr(block, prop.identifier), bpy.types.PropertyGroup):
                fill(getattr(block, prop.identifier), texts, seen)
            elif prop.type == "COLLECTION":
                fill(getattr(block, prop.identifier).add(), texts, seen)


def make(file: Path, trap: Path) -> None:
    from motions import walk

    from mgpt3_blender.mannequin import create_mannequin
    from mgpt3_blender.rig.apply import apply_motion

    texts, seen = wicked(trap), []
    names = set()
    for source in (ROOT / "mgpt3_blender").rglob("*.py"):
        names |= set(re.findall(r'"(mgpt3_\w+)"', source.read_text(encoding="utf-8")))
    mgpt3_blender.register()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene, hero = bpy.context.scene, create_mannequin(bpy.context)
    for number, text in enumerate(texts):
        action = apply_motion(hero, walk(1.0), scene=scene, name=text, start_frame=1.0).action
        action.use_fake_user = True
        for at, name in enumerate(sorted(names)):
            if name not in action.bl_rna.properties:
                action[name] = texts[(at + number) % len(texts)]
        action["mgpt3_character"] = "hero"
        with contextlib.suppress(AttributeError, TypeError):
            action.asset_mark()
            action.asset_data.description = text
            action.asset_data.author = text
    for block in (scene, hero, hero.data, bpy.context.window_manager, *bpy.data.actions):
        own(block, texts, seen)
        for at, name in enumerate(sorted(names)):
            if name not in block.bl_rna.properties and not isinstance(block, bpy.types.Action):
                block[name] = texts[at % len(texts)]
    hero.mgpt3.uid = "hero"
    scene.mgpt3_library.scope = "FOLDER"
    script = bpy.data.texts.new("trap.py")
    script.write(f"import pathlib\npathlib.Path({str(trap / 'ran')!r}).touch()\n")
    script.use_module = True
    hero.driver_add("hide_render").driver.expression = texts[0]
    bpy.ops.wm.save_as_mainfile(filepath=str(file), check_existing=False)
    print(json.dumps(seen))


class Stand:
    """Stands for a panel that is drawn."""

    def __init__(self, cls: type) -> None:
        from recorder import Recorder

        self.layout, self._cls = Recorder(), cls

    def __getattr__(self, name: str) -> object:
        found = getattr(self._cls, name)
        return types.MethodType(found, self) if isinstance(found, types.FunctionType) else found


def draw_all() -> tuple[int, list[str]]:
    """Draw every panel; how many, and what went wrong."""
    drawn, wrong = 0, []
    for module in mgpt3_blender._modules():
        for cls in getattr(module, "classes", ()):
            if not issubclass(cls, bpy.types.Panel):
                continue
            try:
                if not hasattr(cls, "poll") or cls.poll(bpy.context):
                    cls.draw(Stand(cls), bpy.context)
                    drawn += 1
            except Exception as error:
                wrong.append(f"{cls.__name__}: {type(error).__name__}: {error}")
    return drawn, wrong


class Witness:
    """Notes what Python is asked to do while it watches."""

    QUIET = ("object.", "builtins.id", "sys._getframe", "marshal.", "code.__new__", "gc.", "cpython.", "function.")

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.watching = False
        sys.addaudithook(self._hook)
        for name in ("stat", "lstat", "access", "readlink"):  # these are not told to audit hooks
            setattr(os, name, self._noting(name, getattr(os, name)))

    def _hook(self, event: str, args: tuple) -> None:
        if self.watching and not event.startswith(self.QUIET):
            said = [getattr(arg, "co_filename", arg) for arg in args[:3]]
            self.events.append((event, " ".join(str(arg)[:300] for arg in said)))

    def _noting(self, name: str, real: object) -> object:
        def noted(*args: object, **kwargs: object) -> object:
            if self.watching:
                self.events.append((f"os.{name}", str(args[0])))
            return real(*args, **kwargs)  # type: ignore[operator]

        return noted


def load(file: Path) -> None:
    witness = Witness()
    mgpt3_blender.register()
    witness.watching = True
    bpy.ops.wm.open_mainfile(filepath=str(file), use_scripts=False)
    bpy.context.view_layer.objects.active = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    bpy.context.view_layer.update()
    bpy.context.scene.frame_set(7)
    drawn, wrong = draw_all()
    witness.watching = False
    there = bpy.context.scene.mgpt3.prompt
    print(json.dumps({"events": witness.events, "drawn": drawn, "wrong": wrong, "prompt": there}))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        load(Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)
