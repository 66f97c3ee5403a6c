"""Taking an action that was found: out of another file where it is in one, and onto the character."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from .action import has_slots
from .errors import RigError, UserError
from .motionindex import file_name
from .playedby import slot_called, slots_of
from .results import Binding
from .searching import Found
from .thisfile import census


@dataclass(frozen=True)
class Outcome:
    """What was done, and a line for people."""

    action: bpy.types.Action
    line: str
    appended: bool = False


def take(found: Found, armature: bpy.types.Object | None, *, assign: bool = True, link: bool = False) -> Outcome:
    """Get a found action, and let a character play it.

    Args:
        armature: the character; may be None where nothing is assigned.
        assign: let it play the action. The action that it played before stays in the file.
        link: of an action in another file: link it instead of appending a copy.

    Raises UserError (no_character, action_gone, file_gone, file_unreadable) and RigError (other_rig, linked_armature,
    tweak_mode); nothing is changed then.
    """
    if assign and armature is None:
        raise UserError("no_character", "There is no character to play it.", "Select an armature.")
    action = own_action(found)
    fetched = action is None
    if action is None:
        action = _fetch(found, link)
    if not assign or armature is None:
        if fetched and not link:
            action.use_fake_user = True  # nobody plays it yet
        return Outcome(action, f'"{action.name}" was {"linked" if link else "appended"}.' if fetched
                       else f'"{action.name}" is in this file already.', fetched)  # fmt: skip
    try:
        play(armature, action, found.slot)
    except UserError:
        if fetched and action.users == 0:
            bpy.data.actions.remove(action)
        raise
    came = f" ({'linked' if link else 'appended'} from {Path(found.file).name})" if fetched else ""
    return Outcome(action, f'"{armature.name}" plays "{action.name}"{came}.', fetched)


def play(armature: bpy.types.Object, action: bpy.types.Action, slot: str = "") -> None:
    """Let a character play an action: the slot of that name, else the first that moves this character's bones.

    Raises RigError (other_rig, linked_armature, tweak_mode).
    """
    if armature.library is not None:
        raise RigError(
            "linked_armature", f'"{armature.name}" is linked from another file.', "Make a library override of it first."
        )
    able = slots_of(action, armature)
    if not able:
        raise RigError(
            "other_rig",
            f'"{action.name}" moves bones that "{armature.name}" does not have.',
            "Choose a character with the same rig, or let the motion be put on this one.",
        )
    data = armature.animation_data or armature.animation_data_create()
    if data.use_tweak_mode:
        raise RigError("tweak_mode", "An NLA strip is being edited.", "Leave tweak mode (Tab in the NLA) first.")
    chosen = slot_called(slot, able)
    before = Binding.of(armature)
    data.action = action
    if has_slots(action):
        data.action_slot = chosen
    before.keep()


def own_action(found: Found) -> bpy.types.Action | None:
    """The found action where it is in this file: itself, or what was appended from that file before."""
    if not found.file or (bpy.data.filepath and file_name(bpy.data.filepath) == found.file):
        action: Any = next((one for one in bpy.data.actions if found.uid and one.session_uid == found.uid), None)
        action = action or bpy.data.actions.get(found.action)
        if action is None:
            raise UserError("action_gone", f'"{found.action}" is no longer in this file.', "Search again.")
        return action
    census.step(0.2)
    uid = next((one.uid for one in census.held() if one.key == found.key), None)
    return next((one for one in bpy.data.actions if one.session_uid == uid), None)


def _fetch(found: Found, link: bool) -> bpy.types.Action:
    """Append or link an action of another file. Raises UserError."""
    if not Path(found.file).is_file():
        raise UserError("file_gone", f"{found.file} is no longer there.", "Press Index, so that the search knows.")
    relative = bool(bpy.data.filepath) and bpy.context.preferences.filepaths.use_relative_paths
    try:
        with bpy.data.libraries.load(found.file, link=link, relative=relative) as (there, wanted):
            if found.action not in there.actions:
                raise UserError(
                    "action_gone",
                    f'"{found.action}" is no longer in {Path(found.file).name}.',
                    "Press Index, so that the search knows.",
                )
            wanted.actions = [found.action]
    except OSError as error:
        raise UserError(
            "file_unreadable",
            f"{Path(found.file).name} cannot be read ({error}).",
            "It may be broken, or saved by a newer Blender.",
        ) from error
    action = wanted.actions[0]
    if action is None:
        raise UserError("file_unreadable", f"{Path(found.file).name} cannot be read.", "Open it in Blender to see.")
    if not link and action.asset_data is not None:
        action.asset_clear()  # the asset is the one in the library, and this a copy of it
        action.use_fake_user = False
    return action
