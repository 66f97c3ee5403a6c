"""What was described of an action: kept on it as a draft, chosen from, applied to its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bpy

from . import finding, metadata
from .action import has_slots, slot_of
from .compose import MAX_SEGMENT_SECONDS, MAX_SEGMENTS
from .errors import UserError
from .framerate import frame_rate
from .generate import MAX_PROMPT, MIN_SECONDS
from .playedby import Playable, slots_of, strips_of

if TYPE_CHECKING:
    from .reading import Reading


@dataclass(frozen=True)
class Applied:
    """What applying did, for people; kept: a person's description was there and stays."""

    line: str
    warnings: tuple[str, ...] = ()
    kept: bool = False


def whole(answer: dict[str, Any]) -> bool:
    """Whether a description has all that is kept of it."""
    segments = answer.get("segments")
    if not isinstance(segments, list) or not segments:
        return False
    for part in segments:
        if not isinstance(part, dict) or not isinstance(part.get("sentence"), str):
            return False
        if not all(isinstance(part.get(end), int) for end in ("first", "last")) or part["first"] > part["last"]:
            return False
    lists = (answer.get(name, []) for name in ("alternatives", "tags", "fact_lines"))
    if not all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
        return False
    corrections = answer.get("corrections", [])
    return isinstance(corrections, list) and all(isinstance(entry, dict) for entry in corrections)


def handle_of(slot: Any) -> int:
    """What a slot is known by, whatever it is called; 0 where there are none."""
    return int(slot.handle) if slot is not None else 0


def has_slot(action: bpy.types.Action, handle: int) -> bool:
    """Whether an action (still) has a slot."""
    return handle == 0 or (has_slots(action) and any(slot.handle == handle for slot in action.slots))


def keep(
    action: bpy.types.Action,
    handle: int,
    answer: dict[str, Any],
    model: dict[str, Any],
    reading: Reading,
    key: str = "",
) -> Any:
    """Put a description on an action, in place of the one that its slot has. Returns the draft.

    Args:
        handle: of the slot, see `handle_of`.
        answer: as the worker's "describe" gives it, and `whole`; its frames are those of the reading.
        key: of the content that was described; empty where only a part of the action was.
    """
    entries = action.mgpt3_describe.entries
    draft = _exact(action, handle) or _exact(action, 0) or entries.add()  # 0: made in Blender 4.3, without slots
    draft.slot, draft.key, draft.active = handle, key, 0
    draft.sentence = answer["sentence"].strip()
    draft.first, draft.last = reading.first, reading.last
    draft.alternatives.clear()
    for text in answer.get("alternatives", []):
        draft.alternatives.add().text = text
    frames = scene_frames(answer["segments"], reading)
    draft.segments.clear()
    for (first, last), part in zip(frames, answer["segments"], strict=True):
        item = draft.segments.add()
        item.first, item.last, item.sentence = first, last, part["sentence"]
    draft.tags = ", ".join(answer.get("tags", []))
    draft.measured = "\n".join(answer.get("fact_lines", []))
    draft.corrected = "\n".join(
        f'The model said "{entry.get("said", "")}"; measured: {entry.get("measured", "")}.'
        for entry in answer.get("corrections", [])
    )
    draft.answer = json.dumps({k: v for k, v in answer.items() if k != "embedding"}, ensure_ascii=False)
    draft.model = json.dumps({k: model.get(k, "") for k in ("name", "licence", "origin")}, ensure_ascii=False)
    return draft


def scene_frames(segments: Sequence[dict[str, Any]], reading: Reading) -> list[tuple[int, int]]:
    """First and last scene frame of each segment, whole, one after the other without a gap, up to the last one read.

    Args:
        segments: `first` and `last` are frames of the reading's joints.
    """
    starts = [round(reading.first + reading.step * part["first"]) for part in segments]
    ends = [following - 1 for following in starts[1:]] + [round(reading.last)]
    return [(first, max(first, last)) for first, last in zip(starts, ends, strict=True)]


def shown(armature: bpy.types.Object | None) -> tuple[bpy.types.Action, Any] | None:
    """The described action of a character, and its draft; None where there is none. Cheap: panels draw by it."""
    data = armature.animation_data if armature is not None else None
    if armature is None or data is None:
        return None
    action, slot = data.action, getattr(data, "action_slot", None)
    if action is None:
        strip = next((strip for strip in strips_of(armature) if strip.action is not None), None)
        if strip is None:
            return None
        action, slot = strip.action, getattr(strip, "action_slot", None)
    entries = action.mgpt3_describe.entries
    if not len(entries):
        return None
    handle = handle_of(slot)
    draft = _exact(action, handle)
    if draft is None and len(entries) == 1 and (handle == 0 or entries[0].slot == 0):
        draft = entries[0]  # of a file of Blender 4.3, or of an action whose slot is not bound
    if draft is None:  # another slot is bound than the one that moves the character
        moving = [handle_of(playable.slot) for playable in slots_of(action, armature)]
        draft = _exact(action, moving[0]) if moving and handle not in moving else None
    return (action, draft) if draft is not None else None


def need(armature: bpy.types.Object) -> tuple[bpy.types.Action, Any]:
    """As `shown`. Raises UserError("not_described")."""
    found = shown(armature)
    if found is None:
        raise UserError("not_described", "This action is not described yet.", "Press Describe.")
    return found


def take_alternative(draft: Any, number: int) -> None:
    """Let an alternative be the sentence; what was there, edited or not, takes its place among the alternatives.

    Raises UserError("no_alternative").
    """
    if not 0 <= number < len(draft.alternatives):
        raise UserError("no_alternative", "There is no such sentence to take.", "Press Describe again.")
    chosen = draft.alternatives[number]
    draft.sentence, chosen.text = chosen.text, draft.sentence


def by_hand(draft: Any) -> bool:
    """Whether a person wrote or edited the sentence: it is none of those that the model wrote."""
    answer = _answer(draft)
    return draft.sentence.strip() not in {str(answer.get("sentence", "")).strip(), *answer.get("alternatives", ())}


def described(draft: Any) -> dict[str, Any]:
    """The description as it stands now, edited or not, as `metadata.write` takes it; its frames are the scene's."""
    answer = _answer(draft)
    parts = [{"first": part.first, "last": part.last, "sentence": part.sentence} for part in draft.segments]
    if len(parts) == 1:
        parts[0]["sentence"] = draft.sentence.strip()
    for part, wrote in zip(parts, answer.get("segments", ()), strict=False):
        part["raw"] = str(wrote.get("raw") or "")
    return answer | {
        "sentence": draft.sentence.strip(),
        "alternatives": [entry.text for entry in draft.alternatives],
        "tags": tags_of(draft),
        "segments": parts,
    }


def tags_of(draft: Any) -> list[str]:
    """The tags as edited, each once."""
    return list(dict.fromkeys(tag for raw in draft.tags.split(",") if (tag := " ".join(raw.split()))))


def apply(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    *,
    overwrite: bool = False,
    mark: bool = False,
) -> Applied:
    """Write what is described of a character's action into the action's metadata: see `metadata.write`.

    Of an action that moves several characters everything that is described is written, slot by slot.

    Raises UserError: not_described, linked_action, nothing_described.
    """
    action, draft = need(armature)
    if not draft.sentence.strip():
        raise UserError("nothing_described", "The description is empty.", "Type one, or press Describe again.")
    playable = slots_of(action)
    every = [(entry, here) for here in playable if (entry := _exact(action, handle_of(here.slot))) is not None]
    if len(every) < 2:
        every = [(draft, Playable(action.name, None))]
    told = metadata.combined([(_slot_name(here), described(entry)) for entry, here in every])
    now = _key(armature, scene, action, draft)
    key = draft.key if len(every) == 1 and len(playable) < 2 else ""
    change = metadata.write(
        action,
        told,
        model=_json(draft.model),
        overwrite=overwrite,
        mark=mark,
        by_hand=any(by_hand(entry) for entry, _ in every),
        key=key,
    )
    warnings = []
    if change.kept:
        warnings.append(
            f'"{change.before.description}" was written by hand and is kept. Turn on Replace Hand-Written Text to '
            "write over it."
        )
    if draft.key and now and now != draft.key:
        warnings.append(f'"{action.name}" was changed since it was described. Press Describe to describe it anew.')
    if change.kept:
        line = f'"{action.name}" keeps its description.'
    elif action.asset_data is not None:
        line = f'"{action.name}" has its description and {len(change.after.tags)} tags for the Asset Browser.'
    else:
        line = f'"{action.name}" remembers its description. Turn on Mark as Asset to show it in the Asset Browser.'
    return Applied(line, tuple(warnings), change.kept)


def use_as_prompt(scene: bpy.types.Scene, draft: Any) -> None:
    """Copy the sentence to the prompt field. Raises UserError("nothing_described")."""
    text = draft.sentence.strip()
    if not text:
        raise UserError("nothing_described", "The description is empty.", "Type one, or press Describe again.")
    scene.mgpt3.prompt = text[:MAX_PROMPT]


def use_as_sequence(scene: bpy.types.Scene, draft: Any) -> None:
    """Take the segments over into the list of the panel Sequence, each with its duration."""
    fps = frame_rate(scene)
    settings = scene.mgpt3_sequence
    settings.segments.clear()
    for part in list(draft.segments)[:MAX_SEGMENTS]:
        item = settings.segments.add()
        item.prompt = part.sentence[:MAX_PROMPT]
        item.seconds = min(max((part.last - part.first + 1) / fps, MIN_SECONDS), MAX_SEGMENT_SECONDS)
    settings.active = 0


def _exact(action: bpy.types.Action, handle: int) -> Any:
    return next((entry for entry in action.mgpt3_describe.entries if entry.slot == handle), None)


def _slot_name(playable: Playable) -> str:
    return playable.slot.name_display if playable.slot is not None else playable.name


def _key(armature: bpy.types.Object, scene: bpy.types.Scene, action: bpy.types.Action, draft: Any) -> str:
    """The content key as it is now; empty where the slot that was described is gone."""
    slot = None
    if has_slots(action):
        slot = slot_of(action, draft.slot)
        if slot is None:
            return ""
    return finding.content_key(action, slot, armature, frame_rate(scene))


def _answer(draft: Any) -> dict[str, Any]:
    return _json(draft.answer)


def _json(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text or "{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
