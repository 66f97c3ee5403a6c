"""KIT-ML's skeleton (Plappert et al., Big Data 2016): the 21 joints of the MMM body, at 12.5 frames a second.

Joints: root, four of the spine up to the head, an arm (5-7), the other arm (8-10), a leg (11-15: hip, knee, ankle and
two of the foot), the other leg (16-20). KIT-ML names 5-7 and 11-15 left; Guo et al.'s features (CVPR 2022) treat them
as right when they look where the body faces. Nothing here needs to know: a mirror swaps the two.

Lengths are in the MMM model's unit, of which no file says how long it is. 640 a metre fits its body onto SMPL's
(TEMOS, Petrovich et al., ECCV 2022), and is what `UNIT` says; figures in metres are no better than that.
"""

from __future__ import annotations

FPS = 12.5
"""Frames a second: the recordings' 100, every eighth."""

UNIT = 0.75 / 480
"""Metres a unit of length."""

PARENTS = (-1, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19)
MIRROR = (0, 1, 2, 3, 4, 8, 9, 10, 5, 6, 7, 16, 17, 18, 19, 20, 11, 12, 13, 14, 15)
"""Index of each joint's partner on the other side of the body."""

FEET = (19, 20, 14, 15)
"""The joints of the contact channels, in their order."""

SPINE_AND_LEG = ((0, 1), (1, 2), (2, 3), (3, 4), (11, 12), (12, 13))
