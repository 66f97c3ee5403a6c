"""What the panel Library edits, saved with the file, and the table it shows, kept with the window."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from . import library, rows
from .libraryrun import JOBS, MAX_JOBS

RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""Of a path that may begin with //: from 4.5 on Blender shows one as wrong that does not say so."""


class MGPT3_LibrarySettings(bpy.types.PropertyGroup):
    """Which actions are described, and what becomes of them."""

    scope: EnumProperty(
        name="Describe",
        description="Which actions are described",
        items=[
            (library.SELECTED, "Selected Actions", "Those selected in an outliner or asset browser, and the one that "
             "the active object plays"),
            (library.FILE, "All Actions of This File", "Every action in this file, on whichever character"),
            (library.LIBRARY, "Asset Library", "The .blend files of an asset library, in Blenders in the background"),
            (library.FOLDER, "Folder", "The .blend files of a folder, in Blenders in the background"),
        ],
        default=library.FILE,
        options=set(),
    )  # fmt: skip
    library: StringProperty(name="Library", description="The asset library whose files are described", options=set())
    folder: StringProperty(
        name="Folder", description="The folder whose .blend files are described", subtype="DIR_PATH", options=RELATIVE
    )
    recursive: BoolProperty(
        name="Folders in Folders", description="Also describe the files in folders below", default=True, options=set()
    )
    overwrite: BoolProperty(
        name="Overwrite",
        description="Also replace descriptions that a person wrote. Off: those stay, and so do tags added by hand",
        default=False,
        options=set(),
    )
    mark: BoolProperty(
        name="Mark as Assets",
        description="Mark each described action as an asset, so that it is found in the asset browser. Off: only "
        "actions that are assets show the description there; others keep it for the search",
        default=False,
        options=set(),
    )
    jobs: IntProperty(
        name="Jobs",
        description="How many Blenders work in the background at once. Each takes about 1 GB of memory",
        default=JOBS,
        min=1,
        max=MAX_JOBS,
        soft_max=16,
        options=set(),
    )
    report: StringProperty(
        name="Report",
        description="Where to write what was found, as a table (.csv) and for programs (.json). Leave empty for none",
        subtype="FILE_PATH",
        options=RELATIVE,
    )


class MGPT3_LibraryRow(bpy.types.PropertyGroup):
    """One action in the table: what it says of itself, and what it would say."""

    use: BoolProperty(name="Write", description="Write this description", default=False, options=set())
    file: StringProperty(name="File", description="The file that the action is in")
    action: StringProperty(name="Action", description="Name of the action")
    status: EnumProperty(
        name="Status",
        description="What becomes of the action",
        items=[
            (rows.DESCRIBED, "Described", "It gets this description", "ADD", 0),
            (rows.UNCHANGED, "Unchanged", "It says that already", "CHECKMARK", 1),
            (rows.KEPT, "Kept", "What a person wrote stays", "USER", 2),
            (rows.SKIPPED, "Skipped", "There is nothing to describe, or it cannot be written to", "REMOVE", 3),
            (rows.FAILED, "Failed", "It could not be described", "ERROR", 4),
        ],
        options=set(),
    )
    sentence: StringProperty(name="Sentence", description="What the model says the action shows")
    message: StringProperty(name="Message", description="Why it was skipped or failed")
    before: StringProperty(name="Before", description="The description that is there now")
    after: StringProperty(name="After", description="The description that will be there")
    tags_before: StringProperty(name="Tags Before", description="The tags that are there now")
    tags_after: StringProperty(name="Tags After", description="The tags that will be there")


classes = (MGPT3_LibrarySettings, MGPT3_LibraryRow)


def register() -> None:
    bpy.types.Scene.mgpt3_library = PointerProperty(type=MGPT3_LibrarySettings)
    bpy.types.WindowManager.mgpt3_library_rows = CollectionProperty(
        name="Descriptions", description="What was found, one line an action", type=MGPT3_LibraryRow
    )
    bpy.types.WindowManager.mgpt3_library_active = IntProperty(
        name="Active Row", description="The action that is shown below the table", default=0, options=set()
    )


def unregister() -> None:
    library.reset()
    del bpy.types.WindowManager.mgpt3_library_active
    del bpy.types.WindowManager.mgpt3_library_rows
    del bpy.types.Scene.mgpt3_library
