"""The motions made for a character: which actions they are, which one is shown, switching and removing.

An action is a result when it says how it was made (custom properties "mgpt3_...") and carries the id of a character.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import bpy

from .errors import UserError

PROMPT, SEED, MADE, CHARACTER = "mgpt3_prompt", "mgpt3_seed", "mgpt3_made", "mgpt3_character"
PROMPT_USED, UNDERSTOOD, NOTE = "mgpt3_prompt_used", "mgpt3_understood", "mgpt3_note"
LITERAL = "mgpt3_literal"
CLOSEST = "closest known"  # the core's word for a prompt that is far from anything the model knows


@dataclass(frozen=True)
class Reference:
    """Blender's data by its identity in this session: survives undo and renaming, where a pointer would not."""

    uid: int
    name: str

    @classmethod
    def to(cls, data: bpy.types.ID) -> Reference:
        return cls(data.session_uid, data.name)

    def find(self, among: Iterable[bpy.types.ID]) -> bpy.types.ID | None:
        """The data itself, or None where it is gone."""
        return next((data for data in among if data.session_uid == self.uid), None)


@dataclass(frozen=True)
class Binding:
    """The action (and from Blender 4.4 its slot) that an object has at a moment."""

    action: bpy.types.Action | None
    slot: object | None

    @classmethod
    def of(cls, obj: bpy.types.Object) -> Binding:
        data = obj.animation_data
        return cls(data.action, getattr(data, "action_slot", None)) if data else cls(None, None)

    def restore(self, obj: bpy.types.Object) -> None:
        data = obj.animation_data
        if data is None:
            return
        data.action = self.action
        if self.slot is not None:
            data.action_slot = self.slot

    def keep(self) -> None:
        """See that the action is saved with the file, though nothing may use it any more."""
        if self.action is not None and self.action.users == 0:
            self.action.use_fake_user = True


def remember(armature: bpy.types.Object, actions: Iterable[bpy.types.Action]) -> None:
    """Tie actions to their character and keep them in the file: the ones not shown have no other user."""
    character = armature.mgpt3
    if not character.uid:
        character.uid = uuid.uuid4().hex[:12]
    for action in actions:
        action[CHARACTER] = character.uid
        action.use_fake_user = True


def belongs(action: bpy.types.Action, armature: bpy.types.Object) -> bool:
    """Whether an action is a result for this character."""
    uid = armature.mgpt3.uid
    return bool(uid) and action.get(CHARACTER) == uid and PROMPT in action


def results_of(armature: bpy.types.Object) -> list[bpy.types.Action]:
    """The character's results, the newest first; variations made together in their order."""
    found = [action for action in bpy.data.actions if belongs(action, armature)]
    return sorted(found, key=sort_key)


def note(action: bpy.types.Action) -> str:
    """What the model took the prompt for, for people; empty where it took it as it was typed."""
    text = str(action.get(NOTE, ""))
    return text[:1].upper() + text[1:]


def doubtful(action: bpy.types.Action) -> bool:
    """Whether the prompt was far from anything the model knows, so that the motion may show something else."""
    return action.get(UNDERSTOOD) == CLOSEST


def favourite(action: bpy.types.Action) -> bool:
    """Whether the user gave the motion a star: it stays when the others go."""
    return bool(action.mgpt3_favourite)


def sort_key(action: bpy.types.Action) -> tuple[float, int, str]:
    """Where a result stands in the list. Variations of one request stay in their order when one is renamed."""
    return -number(action, MADE), int(number(action, SEED)), action.name


def number(action: bpy.types.Action, name: str) -> float:
    """What an action notes under a name, 0.0 where it is no number: files come from strangers, too."""
    value = action.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def activate(armature: bpy.types.Object, action: bpy.types.Action) -> None:
    """Show a result: make it the character's action. The one it had stays in the file."""
    from .action import bind_action

    previous = Binding.of(armature)
    if previous.action == action:
        return
    bind_action(armature, action)
    previous.keep()


def remove(armature: bpy.types.Object, action: bpy.types.Action) -> None:
    """Delete a result; where it was the one shown, the next one in the list is, or what the character had before.

    Raises UserError("result_in_use") where something else uses it: an NLA strip, another object.
    """
    from .rig.apply import remove_motion

    shown = Binding.of(armature).action == action
    if used_elsewhere(armature, action):
        raise UserError(
            "result_in_use",
            f'"{action.name}" is also used elsewhere, in the NLA or by another object.',
            "Remove it there first.",
        )
    rest = results_of(armature)
    index = rest.index(action)
    rest.remove(action)
    if shown and rest:
        activate(armature, rest[min(index, len(rest) - 1)])
    remove_motion(armature, action)  # where it was the last one, what the character had before comes back


def used_elsewhere(armature: bpy.types.Object, action: bpy.types.Action) -> bool:
    """Whether something else than its character's animation uses a result: an NLA strip, another object."""
    shown = Binding.of(armature).action == action
    return action.users - int(action.use_fake_user) - int(shown) > 0


def remove_without_star(armature: bpy.types.Object) -> tuple[int, int]:
    """Delete the character's results without a star, except those used elsewhere; the favourites are not touched.

    Where the one shown goes, the newest favourite is shown. Returns how many were deleted and how many without a star
    stay because they are used elsewhere. Raises UserError("no_favourite") where no result has a star: then it would
    delete all of them.
    """
    from .rig.apply import remove_motion

    mine = results_of(armature)
    starred = [action for action in mine if favourite(action)]
    if not starred:
        raise UserError(
            "no_favourite", "No motion has a star yet.", "Click the star of those to keep, then remove the others."
        )
    plain = [action for action in mine if action not in starred]
    going = [action for action in plain if not used_elsewhere(armature, action)]
    if Binding.of(armature).action in going:
        activate(armature, starred[0])
    for action in going:
        remove_motion(armature, action)
    return len(going), len(plain) - len(going)
