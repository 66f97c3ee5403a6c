"""Group of the features: joints of a captured clip -> 263 numbers a frame and back, by the official procedure.

Its bounds are those of the procedure itself, absolute: positions and velocities 1e-5 (metres, radians), rotation
columns 3e-5, contacts exactly.
"""

from __future__ import annotations

import numpy as np

from core.features import canonicalise, features_to_joints, joints_to_features, retarget
from core.parity.fixtures import Fixtures
from core.parity.report import Recorder

PARTS = {
    "root": (slice(0, 4), 1e-5),
    "positions": (slice(4, 67), 1e-5),
    "rotations": (slice(67, 193), 3e-5),
    "velocities": (slice(193, 259), 1e-5),
    "contacts": (slice(259, 263), 0.0),
}
SMOOTHED = 60
"""Frames at a clip's end that depend on what follows it: three standard deviations of the heading's smoothing."""


def features_clip(f: Fixtures, r: Recorder) -> None:
    def parts(name: str, got: np.ndarray, expected: np.ndarray, slack: float = 1.0) -> None:
        for part, (columns, bound) in PARTS.items():
            label = f"{name}, {part}"
            r.near(label, got[:, columns], expected[:, columns], bound=slack * bound, absolute=True)

    reference = f.clip.raw("tgt_offsets")
    for joints, extracted, positions in (
        ("clip_joints", "extract_of_clip", "extract_of_clip_global_positions"),
        ("moved_joints", "moved_extract", "moved_global_positions"),
    ):
        with r.optional():
            motion = f.clip.raw(joints)
            features = joints_to_features(motion, reference=reference, continuous=False)
            parts(extracted, features, f.clip.raw(extracted))
            r.close(positions, canonicalise(retarget(motion, reference)), bound=1e-5, absolute=True)
    with r.optional():
        shipped = f.clip.raw("clip_vecs_reference")
        r.close("recover_of_vecs", features_to_joints(shipped), bound=1e-5, absolute=True)
        features = joints_to_features(f.clip.raw("clip_joints"), reference=reference, continuous=False)
        # The vectors that ship with the dataset, which the official code itself repeats only to the same bounds.
        frames = max(min(len(features), len(shipped)) - SMOOTHED, 1)
        parts("clip_vecs_reference", features[:frames], shipped[:frames], slack=3.0)
