"""What the panel Search edits, saved with the file, and what it shows, kept with the window."""

from __future__ import annotations

import contextlib
from pathlib import Path

import bpy
from bpy.app.handlers import persistent
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from . import search, thisfile
from .properties_library import RELATIVE
from .searching import MAX_QUERY, Query

FILE, LIBRARIES, EVERYWHERE = "FILE", "LIBRARIES", "EVERYWHERE"


def _typed(settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """Enter in the field searches; scripts that fill it in press the button themselves."""
    if bpy.app.background or context.window is None or not settings.query.strip() or search.busy():
        return
    with contextlib.suppress(RuntimeError):  # another motion is being made: the button says so
        bpy.ops.mgpt3.search("INVOKE_DEFAULT")


class MGPT3_SearchSettings(bpy.types.PropertyGroup):
    """What is looked for, and where."""

    query: StringProperty(
        name="Search",
        description='What the character does, in English: "sneaky walk turning left". Enter searches',
        maxlen=MAX_QUERY,
        options=set(),
        update=_typed,
    )
    scope: EnumProperty(
        name="Search In",
        description="Where to look",
        items=[
            (FILE, "This File", "The actions of this file"),
            (LIBRARIES, "Libraries", "The .blend files of the chosen libraries"),
            (EVERYWHERE, "Everywhere", "This file and the chosen libraries"),
        ],
        default=EVERYWHERE,
        options=set(),
    )
    left_out: StringProperty(
        name="Left Out", description="Names of the asset libraries that are not searched, a line each",
        options={"HIDDEN"},
    )  # fmt: skip
    folder: StringProperty(
        name="Folder",
        description="A further folder whose .blend files are searched, beside the asset libraries",
        subtype="DIR_PATH",
        options=RELATIVE,
    )
    link: BoolProperty(
        name="Link",
        description="Link the action of another file instead of appending a copy of it: it changes when that file does",
        default=False,
        options=set(),
    )

    def chosen(self, name: str) -> bool:
        """Whether an asset library is searched."""
        return name not in self.left_out.split("\n")

    def choose(self, name: str, on: bool) -> None:
        """Search an asset library, or leave it out."""
        others = [other for other in self.left_out.split("\n") if other and other != name]
        self.left_out = "\n".join(others if on else [*others, name])

    def folders(self, context: bpy.types.Context) -> tuple[Path, ...]:
        """The folders that are searched, those that are there."""
        if self.scope == FILE:
            return ()
        libraries = context.preferences.filepaths.asset_libraries
        paths = [library.path for library in libraries if library.path and self.chosen(library.name)]
        paths += [self.folder] if self.folder else []
        return tuple(path for path in (Path(bpy.path.abspath(text)) for text in paths) if path.is_dir())

    def wanted(self, context: bpy.types.Context) -> Query:
        """What the panel asks for."""
        return Query(self.query, self.scope != LIBRARIES, self.folders(context))


class MGPT3_Found(bpy.types.PropertyGroup):
    """A motion that fits, as the list shows it."""

    action: StringProperty(name="Action", description="Name of the action")
    slot: StringProperty(name="Slot", description="Name of its slot")
    uid: StringProperty(name="ID", description="Identity of the action in this session")
    file: StringProperty(name="File", description="The file that it is in; empty for this one")
    sentence: StringProperty(name="Sentence", description="What it shows")
    tags: StringProperty(name="Tags", description="What it shows, in single words")
    score: FloatProperty(name="Fit", description="How well it fits, about 0 to 1", options=set())
    key: StringProperty(name="Key", description="What the index knows its content by")
    others: IntProperty(name="Copies", description="How often the same motion is elsewhere, too", options=set())


@persistent
def _before_load(*_: object) -> None:
    """What was found belongs to the file that goes."""
    search.reset()


@persistent
def _after_load(*_: object) -> None:
    for manager in bpy.data.window_managers:
        manager.mgpt3_found.clear()


classes = (MGPT3_SearchSettings, MGPT3_Found)


def register() -> None:
    bpy.types.Scene.mgpt3_search = PointerProperty(type=MGPT3_SearchSettings)
    bpy.types.WindowManager.mgpt3_found = CollectionProperty(
        name="Found", description="The motions that fit, best first", type=MGPT3_Found
    )
    bpy.types.WindowManager.mgpt3_found_active = IntProperty(
        name="Chosen Motion", description="The motion that is shown below the list", default=0, options=set()
    )
    thisfile.register()
    bpy.app.handlers.load_pre.append(_before_load)
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    for handlers, handler in ((bpy.app.handlers.load_pre, _before_load), (bpy.app.handlers.load_post, _after_load)):
        if handler in handlers:
            handlers.remove(handler)
    thisfile.unregister()
    search.reset()
    del bpy.types.WindowManager.mgpt3_found_active
    del bpy.types.WindowManager.mgpt3_found
    del bpy.types.Scene.mgpt3_search
