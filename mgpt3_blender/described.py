"""What was found out about one action -> its metadata and its rows of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import bpy

from . import metadata, rows
from .errors import UserError
from .results import Reference

_SEGMENT = ("first", "last", "sentence", "raw")


@dataclass(frozen=True)
class Options:
    """How to describe.

    Args:
        write: keep the descriptions on the actions; otherwise only say what would become of them.
        overwrite: also replace what a person wrote. mark: make each action an asset.
        alternatives: further sentences, 0 to 8. fast: a large model's quick recipe.
    """

    write: bool = False
    overwrite: bool = False
    mark: bool = False
    alternatives: int = 0
    fast: bool = False


@dataclass
class Part:
    """One way to play an action, which is one row.

    Attributes:
        name: as an animator knows it. slot: the name of the slot, "" where there are none.
        key: content key, "" where no character was found for it.
        description, model: what the worker said, None where it did not; and who said it.
        span: first and last scene frame, scene frames a frame of the model. frames: how many of these.
        error: why there is no description. failed: that is a fault, and not in the nature of the action.
    """

    name: str
    slot: str = ""
    key: str = ""
    description: dict[str, Any] | None = None
    model: dict[str, Any] = field(default_factory=dict)
    span: tuple[float, float, float] = (0.0, 0.0, 1.0)
    frames: int | None = None
    error: UserError | None = None
    failed: bool = False


@dataclass
class Subject:
    """An action, by its identity, and the ways to play it."""

    action: Reference
    parts: list[Part] = field(default_factory=list)


def refusal(answer: Any) -> UserError | None:
    """What the worker has against describing a motion; None where its answer is a description, or nothing."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return None
    return UserError(
        str(error.get("code") or "refused"),
        str(error.get("message") or "The motion could not be described."),
        str(error.get("remedy") or ""),
    )


def chosen(actions: Iterable[bpy.types.Action], names: Iterable[str]) -> list[bpy.types.Action]:
    """The actions that rows are about; a row of one of several slots is called "Action / Slot"."""
    there = {action.name: action for action in actions}
    found: dict[str, bpy.types.Action] = {}
    for name in names:
        if name in there:
            found[name] = there[name]
            continue
        owners = [action for action in there.values() if name.startswith(f"{action.name} / ")]
        found.update({owner.name: owner for owner in owners})
    return list(found.values())


def conclude(
    action: bpy.types.Action, parts: Sequence[Part], options: Options, file: str
) -> tuple[list[rows.Row], bool]:
    """Write what was described, or plan it; -> the rows, one for each part, and whether the action was changed.

    Args:
        file: as the rows name the file.
    """
    told = [(part, in_scene_frames(part)) for part in parts if part.description is not None]
    if not told:
        return [_untold(part, file) for part in parts], False
    first = told[0][0]
    act = metadata.write if options.write else metadata.plan
    change = act(
        action,
        metadata.combined([(part.slot, description) for part, description in told]),
        model=first.model,
        overwrite=options.overwrite,
        mark=options.mark,
        key=first.key,
    )
    said = {id(part): description for part, description in told}
    made = [
        _told(part, said[id(part)], change, options, file) if id(part) in said else _untold(part, file)
        for part in parts
    ]
    return made, options.write and change.changes


def in_scene_frames(part: Part) -> dict[str, Any]:
    """A description whose segments say frames of the scene instead of the model's, in an order that is always one."""
    assert part.description is not None
    first, last, step = part.span
    segments = []
    for segment in part.description.get("segments") or ():
        ends = {end: min(round(first + segment[end] * step), round(last)) for end in ("first", "last")}
        moved = {**segment, **ends}
        segments.append({name: moved[name] for name in _SEGMENT if name in moved})
    facts = part.description.get("facts") or {}
    return {**part.description, "segments": segments, "facts": {name: facts[name] for name in sorted(facts)}}


def _told(part: Part, description: dict[str, Any], change: metadata.Change, options: Options, file: str) -> rows.Row:
    notes = ["What a person wrote stays."] if change.kept else []
    notes += ["Becomes an asset."] if change.marks else []
    lists = ("alternatives", "tags", "segments", "corrections")
    return rows.row(
        file,
        part.name,
        change.status,
        " ".join(notes),
        frames=part.frames,
        seconds=round(max((part.frames or 0) - 1, 0) / 20, 2),
        sentence=description["sentence"],
        facts=description["facts"],
        **{name: list(description.get(name) or ()) for name in lists},
        description_before=change.before.description,
        tags_before=list(change.before.tags),
        description_after=change.after.description,
        tags_after=list(change.after.tags),
        model=str(part.model.get("name") or ""),
        licence=str(part.model.get("licence") or ""),
    )


def _untold(part: Part, file: str) -> rows.Row:
    error = part.error or UserError("internal_error", "It was not described.", "Please report this.")
    return rows.error_row(file, error, part.name, rows.FAILED if part.failed or part.error is None else rows.SKIPPED)
