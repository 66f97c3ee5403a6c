"""What the model is told about each gap: the keyed poses, the motion around them, and what else is to be met."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import bpy
import numpy as np

from .curvepath import curve_points, timed_points
from .errors import UserError
from .framerate import frame_rate
from .gaps import Gap, columns
from .rig.mapping import WORDS, Mapping
from .rig.poses import held, read_poses, space_of, visited
from .rig.skeleton22 import FPS, INDEX
from .rig.solve import at_times
from .rig.space import Space
from .wire import encode_array

CONTEXT = 10
"""Frames of the motion around a gap that the model is shown, at 20 a second."""


@dataclass(frozen=True)
class Point:
    """A joint that is to be where an object is, at a scene frame."""

    joint: str
    object: str
    frame: float


@dataclass
class Ask:
    """One gap as the model is asked about it.

    Attributes:
        steps: equal steps from one key to the other, nearly 1/20 s each.
        lead, follow: (A,) and (B,) scene frames of the motion around it, the keys' among them.
        before: (A, 22, 3) the motion up to the first key, which is its last frame; after: (B, 22, 3) from the second
            key on. In the space of `read_poses`. Empty until they are read.
        constraints: as the worker takes them. places: the points among them, in that space.
        adjoins: the gap before ends where this one begins: what fills that one leads over to this one.
    """

    gap: Gap
    steps: int
    lead: np.ndarray
    follow: np.ndarray
    before: np.ndarray = field(default_factory=lambda: np.empty((0, 22, 3)))
    after: np.ndarray = field(default_factory=lambda: np.empty((0, 22, 3)))
    constraints: list[dict] = field(default_factory=list)
    places: list[tuple[Point, np.ndarray]] = field(default_factory=list)
    adjoins: bool = False

    @property
    def step(self) -> float:
        """Scene frames a step."""
        return (self.gap.last - self.gap.first) / self.steps


def plan(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    action: bpy.types.Action,
    bones: Collection[str],
    gaps: Sequence[Gap],
    use_context: bool,
    points: Sequence[Point] = (),
) -> list[Ask]:
    """Which frames of each gap are to be read: the keyed poses at its ends, and around it as far as there are keys.

    Args:
        points: places to reach; the steps are chosen so that their frames fall on one, as far as that goes.
    """
    keyed = [column.frame for column in columns(action, armature, bones)]
    fps = frame_rate(scene)
    out = []
    for n, gap in enumerate(gaps):
        steps = _steps(gap, fps, [point.frame for point in points if gap.first < point.frame < gap.last])
        step = (gap.last - gap.first) / steps
        adjoins = n > 0 and abs(gaps[n - 1].last - gap.first) < 1e-3
        adjoined = n + 1 < len(gaps) and abs(gaps[n + 1].first - gap.last) < 1e-3
        lead = _around((gap.first - keyed[0]) / step) if use_context and not adjoins else 0
        follow = _around((keyed[-1] - gap.last) / step) if use_context and not adjoined else 0
        times = gap.first + step * np.arange(-lead, 1), gap.last + step * np.arange(follow + 1)
        out.append(Ask(gap, steps, *times, adjoins=adjoins and use_context))
    return out


def read(ask: Ask, armature: bpy.types.Object, scene: bpy.types.Scene, mapping: Mapping) -> None:
    """Read the keyed poses at the ends of a gap and the motion around it."""
    joints = read_poses(armature, scene, mapping, np.concatenate([ask.lead, ask.follow])).joints
    ask.before, ask.after = joints[: len(ask.lead)], joints[len(ask.lead) :]


def _steps(gap: Gap, fps: float, frames: Sequence[float]) -> int:
    """How many steps to make of a gap: each nearly 1/20 s long, and if some frames count, with steps near them."""
    usual = max(2, round((gap.last - gap.first) / fps * FPS))

    def off(steps: int) -> float:
        at = np.array([(frame - gap.first) / (gap.last - gap.first) * steps for frame in frames])
        return float(np.abs(at - np.round(at)).max()) + 0.02 * abs(steps - usual)

    return min(range(max(2, round(0.9 * usual)), round(1.1 * usual) + 1), key=off) if frames else usual


def _around(frames: float) -> int:
    return min(CONTEXT, int(np.floor(frames + 1e-6)))


def go_on(ask: Ask, earlier: Ask, joints: np.ndarray) -> None:
    """Where a gap adjoins the one before, the motion before it is what was just made there."""
    if not ask.adjoins:
        return
    lead = _around((ask.gap.first - earlier.gap.first) / ask.step)
    if lead:
        times = earlier.steps + ask.step / earlier.step * np.arange(-lead, 0)
        ask.before = np.concatenate([at_times(joints, times), ask.before[-1:]])


def add_constraints(
    asks: Sequence[Ask],
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    mapping: Mapping,
    path: str,
    timed: bool,
    points: Sequence[Point],
) -> None:
    """Add a path and places to reach. Raises UserError: no_path, path_one_gap, no_object."""
    if not path and not points:
        return
    space = space_of(armature, scene, mapping)
    if path:
        curve = bpy.data.objects.get(path)
        if curve is None:
            raise UserError("no_path", f'The curve "{path}" is gone.', "Choose another one.")
        if not timed and len(asks) > 1:
            raise UserError(
                "path_one_gap",
                "A path without timing can lead through one gap only.",
                "Fill one gap at a time, or key the curve's evaluation time and turn Timed on.",
            )
        for ask in asks:
            frames = ask.gap.first + ask.step * np.arange(ask.steps + 1)
            way = space.motion(timed_points(curve, frames) if timed else curve_points(curve))
            ask.constraints.append({"kind": "path", "points": encode_array(way[:, None]), "timed": bool(timed)})
    for point, place in zip(points, _places(armature, scene, space, points), strict=True):
        for ask in asks:
            if ask.gap.first < point.frame < ask.gap.last:
                exact = (point.frame - ask.gap.first) / ask.step
                near = {round(exact)} if abs(exact - round(exact)) < 0.1 else {int(exact), int(exact) + 1}
                for at in sorted({min(max(n, 1), ask.steps - 1) for n in near}):  # between two steps: hold over both
                    ask.constraints.append(
                        {"kind": "point", "frame": at, "joint": point.joint, "position": [float(v) for v in place]}
                    )
                ask.places.append((point, place))


def _places(
    armature: bpy.types.Object, scene: bpy.types.Scene, space: Space, points: Sequence[Point]
) -> list[np.ndarray]:
    """Where the points' objects are at their frames, motion space."""
    out = []
    for point in points:
        if bpy.data.objects.get(point.object) is None:
            raise UserError("no_object", f'The object "{point.object}" is gone.', "Choose another one to reach.")
    with held(armature, scene):
        for n in visited(scene, [point.frame for point in points]):
            matrix = np.array(bpy.data.objects[points[n].object].matrix_world)
            out.append(space.motion(matrix[:3, 3]))
    return out


def check_points(asks: Sequence[Ask], points: Sequence[Point]) -> None:
    """Raises UserError("point_outside") where a place to reach is at a frame that is not filled."""
    met = [point for ask in asks for point, _ in ask.places]
    for point in points:
        if point not in met:
            raise UserError(
                "point_outside",
                f"The place for the {WORDS[point.joint]} is at frame {point.frame:g}, which is not in the gap.",
                "Change its frame, or remove it.",
            )


def missed(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    mapping: Mapping,
    asks: Sequence[Ask],
    answers: Sequence[dict],
    notable: float,
) -> list[str]:
    """Constraints that were not met, with the error that is left, in sentences.

    Places are measured on the character as Blender shows it; a path is the model's own measure.
    """
    out = []
    points = [entry for ask in asks for entry in ask.places]
    if points:
        seen = read_poses(armature, scene, mapping, [point.frame for point, _ in points])
        size = seen.space.stage.scale * float(np.cbrt(np.linalg.det(seen.space.matrix[:3, :3])))
        for (point, place), joints in zip(points, seen.joints, strict=True):
            off = float(np.linalg.norm(joints[INDEX[point.joint]] - place))
            if off > notable:
                out.append(
                    f"The {WORDS[point.joint]} misses {point.object} at frame {point.frame:g} by {_length(off * size)}."
                )
    for answer in answers:
        for entry in answer["report"].get("constraints", ()):
            if isinstance(entry, dict) and entry.get("kind") == "path":
                off = float(entry.get("error_mm", 0.0)) / 1000.0
                if off > 5.0 * notable:
                    out.append(f"The hips are off the path by up to {_length(off)}.")
    return out


def _length(metres: float) -> str:
    return f"{metres:.2f} m" if metres >= 1.0 else f"{metres * 100.0:.1f} cm"
