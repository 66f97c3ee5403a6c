"""The keys of one F-curve as a table, and how a key is put into it without changing the curve's shape. NumPy only.

A table has one array for each property of a key (FIELDS), (N, 2) or (N,), ordered in time, and "made" (N,): keys that
are new. Evaluation follows Blender's (source/blender/blenkernel/intern/fcurve.cc).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Table = dict[str, np.ndarray]

FIELDS: dict[str, tuple[int, type]] = {
    "co": (2, np.float32), "handle_left": (2, np.float32), "handle_right": (2, np.float32),
    "handle_left_type": (1, np.int32), "handle_right_type": (1, np.int32), "interpolation": (1, np.int32),
    "easing": (1, np.int32), "type": (1, np.int32), "back": (1, np.float32), "amplitude": (1, np.float32),
    "period": (1, np.float32), "select_control_point": (1, bool), "select_left_handle": (1, bool),
    "select_right_handle": (1, bool),
}  # fmt: skip

CONSTANT, LINEAR, BEZIER = 0, 1, 2
FREE, AUTO_CLAMPED = 0, 4
KEYFRAME, JITTER = 0, 3
"""Blender's types of keys: a pose, and a filler that is keyed on each frame between poses."""
NEAR = 0.01
"""Keys closer than this are the same key for Blender (BEZT_BINARYSEARCH_THRESH)."""


def plain(frames: np.ndarray, values: np.ndarray, interpolation: int) -> Table:
    """New keys, not selected, with automatic handles. (N,), (N,)."""
    count = len(frames)
    out: Table = {}
    for name, (size, kind) in FIELDS.items():
        out[name] = np.zeros((count, size) if size > 1 else count, kind)
    out["co"][:, 0], out["co"][:, 1] = frames, values
    out["handle_left"][:], out["handle_right"][:] = out["co"], out["co"]
    out["handle_left_type"][:] = out["handle_right_type"][:] = AUTO_CLAMPED
    out["interpolation"][:] = interpolation
    out["made"] = np.ones(count, bool)
    return out


def taken(table: Table, which: np.ndarray) -> Table:
    """Some of the keys."""
    return {name: values[which] for name, values in table.items()}


def merged(*tables: Table) -> Table:
    """The keys of several tables, in time."""
    out = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return taken(out, np.argsort(out["co"][:, 0], kind="stable"))


def has_key(table: Table, frame: float) -> bool:
    return bool((np.abs(table["co"][:, 0] - frame) < NEAR).any())


def replaced(table: Table, new: Table, first: float, last: float, open_end: bool = False) -> Table:
    """The table with the keys strictly between two frames replaced; at an open end, those at `last` too."""
    x = table["co"][:, 0].astype(np.float64)
    outside = (x < first + NEAR) | ((x > last + NEAR) if open_end else (x > last - NEAR))
    return merged(taken(table, outside), new)


def with_key(table: Table, frame: float, evaluate: Callable[[float], float], linear_ends: bool) -> Table | None:
    """The table with a key at a frame, the curve's shape kept; None where there is a key already.

    Args:
        evaluate: the curve before, frame -> value.
        linear_ends: the curve goes on in a straight line beyond its ends, instead of holding its value.
    """
    if has_key(table, frame):
        return None
    x = table["co"][:, 0].astype(np.float64)
    i = int(np.searchsorted(x, frame)) - 1  # the key before
    table = {name: values.copy() for name, values in table.items()}
    value = evaluate(frame)
    if i < 0:
        return merged(_fixed(frame, value, LINEAR), table)
    kind = int(table["interpolation"][i])
    if i == len(x) - 1:
        flat = abs(float(table["handle_right"][i, 1] - table["co"][i, 1])) < 1e-6
        if linear_ends or kind not in (CONSTANT, LINEAR, BEZIER) or (kind == BEZIER and not flat):
            table["interpolation"][i] = LINEAR
        return merged(table, _fixed(frame, value, int(table["interpolation"][i])))
    if kind in (CONSTANT, LINEAR):
        return merged(table, _fixed(frame, value, kind))
    if kind != BEZIER:  # an easing curve cannot be cut in two: whole frames keep its shape
        at = np.arange(np.floor(x[i]) + 1.0, np.ceil(x[i + 1]))
        at = np.union1d(at[np.abs(at - frame) > NEAR], [frame])
        table["interpolation"][i] = LINEAR
        return merged(table, _fixed(at, np.array([evaluate(f) for f in at]), LINEAR))
    parts = [piece for half in cut(segment(table, i), frame) for piece in pieces(half)]
    table["handle_right"][i], table["handle_right_type"][i] = parts[0][1], FREE
    table["handle_left"][i + 1], table["handle_left_type"][i + 1] = parts[-1][2], FREE
    new = _fixed(np.array([part[3, 0] for part in parts[:-1]]), np.array([part[3, 1] for part in parts[:-1]]), BEZIER)
    new["handle_left"][:] = [part[2] for part in parts[:-1]]
    new["handle_right"][:] = [part[1] for part in parts[1:]]
    return merged(table, new)


def _fixed(frames: float | np.ndarray, values: float | np.ndarray, interpolation: int) -> Table:
    """Keys whose handles stay as they are set."""
    out = plain(np.atleast_1d(frames), np.atleast_1d(values), interpolation)
    out["handle_left_type"][:] = out["handle_right_type"][:] = FREE
    out["made"][:] = False
    return out


def segment(table: Table, i: int) -> np.ndarray:
    """The four Bezier points from key i to the next, handles shortened as Blender does. (4, 2) float64."""
    out = np.array([table["co"][i], table["handle_right"][i], table["handle_left"][i + 1], table["co"][i + 1]])
    out = out.astype(np.float64)
    length = out[3, 0] - out[0, 0]
    for key, handle in ((0, 1), (3, 2)):
        reach = abs(out[handle, 0] - out[key, 0])
        if reach > length:
            out[handle] = out[key] + (out[handle] - out[key]) * length / reach
    return out


def cut(points: np.ndarray, x: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut a Bezier segment in two at x (de Casteljau). (4, 2) -> two times (4, 2)."""
    low, high = 0.0, 1.0
    for _ in range(60):
        u = 0.5 * (low + high)
        weights = np.array([(1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3])
        low, high = (u, high) if weights @ points[:, 0] < x else (low, u)
    return split(points, 0.5 * (low + high))


def split(points: np.ndarray, u: float) -> tuple[np.ndarray, np.ndarray]:
    """Split a Bezier segment at its parameter u (de Casteljau). (4, 2) -> two times (4, 2)."""
    ab, bc, cd = (points[k] + u * (points[k + 1] - points[k]) for k in range(3))
    abc, bcd = ab + u * (bc - ab), bc + u * (cd - bc)
    middle = abc + u * (bcd - abc)
    return np.array([points[0], ab, abc, middle]), np.array([middle, bcd, cd, points[3]])


def pieces(points: np.ndarray, most: int = 5) -> list[np.ndarray]:
    """A segment cut until no handle is longer than its piece: longer ones Blender would shorten, and bend the curve."""
    length = points[3, 0] - points[0, 0]
    longest = max(abs(points[1, 0] - points[0, 0]), abs(points[3, 0] - points[2, 0]))
    if longest <= length * (1.0 + 1e-6) or most == 0 or length < 0.2:
        return [points]
    return [piece for half in split(points, 0.5) for piece in pieces(half, most - 1)]
