"""What can be measured of a motion: way, turn, speed, loop, contacts, raised hands and feet, height.

Everything is measured on the character's own terms: in the frame of its first heading, heights against the length of
its legs, so that place, heading and proportions of what is given do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from core.captions.heading import ahead
from core.captions.treadmill import travelling
from core.features import canonicalise, facing
from core.skeleton import FPS

SIGMA = 4.0
"""Standard deviation of the smoothing of heading and path over time, frames: hips swing with each step."""
UPRIGHT = 0.5
"""Upward part of the trunk's direction from which hips and shoulders tell a heading."""
IN_PLACE = 0.35
"""Metres (of a body with legs of 0.82 m) that the hips may stray from where they started."""
LEG = 0.82
"""Metres: the canonical skeleton's leg, thigh and shin."""
WAYS = (
    "forward", "forward and left", "left", "backward and left", "backward", "backward and right", "right",
    "forward and right",
)  # fmt: skip
"""Names of the directions in steps of 45 degrees to the left."""

STANDING = 0.93
"""Metres: height of the canonical skeleton's hips when it stands."""
FEET = ("left foot", "right foot")
_TOUCHING = (("left knee", 4, 0.12), ("right knee", 5, 0.12), ("left hand", 20, 0.14), ("right hand", 21, 0.14))
"""Name, joint, and the height in metres of the canonical body under which it touches the floor."""
STANDS = 0.05
"""Metres that a foot that stands is lifted at most."""
SLOW = 0.5
"""Metres a second, of the canonical body: what is faster slides or swings past."""
TOUCHED = 0.05
"""Share of the time from which a hand or knee on the floor is worth telling."""
HAND_UP = 0.02
"""Metres that a raised hand is over its shoulder."""
FOOT_UP = 0.45
"""Metres of height from which a foot is raised: about the knee's."""
KICK = 0.65
"""Metres of height that a foot reaches only in a kick, however short."""
HELD = 5
"""Frames that something is held up to be meant."""
LOOP_APART, LOOP_STEP = 0.06, 0.025
"""Metres, metres a frame: mean difference of the joints of first and last pose, and of their velocities, in a loop."""
FLIGHT = 24
"""Frames: nobody is in the air for longer than 1.2 s."""
TURNED = 15
"""Degrees from which a turn is told."""


@dataclass(frozen=True)
class Body:
    """A motion as the measures read it, metres, T frames.

    Args:
        joints: (T, 22, 3) on the floor, first root at x = z = 0, first facing +Z.
        path: (T, 2) smoothed x (left) and z (forward) of the hips.
        yaw: (T,) smoothed heading, radians to the left of the first, unwrapped.
        scale: length of the legs against the canonical body's.
    """

    joints: np.ndarray
    path: np.ndarray
    yaw: np.ndarray
    scale: float


def read(joints: np.ndarray) -> Body:
    """Prepare joints (T, 22, 3) for the measures. Raises CoreError("joints_invalid")."""
    joints = canonicalise(joints).astype(np.float64)
    leg = [np.linalg.norm(joints[:, a] - joints[:, b], axis=-1).mean() for a, b in ((1, 4), (4, 7), (2, 5), (5, 8))]
    yaw = _heading(joints)
    first = float(yaw[0])
    joints[..., [0, 2]] = ahead(joints[..., [0, 2]], first)
    path = gaussian_filter1d(joints[:, 0][:, [0, 2]], SIGMA, axis=0, mode="nearest")
    path[0], path[-1] = joints[0, 0, [0, 2]], joints[-1, 0, [0, 2]]
    return Body(joints, path, yaw - first, max(float(sum(leg)) / 2 / LEG, 1e-6))


def _heading(joints: np.ndarray) -> np.ndarray:
    """(T,) yaw of the body, smoothed; carried over where the trunk is not upright."""
    forward = facing(joints)
    trunk = joints[:, 12] - joints[:, 0]
    up = trunk[:, 1] / np.linalg.norm(trunk, axis=-1).clip(1e-9)
    known = np.flatnonzero(up > UPRIGHT)
    raw = np.arctan2(forward[:, 0], forward[:, 2])
    if not len(known):
        known = np.arange(len(raw))
    yaw = np.interp(np.arange(len(raw)), known, np.unwrap(raw[known]))
    return np.asarray(gaussian_filter1d(yaw, SIGMA, mode="nearest"))


def measure(joints: np.ndarray) -> dict[str, Any]:
    """All facts of a motion; the same keys always.

    Args:
        joints: (T, 22, 3) metres, Y up, 20 fps.
    Returns:
        seconds; distance_m, straight from start to end; path_m, along the way; direction of the end as seen from the
        first heading, or "in place"; turn_deg, left positive; speed_mps, mean; in_place; gait_mps, how fast the feet
        walk of a body that stays in place, else 0; loops; raised, names of hands and feet held up; contacts, share of
        the time that each foot (always there), hand or knee is on the floor; airborne_s; highest_m, how far the hips
        rise over standing; arms_mps, mean speed of the hands against the chest; lean_deg, how far the trunk leans from
        upright at most; lowest, lowest height of the hips as a share of standing; posture at the end: standing,
        crouching, sitting, kneeling, on all fours, lying or upside down.
    Raises:
        CoreError: joints_invalid.
    """
    body = read(joints)
    shown, gait = travelling(body.joints)
    return measured(body, read(shown) if gait else body, gait)


def measured(body: Body, shown: Body, gait: float) -> dict[str, Any]:
    """As `measure`, of what was read already: the body as it is, as its feet tell it would travel (the same body where
    it does not walk in place), and how fast that is, metres a second."""
    seconds = (len(body.joints) - 1) / FPS
    end = body.path[-1] - body.path[0]
    distance, path = float(np.linalg.norm(end)), float(np.linalg.norm(np.diff(body.path, axis=0), axis=-1).sum())
    near = distance / body.scale < IN_PLACE
    way = "in place" if near else WAYS[round(np.degrees(np.arctan2(end[0], end[1])) / 45) % 8]
    on_floor = contacts(shown)
    hips = body.joints[:, 0, 1] / body.scale / STANDING
    return {
        "seconds": round(seconds, 2),
        "distance_m": round(distance, 2),
        "path_m": round(path, 2),
        "direction": way,
        "turn_deg": round(float(np.degrees(body.yaw[-1] - body.yaw[0]))),
        "speed_mps": round(path / max(seconds, 1e-9), 2),
        "in_place": strayed(body) < IN_PLACE,
        "gait_mps": round(gait, 2),
        "loops": loops(body),
        "raised": raised(body),
        "contacts": {n: round(float(c.mean()), 2) for n, c in on_floor.items() if n in FEET or c.mean() >= TOUCHED},
        "airborne_s": round(float(airborne(body).sum()) / FPS, 2),
        "highest_m": round(float(max(hips.max() - 1, 0.0)) * STANDING * body.scale, 2),
        "arms_mps": round(float(_speeds_in_body(body)[:, [20, 21]].mean()), 2),
        "lean_deg": round(float(np.degrees(np.arccos(_upright(body).min().clip(-1, 1))))),
        "lowest": round(float(np.clip(hips.min(), 0, 1)), 2),
        "posture": posture(body.joints[-1], body.scale),
    }


def strayed(body: Body) -> float:
    """How far the hips get from where they started, metres of the canonical body."""
    return float(np.linalg.norm(body.path - body.path[0], axis=-1).max()) / body.scale


def _feet(body: Body) -> np.ndarray:
    """(T, 4) metres of the canonical body that left and right ankle, left and right ball of the foot are higher than
    where they stand: rigs hold their feet at different heights, and few motions never stand."""
    feet = body.joints[:, [7, 8, 10, 11], 1] / body.scale
    rest = [min(np.percentile(feet[:, part].min(1), 10), most) for part, most in (([0, 1], 0.2), ([2, 3], 0.12))]
    return feet - np.repeat(rest, 2)


def contacts(body: Body) -> dict[str, np.ndarray]:
    """(T,) bool for each foot, knee and hand: whether it rests on the floor, low and slow."""
    feet = _feet(body)
    out: dict[str, np.ndarray] = {}
    for name, parts, columns in (("left foot", [7, 10], [0, 2]), ("right foot", [8, 11], [1, 3])):
        out[name] = np.asarray(((feet[:, columns] < STANDS) & (_speeds(body, parts) < SLOW)).any(1))
    for name, joint, height in _TOUCHING:
        low = body.joints[:, joint, 1] / body.scale < height
        out[name] = np.asarray(low & (_speeds(body, [joint])[:, 0] < SLOW))
    return out


def _speeds(body: Body, joints: list[int]) -> np.ndarray:
    """(T, N) metres a second of the canonical body."""
    return np.asarray(np.linalg.norm(np.gradient(body.joints[:, joints], axis=0), axis=-1) * FPS / body.scale)


def _speeds_in_body(body: Body) -> np.ndarray:
    """(T, 22) metres a second of the joints against the chest, in the frame of the heading."""
    local = in_heading(body)
    return np.asarray(np.linalg.norm(np.gradient(local - local[:, 9:10], axis=0), axis=-1) * FPS)


def airborne(body: Body) -> np.ndarray:
    """(T,) bool: the body is upright and both feet are well over the floor, as in a jump or a run's flight."""
    feet = _feet(body)
    up = (feet[:, :2].min(1) > 0.09) & (feet[:, 2:].min(1) > 0.05) & (body.joints[:, 0, 1] / body.scale > 0.6)
    for first, end in _runs(up):
        if end - first > FLIGHT:  # the body hangs, climbs or stands on something
            up[first:end] = False
    return up


def raised(body: Body) -> list[str]:
    """Which hands are over their shoulders, which feet over the knee's height, long enough to be meant."""
    j, out = body.joints / body.scale, []
    upright = _upright(body) > UPRIGHT
    for name, wrist, shoulder in (("left hand", 20, 16), ("right hand", 21, 17)):
        if _longest((j[:, wrist, 1] > j[:, shoulder, 1] + HAND_UP) & upright) >= HELD:
            out.append(name)
    runs = np.linalg.norm(np.gradient(body.path, axis=0), axis=-1) * FPS / body.scale > 1.5
    for name, ankle, foot, other in (("left foot", 7, 10, 8), ("right foot", 8, 11, 7)):
        height = np.minimum(j[:, ankle, 1], j[:, foot, 1])
        stands = (j[:, other, 1] < 0.25) & upright & ~runs  # else it is a jump, a roll or a run's heel
        if (stands & (height > KICK)).sum() >= 2 or _longest(stands & (height > FOOT_UP)) >= HELD:
            out.append(name)
    return out


def _upright(body: Body) -> np.ndarray:
    """(T,) upward part of the trunk's direction: 1 upright, 0 level, -1 upside down."""
    trunk = body.joints[:, 12] - body.joints[:, 0]
    return np.asarray(trunk[:, 1] / np.linalg.norm(trunk, axis=-1).clip(1e-9))


def loops(body: Body) -> bool:
    """Whether the last pose and its motion are the first again, wherever the body has got to and turned to."""
    local = in_heading(body)
    if len(local) < 12 or np.ptp(local, axis=0).max() < 0.1:
        return False
    step = (np.diff(local[:2], axis=0) - np.diff(local[-2:], axis=0))[0]
    apart = np.linalg.norm(local[0] - local[-1], axis=-1).mean()
    return bool(apart < LOOP_APART and np.linalg.norm(step, axis=-1).mean() < LOOP_STEP)


def in_heading(body: Body) -> np.ndarray:
    """(T, 22, 3) joints of the canonical size, seen from under the hips: left, up and forward of the heading."""
    local = body.joints - body.joints[:, :1] * np.array([1.0, 0.0, 1.0])
    local[..., [0, 2]] = ahead(local[..., [0, 2]], body.yaw[:, None])
    return np.asarray(local / body.scale)


def posture(joints: np.ndarray, scale: float) -> str:
    """What one frame (22, 3) looks like, on the floor at 0."""
    j = joints / scale
    trunk = j[12] - j[0]
    up = trunk[1] / max(float(np.linalg.norm(trunk)), 1e-9)
    if up < -0.5:
        return "upside down"
    if up < 0.45 and j[0, 1] < 0.4:
        return "lying"
    if up < 0.7 and max(j[4:6, 1]) < 0.2 and max(j[20:22, 1]) < 0.25:
        return "on all fours"
    if min(j[4, 1], j[5, 1]) < 0.14 and j[0, 1] > 0.25:
        return "kneeling"
    if j[0, 1] < 0.35 or (j[0, 1] < 0.62 and abs(j[[4, 5], 1].mean() - j[0, 1]) < 0.15):
        return "sitting"
    return "crouching" if j[0, 1] < 0.68 else "standing"


def _runs(held: np.ndarray) -> list[tuple[int, int]]:
    """First frame and end (not included) of each run of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(int))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _longest(held: np.ndarray) -> int:
    """Frames of the longest run of True in (T,) bool."""
    return max((end - first for first, end in _runs(held)), default=0)


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts in short lines for people."""
    out = [f"{facts['seconds']:.1f} s"]
    if facts["in_place"]:
        out.append(f"in place, steps of {facts['gait_mps']:.1f} m/s" if facts["gait_mps"] else "in place")
    elif facts["direction"] == "in place":
        out.append(f"{facts['path_m']:.1f} m, back to where it began")
    else:
        out.append(f"{facts['distance_m']:.1f} m {facts['direction']}")
    turn = abs(facts["turn_deg"])
    if turn >= TURNED:
        times = f" ({turn / 360:.1f} times)" if turn >= 540 else ""
        out.append(f"turns {turn}° {'left' if facts['turn_deg'] > 0 else 'right'}{times}")
    if not facts["in_place"]:
        out.append(f"{facts['speed_mps']:.1f} m/s")
    if facts["raised"]:
        out.append(_and(facts["raised"]) + " raised")
    touched = [name for name in facts["contacts"] if name not in FEET]
    if touched:
        out.append(_and(touched) + " on the floor")
    if facts["airborne_s"] >= 0.1:
        out.append(f"{facts['airborne_s']:.1f} s in the air")
    if facts["gait_mps"] == 0 and facts["lowest"] < 0.7 and facts["posture"] == "standing":
        out.append(f"hips down to {facts['lowest']:.0%} of standing")
    if facts["posture"] != "standing":
        out.append(f"ends {facts['posture']}")
    if facts["loops"]:
        out.append("loops")
    return out


def _and(names: list[str]) -> str:
    """ "left hand", "right hand" -> "both hands"; else "a, b and c"."""
    out: list[str] = []
    for name in names:
        side, _, part = name.partition(" ")
        both = "both feet" if part == "foot" else f"both {part}s"
        if side == "right" and f"left {part}" in out:
            out[out.index(f"left {part}")] = both
        else:
            out.append(name)
    return " and ".join([", ".join(out[:-1]), out[-1]] if len(out) > 1 else out)
