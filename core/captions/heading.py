"""The way that a body faces, taken out of what is seen of it."""

from __future__ import annotations

import numpy as np


def ahead(vectors: np.ndarray, yaw: np.ndarray | float) -> np.ndarray:
    """Vectors along x and z (..., 2) as a body sees them that has turned to its left by `yaw` (...), radians: to its
    left and forward."""
    x, z, cos, sin = vectors[..., 0], vectors[..., 1], np.cos(yaw), np.sin(yaw)
    return np.asarray(np.stack([x * cos - z * sin, x * sin + z * cos], -1))
