"""An action changed in several steps while the window goes on: on a copy, which is given to it at the end or dropped.

Between two steps the user may do anything: nobody plays the copy then, it is not saved with the file, and what is
left of an attempt that came to nothing is nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import bpy

from . import finding
from .action import slot_of
from .action_splice import Backup, copy_channels
from .errors import UserError
from .framerate import frame_rate
from .results import Binding, Reference


class Draft:
    """A copy of the action that an armature plays."""

    def __init__(self, armature: bpy.types.Object, scene: bpy.types.Scene) -> None:
        action = armature.animation_data.action
        self._key = _key(armature, scene)
        copy = action.copy()
        copy.use_fake_user = False
        self._copy = Reference.to(copy)

    @staticmethod
    def possible(armature: bpy.types.Object) -> bool:
        """Whether an armature may be given another action for a moment: a library override would keep a note of it."""
        return armature.override_library is None

    @contextmanager
    def played(self, armature: bpy.types.Object) -> Iterator[None]:
        """The armature plays the copy within, and what it played before afterwards. Raises UserError."""
        before, copy = Binding.of(armature), self._found()
        try:
            Binding(copy, slot_of(copy, before.slot.handle) if before.slot is not None else None).restore(armature)
            yield
        finally:
            before.restore(armature)

    def check(self, armature: bpy.types.Object, scene: bpy.types.Scene) -> None:
        """Raises UserError("action_changed") where what the armature plays is not as it was when it was copied."""
        if _key(armature, scene) != self._key:
            raise _changed(armature.animation_data.action.name)

    def hand_over(self, armature: bpy.types.Object, channels: Collection[tuple[str, int]]) -> None:
        """Make some channels of the action that the armature plays what they are in the copy. Raises UserError."""
        with self.played(armature):
            wanted = Backup.of(self._found(), armature, channels)
        copy_channels(wanted, armature.animation_data.action, armature)

    def remove(self) -> None:
        copy = self._copy.find(bpy.data.actions)
        if copy is not None:
            bpy.data.actions.remove(copy)

    def _found(self) -> bpy.types.Action:
        copy = self._copy.find(bpy.data.actions)
        if copy is None:  # the user has undone something
            raise _changed(self._copy.name)
        return copy


def _changed(name: str) -> UserError:
    return UserError("action_changed", f'"{name}" was changed while it was being filled.', "Fill again.")


def _key(armature: bpy.types.Object, scene: bpy.types.Scene) -> str:
    plays = Binding.of(armature)
    return finding.content_key(plays.action, plays.slot, armature, frame_rate(scene))
