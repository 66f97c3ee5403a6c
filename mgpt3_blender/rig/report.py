"""What became of a motion on a character, in numbers: the report that every result carries. NumPy only.

The same `judge` looks at what the solve says (at once, for the panel) and at what Blender evaluates (build.py measure
rigs), so that the numbers mean the same in both places. Axes and units are the motion's: X to the character's left,
Y up, Z forward, metres at the size of the motion's body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping as Table
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .skeleton22 import FPS, JOINTS, NEXT, PARENTS
from .skeleton22 import INDEX as J

if TYPE_CHECKING:
    from .ground import Ground
    from .mapping import Mapping

PROPERTY = "mgpt3_report"
"""Custom property of a generated action: its report, JSON."""
FLIP_DEGREES, STILL_DEGREES = 90.0, 15.0
"""A roll flip: a bone's orientation jumps by more than the first while it goes on pointing within the second."""
LIMBS = tuple(J[f"{side}_{name}"] for name in ("hip", "knee", "shoulder", "elbow") for side in "lr")
"""Joints whose bones are the limbs: thighs, shins, upper arms, forearms."""
PAIRS = ("hip", "knee", "ankle", "shoulder")
"""Joints that have a left and a right one whose sides are compared with the motion's."""
APART = 0.05
"""Metres that a left and a right joint lie apart, across the body, before it can be said which is which."""


NOTHING = (None, None, None)


@dataclass(frozen=True)
class Report:
    """How well a motion arrived. None: not measured, or there was nothing to measure (feet that never stand).

    Attributes:
        source: where the mapping comes from: "names", "shape", "names and shape", "yours".
        family: the rig family.
        confidence: 0..1, of the mapping.
        missing: joints without a bone.
        warnings: one sentence each.
        frames, fps: length and frame rate of what was judged.
        bones: bone -> [mean, 95th percentile, largest] degrees between where it points and where it should.
        mean_deg, p95_deg, max_deg: the same over all these bones.
        limb_mean_deg, limb_p95_deg: the same over thighs, shins, upper arms and forearms.
        slide_source_mm: how far standing feet travel in the motion, millimetres a frame of 1/20 s.
        slide_before_mm, slide_after_mm: the same on the character, before and after the feet were pinned.
        floating_before_mm, floating_mm: how high standing feet hover over the floor, before and after.
        floating_share: 0..1, frames in which neither foot is near the floor though one should stand.
        penetration_before_mm, penetration_mm: how deep the feet go through the floor, before and after.
        contact_share: 0..1, frames in which a foot should stand.
        jerk: how jerky the character's movement is against the motion's; 1 = the same.
        roll_flips: jumps of a bone about its own axis.
        flipped: the bones that jump.
        side_swaps: frames in which left and right lie the other way round than in the motion.
        milliseconds: time taken, keys included.
    """

    source: str = ""
    family: str = ""
    confidence: float | None = None
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    frames: int = 0
    fps: float = FPS
    bones: dict[str, list[float]] = field(default_factory=dict)
    mean_deg: float | None = None
    p95_deg: float | None = None
    max_deg: float | None = None
    limb_mean_deg: float | None = None
    limb_p95_deg: float | None = None
    slide_source_mm: float | None = None
    slide_before_mm: float | None = None
    slide_after_mm: float | None = None
    floating_before_mm: float | None = None
    floating_mm: float | None = None
    floating_share: float | None = None
    penetration_before_mm: float | None = None
    penetration_mm: float | None = None
    contact_share: float | None = None
    jerk: float | None = None
    roll_flips: int = 0
    flipped: tuple[str, ...] = ()
    side_swaps: int = 0
    milliseconds: float | None = None

    def to_json(self) -> str:
        """One line of JSON without NaN or infinity (they become null)."""
        return json.dumps(_plain(asdict(self)), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what `to_json` wrote, in this version or another: unknown keys and values of a wrong kind are left out.

        A text that is no JSON object gives an empty report: a damaged note is no reason to show nothing at all.
        """
        try:
            raw = json.loads(text)
        except (TypeError, ValueError):
            raw = {}
        known: dict[str, Any] = {f.name: f.default if f.name != "bones" else {} for f in fields(cls)}
        told = raw.items() if isinstance(raw, dict) else ()
        values = {name: _read(name, value, known[name]) for name, value in told if name in known}
        return cls(**{name: value for name, value in values.items() if value is not None})

    def lines(self) -> list[tuple[str, str, str]]:
        """What the panel shows: (what, in words, "ok" | "warn" | "bad")."""
        from .report_text import lines

        return lines(self)


def _plain(value: Any) -> Any:
    """Numbers that JSON knows, rounded to what can be read; everything else as it is."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4) if np.isfinite(value) else None
    return value


def _read(name: str, value: Any, default: Any) -> Any:
    """A value from a file as the field's kind, or None where it is another kind."""
    if name == "bones":
        rows = value.items() if isinstance(value, dict) else ()
        good = {k: [float(x) for x in row] for k, row in rows if isinstance(row, list) and all(map(_number, row))}
        return {key: row for key, row in good.items() if len(row) == 3}
    if isinstance(default, tuple):
        return tuple(str(one) for one in value) if isinstance(value, list) else None
    if isinstance(default, str):
        return value if isinstance(value, str) else None
    if not _number(value):
        return None
    return int(value) if isinstance(default, int) else float(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def judge(
    motion: np.ndarray,
    figure: np.ndarray,
    fps: float,
    *,
    compared: list[tuple[int, int]],
    orientations: Table[str, np.ndarray] | None = None,
    plays: Table[str, int] | None = None,
    present: np.ndarray | None = None,
    rest: np.ndarray | None = None,
    mapping: Mapping | None = None,
    ground_source: Ground | float | None = None,
    ground_before: Ground | None = None,
    ground_after: Ground | None = None,
    warnings: tuple[str, ...] | list[str] = (),
    milliseconds: float | None = None,
) -> Report:
    """Compare a character with the motion it was asked for.

    Args:
        motion: (T, 22, 3) what was asked for, at `fps`.
        figure: (T, 22, 3) the character's joints at the same frames, in the motion's axes and size.
        fps: frames a second.
        compared: (joint, next joint) pairs whose direction is compared.
        orientations: bone -> (T, 3, 3) how it is turned, in any fixed axes.
        plays: bone -> index of the joint it plays, for every bone of `orientations`.
        present: (22,) joints that the character has a bone for; all by default.
        rest: (22, 3) the character's rest in the motion's axes (Z where it is taken to face); shows a mapping whose
            left and right are the wrong way round, which no direction can show. NaN where it has no joint.
        mapping: where the bones come from.
        ground_source: of the motion itself, or only its slide in mm.
        ground_before, ground_after: of the character, before and after the feet were pinned.
        warnings: further sentences beside the mapping's.
        milliseconds: time taken.
    """
    motion, figure = np.asarray(motion, np.float64), np.asarray(figure, np.float64)
    present = np.ones(22, bool) if present is None else np.asarray(present, bool)
    names = {} if mapping is None else mapping.bones
    angles = direction_errors(motion, figure, compared)
    whole = _spread(angles) or NOTHING
    limbs = _spread(angles[:, [n for n, (j, _) in enumerate(compared) if j in LIMBS]]) or NOTHING
    bones = {names.get(JOINTS[j], JOINTS[j]): _spread(angles[:, n]) for n, (j, _) in enumerate(compared)}
    flips = roll_flips(orientations or {}, plays or {}, figure, fps)
    swapped = side_swaps(motion, figure, present)
    if rest is not None and mirrored(rest):
        swapped[:] = True
    slide_source = ground_source if isinstance(ground_source, (int, float)) else _of(ground_source, "slide_mm")
    return Report(
        source="" if mapping is None else mapping.source,
        family="" if mapping is None else mapping.preset,
        confidence=None if mapping is None else float(mapping.confidence),
        missing=() if mapping is None else tuple(mapping.missing),
        warnings=tuple(dict.fromkeys([*(() if mapping is None else mapping.warnings), *warnings])),
        frames=len(motion),
        fps=float(fps),
        bones={bone: row for bone, row in bones.items() if row is not None},
        mean_deg=whole[0],
        p95_deg=whole[1],
        max_deg=whole[2],
        limb_mean_deg=limbs[0],
        limb_p95_deg=limbs[1],
        slide_source_mm=slide_source,
        slide_before_mm=_of(ground_before, "slide_mm"),
        slide_after_mm=_of(ground_after, "slide_mm"),
        floating_before_mm=_of(ground_before, "floating_mm"),
        floating_mm=_of(ground_after, "floating_mm"),
        floating_share=_of(ground_after, "floating_share"),
        penetration_before_mm=_of(ground_before, "penetration_mm"),
        penetration_mm=_of(ground_after, "penetration_mm"),
        contact_share=_of(ground_after, "contact_share"),
        jerk=jerk_ratio(motion, figure, present),
        roll_flips=sum(flips.values()),
        flipped=tuple(flips),
        side_swaps=int(swapped.sum()),
        milliseconds=None if milliseconds is None else float(milliseconds),
    )


def _of(ground: Any, name: str) -> float | None:
    value = getattr(ground, name, None)
    return None if value is None or not np.isfinite(value) else float(value)


def _spread(angles: np.ndarray) -> list[float] | None:
    """[mean, 95th percentile, largest] of what is a number; None where nothing is."""
    angles = angles[np.isfinite(angles)]
    if not angles.size:
        return None
    count = angles.size - 1
    at = 0.95 * count  # np.percentile costs a millisecond; the same by one partition
    low, high = int(at), min(int(at) + 1, count)
    parts = np.partition(angles, (low, high))
    return [float(angles.mean()), float(parts[low] + (at - low) * (parts[high] - parts[low])), float(angles.max())]


def direction_errors(motion: np.ndarray, figure: np.ndarray, compared: list[tuple[int, int]]) -> np.ndarray:
    """Degrees between a bone's direction and the motion's, (T, n); NaN where a bone has no length."""
    if not compared:
        return np.zeros((len(motion), 0))
    near, far = (np.array([pair[i] for pair in compared]) for i in (0, 1))
    return _angle(motion[:, far] - motion[:, near], figure[:, far] - figure[:, near])


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between vectors, exact for small angles. (..., 3) x 2 -> (...); NaN for vectors of no length."""
    cross = np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        -1,
    )
    sine, cosine = np.sqrt(np.einsum("...i,...i", cross, cross)), np.einsum("...i,...i", a, b)
    out = np.degrees(np.arctan2(sine, cosine))
    none = (np.einsum("...i,...i", a, a) < 1e-10) | (np.einsum("...i,...i", b, b) < 1e-10)
    return np.where(none, np.nan, out)


def roll_flips(
    orientations: Table[str, np.ndarray], plays: Table[str, int], figure: np.ndarray, fps: float
) -> dict[str, int]:
    """How often each bone jumps about its own axis: bone -> count, bones that never do left out.

    Frames are compared over 1/20 s, or over one frame where frames are longer (then as much more may turn). A bone's
    direction is that from its joint to the next one; hands, head and toes, which have none, are taken to point along
    their own Y axis or to go on in the direction of the bone above, whichever moved less.
    """
    names = [name for name, turns in orientations.items() if len(turns) > 1]
    if not names:
        return {}
    step = max(1, int(fps / FPS + 1e-6))
    longer = max(1.0, step * FPS / fps)
    turns = np.stack([orientations[name] for name in names])  # (B, T, 3, 3)
    if turns.shape[1] <= step:
        return {}
    trace = np.einsum("btij,btij->bt", turns[:, step:], turns[:, :-step])
    jumps = np.degrees(np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))) > min(150.0, FLIP_DEGREES * longer)
    out = {}
    for b in np.flatnonzero(jumps.any(1)):
        at = np.flatnonzero(jumps[b])
        joint = plays.get(names[b])
        moved = np.full(len(at), np.nan)
        if joint is not None:
            other = NEXT.get(joint)
            near, far = (joint, other) if other is not None else (PARENTS[joint], joint)
            if near >= 0:
                bone = figure[:, far] - figure[:, near]
                moved = _angle(bone[at + step], bone[at])
        if joint is None or joint not in NEXT or not np.isfinite(moved).all():
            own = turns[b, :, :, 1]
            moved = np.fmin(moved, _angle(own[at + step], own[at]))
        flips = at[moved < STILL_DEGREES * longer]
        if len(flips):
            out[names[b]] = 1 + int((np.diff(flips) > step).sum())  # one jump is seen from each frame within the step
    return out


def side_swaps(motion: np.ndarray, figure: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Frames in which a left and a right joint lie the other way round than in the motion. -> (T,) bool.

    Sides are told along the motion's own line through the hips, and only where both are clearly apart: crossed legs
    are crossed in both. Legs that hang from wider or narrower hips cross later or sooner, which is no swap.
    """
    across = motion[:, J["l_hip"]] - motion[:, J["r_hip"]]
    across = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)

    def apart(where: np.ndarray, name: str) -> np.ndarray:
        return np.einsum("ti,ti->t", where[:, J[f"l_{name}"]] - where[:, J[f"r_{name}"]], across)

    swapped = np.zeros(len(motion), bool)
    wider = np.abs(apart(figure, "hip")) - apart(motion, "hip")
    for name in PAIRS:
        if present is not None and not (present[J[f"l_{name}"]] and present[J[f"r_{name}"]]):
            continue
        wanted, there = apart(motion, name), apart(figure, name)
        if name in ("knee", "ankle"):
            wanted = wanted + wider
        swapped |= (wanted * there < 0.0) & (np.abs(wanted) > APART) & (np.abs(there) > APART)
    return swapped


def mirrored(rest: np.ndarray) -> bool:
    """Whether a mapping's left and right are the wrong way round: both feet then point backwards. (22, 3) -> bool."""
    forward = []
    for side in "lr":
        foot = rest[J[f"{side}_foot"]] - rest[J[f"{side}_ankle"]]
        length = float(np.linalg.norm(foot))
        if not np.isfinite(length) or length < 1e-9:
            return False  # no toes, no telling
        forward.append(foot[2] / length)
    return max(forward) < -0.3


def jerk_ratio(motion: np.ndarray, figure: np.ndarray, present: np.ndarray | None = None) -> float | None:
    """Mean third derivative of the joints, relative to the hips, against the motion's. None below four frames."""
    if len(motion) < 4:
        return None
    joints = np.arange(22) if present is None else np.flatnonzero(present)
    hips = [J["l_hip"], J["r_hip"]]

    def jerk(where: np.ndarray) -> float:
        third = np.diff(where[:, joints] - where[:, hips].mean(1)[:, None], n=3, axis=0)
        return float(np.sqrt(np.einsum("tji,tji->tj", third, third)).mean())

    wanted = jerk(motion)
    there = jerk(figure)
    if not np.isfinite(there) or wanted < 1e-9:  # a motion that stands still has none to compare with
        return None
    return there / wanted
