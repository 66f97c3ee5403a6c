"""What an action is said to show: Blender's asset metadata, and how ours is told from what a person wrote.

Everything that was described is kept on the action as a custom property (JSON). Where the action is an asset, its
description and tags say it too. Text there that is word for word what was written before is ours and may be written
anew; anything else is a person's and is kept. Tags of a person always stay, and a tag of ours that a person took away
does not come back, unless all is to be overwritten.

Author and licence are filled in only where nobody filled them in, and speak of the description, not of the animation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bpy

from .errors import UserError

DESCRIBED = "mgpt3_described"
"""Custom property of an action that was described: a JSON object with `description`, `alternatives`, `tags`, `facts`,
`segments`, `corrections`, `model`, `licence`, `key` (of the content that was described), `by_hand` (a person wrote or
edited the sentence) and, of an asset, `written`: what of its metadata is ours."""

TAG_BYTES = 63  # Blender cuts a longer tag
_KEPT = ("alternatives", "tags", "facts", "segments", "corrections")


@dataclass(frozen=True)
class Text:
    """What an action says of itself, as the asset browser shows it; of an action that is no asset, its property."""

    description: str = ""
    tags: tuple[str, ...] = ()
    author: str = ""
    licence: str = ""

    def same(self, other: Text) -> bool:
        """Whether both say the same; the order of tags says nothing."""
        mine, theirs = ((t.description, set(t.tags), t.author, t.licence) for t in (self, other))
        return mine == theirs


@dataclass(frozen=True)
class Change:
    """What writing a description did, or would do.

    Attributes:
        before, after: the action's texts.
        kept: a person's description was there and stays.
        marks: the action becomes an asset.
        record: what the custom property holds afterwards.
        changes: whether anything in the file is another afterwards.
    """

    before: Text
    after: Text
    kept: bool = False
    marks: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    changes: bool = False

    @property
    def status(self) -> str:
        """For the report: "kept", "unchanged" or "described"."""
        if self.kept:
            return "kept"
        return "described" if self.changes else "unchanged"


def read(action: bpy.types.Action) -> dict[str, Any] | None:
    """What was described of an action (see DESCRIBED); None where nothing was, or where it is no longer readable."""
    try:
        record = json.loads(str(action.get(DESCRIBED, "")))
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("description"), str) else None


def current(action: bpy.types.Action) -> Text:
    """What the action says of itself now."""
    data = action.asset_data
    if data is None:
        record = read(action)
        return Text() if record is None else Text(record["description"], _names(record.get("tags")))
    return Text(data.description, tuple(tag.name for tag in data.tags), data.author, data.license)


def plan(
    action: bpy.types.Action,
    description: Mapping[str, Any],
    *,
    model: Mapping[str, Any],
    overwrite: bool = False,
    mark: bool = False,
    by_hand: bool = False,
    key: str = "",
) -> Change:
    """What `write` would do; nothing is changed. The arguments and errors are those of `write`."""
    check_own(action)
    old = read(action) or {}
    marks = mark and action.asset_data is None
    asset = action.asset_data is not None or mark
    ours = old.get("written") if action.asset_data is not None else None
    ours = ours if isinstance(ours, dict) else {}
    before = current(action)
    name, licence = str(model.get("name") or "MotionGPT3"), str(model.get("licence") or "")
    sentence = str(description.get("sentence") or "").strip()
    tags = tuple(dict.fromkeys(short_tag(tag) for tag in _names(description.get("tags"))))

    if action.asset_data is None:
        hand_written = bool(old.get("by_hand")) and bool(before.description)
    else:
        hand_written = bool(before.description) and before.description != ours.get("description")
    kept = hand_written and not overwrite and not by_hand and before.description != sentence
    text = before.description if kept else sentence

    refused: tuple[str, ...] = ()
    if action.asset_data is not None:
        theirs = tuple(tag for tag in before.tags if tag not in _names(ours.get("tags")))
        if not overwrite:
            taken_away = tuple(tag for tag in _names(ours.get("tags")) if tag not in before.tags)
            refused = tuple(sorted({*_names(ours.get("refused")), *taken_away}))
    else:
        theirs = ()
    added = tuple(tag for tag in tags if tag not in theirs and tag not in refused)
    author, note = before.author, before.licence
    if asset:
        theirs_to_say = kept or by_hand  # a person's sentence is not signed with the model's name
        if _may_write(author, ours.get("author")):
            author = "" if theirs_to_say else f"Description by {name}"
        if _may_write(note, ours.get("licence")):
            terms = f" ({licence})" if licence else ""
            wrote = "tags were" if theirs_to_say else "description was"
            note = f"The {wrote} written by {name}{terms}. This says nothing about the animation's own licence."
    after = Text(text, (*theirs, *added), author, note) if asset else Text(text, tags)

    record: dict[str, Any] = {"description": text if kept and not asset else sentence}
    record.update({part: description[part] for part in _KEPT if part in description})
    record["tags"] = list(tags)
    record |= {"model": name, "licence": licence, "key": key or str(description.get("key") or "")}
    record["by_hand"] = by_hand or (kept and not asset)
    if asset:
        # A sentence that a person wrote is not ours to write over, whoever typed it in where.
        record["written"] = {
            "description": "" if kept or by_hand else text,
            "tags": list(added),
            "refused": list(refused),
            "author": author if author != before.author or author == ours.get("author") else "",
            "licence": note if note != before.licence or note == ours.get("licence") else "",
        }
    record = json.loads(json.dumps(record, ensure_ascii=False))  # as it is read again
    return Change(before, after, kept, marks, record, marks or record != old or not before.same(after))


def write(
    action: bpy.types.Action,
    description: Mapping[str, Any],
    *,
    model: Mapping[str, Any],
    overwrite: bool = False,
    mark: bool = False,
    by_hand: bool = False,
    key: str = "",
) -> Change:
    """Keep a description on an action, and show it in the asset metadata where the action is an asset.

    Args:
        description: as the worker's "describe" gives it: `sentence`, `tags`, `facts`, `segments`, ...; only the
            sentence is needed.
        model: who described it: `name` and `licence`.
        overwrite: also replace a description that a person wrote, and bring back tags that a person took away. A
            person's tags stay all the same.
        mark: make the action an asset where it is none.
        by_hand: a person wrote or edited the sentence: it is shown, and kept by every later run.
        key: of the content that was described, to know later whether it is still that.

    The action stays as animated. Raises UserError("linked_action") where it belongs to another file,
    "nothing_described" where there is no sentence.
    """
    if not str(description.get("sentence") or "").strip():
        raise UserError("nothing_described", "There is no description to write.", "Describe the action first.")
    change = plan(action, description, model=model, overwrite=overwrite, mark=mark, by_hand=by_hand, key=key)
    if not change.changes:
        return change
    if change.marks:
        action.asset_mark()
    data = action.asset_data
    if data is not None:
        after = change.after
        if data.description != after.description:
            data.description = after.description
        for tag in list(data.tags):
            if tag.name not in after.tags:
                data.tags.remove(tag)
        there = {tag.name for tag in data.tags}
        for tag_name in after.tags:
            if tag_name not in there:
                data.tags.new(tag_name)
        if data.author != after.author:
            data.author = after.author
        if data.license != after.licence:
            data.license = after.licence
    action[DESCRIBED] = json.dumps(change.record, ensure_ascii=False)
    return change


def combined(described: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """One description of an action that animates several characters, one in each slot.

    Args:
        described: (name of the slot, its description), at least one. Metadata belongs to the action as a whole.

    Facts and alternatives are the first slot's; segments say whose they are.
    """
    if len(described) == 1:
        return dict(described[0][1])
    out = dict(described[0][1])
    out["sentence"] = "; ".join(f"{name}: {text}" for name, d in described if (text := str(d.get("sentence") or "")))
    out["tags"] = sorted({tag for _, d in described for tag in _names(d.get("tags"))})
    out["segments"] = [{**part, "slot": name} for name, d in described for part in d.get("segments") or ()]
    out["corrections"] = [entry for _, d in described for entry in d.get("corrections") or ()]
    return out


def _may_write(there: str, ours: object) -> bool:
    """Whether a text may be written: there is none, or it is what we wrote."""
    return not there or (bool(ours) and there == ours)


def short_tag(name: str) -> str:
    """A tag as Blender can keep it: cut at a whole character."""
    return name.encode()[:TAG_BYTES].decode("utf-8", "ignore").strip()


def check_own(action: bpy.types.Action) -> None:
    """Raises UserError("linked_action") where an action belongs to another file."""
    if action.library is not None or action.override_library is not None:
        raise UserError(
            "linked_action",
            f'"{action.name}" is linked from another file and cannot be written to.',
            "Describe it in the file it comes from.",
        )


def _names(value: object) -> tuple[str, ...]:
    """Strings of a JSON list; none of anything else."""
    return tuple(v for v in value if isinstance(v, str) and v) if isinstance(value, list | tuple) else ()
