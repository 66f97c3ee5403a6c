"""Which character an action is for: by the bones that its curves name, not by who happens to play it now."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import bpy

from .action import has_slots
from .errors import RigError, UserError
from .rig.mapping import best_mapping

_BONE = re.compile(r'^pose\.bones\["((?:[^"\\]|\\.)*)"\]')
_KNOWN = 0.5
"""Share of the bones named by an action's curves that a character must have to be the one meant."""


class Playable(NamedTuple):
    """One way to play an action: the name an animator knows it by, and the slot (None up to Blender 4.3)."""

    name: str
    slot: Any


def curves_of(action: bpy.types.Action, slot: Any = None) -> list[bpy.types.FCurve]:
    """The curves of one slot of an action; all of its curves where it has no slots."""
    if not has_slots(action):
        return list(action.fcurves)
    if slot is None:
        return []
    bags = (strip.channelbag(slot) for strip in _strips(action))
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def _strips(action: bpy.types.Action) -> list[Any]:
    return [strip for layer in action.layers for strip in layer.strips if strip.type == "KEYFRAME"]


def bones_named(curves: Iterable[bpy.types.FCurve]) -> set[str]:
    """Names of the bones that curves animate."""
    found = (_BONE.match(curve.data_path) for curve in curves)
    return {bpy.utils.unescape_identifier(match[1]) for match in found if match is not None}


def slots_of(action: bpy.types.Action, armature: bpy.types.Object | None = None) -> list[Playable]:
    """The ways to play an action that move a character, one for each such slot.

    Args:
        armature: count only slots whose curves name bones of this character.
    """
    found = []
    for slot in _slots(action):
        names = bones_named(curves_of(action, slot))
        if names and (armature is None or _share(names, armature) >= _KNOWN):
            found.append(slot)
    if len(found) == 1:
        return [Playable(action.name, found[0])]
    return [Playable(f"{action.name} / {slot.name_display}", slot) for slot in found]


def slot_for(action: bpy.types.Action, armature: bpy.types.Object) -> Any:
    """The slot of an action that a character is to play, None where there are no slots.

    The one it plays, or played last, or that bears its name, or else the first that moves it. Raises as
    `find_character`.
    """
    slots = [playable.slot for playable in slots_of(action, armature)]
    if not slots:
        find_character(action, [armature])  # says what is wrong with it
        raise UserError("no_character_for_action", f'"{action.name}" moves other bones.', "Choose another action.")
    return max(slots, key=lambda slot: _own(slot, armature))  # of equals the first


def find_character(
    action: bpy.types.Action, where: bpy.types.Scene | Iterable[bpy.types.Object], slot: Any = None
) -> tuple[bpy.types.Object, Any]:
    """The character that an action is for, and the slot to play. -> (armature, slot or None).

    The one that plays the action already (itself or in its NLA), else the one that has most of the bones that the
    curves name; of several one whose body is known.

    Args:
        where: a scene, or the objects to look among.
        slot: look at this slot alone.

    Raises UserError (empty_action, object_action, no_character_for_action) and RigError (not_humanoid).
    """
    objects = where.objects if isinstance(where, bpy.types.Scene) else where
    armatures = [thing for thing in objects if thing is not None and thing.type == "ARMATURE"]
    playables = [playable for playable in slots_of(action) if slot is None or playable.slot == slot]
    if not playables:
        raise _moves_no_bones(action)
    called = action.name if slot is None else playables[0].name
    ranked = []
    for _, one in playables:
        names = bones_named(curves_of(action, one))
        for armature in armatures:
            share = _share(names, armature)
            if share >= _KNOWN:
                rank = (_plays(armature, action, one), round(share, 2), _own(one, armature), len(names))
                ranked.append((rank, armature, one))
    if not ranked:
        raise UserError(
            "no_character_for_action",
            f'No character here has the bones that "{called}" moves.',
            "Append the character that it was made for.",
        )
    ranked.sort(key=lambda row: row[0], reverse=True)  # stable: of equals the first in the scene
    for _, armature, one in ranked:
        if not best_mapping(armature).needed_missing:
            return armature, one
    raise RigError(
        "not_humanoid",
        f'"{ranked[0][1].name}", which "{called}" moves, is no humanoid that I know.',
        "If it is one, say which bone is which under Bone Map.",
    )


class Role(NamedTuple):
    """One way to play an action, and the character that it is for; None, and why, where there is none."""

    playable: Playable
    armature: bpy.types.Object | None
    error: UserError | None = None


def roles_of(action: bpy.types.Action, where: bpy.types.Scene | Iterable[bpy.types.Object]) -> list[Role]:
    """Who plays an action: one role for each slot that moves a character, and always at least one. `where` as for
    `find_character`."""
    found = slots_of(action)
    several = len(found) > 1
    objects = list(where.objects if isinstance(where, bpy.types.Scene) else where)
    out = []
    for playable in found if several else [Playable(action.name, None)]:
        try:
            armature, slot = find_character(action, objects, playable.slot)
            out.append(Role(Playable(playable.name, slot), armature))
        except UserError as error:
            out.append(Role(playable, None, error))
    return out


def slot_name(slot: Any) -> str:
    """What an animator knows a slot by; "" where there are none."""
    return "" if slot is None else str(slot.name_display)


def slot_called(name: str, able: list[Playable]) -> Any:
    """The slot of that name, else the first; None where there is none."""
    return next((one.slot for one in able if slot_name(one.slot) == name), able[0].slot if able else None)


def strips_of(armature: bpy.types.Object) -> list[bpy.types.NlaStrip]:
    """The NLA strips that a character plays: those that are not muted; where a track is solo, of that one alone."""
    data = armature.animation_data
    if data is None or not data.use_nla:
        return []
    tracks = [track for track in data.nla_tracks if track.is_solo]
    tracks = tracks or [track for track in data.nla_tracks if not track.mute]
    return [strip for track in tracks for strip in track.strips if not strip.mute]


def range_of(action: bpy.types.Action, slot: Any = None) -> tuple[float, float]:
    """First and last scene frame of an action: as set by hand, or of the keys that move bones (all keys where none
    does). Raises UserError (empty_action)."""
    if action.use_frame_range:
        return float(action.frame_start), float(action.frame_end)
    ends = _ends(curves_of(action, slot))
    if ends is None:
        raise _empty(action)
    return ends


def playing_range(armature: bpy.types.Object) -> tuple[float, float]:
    """First and last scene frame of what animates a character now: its action, or else its NLA strips.

    Raises UserError (no_animation).
    """
    data = armature.animation_data
    if data is not None and data.action is not None and not data.use_tweak_mode:
        slot = data.action_slot if has_slots(data.action) else None
        if data.action.use_frame_range or _ends(curves_of(data.action, slot)) is not None:
            return range_of(data.action, slot)
    strips = strips_of(armature)
    if strips:
        return min(s.frame_start for s in strips), max(s.frame_end for s in strips)
    raise UserError(
        "no_animation",
        f'Nothing says from where to where "{armature.name}" is animated.',
        "Give it an action, or choose a frame range.",
    )


def _slots(action: bpy.types.Action) -> list[Any]:
    if not has_slots(action):
        return [None]
    return [slot for slot in action.slots if slot.target_id_type in ("OBJECT", "UNSPECIFIED")]


def _ends(curves: list[bpy.types.FCurve]) -> tuple[float, float] | None:
    """First and last frame of curves that move bones, or of all where none does; None where there are no keys."""
    keyed = [curve for curve in curves if len(curve.keyframe_points) or len(curve.sampled_points)]
    moving = [curve for curve in keyed if _BONE.match(curve.data_path)] or keyed
    if not moving:
        return None
    ends = [curve.range() for curve in moving]
    return float(min(end[0] for end in ends)), float(max(end[1] for end in ends))


def _own(slot: Any, armature: bpy.types.Object) -> int:
    """How much speaks for a slot being a character's own: 3 it plays it, 2 it played it last, 1 it bears its name."""
    if slot is None:
        return 0
    data = armature.animation_data
    if data is not None and data.action_slot == slot:
        return 3
    if data is not None and data.last_slot_identifier == slot.identifier:
        return 2
    return int(slot.name_display == armature.name)


def _empty(action: bpy.types.Action) -> UserError:
    return UserError("empty_action", f'"{action.name}" has no keys.', "Choose another action.")


def _moves_no_bones(action: bpy.types.Action) -> UserError:
    if has_slots(action):
        empty = not any(len(bag.fcurves) for strip in _strips(action) for bag in strip.channelbags)
    else:
        empty = not len(action.fcurves)
    if empty:
        return _empty(action)
    return UserError(
        "object_action",
        f'"{action.name}" moves an object, not a character.',
        "Choose an action that moves the bones of an armature.",
    )


def _share(names: set[str], armature: bpy.types.Object) -> float:
    """Share of the named bones that a character has."""
    bones = armature.data.bones
    return sum(name in bones for name in names) / max(len(names), 1)


def _plays(armature: bpy.types.Object, action: bpy.types.Action, slot: Any) -> int:
    """2 where the character plays the action now, 1 where its NLA does, 0 where it does not."""
    data = armature.animation_data
    if data is None:
        return 0
    if data.action == action and (slot is None or data.action_slot == slot):
        return 2
    strips = (strip for track in data.nla_tracks for strip in track.strips)
    mine = (s for s in strips if s.action == action and (slot is None or s.action_slot == slot))
    return int(any(True for _ in mine))
