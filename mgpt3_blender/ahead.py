"""Motions solved for a character while the window goes on: a thread works, nothing is changed.

Solving eight long motions takes most of a second, a sequence of minutes several. The character is read first, by the
main thread; from there on the solve is NumPy. What comes of it counts only where the character is still built as it
was; the pose it holds may change meanwhile, as it does while the timeline plays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .framerate import frame_rate
from .rig.apply import Prepared, check_armature, check_motion, prepare, read
from .rig.options import Options
from .rig.solve import resample

if TYPE_CHECKING:
    import bpy

POSES = {"pose_rotation", "pose_location", "pose_scale", "growth", "warnings"}
"""What of a reading depends on how the character is posed."""


class Ahead:
    """Motions to be solved for a character. `start` has a thread do it, `solved` waits for it or does it here and now.

    Args:
        motions: (T, 22, 3) each, at `rate` frames a second.
        scene: its frame rate will be the keys'.

    Raises RigError where the character cannot be read, or a motion is none.
    """

    def __init__(
        self,
        armature: bpy.types.Object,
        motions: Sequence[np.ndarray],
        rate: float,
        scene: bpy.types.Scene,
        options: Options,
    ) -> None:
        check_armature(armature)
        self.motions = [check_motion(joints) for joints in motions]
        self._rates = (rate, frame_rate(scene))
        self.options = options
        self._reading = read(armature, options)
        self._thread = threading.Thread(target=self._in_thread, name="mgpt3 solve", daemon=True)
        self._given_up = False
        self._prepared: list[Prepared] | None = None

    def start(self) -> Ahead:
        self._thread.start()
        return self

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """Nobody wants them any more."""
        self._given_up = True

    def solved(self, before: Ahead | None = None) -> list[Prepared]:
        """Each motion solved: by `before`, where it is done and was about the same, else here and now."""
        if before is not None and before.done and before._prepared is not None and self._agrees(before):
            return before._prepared
        return [self._solve(joints) for joints in self.motions]

    def _agrees(self, other: Ahead) -> bool:
        mine, theirs = ((a.motions, a._rates, a.options, a._reading) for a in (self, other))
        return same(mine, theirs)

    def _solve(self, joints: np.ndarray) -> Prepared:
        rate, fps = self._rates
        return prepare(self._reading, resample(joints, rate, fps), fps, self.options)

    def _in_thread(self) -> None:
        made = []
        with contextlib.suppress(Exception):  # it comes up again, and is reported, when the motion is to be applied
            for joints in self.motions:
                if self._given_up:
                    return
                made.append(self._solve(joints))
            self._prepared = made


def same(one: Any, two: Any) -> bool:
    """Whether two readings of a character agree in all but how it was posed."""
    if type(one) is not type(two):
        return False
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one) if field.name not in POSES]
        return all(same(getattr(one, name), getattr(two, name)) for name in names)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    return bool(one == two)
