"""One captioned clip, the form in which every data source hands over its motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.skeleton import FPS

MAX_FRAMES = 196
"""Frames of features that the models are trained on at most: 9.8 seconds, as HumanML3D's models are."""

SPLITS = ("train", "val", "test")


@dataclass
class Clip:
    """One captioned clip: joints (T, 22, 3) metres, Y up, 20 fps; features (T - 1, 263) once computed.

    KIT-ML's clips have 21 joints, 251 features and 12.5 fps; their features are in that dataset's own unit of length.

    Attributes:
        tokens: for each caption its words as "word/POS", where the source has them (the official matcher reads them).
        fps: frames a second.
        unit: metres a unit of length of `features`; `joints` are always in metres.
    """

    id: str
    source: str
    split: str
    joints: np.ndarray
    captions: list[str]
    features: np.ndarray | None = None
    tokens: list[list[str]] | None = None
    fps: float = FPS
    unit: float = 1.0

    @property
    def frames(self) -> int:
        """Frames of the features, which is what the models are trained on."""
        return len(self.joints) - 1
