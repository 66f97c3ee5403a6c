"""Putting a found motion on a character with another rig: it is read from the character it was made for, and solved for
this one, as a new action. A character in another file is linked for as long as that takes, and gone afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from . import bonemap, results
from .errors import UserError
from .generate import action_name
from .playedby import find_character, slot_called, slots_of
from .reading import read_action
from .rig.apply import apply_motion, check_armature
from .rig.options import Options
from .rig.skeleton22 import FPS
from .searching import Found
from .taking import Outcome, own_action

FROM = "mgpt3_taken_from"
"""Custom property of an action that was put on another rig: the file and action it comes from."""


def transfer(found: Found, armature: bpy.types.Object, scene: bpy.types.Scene, options: Options) -> Outcome:
    """Put a found motion on a character, whatever rig it was made for, from the current frame on.

    The motion goes through the model's 22 joints at 20 frames a second: body and limbs arrive, fingers and face do not.

    Raises UserError (action_gone, file_gone, file_unreadable, and as find_character and read_action) and RigError (as
    apply_motion); nothing is changed then.
    """
    check_armature(armature)
    with _made_for(found) as (action, slot, owner):
        reading = read_action(owner, scene, action, slot)
    before = results.Binding.of(armature)
    made = apply_motion(
        armature,
        reading.joints,
        scene=scene,
        name=action_name(found.action),
        start_frame=float(scene.frame_current),
        fps=FPS,
        metadata={FROM: f"{Path(found.file or bpy.data.filepath).name}: {found.action}"},  # no folder of the user's
        options=options,
    )
    before.keep()
    bonemap.found(armature, made.mapping)
    line = f'"{found.action}" was put on "{armature.name}", as a new action from frame {scene.frame_current}.'
    return Outcome(made.action, " ".join([line, *made.warnings]))


@contextmanager
def _made_for(found: Found) -> Iterator[tuple[bpy.types.Action, Any, bpy.types.Object]]:
    """The action, its slot and the character it was made for."""
    action = own_action(found)
    if action is not None:
        yield _played(action, found.slot, list(bpy.data.objects))
        return
    path = Path(found.file)
    if not path.is_file():
        raise UserError("file_gone", f"{path} is no longer there.", "Press Index, so that the search knows.")
    before = {data.session_uid for data in _everything()}
    libraries = {library.session_uid for library in bpy.data.libraries}
    try:
        try:
            with bpy.data.libraries.load(found.file, link=True) as (there, wanted):
                wanted.objects = list(there.objects)
                wanted.actions = [name for name in there.actions if name == found.action]
        except OSError as error:
            words = f"{path.name} cannot be read ({error})."
            raise UserError("file_unreadable", words, "It may be broken, or saved by a newer Blender.") from error
        if not wanted.actions or wanted.actions[0] is None:
            words = f'"{found.action}" is no longer in {path.name}.'
            raise UserError("action_gone", words, "Press Index, so that the search knows.")
        yield _played(wanted.actions[0], found.slot, [thing for thing in wanted.objects if thing is not None])
    finally:
        bpy.data.batch_remove([data for data in _everything() if data.library and data.session_uid not in before])
        for library in [one for one in bpy.data.libraries if one.session_uid not in libraries]:
            bpy.data.libraries.remove(library)


def _played(
    action: bpy.types.Action, slot: str, objects: list[bpy.types.Object]
) -> tuple[bpy.types.Action, Any, bpy.types.Object]:
    """An action with its slot and character. Raises UserError."""
    owner, own = find_character(action, objects, slot_called(slot, slots_of(action)))
    return action, own, owner


def _everything() -> list[bpy.types.ID]:
    """All data of the file but its libraries."""
    kinds = (prop.identifier for prop in bpy.data.bl_rna.properties if prop.type == "COLLECTION")
    return [data for kind in kinds if kind != "libraries" for data in getattr(bpy.data, kind)]
