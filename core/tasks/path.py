"""A motion along a path: motion path editing (Gleicher, Motion Path Editing, I3D 2001). NumPy only.

A motion has a path of its own: where its root goes once the sway of the steps is taken out. Each frame is kept as it
stands to that path, at its place and in its direction, and put down at the same distance along another one: turned by
the difference of the two directions, which also lets someone walk a path sideways or backwards. Poses are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import CoreError
from core.features import check_joints
from core.skeleton import FPS

WIDTH = 0.25
"""Metres along the way over which its place and direction are averaged: about a third of a step."""
CORNER = 0.12
"""Metres along the given path over which its corners are rounded; nobody walks round a point."""
SPACING = 0.02
LEAST_TRAVEL = 0.3
"""Metres under which a motion goes nowhere and its way has no direction."""
SWAY_SECONDS, TURN_SECONDS, START_SECONDS = 0.45, 0.2, 1.0
"""Over how long the sway is averaged, a turn smoothed, and a given heading left for the path's own."""


@dataclass(frozen=True)
class Followed:
    """A motion on a path.

    Attributes:
        joints: (T, 22, 3) float32, in the path's place.
        error_mm: the largest distance on the floor between the way travelled (without the sway of steps) and the path;
            timed: and where on the path one should be at that time. What lies past an open path's end does not count.
        length: of the path, metres. travelled: of the motion on it; more than `length` where it goes on past the end.
        speed: how many times the motion's own speed the path asks for; 1 where it is not timed.
        closed: the path ends where it begins.
    """

    joints: np.ndarray
    error_mm: float
    length: float
    travelled: float
    speed: float
    closed: bool


def follow(joints: np.ndarray, points: np.ndarray, *, timed: bool = False, entering: float | None = None) -> Followed:
    """Let a motion go along a path.

    Args:
        joints: (T, 22, 3) metres, Y up, 20 fps.
        points: (N, 3) of the path, of which the height does not count; a closed path ends where it begins, and is
            walked round as often as the motion goes.
        timed: the points are evenly spaced in time from the first frame to the last, whatever speed that makes;
            otherwise the motion keeps its speed, ends on the way or goes straight on past an open path's end.
        entering: how the first frame is to be turned about the vertical against `joints`, radians, where it goes on
            from something; within a second the path's direction takes over.
    Raises:
        CoreError: joints_invalid, path_invalid.
    """
    joints = check_joints(joints, least_frames=2).astype(np.float64)
    line, closed = check_path(points)
    own = _Way.of(joints)
    raw = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=-1))])
    length = float(raw[-1])
    if timed:
        along = np.interp(np.linspace(0, len(line) - 1, len(joints)), np.arange(len(line)), raw)
    else:
        along = own.along if own.travels else np.zeros(len(joints))
    place, direction = _Path(line, closed, float(along.min()), float(along.max())).at(along)

    turn = np.unwrap(direction - own.direction)
    turn = _smooth(turn[:, None], TURN_SECONDS)[:, 0]
    if entering is not None:
        apart = (turn[0] - entering + np.pi) % (2 * np.pi) - np.pi
        fade = np.clip(np.arange(len(turn)) / (START_SECONDS * FPS), 0, 1)
        turn = turn - apart * (1 - fade * fade * (3 - 2 * fade))
    out = _moved(joints, own.place, turn, place)
    way = np.insert(travel(joints), 1, 0.0, axis=1)[:, None]
    error = _error(_moved(way, own.place, turn, place)[:, 0][:, [0, 2]], line, raw, along, closed, timed)
    speed = float(along[-1] / max(own.along[-1], 1e-6)) if timed else 1.0
    return Followed(out.astype(np.float32), error, length, float(along[-1]), speed, closed)


def _moved(joints: np.ndarray, place: np.ndarray, turn: np.ndarray, to: np.ndarray) -> np.ndarray:
    """(T, n, 3) moved from one place on the floor (T, 2) to another (T, 2) and turned there by radians (T,)."""
    c, s = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x, z = joints[..., 0] - place[:, :1], joints[..., 2] - place[:, 1:]
    return np.stack([c * x + s * z + to[:, :1], joints[..., 1], c * z - s * x + to[:, 1:]], -1)


def travel(joints: np.ndarray) -> np.ndarray:
    """Where the root goes on the floor without the sway of steps: (T, 22, 3) -> (T, 2), x and z."""
    return _smooth(np.asarray(joints, np.float64)[:, 0][:, [0, 2]], SWAY_SECONDS)


@dataclass(frozen=True)
class _Way:
    """A motion's own path, frame by frame: place (T, 2), direction (T,) radians, along (T,) metres."""

    place: np.ndarray
    direction: np.ndarray
    along: np.ndarray

    @property
    def travels(self) -> bool:
        return bool(np.ptp(self.along) >= LEAST_TRAVEL)

    @classmethod
    def of(cls, joints: np.ndarray) -> _Way:
        way = travel(joints)
        step = np.diff(way, axis=0)
        rough = np.concatenate([[0.0], np.cumsum(np.linalg.norm(step, axis=-1))])
        if rough[-1] < LEAST_TRAVEL:
            return cls._still(way)
        _, direction = _regress(way, rough)
        # Who stands and sways gets nowhere: only what goes along the way counts, forward or back.
        ahead = np.stack([np.sin(direction), np.cos(direction)], -1)
        progress = (step * 0.5 * (ahead[1:] + ahead[:-1])).sum(-1)
        along = np.concatenate([[0.0], np.cumsum(progress)])
        if np.ptp(along) < LEAST_TRAVEL:
            return cls._still(way)
        place, direction = _regress(way, along)
        return cls(place, direction, along)

    @classmethod
    def _still(cls, way: np.ndarray) -> _Way:
        """Of a motion that goes nowhere: it stands where the path begins and faces the way that the path goes."""
        return cls(np.broadcast_to(way[0], way.shape), np.zeros(len(way)), np.zeros(len(way)))


def _regress(way: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place (T, 2) and direction (T,) of a way as functions of the distance along it: local straight lines."""
    place, slope = np.empty_like(way), np.empty_like(way)
    for begin in range(0, len(way), 512):  # in blocks: a long motion would need a large matrix
        part = slice(begin, begin + 512)
        apart = along[None] - along[part, None]
        # The wider window steps in where someone has stood for long and hardly anything says which way it goes on.
        weight = np.exp(-0.5 * (apart / WIDTH) ** 2) + 1e-4 * np.exp(-0.5 * (apart / (4 * WIDTH)) ** 2)
        weight /= weight.sum(1, keepdims=True)
        mean = weight @ way
        middle = (weight * apart).sum(1)
        spread = (weight * apart**2).sum(1) - middle**2
        rate = ((weight * apart) @ way - middle[:, None] * mean) / np.maximum(spread, 1e-9)[:, None]
        slope[part] = rate
        place[part] = mean - middle[:, None] * rate
    return place, np.unwrap(np.arctan2(slope[:, 0], slope[:, 1]))


class _Path:
    """The given path, smooth, as far as it is needed: place and direction at a distance along it."""

    def __init__(self, line: np.ndarray, closed: bool, least: float, most: float) -> None:
        raw = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=-1))])
        length, margin = raw[-1], 1.0
        at = np.arange(least - margin, max(most, length) + margin, SPACING)
        inside = at % length if closed else np.clip(at, 0.0, length)
        dense = np.stack([np.interp(inside, raw, line[:, i]) for i in (0, 1)], -1)
        if not closed:  # straight on past both ends, the way it goes over a hand's breadth there
            for past, end, edge in ((at < 0, 0.0, 0.1), (at > length, length, length - 0.1)):
                tip, near = (np.array([np.interp(d, raw, line[:, i]) for i in (0, 1)]) for d in (end, edge))
                ahead = (tip - near) / max(abs(end - edge), 1e-9) * np.sign(end - edge)
                dense[past] = tip + (at[past] - end)[:, None] * ahead
        reach = max(1, round(CORNER / SPACING))
        once = _gaussian(dense, reach)
        self._place = 2 * once - _gaussian(once, reach)  # sharpened, or circles would shrink
        slope = np.gradient(self._place, axis=0)
        self._direction = np.unwrap(np.arctan2(slope[:, 0], slope[:, 1]))
        self._at = at

    def at(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = np.stack([np.interp(along, self._at, self._place[:, i]) for i in (0, 1)], -1)
        return place, np.interp(along, self._at, self._direction)


def check_path(points: np.ndarray) -> tuple[np.ndarray, bool]:
    """The path on the floor (N, 2), x and z, and whether it is closed. Raises CoreError("path_invalid")."""
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2 or not np.isfinite(points).all():
        raise CoreError("path_invalid", "The path is not a row of at least two points.", "Choose another curve.")
    line = points[:, [0, 2]]
    length = np.linalg.norm(np.diff(line, axis=0), axis=-1).sum()
    if length < LEAST_TRAVEL:
        raise CoreError("path_invalid", f"The path is only {length:.2f} m long.", "Draw a longer curve.")
    if length > 10_000.0:
        raise CoreError("path_invalid", f"The path is {length / 1000:.0f} km long.", "Check the size of the curve.")
    return line, bool(np.linalg.norm(line[0] - line[-1]) < 0.01)


def _error(way: np.ndarray, line: np.ndarray, raw: np.ndarray, along: np.ndarray, closed: bool, timed: bool) -> float:
    """The largest distance between a way (T, 2) and the path, millimetres; timed: where it is to be at that frame."""
    if timed:
        wanted = np.stack([np.interp(along, raw, line[:, i]) for i in (0, 1)], -1)
        return float(np.linalg.norm(way - wanted, axis=-1).max() * 1000)
    dense = np.arange(0.0, raw[-1] + SPACING / 2, SPACING / 2)
    path = np.stack([np.interp(dense, raw, line[:, i]) for i in (0, 1)], -1)
    apart = np.sqrt([np.square(path - at).sum(-1).min() for at in way])
    on = np.ones(len(way), bool) if closed else (along >= 0) & (along <= raw[-1])
    return float(apart[on].max(initial=0.0) * 1000)


def _smooth(x: np.ndarray, seconds: float) -> np.ndarray:
    """(T, n) averaged over time, sharpened so that turns keep their size; both ends stay where they are."""
    sigma = min(seconds * FPS, (len(x) - 1) / 3)
    if len(x) < 4:
        return x.copy()
    more = 3 * max(1, round(sigma))
    index = np.arange(-2 * more, len(x) + 2 * more)
    last = len(x) - 1
    before, after = index < 0, index > last
    wide = x[np.clip(np.where(before, -index, np.where(after, 2 * last - index, index)), 0, last)]
    wide[before] = 2 * x[0] - wide[before]
    wide[after] = 2 * x[-1] - wide[after]
    once = _gaussian(wide, round(sigma))
    smooth = (2 * once - _gaussian(once, round(sigma)))[2 * more : 2 * more + len(x)]
    lag = np.linspace(0.0, 1.0, len(x))[:, None]
    return smooth + (1 - lag) * (x[0] - smooth[0]) + lag * (x[-1] - smooth[-1])


def _gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average over rows, of the same length; both ends are carried on straight."""
    reach = max(1, round(3 * sigma))
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    rates = x[1] - x[0], x[-1] - x[-2]
    steps = np.arange(1, reach + 1)[:, None]
    wide = np.concatenate([x[0] - steps[::-1] * rates[0], x, x[-1] + steps * rates[1]])
    return np.stack([np.convolve(column, window / window.sum(), mode="valid") for column in wide.T], -1)
