"""The motion space of one character that poses are read in and motion is given in. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .character import Character
from .figure import Stage, stage
from .rest import Rig
from .skeleton22 import NEUTRAL
from .solve import leg_length


@dataclass(frozen=True)
class Space:
    """The motion space of one character: metres at the size of the model's body, Y up, its floor at 0.

    Attributes:
        stage: between motion space and the armature's space.
        matrix: (4, 4) armature space -> world, as the armature object stands at the scene's first frame. An object
            that moves carries its character through this space.
    """

    stage: Stage
    matrix: np.ndarray

    def motion(self, points: np.ndarray) -> np.ndarray:
        """World -> motion space. (..., 3)."""
        into = np.linalg.inv(self.matrix)
        return self.stage.figure(points @ into[:3, :3].T + into[:3, 3])

    def world(self, points: np.ndarray) -> np.ndarray:
        """Motion space -> world. (..., 3)."""
        return self.stage.armature(points) @ self.matrix[:3, :3].T + self.matrix[:3, 3]


def at_rest(rig: Rig) -> Rig:
    """The rig with no bone posed: nothing that is animated or held says where the motion's space is."""
    still = [replace(bone, pose_rotation=np.eye(3), pose_location=np.zeros(3)) for bone in rig.bones]
    return replace(rig, bones=still)


def stage_of(rig: Rig) -> Stage:
    """Where the space of a rig at rest is: as large as the model's body, on the character's floor."""
    character = Character(rig)
    scale = character.leg_length() / leg_length(NEUTRAL)
    floor, _ = character.floor(scale)
    return stage(character, scale, floor)
