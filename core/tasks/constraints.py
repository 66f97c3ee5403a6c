"""What a motion between two keys has to meet besides them: poses, points, a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.errors import CoreError
from core.skeleton import JOINTS
from core.tasks import poses
from core.tasks.joining import flow
from core.tasks.latentfit import Known
from core.tasks.limbs import LIMBS, reach


@dataclass(frozen=True)
class Pose:
    """The whole body at a frame: joints (22, 3) metres. Frame 0 is the first key."""

    frame: int
    joints: np.ndarray


@dataclass(frozen=True)
class Point:
    """One joint at a frame: position (3,) metres."""

    frame: int
    joint: int
    position: np.ndarray


@dataclass(frozen=True)
class Path:
    """The way of the root over the floor: points (N, 3) metres, of which the height does not count.

    Timed: the points are evenly spaced in time from key to key. Otherwise only the shape of the way counts.
    """

    points: np.ndarray
    timed: bool = False


Constraint = Pose | Point | Path

FALL = 6
"""Frames over which the pull of a point fades before and after its frame."""
PATH_TOLERANCE = 0.05


class Demands:
    """The constraints of one gap, checked and sorted.

    Raises CoreError("constraint_wrong").
    """

    def __init__(self, constraints: list[Constraint], frames: int) -> None:
        self.frames = frames
        for c in constraints:
            values = c.points if isinstance(c, Path) else c.joints if isinstance(c, Pose) else c.position
            if not np.isfinite(values).all():
                raise CoreError("constraint_wrong", "A constraint has values that are not numbers.", "Remove it.")
            if not isinstance(c, Path) and not 0 < c.frame < frames + 1:
                raise CoreError(
                    "constraint_wrong", f"A constraint at frame {c.frame} is not between the keys.", "Move it."
                )
            if isinstance(c, Path) and len(c.points) < 2:
                raise CoreError("constraint_wrong", "A path needs two points.", "Choose a curve with two points.")
        held = {c.frame: c for c in constraints if isinstance(c, Pose)}
        self.poses = [held[f] for f in sorted(held)]
        self.points = sorted((c for c in constraints if isinstance(c, Point)), key=lambda c: c.frame)
        self.paths = [c for c in constraints if isinstance(c, Path)]

    def keyed(self) -> np.ndarray:
        """(K,) frames in which the whole pose is given, both keys included."""
        return np.array([0, *(p.frame for p in self.poses), self.frames + 1])

    def keys(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """(K, 22, 3) the poses of those frames."""
        return np.stack([start, *(np.asarray(p.joints, np.float64) for p in self.poses), end])

    def interpolate(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Plain interpolation from key to key: (frames + 2, 22, 3)."""
        at, keys = self.keyed(), self.keys(start, end)
        parts = [poses.interpolate(keys[k], keys[k + 1], at[k + 1] - at[k] - 1)[(k > 0) :] for k in range(len(at) - 1)]
        return np.concatenate(parts)

    def known(self, place: Callable[[np.ndarray], np.ndarray], first: int, tolerance: float) -> Known:
        """What the fit has to know. place: from the given place to the fit's. first: the first key's frame there."""
        nothing = np.zeros(0)
        out = Known(nothing.astype(int), nothing.astype(int), np.zeros((0, 3), bool), np.zeros((0, 3)), nothing)
        if self.poses:
            joints = place(np.stack([np.asarray(p.joints, np.float64) for p in self.poses]))
            out = out + Known.poses(first + np.array([p.frame for p in self.poses]), joints, tolerance)
        rows = [(first + p.frame, p.joint, [True] * 3, p.position, 0.02) for p in self.points]
        for path in self.paths:
            if path.timed:
                rows += [
                    (first + t, 0, [True, False, True], where, PATH_TOLERANCE)
                    for t, where in enumerate(self._timed(path))
                ]
        if rows:
            places = np.repeat(np.stack([np.asarray(r[3], np.float64) for r in rows])[:, None], 22, 1)
            flat = _placed(place, places)
            out = out + Known(
                np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]), flat,
                np.array([r[4] for r in rows]),
            )  # fmt: skip
        return out

    def _timed(self, path: Path) -> np.ndarray:
        """Where the root is to be in each frame of the gap: (frames + 2, 3)."""
        at = np.linspace(0.0, len(path.points) - 1.0, self.frames + 2)
        points = np.asarray(path.points, np.float64)
        return np.stack([np.interp(at, np.arange(len(points)), points[:, k]) for k in range(3)], 1)

    def meet(self, joints: np.ndarray) -> np.ndarray:
        """Bring a motion (frames + 2, 22, 3) the rest of the way; both keys and the poses stay as they are."""
        out = np.array(joints, np.float64)
        for path in self.paths:
            out = out + self._onto(path, out)[:, None]
        for point in self.points:
            out = self._touch(out, point)
        return out

    def _onto(self, path: Path, joints: np.ndarray) -> np.ndarray:
        """(T, 3) how the body has to be moved for its root to follow a path; nothing at the keys."""
        if path.timed:
            wanted = self._timed(path)
        else:  # as far along the path as along its own way
            points = np.asarray(path.points, np.float64) * [1.0, 0.0, 1.0]
            along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=-1))])
            own = np.linalg.norm(np.diff(joints[:, 0] * [1.0, 0.0, 1.0], axis=0), axis=-1)
            way = np.concatenate([[0.0], np.cumsum(own)])
            part = way / way[-1] if way[-1] > 1e-3 else np.linspace(0.0, 1.0, len(way))
            wanted = np.stack([np.interp(part * along[-1], along, points[:, k]) for k in range(3)], 1)
        move = (wanted - joints[:, 0]) * [1.0, 0.0, 1.0]
        near = np.abs(np.arange(len(joints))[:, None] - self.keyed()[None]).min(1)
        ease = np.clip(near / min(FALL, max((self.frames + 1) // 3, 1)), 0.0, 1.0)
        return move * (ease * ease * (3.0 - 2.0 * ease))[:, None]

    def _touch(self, joints: np.ndarray, point: Point) -> np.ndarray:
        """Bring one joint to a place by its limb, or by the whole body where it has none; soft before and after."""
        target = np.asarray(point.position, np.float64)
        at = self.keyed()
        left, right = at[at < point.frame].max(), at[at > point.frame].min()
        from_, to = max(left, point.frame - FALL), min(right, point.frame + FALL)
        span = slice(from_, to + 1)
        pose = joints[point.frame].copy()
        wanted = reach(pose, point.joint, target) if point.joint in LIMBS else pose + (target - pose[point.joint])
        ends = np.array([0, point.frame - from_, to - from_])
        motion = poses.from_joints(joints[span])
        change = poses.difference(motion[ends[1:2]], poses.from_joints(wanted[None]))
        courses = []
        for value in (change.root[0], change.turns[0], change.offsets[0]):
            zero = np.zeros_like(value)
            courses.append(flow(ends, np.stack([zero, value, zero]), zero, zero, to - from_ + 1))
        out = joints.copy()
        out[span] = poses.to_joints(poses.add(motion, poses.Difference(*courses)))
        return out

    def errors(self, joints: np.ndarray) -> list[dict[str, object]]:
        """What is left of each constraint."""
        out: list[dict[str, object]] = []
        for p in self.poses:
            off = np.linalg.norm(joints[p.frame] - p.joints, axis=-1).max()
            out.append({"kind": "pose", "frame": p.frame, "error_mm": round(1000 * float(off), 2)})
        for point in self.points:
            off = np.linalg.norm(joints[point.frame, point.joint] - point.position)
            out.append({"kind": "point", "frame": point.frame, "joint": JOINTS[point.joint],
                        "error_mm": round(1000 * float(off), 2)})  # fmt: skip
        for path in self.paths:
            root, ideal = joints[:, 0] * [1.0, 0.0, 1.0], np.asarray(path.points, np.float64) * [1.0, 0.0, 1.0]
            if path.timed:
                away = np.linalg.norm(root - self._timed(path) * [1.0, 0.0, 1.0], axis=-1)
            else:
                away = np.array([_distance(r, ideal) for r in root])
            worst = int(away.argmax())
            out.append({"kind": "path", "frame": worst, "error_mm": round(1000 * float(away[worst]), 2)})
        return out


def _placed(place: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    """Points, each given as a body of 22 equal joints (N, 22, 3), in the fit's place: only its root counts."""
    return place(points)[:, 0]


def _distance(point: np.ndarray, line: np.ndarray) -> float:
    """From a point (3,) to a line of points (N, 3)."""
    a, step = line[:-1], np.diff(line, axis=0)
    part = np.clip(((point - a) * step).sum(-1) / np.maximum(np.square(step).sum(-1), 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(a + part[:, None] * step - point, axis=-1).min())
