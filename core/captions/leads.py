"""By how much the left side leads the right one: hands, feet, turns and steps of a motion, left positive.

Each number tells real motion whose caption names the left from such that names the right; core/captions/sides.py says
how surely. Lengths and speeds are of the canonical body, so a child's and a giant's motion count alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.captions.facts import Body, in_heading
from core.captions.heading import ahead
from core.skeleton import FPS

_WRISTS, _SHOULDERS, _ANKLES, _CHEST, _HEAD = [20, 21], [16, 17], [7, 8], 9, 15


@dataclass(frozen=True)
class Leads:
    """What `leads` measures; all are left against right.

    Args:
        hand_up: metres that the wrist is higher over its shoulder, in each one's highest quarter of the time.
        hand_low: metres that the wrist gets lower.
        hand_fast: metres a second that the wrist gets faster relative to the chest.
        foot_up: metres that the ankle gets higher.
        turn: degrees that the body turns to its left from start to end.
        step: metres that the hips move to the body's own left, summed up along the way.
        dodge: metres that the head gets to the body's first left, at the farthest of either side.
    """

    hand_up: float
    hand_low: float
    hand_fast: float
    foot_up: float
    turn: float
    step: float
    dodge: float


def leads(body: Body) -> Leads:
    """The leads of a motion."""
    local = in_heading(body)
    over = local[:, _WRISTS, 1] - local[:, _SHOULDERS, 1]
    top = np.sort(over, axis=0)[-max(len(over) // 4, 1) :].mean(0)
    low = local[:, _WRISTS, 1].min(0)
    moved = np.linalg.norm(np.diff(local[:, _WRISTS] - local[:, [_CHEST]], axis=0), axis=-1)
    ankles = local[:, _ANKLES, 1].max(0)
    way = ahead(np.diff(body.path, axis=0) / body.scale, body.yaw[:-1])
    head = (body.joints[:, _HEAD, 0] - body.joints[0, _HEAD, 0]) / body.scale
    return Leads(
        hand_up=float(top[0] - top[1]),
        hand_low=float(low[1] - low[0]),
        hand_fast=float((moved.max(0)[0] - moved.max(0)[1]) * FPS),
        foot_up=float(ankles[0] - ankles[1]),
        turn=float(np.degrees(body.yaw[-1] - body.yaw[0])),
        step=float(way[:, 0].sum()),
        dodge=float(head[np.abs(head).argmax()]),
    )
