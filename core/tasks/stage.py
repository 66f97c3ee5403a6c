"""Where the model sees a motion: its first frame at the origin facing +Z, on the model's own body."""

from __future__ import annotations

import numpy as np

from core.model.motiongpt3 import MotionGPT3
from core.restpose import LENGTHS
from core.skeleton import PARENTS, bone_lengths
from core.tasks.place import heading, turn_and_shift

_LEGS = [4, 5, 7, 8]


class Stage:
    """The way from a given place and body to the model's, and back.

    Args:
        model: whose body it is. first: (22, 3) the first frame that the model sees. body: (22, 3) a pose that has the
            given body's proportions.
    """

    def __init__(self, model: MotionGPT3, first: np.ndarray, body: np.ndarray) -> None:
        self.body = bone_lengths(np.asarray(body, np.float64))
        own = model.vae.bones.cpu().numpy() if model.vae.linear is not None else LENGTHS
        self.model_body = np.asarray(own, np.float64)
        self.scale = float(self.model_body[_LEGS].sum() / max(self.body[_LEGS].sum(), 1e-6))
        self.angle = heading(np.asarray(first, np.float64))
        self.origin = np.asarray(first, np.float64)[0] * [1.0, 0.0, 1.0]

    def enter(self, joints: np.ndarray) -> np.ndarray:
        """Given (T, 22, 3) -> as the model sees it."""
        moved = turn_and_shift(joints - self.origin, -self.angle, np.zeros(2))
        return with_body(moved, self.model_body, self.scale)

    def leave(self, joints: np.ndarray) -> np.ndarray:
        """The model's (T, 22, 3) -> in the given place, on the given body."""
        body = with_body(joints, self.body, 1.0 / self.scale)
        return turn_and_shift(body, self.angle, np.zeros(2)) + self.origin


def with_body(joints: np.ndarray, lengths: np.ndarray, scale: float) -> np.ndarray:
    """Directions kept, bones of other lengths (22,), the root's way scaled. (T, 22, 3)."""
    out = np.empty_like(joints)
    out[:, 0] = joints[:, 0] * scale
    for j in range(1, 22):
        bone = joints[:, j] - joints[:, PARENTS[j]]
        size = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
        out[:, j] = out[:, PARENTS[j]] + bone / size * lengths[j]
    return out
