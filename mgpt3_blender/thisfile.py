"""What the open file holds, by content: the keys under which the index knows its actions.

Working out a key takes some milliseconds, and a file may have thousands of actions. So keys are kept, action by
action, until the action is edited: Blender says which actions an edit touched, and an undo can touch only those. After
loading, keys are taken from the index where it has seen the file exactly as it is on disk. An action that nobody plays
and that a script edits is not noticed; Index works all keys out anew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

import bpy
from bpy.app.handlers import persistent

from . import finding
from .describing import scene_of
from .errors import UserError
from .framerate import frame_rate
from .motionindex import file_name, stamp_of
from .playedby import roles_of, slot_name


@dataclass(frozen=True)
class Held:
    """A motion of this file. uid: the action's in this session; action, slot: their names, slot "" for none."""

    uid: int
    action: str
    slot: str
    key: str


class Census:
    """The keys that are known. `step` finds out more of them; `held` is what is known so far."""

    def __init__(self) -> None:
        self.complete = False
        self._known: dict[int, tuple[tuple[str, str], ...]] = {}  # action -> (slot, key) of each motion in it
        self._edited: set[int] = set()  # ever, since the file was loaded: an undo may touch any of these again
        self._rates: tuple = ()
        self._begun = False

    def reset(self) -> None:
        """Another file is open."""
        self.__init__()  # type: ignore[misc]
        self._rates = _rates()

    def step(self, seconds: float) -> bool:
        """Work out keys for about so long; True when all are known."""
        if not self._begun:
            self._begun = True
            self._recall()
        if self._rates != (rates := _rates()):  # how long a frame is, is part of every key
            self._rates = rates
            self._known.clear()
        until = time.monotonic() + seconds
        there = {action.session_uid: action for action in bpy.data.actions}
        for uid in self._known.keys() - there.keys():
            del self._known[uid]
        armatures = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
        self.complete = False
        for uid, action in there.items():
            if uid in self._known:
                continue
            if time.monotonic() > until:
                return False
            self._known[uid] = tuple(_motions(action, armatures))
        self.complete = True
        return True

    def held(self) -> list[Held]:
        """What is known of the actions that are there."""
        return [
            Held(action.session_uid, action.name, slot, key)
            for action in bpy.data.actions
            for slot, key in self._known.get(action.session_uid, ())
        ]

    @property
    def unknown(self) -> int:
        """How many actions were not looked at yet."""
        return sum(action.session_uid not in self._known for action in bpy.data.actions)

    def take(self, places: Iterable[tuple[str, str, str]]) -> None:
        """Note keys that others worked out just now: (action, slot, key) of this file's own actions."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, slot, key in places:
            found.setdefault(name, []).append((slot, key))
        for action in bpy.data.actions:
            if action.library is None and action.name in found:
                self._known[action.session_uid] = tuple(found[action.name])

    def edited(self, actions: Iterable[bpy.types.ID]) -> None:
        """Forget what is known of actions that were edited, and of all where an armature's rest pose was."""
        for data in actions:
            if isinstance(data, bpy.types.Action):
                self._edited.add(data.session_uid)
                self._known.pop(data.session_uid, None)
            elif isinstance(data, bpy.types.Armature):
                self._known.clear()

    def undone(self) -> None:
        """An undo or redo: whatever was edited may be as it was before."""
        for uid in self._edited:
            self._known.pop(uid, None)

    def note_saved(self) -> None:
        """Let the index know what the file holds that was just saved, where all of it is known."""
        if self.complete and not self.unknown:
            path, own = bpy.data.filepath, {a.session_uid for a in bpy.data.actions if a.library is None}
            rows = [(held.action, held.slot, held.key) for held in self.held() if held.uid in own]
            with contextlib.suppress(UserError):  # no reason to disturb anybody's saving; the next search says it
                finding.index().look(path, stamp_of(path), rows)

    def _recall(self) -> None:
        path = bpy.data.filepath
        stamp = stamp_of(path) if path else ""
        if not stamp or finding.index().stamp(path) != stamp:
            return
        known = dict(self._known)  # worked out since the file was loaded: better than what it was then
        self.take((place.action, place.slot, place.key) for place in finding.index().places([path]))
        for uid in self._edited:
            self._known.pop(uid, None)
        self._known |= known


census = Census()


def _rates() -> tuple:
    return tuple((scene.name, scene.render.fps, scene.render.fps_base) for scene in bpy.data.scenes)


def _motions(action: bpy.types.Action, armatures: list[bpy.types.Object]) -> Iterable[tuple[str, str]]:
    """(slot, key) of each motion of a character in an action; as `describing.Run` finds them."""
    for playable, armature, _ in roles_of(action, armatures):
        if armature is not None:
            key = finding.content_key(action, playable.slot, armature, frame_rate(scene_of(armature)))
            yield slot_name(playable.slot), key


# ---- what Blender says happened


@persistent
def _changed(_scene: bpy.types.Scene, graph: bpy.types.Depsgraph) -> None:
    touched = [u.id.original for u in graph.updates if isinstance(u.id, bpy.types.Action | bpy.types.Armature)]
    if touched:
        census.edited(touched)


@persistent
def _undone(*_: object) -> None:
    census.undone()


@persistent
def _loaded(*_: object) -> None:
    census.reset()


@persistent
def _saved(path: str = "", *_: object) -> None:
    # A copy that was saved elsewhere is not the open file, which may hold more than is on disk.
    if bpy.data.filepath and isinstance(path, str) and path and file_name(path) == file_name(bpy.data.filepath):
        census.note_saved()


_HANDLERS = (
    ("depsgraph_update_post", _changed),
    ("undo_post", _undone),
    ("redo_post", _undone),
    ("load_post", _loaded),
    ("save_post", _saved),
)


def register() -> None:
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    for name, handler in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)
    census.__init__()  # type: ignore[misc]
