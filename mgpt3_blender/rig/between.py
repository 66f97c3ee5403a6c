"""A motion between keyed poses -> the rig's channels, passing through the keys. NumPy only.

The motion is solved for the rig, brought to the user's own channels at the keys (bridge.py), and then turned on
until every joint is where the motion has it (bring.py): what the channels were corrected by for the sake of the keys
moves no foot. Whatever else moves the body (a root control, the object itself) counts frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from . import figure as figures
from . import ik
from . import rotation as rot
from .bridge import MOST_TURN, correction, exp, turns
from .bring import HIPS, bring
from .chains import segments
from .character import Character
from .mapping import Mapping
from .options import HIPS as ON_HIPS
from .options import Options
from .rest import Rig, pose
from .skeleton22 import INDEX as J
from .solve import solve
from .space import Space, at_rest

_SHORTEST = 12
"""Frames that a solve gets at least: what it smooths over time needs some."""


@dataclass(frozen=True)
class Moving:
    """A rig frame by frame.

    Attributes:
        rig: with the pose of each bone at each frame, (T, 3, 3) and (T, 3), as it is animated now.
        with_controls: the same rig with its IK controls, read as they are in charge; `rig` where none are.
        mapping: whose IK controls are those in charge.
        space: of the motion.
        carried: (T, 4, 4) from the armature's space at the time `space` is for to that of each frame.
    """

    rig: Rig
    with_controls: Rig
    mapping: Mapping
    space: Space
    carried: np.ndarray


@dataclass(frozen=True)
class Keys:
    """What the result has to pass through.

    Attributes:
        times: (T,) scene frames.
        first, last: indices of the keys; `last` None: an open end.
        rotations: bone -> (T, 3, 3), locations: bone -> (T, 3): the user's own channels; between the keys they do not
            count.
        before, after: the motion around the keys has a velocity to go on with.
        fps: of the scene.
    """

    times: np.ndarray
    first: int
    last: int | None
    rotations: dict[str, np.ndarray]
    locations: dict[str, np.ndarray]
    before: bool
    after: bool
    fps: float


def posed_at(rig: Rig, basis: dict[str, np.ndarray]) -> Rig:
    """A rig with its bones posed over time. basis: bone -> (T, 4, 4) as Blender's matrix_basis."""
    bones = []
    for bone in rig.bones:
        matrix = basis.get(bone.name)
        if matrix is not None:
            size = np.linalg.norm(matrix[:, :3, :3], axis=1, keepdims=True)
            turned, place = matrix[:, :3, :3] / np.maximum(size, 1e-9), matrix[:, :3, 3]
            if max(np.ptp(turned, axis=0).max(), np.ptp(place, axis=0).max()) < 1e-7:
                turned, place = turned[0], place[0]
            bone = replace(bone, pose_rotation=turned, pose_location=place)
        bones.append(bone)
    return replace(rig, bones=bones)


def solve_between(
    moving: Moving, motion: np.ndarray, keys: Keys, options: Options
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Channels that follow a motion and pass through the keys: rotations, bone -> (T, 3, 3), locations, -> (T, 3).

    Args:
        motion: (T, 22, 3) in `moving.space`, one frame for each of `keys.times`.
    """
    work = _Between(moving, np.asarray(motion, np.float64), keys)
    work.solve(options)
    work.rotations, work.locations = _through(work.rotations, work.locations, keys)
    for _ in range(2):  # helpers of a control rig answer a turn with a shift of their own
        work.bring_joints()
    rotations, locations = work.rotations, work.locations
    if moving.mapping.ik:
        channels = SimpleNamespace(rotations=rotations, locations=locations)
        rotations, locations = ik.channels(moving.with_controls, channels, moving.mapping, moving.rig)
    return _through(rotations, locations, keys)


def _through(
    rotations: dict[str, np.ndarray], locations: dict[str, np.ndarray], keys: Keys
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Channels corrected so that they pass through the keys; bones without keys stay as they are."""
    rotations, locations = dict(rotations), dict(locations)
    about = (keys.times, keys.first, keys.last, keys.fps, keys.before, keys.after)
    for name in rotations.keys() & keys.rotations.keys():
        error = turns(rotations[name], keys.rotations[name], keys.first, keys.last)
        rotations[name] = rotations[name] @ exp(correction(error, *about, MOST_TURN))
    for name in locations.keys() & keys.locations.keys():
        locations[name] = locations[name] + correction(keys.locations[name] - locations[name], *about)
    return rotations, locations


class _Between:
    """One solve under way; the FK channels of all mapped bones."""

    def __init__(self, moving: Moving, motion: np.ndarray, keys: Keys) -> None:
        self.moving, self.motion, self.keys = moving, motion, keys
        self.still = at_rest(moving.rig)
        self.character = Character(self.still)
        self.index = {bone.name: i for i, bone in enumerate(self.still.bones)}
        turn = moving.carried[:, :3, :3]
        self.grown = np.cbrt(np.linalg.det(turn))[:, None]
        self.turn = turn / self.grown[..., None]
        self.shift = moving.carried[:, :3, 3]

    def solve(self, options: Options) -> None:
        """Solve for the rig at rest, then take off what the bones above the hips and the object do by themselves."""
        count = len(self.motion)
        more = max(_SHORTEST - count, 0)
        front = more // 2
        padded = np.concatenate(
            [np.repeat(self.motion[:1], front, 0), self.motion, np.repeat(self.motion[-1:], more - front, 0)]
        )
        options = replace(options, loop=False, in_place=False, root=ON_HIPS)
        self.solution = solution = solve(self.still, padded, self.keys.fps, options)
        part = slice(front, front + count)
        rotations = {self.index[name]: channel[part] for name, channel in solution.rotations.items()}
        locations = {self.index[name]: channel[part] for name, channel in solution.locations.items()}
        posed = pose(self.character.bones, {}, locations, basis=rotations)
        joints = figures.joints_of(self.character, posed, count)
        stage = self.moving.space.stage
        away = stage.armature(self.motion)[:, HIPS].mean(1) - joints[:, HIPS].mean(1)
        targets = {i: self.turn @ posed.rotations[i] for i in rotations}
        places = {i: self._carry(posed.heads[i] + away) for i in locations}
        self._pose(targets, places)

    def _carry(self, points: np.ndarray) -> np.ndarray:
        """From the armature's space that the motion is in to that of each frame. (T, 3) or (T, n, 3)."""
        if points.ndim == 3:
            out = np.einsum("tij,tnj->tni", self.turn, points * self.grown[:, None])
            return out + self.shift[:, None]
        return rot.turn(self.turn, points * self.grown) + self.shift

    def _uncarry(self, points: np.ndarray) -> np.ndarray:
        """(T, n, 3), the other way round."""
        return np.einsum("tji,tnj->tni", self.turn, points - self.shift[:, None]) / self.grown[:, None]

    def _pose(self, targets: dict[int, np.ndarray], places: dict[int, np.ndarray]) -> None:
        posed = pose(self.moving.rig.bones, targets, None, places)
        count, bones = len(self.motion), self.still.bones
        self.rotations = {bones[i].name: np.broadcast_to(c, (count, 3, 3)) for i, c in posed.channels.items()}
        self.locations = {bones[i].name: np.broadcast_to(c, (count, 3)) for i, c in posed.shifts.items()}

    def bring_joints(self) -> None:
        """Turn the joints on until they are where the motion has them."""
        rotations = {self.index[name]: channel for name, channel in self.rotations.items()}
        locations = {self.index[name]: channel for name, channel in self.locations.items()}
        posed = pose(self.moving.rig.bones, {}, locations, basis=rotations)
        count, stage = len(self.motion), self.moving.space.stage
        before = figures.joints_of(self.character, posed, count)
        turns, wanted = bring(self.character, stage.figure(self._uncarry(before)), self.motion)
        into = self.turn @ stage.axes
        turns = {joint: into @ turn @ rot.transposed(into) for joint, turn in turns.items()}
        after = self._carry(stage.armature(wanted))
        deltas = self._of_bones(turns)
        targets = {i: deltas[i] @ posed.rotations[i] if i in deltas else posed.rotations[i] for i in rotations}
        places = {}
        for i in locations:
            joint = self.still.keyed.get(i, J["pelvis"])
            if joint == J["pelvis"]:
                was, now = before[:, HIPS].mean(1), after[:, HIPS].mean(1)
            else:
                was, now = before[:, joint], after[:, joint]
            places[i] = now + rot.turn(turns[joint], posed.heads[i] - was)
        self._pose(targets, places)

    def _of_bones(self, turns: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Bone index -> the turn of the joint that it plays, or goes with."""
        out = {self.index[name]: turns[joint] for name, joint in self.solution.plays.items()}
        spine, neck = segments(self.character)
        for part in (*spine, *neck):
            if part.joint is not None:
                out |= dict.fromkeys(part.bones, turns[part.joint])
            elif spine[1:] and spine[1].joint is not None:  # between the pelvis and the lowest joint of the spine
                count = len(part.bones) + 1
                lowest = turns[spine[1].joint]
                out |= {b: rot.between(turns[0], lowest, (n + 1) / count) for n, b in enumerate(part.bones)}
        return out
