"""New keys between two keys of F-curves, everything else left as it is to the bit.

Blender recalculates automatic handles whenever a curve is updated, so whole tables of keys are written: what was there
before is put back after the update, handle by handle. A handle that now reaches past the next key does no harm: Blender
shortens it while it evaluates the curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np

from . import keyshape
from .action import container, fcurves
from .keyshape import BEZIER, CONSTANT, LINEAR, NEAR, Table


@dataclass(frozen=True)
class Refill:
    """New keys for one channel.

    Attributes:
        path, index: of the channel.
        frames, values: (N,) the new keys, all strictly between the two that stay (or up to an open end).
        group: name of the channel group where the curve is new.
        first, last: values at the two keys; only a new curve gets keys there. None: no key.
        holds: the last new key holds its value instead of running into the next: the next one is the same pose, but
            written as other numbers (a full turn further).
    """

    path: str
    index: int
    frames: np.ndarray
    values: np.ndarray
    group: str = ""
    first: float | None = None
    last: float | None = None
    holds: bool = False


def unusable(curve: bpy.types.FCurve) -> str:
    """Why a curve is to be left alone, in words; "" where it is not."""
    group = curve.group
    if curve.lock or (group is not None and group.lock):
        return "locked"
    if curve.mute or (group is not None and getattr(group, "mute", False)):
        return "muted"
    if len(curve.modifiers):
        return "has modifiers"
    if len(curve.sampled_points):
        return "baked to samples"
    return ""


def refill(
    action: bpy.types.Action,
    owner: bpy.types.Object,
    refills: Iterable[Refill],
    first: float,
    last: float,
    *,
    open_end: bool = False,
    clear: Iterable[tuple[str, int]] = (),
) -> list[str]:
    """Replace the keys strictly between two frames on some channels; keys at both frames and outside are untouched.

    New keys between two keys are of Blender's type "Jitter": fillers, drawn small, so that the animator's stand out. A
    curve without a key at one of the frames gets one, so that its shape outside stays. Everything is worked out
    before anything is written.

    Args:
        first, last: scene frames of the two keys.
        open_end: there is no key at `last`: keys are replaced up to it and there.
        clear: (path, index) of curves that only lose their keys between, where both keys are there.

    Returns the paths of the curves that change and got a key at `first` or `last` because they had none.
    """
    held = container(action, owner, create=True)
    there = {(curve.data_path, curve.array_index): curve for curve in held.fcurves}
    work: list[tuple[bpy.types.FCurve, Table]] = []
    fresh: list[tuple[Refill, Table]] = []
    inserted: list[str] = []
    for item in refills:
        new = keyshape.plain(item.frames, item.values, LINEAR)
        new["type"][:] = keyshape.KEYFRAME if open_end else keyshape.JITTER
        if item.holds and len(item.frames):
            new["interpolation"][-1] = CONSTANT
        curve = there.get((item.path, item.index))
        if curve is None or not len(curve.keyframe_points):
            ends = [(f, v) for f, v in ((first, item.first), (last, item.last)) if v is not None]
            at = keyshape.plain(np.array([f for f, _ in ends]), np.array([v for _, v in ends]), BEZIER)
            fresh.append((item, keyshape.merged(at, new)))
            continue
        table = read_table(curve)
        for frame in (first,) if open_end else (first, last):
            more = keyshape.with_key(table, frame, curve.evaluate, curve.extrapolation == "LINEAR")
            if more is not None:
                if np.ptp(table["co"][:, 1]) > 0.0:
                    inserted.append(item.path)
                table = more
        work.append((curve, keyshape.replaced(table, new, first, last, open_end)))
    for key in clear:
        curve = there.get(key)
        if curve is None:
            continue
        table = read_table(curve)
        if keyshape.has_key(table, first) and (open_end or keyshape.has_key(table, last)):
            emptied = keyshape.replaced(table, keyshape.plain(np.empty(0), np.empty(0), LINEAR), first, last, open_end)
            if len(emptied["co"]) < len(table["co"]):
                work.append((curve, emptied))
    for item, table in fresh:
        work.append((there.get((item.path, item.index)) or _new_curve(held, item.path, item.index, item.group), table))
    for curve, table in work:
        write_table(curve, table)
    return list(dict.fromkeys(inserted))


def _new_curve(held: Any, path: str, index: int, group: str) -> bpy.types.FCurve:
    """held: an action or a channelbag. group: a channel group's name, "" for none."""
    curve = held.fcurves.new(path, index=index)
    if group:
        curve.group = held.groups.get(group) or held.groups.new(group)
    return curve


def read_table(curve: bpy.types.FCurve) -> Table:
    """Everything a curve's keys consist of."""
    points = curve.keyframe_points
    out: Table = {}
    for name, (size, kind) in keyshape.FIELDS.items():
        values = np.empty(len(points) * size, kind)
        points.foreach_get(name, values)
        out[name] = values.reshape(len(points), size) if size > 1 else values
    out["made"] = np.zeros(len(points), bool)
    return out


def write_table(curve: bpy.types.FCurve, table: Table) -> None:
    """Write a table as it is; only keys that are new ("made") get handles from Blender."""
    points = curve.keyframe_points
    points.clear()
    points.add(len(table["co"]))
    _set(points, table)
    curve.update()
    now = read_table(curve)
    for name in ("handle_left", "handle_right"):
        table[name] = np.where(table["made"][:, None], now[name], table[name])
    _set(points, table)


def _set(points: bpy.types.FCurveKeyframePoints, table: Table) -> None:
    for name in keyshape.FIELDS:
        points.foreach_set(name, np.ascontiguousarray(table[name]).ravel())


def near(a: float, b: float) -> bool:
    """Whether two frames are the same one for Blender's keys."""
    return abs(a - b) < NEAR


@dataclass(frozen=True)
class Backup:
    """The keys of an action as they were, to put them back where a change of several steps fails half way.

    Attributes:
        channels: (path, index) of the curves that this is about; None: all.
        groups: the names of the groups of those that are there.
    """

    tables: dict[tuple[str, int], Table]
    channels: frozenset[tuple[str, int]] | None = None
    groups: dict[tuple[str, int], str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, action: bpy.types.Action, owner: bpy.types.Object, channels: Iterable[tuple[str, int]] | None = None
    ) -> Backup:
        wanted = None if channels is None else frozenset(channels)
        there = {(c.data_path, c.array_index): c for c in fcurves(action, owner)}
        kept = {key: curve for key, curve in there.items() if wanted is None or key in wanted}
        groups = {key: curve.group.name for key, curve in kept.items() if curve.group is not None}
        return cls({key: read_table(curve) for key, curve in kept.items()}, wanted, groups)

    @contextmanager
    def restored_on_failure(self, action: bpy.types.Action, owner: bpy.types.Object) -> Iterator[None]:
        """What fails within leaves the action's curves as they were."""
        try:
            yield
        except Exception:
            self.restore(action, owner)
            raise

    def restore(self, action: bpy.types.Action, owner: bpy.types.Object) -> None:
        """Make the action's curves what they were; those that were not there go."""
        held = container(action, owner, create=True)
        for curve in list(held.fcurves):
            key = (curve.data_path, curve.array_index)
            if key in self.tables:
                write_table(curve, self.tables[key])
            elif self.channels is None or key in self.channels:
                held.fcurves.remove(curve)


def copy_channels(wanted: Backup, action: bpy.types.Action, owner: bpy.types.Object) -> None:
    """Make an action's curves what they are in another one, of which `wanted` was taken; others are left alone."""
    held = container(action, owner, create=True)
    there = {(curve.data_path, curve.array_index): curve for curve in held.fcurves}
    for key, table in wanted.tables.items():
        curve = there.get(key) or _new_curve(held, *key, wanted.groups.get(key, ""))
        write_table(curve, table)
