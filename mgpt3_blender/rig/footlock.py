"""The foot lock: heels and toes pinned where they stand, and let go softly. NumPy only.

Works on plain joints (T, 22, 3) in the motion's axes (X left, Y up, Z forward), metres, the floor at 0. A foot is
described by its ball and the vector ankle -> ball; what stands gets a correction that holds it still, and in between
contacts the corrections run into each other by quintic curves with the speeds they have. Then the body goes along a
little, and the legs reach for their feet.
"""

from __future__ import annotations

import itertools

import numpy as np

from . import rotation as rot
from .body import smoothstep
from .place import FEET, extended, seam
from .reach import knee_hint, pole_of, two_bone
from .skeleton22 import INDEX as J

FADE_SECONDS = 0.2
"""How long a foot takes to come to its place and to leave it."""
ROLL_SECONDS = 0.15
"""How long a foot takes to roll flat, and to roll freely again."""
ROLL_SPEED = 0.3
"""How fast that begins at most, metres a second of the ball about the ankle: a landing toe slaps down."""
CARRY_SECONDS = 0.12
"""Over how long the body goes along with the feet it stands on."""
MOST_SINK = 0.045
"""Metres that the hips give way at most where a leg is too short to reach its foot's place."""
LEAST_BEND = 0.12
"""Sine of half a knee's bend from which on the body no longer goes along with the leg any more firmly."""
STAY = 2.0
"""How firmly the body keeps its own way across the floor, against a leg's 1."""
STRAIGHTEN = 0.7
"""Share of its distance from the line hip to ankle that a knee keeps at least where the lock stretches the leg."""
EVEN_SECONDS = 0.05
"""Over how long the bend of a knee is evened out in the air."""
MOST_MOVE = (0.045, 0.07)
"""Metres that a foot is held back freely and at most; a foot that wants to go further slides."""


def lock_feet(
    figure: np.ndarray,
    standing: np.ndarray,
    heights: np.ndarray,
    fps: float,
    *,
    cyclic: bool = False,
    firm: float = 1.0,
) -> np.ndarray:
    """Pin heels and toes where they stand, and let them go softly. -> (T, 22, 3) float64.

    With heel and toe in contact the foot stays flat at its place with its heading; with the toe alone it rolls about
    the ball, with the heel alone about the ankle. The place is where least has to move. Legs keep their lengths and
    knees their side; where a leg cannot reach, the hips sink a little, and then the foot gives way as a whole: it is
    never pulled onto its toes. Nothing goes below the floor.

    Args:
        figure: (T, 22, 3) the character's joints, standing on the floor (place.root_offset).
        standing: (T, 4) bool, `contacts` of the motion at the same frames.
        heights: (4,) rest heights of l_ankle, l_foot, r_ankle, r_foot over the floor on this character.
        fps: frames a second.
        cyclic: the figure is a loop (place.loop): the lock goes on over the seam. Both ends of a loop come out equal.
        firm: 0..1, share of how far feet may be held back and hips may sink for it; less than 1 leaves the legs more
            like the motion's.
    """
    out = np.array(figure, np.float64)
    standing = np.asarray(standing, bool)
    heights = np.asarray(heights, np.float64)
    if cyclic and len(out) > 8:
        return _locked_loop(out, standing, heights, fps, firm)
    if len(out) < 4:
        return out
    ankles, soles = [], []
    for n, side in enumerate("lr"):
        ankle, sole = _foot(out, side, standing[:, 2 * n : 2 * n + 2], heights[2 * n : 2 * n + 2], fps, firm)
        ankles.append(ankle)
        soles.append(sole)
    hints = [knee_hint(out, side) for side in "lr"]
    before = out.copy()
    out += _carried(out, ankles, fps)[:, None]
    out[..., 1] -= _sink(before, out, ankles, standing, fps, firm)[:, None]
    for n, side in enumerate("lr"):
        stands = standing[:, 2 * n] | standing[:, 2 * n + 1]
        _leg(out, before, side, ankles[n], soles[n], hints[n], stands, fps)
    return out


def _locked_loop(figure: np.ndarray, standing: np.ndarray, heights: np.ndarray, fps: float, firm: float) -> np.ndarray:
    """The lock of a loop: of more than one round, of which one is kept, and its end faded into the round before."""
    count = len(figure)
    more = min(count - 1, round(2.5 * fps))
    standing = standing.copy()
    standing[0] = standing[-1] = standing[0] | standing[-1]
    longer = np.concatenate([standing[-1 - more : -1], standing, standing[1 : 1 + more]])
    locked = lock_feet(extended(figure, more), longer, heights, fps, firm=firm)
    turn, shift = seam(figure)
    out = locked[more : more + count].copy()
    fade = min(more, round(0.5 * fps)) + 1
    earlier = locked[more - fade + 1 : more + 1] @ turn.T + shift  # how the round before came to its end
    share = smoothstep(np.arange(fade), 0.0, float(fade - 1))[:, None, None]
    end = (1.0 - share) * out[-fade:] + share * earlier
    for side in "lr":
        hip, knee, ankle, ball = (J[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot"))
        thigh, shin, foot = (
            np.linalg.norm(out[-fade:, m] - out[-fade:, n], axis=-1)
            for m, n in ((knee, hip), (ankle, knee), (ball, ankle))
        )
        sole = rot.unit(end[:, ball] - end[:, ankle]) * foot[:, None]
        pole = end[:, knee] - end[:, hip]
        end[:, knee], end[:, ankle] = two_bone(end[:, hip], thigh, shin, end[:, ankle], pole)
        end[:, ball] = end[:, ankle] + sole
    out[-fade:] = end
    return out


def rates(points: np.ndarray, fps: float) -> np.ndarray:
    """Metres a second, over a tenth of a second (or two frames, where those are longer). (T, ...) -> the same."""
    half = max(1.0, 0.05 * fps)
    last = len(points) - 1
    times = np.arange(len(points))
    ends = []
    for at in (np.minimum(times + half, last), np.maximum(times - half, 0.0)):
        i = np.minimum(at.astype(int), last - 1)
        u = (at - i).reshape(-1, *[1] * (points.ndim - 1))
        ends.append((points[i] * (1.0 - u) + points[i + 1] * u, at))
    span = (ends[0][1] - ends[1][1]).reshape(-1, *[1] * (points.ndim - 1))
    return (ends[0][0] - ends[1][0]) / span * fps


def averaged(x: np.ndarray, half: float) -> np.ndarray:
    """Mean of (T, k) over `half` frames to either side, fewer at the ends."""
    reach = max(1, round(half))
    total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
    times = np.arange(len(x))
    a, b = np.maximum(times - reach, 0), np.minimum(times + reach + 1, len(x))
    return (total[b] - total[a]) / (b - a)[:, None]


def spans(flags: np.ndarray) -> list[tuple[int, int]]:
    """Runs of true values as [start, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def closed_gaps(flags: np.ndarray, most: int) -> np.ndarray:
    """The same flags with gaps of up to `most` frames between true values closed."""
    out = flags.copy()
    for a, b in spans(~flags):
        if a > 0 and b < len(flags) and b - a <= most:
            out[a:b] = True
    return out


def lying_shins(joints: np.ndarray) -> np.ndarray:
    """(T, 2) 0 while a shin is upright over its foot, 1 while it lies (kneeling, on the back): left, right."""
    out = []
    for side in "lr":
        shin = joints[:, J[f"{side}_knee"]] - joints[:, J[f"{side}_ankle"]]
        out.append(1.0 - smoothstep(rot.unit(shin)[:, 1], 0.2, 0.6))
    return np.stack(out, -1)


def _foot(
    joints: np.ndarray, side: str, standing: np.ndarray, heights: np.ndarray, fps: float, firm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where one foot should be: its ankle (T, 3) and the vector ankle -> ball (T, 3), its length kept.

    Args:
        standing: (T, 2) heel and toe.
        heights: (2,) of ankle and ball over the floor while it stands flat.
    """
    ankle, ball = joints[:, J[f"{side}_ankle"]], joints[:, J[f"{side}_foot"]].copy()
    foot = ball - ankle
    length = np.linalg.norm(foot, axis=-1)
    ball[:, 1] = _above(ball[:, 1], heights[1])
    lying = lying_shins(joints)[:, "lr".index(side)]
    over = joints[:, FEET[2 * "lr".index(side) :][:2], 1] - heights
    upright = (over.min(1) < 0.1) & (lying < 0.5)  # checked on the character: nothing far off the floor is pinned
    heading, turning = _heading(foot, length, fps)
    heel = standing[:, 0] & upright & ~(standing[:, 1] & turning)
    toe = standing[:, 1] & upright
    _let_go_between(heel, toe, max(1, round(0.06 * fps)))

    fix = _flat(foot, length, heading, heel & toe, heights)
    _bridge(fix, heel & toe, fps, ROLL_SECONDS, ROLL_SPEED)
    sole = rot.unit(foot + fix) * length[:, None]
    # Never onto the toes: until the heel has left the floor the foot is no steeper than it was, or than it lies flat.
    near = max(2, round(0.08 * fps))
    down = np.convolve(standing[:, 0] & upright, np.ones(2 * near + 1), mode="full")[near:-near] > 0.0
    give = 0.25 * length * (1.0 - blurred(down[:, None].astype(float), near)[:, 0])
    least = np.minimum(foot[:, 1], heights[1] - heights[0]) - give
    sole = _pitched(sole, length, np.maximum(sole[:, 1], np.maximum(least, -0.999 * length)))

    held = heel | toe
    place = _places(ball, sole, heel, toe, heights, round(0.75 * FADE_SECONDS * fps))
    fix = place - ball
    across = fix[:, [0, 2]]
    fix[:, [0, 2]] = across * (_least(np.hypot(*across.T), firm) / np.maximum(np.hypot(*across.T), 1e-9))[:, None]
    _bridge(fix, held, fps, FADE_SECONDS, 1.0)
    ball = ball + fix

    # Nothing below the floor. While the heel carries the toe comes up; otherwise the heel does, by rolling the foot.
    least = heights[0] * (1.0 - 0.5 * lying)
    ball[:, 1] = np.maximum(ball[:, 1], heights[1])
    steep = np.minimum(sole[:, 1], ball[:, 1] - least)
    sole = _pitched(sole, length, np.maximum(steep, -0.999 * length))
    ankle = ball - sole
    ankle[:, 1] = np.maximum(ankle[:, 1], least)
    return ankle, sole


def _let_go_between(heel: np.ndarray, toe: np.ndarray, most: int) -> None:
    """Where the weight goes from the heel alone to the toe alone or back, neither stands for a moment. In place."""
    alone = toe.astype(np.int8) - heel.astype(np.int8)
    for t in (np.flatnonzero(alone[1:] * alone[:-1] < 0) + 1).tolist():
        for at in range(max(t - most, 0), min(t + most, len(heel))):
            if heel[at] != toe[at]:
                heel[at] = toe[at] = False


def _above(height: np.ndarray, floor: float, radius: float = 0.006) -> np.ndarray:
    """Heights kept above a floor, softly within `radius` metres of it."""
    over = height - floor
    soft = np.square(np.clip(over + radius, 0.0, 2 * radius)) / (4 * radius)
    return floor + np.where(over > radius, over, soft)


def _least(size: np.ndarray, firm: float) -> np.ndarray:
    """How far a foot is moved that should move by `size` metres: freely at first, then ever less."""
    free, most = (firm * metres for metres in MOST_MOVE)
    return np.minimum(size, free) + (most - free) * np.tanh(np.maximum(size - free, 0.0) / (most - free))


def _heading(foot: np.ndarray, length: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Heading of a foot about Y, unwrapped radians (T,), and where it turns on the spot (T,) bool."""
    heading = np.unwrap(np.arctan2(foot[:, 0], foot[:, 2]))
    level = np.hypot(foot[:, 0], foot[:, 2]) > 0.3 * length
    rate = rates(heading[:, None], fps)
    return heading, (np.abs(averaged(rate, 0.08 * fps)[:, 0]) > np.radians(60.0)) & level


def _pitched(sole: np.ndarray, length: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """Foot vectors with the same heading and length, and `rise` (T,) as their Y."""
    flat = sole * [1.0, 0.0, 1.0] + [0.0, 0.0, 1e-9]
    out = rot.unit(flat) * np.sqrt(np.maximum(length**2 - rise**2, 0.0))[:, None]
    out[:, 1] = rise
    return np.where(np.abs(rise - sole[:, 1])[:, None] > 1e-12, out, sole)


def _flat(
    foot: np.ndarray, length: np.ndarray, heading: np.ndarray, flat: np.ndarray, heights: np.ndarray
) -> np.ndarray:
    """What turns a foot to lie still and flat while heel and toe stand: (T, 3) to be added, valid where `flat`."""
    fix = np.zeros_like(foot)
    dead = np.radians(6.0)
    for a, b in spans(flat):
        size = length[a:b]
        level = -np.arcsin(np.clip((heights[0] - heights[1]) / size, -0.95, 0.95))
        away = heading[a:b] - float(np.median(heading[a:b]))
        # Within six degrees the heading stays; a foot that slowly turns further is followed.
        stay = np.clip(away, -dead, dead) * (1.0 - 0.5 * np.clip(np.abs(away) / dead - 1.0, 0.0, 1.0))
        turn = heading[a:b] - stay
        fix[a:b, 0] = size * np.cos(level) * np.sin(turn)
        fix[a:b, 1] = size * np.sin(level)
        fix[a:b, 2] = size * np.cos(level) * np.cos(turn)
        fix[a:b] -= foot[a:b]
    return fix


def _places(
    ball: np.ndarray, sole: np.ndarray, heel: np.ndarray, toe: np.ndarray, heights: np.ndarray, gap: int
) -> np.ndarray:
    """Where the ball of a foot is to be while heel or toe stand, (T, 3), valid in contact.

    A whole contact hangs together: while the toe stands the ball keeps its place, while the heel alone stands the
    ankle does, and the first place is chosen so that the contact as a whole moves least.
    """
    place = ball.copy()
    place[:, 1] = np.where(toe, heights[1], np.maximum(heights[0] + sole[:, 1], heights[1]))
    rolls = np.zeros((len(ball), 2))
    about_heel = heel[1:] & heel[:-1] & ~(toe[1:] & toe[:-1])
    rolls[1:] = np.where(about_heel[:, None], np.diff(sole[:, [0, 2]], axis=0), 0.0)
    rolls = np.cumsum(rolls, axis=0)
    held = heel | toe
    for a, b in spans(closed_gaps(held, gap)):  # over a short break too: the foot hardly left its place
        there = (ball[a:b, [0, 2]] - rolls[a:b])[held[a:b]]
        place[a:b, [0, 2]] = rolls[a:b] + 0.5 * (there.mean(0) + np.median(there, axis=0))
    return place


def _bridge(fix: np.ndarray, known: np.ndarray, fps: float, seconds: float, most: float) -> None:
    """Fill a correction in between contacts, in place: softly away from each, softly to the next. fix: (T, 3).

    Where it meets a contact it has the contact's velocity, so that a foot set free goes on as slowly as it stood and
    gathers speed as the motion does; `seconds` is how long it takes, `most` the fastest start in metres a second.
    """
    runs = spans(known)
    if not runs:
        fix[:] = 0.0
        return
    fade = max(2, round(seconds * fps))
    count = len(fix)
    slopes = [
        (_slope(fix[a:b], fps, most), -_slope(fix[a:b][::-1], fps, most)) for a, b in runs
    ]  # at start and end, per frame
    nothing = np.zeros(3)
    first, last = runs[0][0], runs[-1][1] - 1
    if first > 0:
        n = min(fade, first) if first < count else 0
        fix[:first] = 0.0
        _hermite(fix, first - n, first, nothing if n == fade else fix[first], nothing, fix[first], slopes[0][0])
    if last < count - 1:
        n = min(fade, count - 1 - last)
        fix[last + 1 :] = 0.0
        _hermite(fix, last, last + n, fix[last], slopes[-1][1], nothing if n == fade else fix[last], nothing)
    for k, ((_, end), (start, _)) in enumerate(itertools.pairwise(runs)):
        a, v, b, w = end - 1, slopes[k][1], start, slopes[k + 1][0]
        if b - a <= 2 * fade:
            _hermite(fix, a, b, fix[a], v, fix[b], w)
            continue
        fix[a + 1 : b] = 0.0
        _hermite(fix, a, a + fade, fix[a], v, nothing, nothing)
        _hermite(fix, b - fade, b, nothing, nothing, fix[b], w)


def _slope(fix: np.ndarray, fps: float, most: float) -> np.ndarray:
    """How a correction changes a frame at the start of a contact, (3,): by a parabola over a twentieth of a second."""
    n = min(len(fix), max(3, round(0.05 * fps) + 1))
    if n < 2:
        return np.zeros(3)
    if n < 4:
        rate = fix[1] - fix[0]
    else:
        t = np.arange(n)
        rate = np.linalg.lstsq(np.stack([t**0, t, t * t], -1).astype(float), fix[:n], rcond=None)[0][1]
    speed = float(np.linalg.norm(rate)) * fps
    return rate * min(1.0, most / max(speed, 1e-9))


def _hermite(fix: np.ndarray, a: int, b: int, p: np.ndarray, v: np.ndarray, q: np.ndarray, w: np.ndarray) -> None:
    """Fill frames a..b, in place, by the quintic from place p and velocity v (a frame) to q and w."""
    n = b - a
    if n < 1:
        return
    t = (np.arange(n + 1) / n)[:, None]
    s = t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
    leave = t - t**3 * (6.0 - 8.0 * t + 3.0 * t * t)
    arrive = -(t**3) * (4.0 - 7.0 * t + 3.0 * t * t)
    fix[a : b + 1] = p + s * (q - p) + n * (leave * v + arrive * w)


def _carried(joints: np.ndarray, ankles: list[np.ndarray], fps: float) -> np.ndarray:
    """How far the body goes along with its feet, (T, 3): softly, so that the bones of its legs turn least.

    A least-squares answer: moving an ankle across its leg turns the leg a little, moving it along a leg that is almost
    straight bends the knee by much.
    """
    matrix = np.zeros((len(joints), 3, 3)) + np.diag([STAY, 0.0, STAY])
    right = np.zeros((len(joints), 3))
    for n, side in enumerate("lr"):
        hip, knee, ankle = (joints[:, J[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
        along = rot.unit(ankle - hip)
        bend = np.sin(0.5 * rot.angle_between(knee - hip, ankle - knee))
        stiff = 1.0 / np.square(np.maximum(bend, LEAST_BEND)) - 1.0
        weight = np.eye(3) + stiff[:, None, None] * along[:, :, None] * along[:, None, :]
        matrix += weight
        right += rot.turn(weight, ankles[n] - ankle)
    whole = blurred(np.concatenate([matrix.reshape(-1, 9), right], -1), CARRY_SECONDS * fps)
    moved = np.linalg.solve(whole[:, :9].reshape(-1, 3, 3), whole[:, 9:, None])[..., 0]
    return MOST_SINK * np.tanh(moved / MOST_SINK)


def blurred(x: np.ndarray, half: float) -> np.ndarray:
    """Average of (T, k) by a window that falls to zero `half` frames away, edges repeated."""
    reach = max(1, round(half))
    window = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(x, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(c, window / window.sum(), mode="valid") for c in padded.T], -1)


def _sink(
    before: np.ndarray, joints: np.ndarray, ankles: list[np.ndarray], standing: np.ndarray, fps: float, firm: float
) -> np.ndarray:
    """How far the hips go down, softly, so that legs reach their feet's places with a bend to spare. (T,) metres.

    before: the joints as they came; joints: the same with the body where the feet carry it.
    """
    short = np.zeros(len(joints))
    for n, side in enumerate("lr"):
        hip, knee, ankle = (before[:, J[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
        own, room = _room(hip, knee, ankle)
        allowed = own + 0.5 * room
        line = joints[:, J[f"{side}_hip"]] - ankles[n]
        height = np.sqrt(np.maximum(allowed**2 - line[:, 0] ** 2 - line[:, 2] ** 2, 0.0))
        spare = firm * MOST_SINK + np.minimum(joints[:, 0, 1] - before[:, 0, 1], 0.0)
        needed = np.minimum(np.maximum(line[:, 1] - height, 0.0), spare)
        short = np.maximum(short, np.where(standing[:, 2 * n : 2 * n + 2].any(1), needed, 0.0))
    fade = max(2, round(FADE_SECONDS * fps))
    padded = np.pad(short, 2 * fade, mode="edge")
    widest = np.lib.stride_tricks.sliding_window_view(padded, 2 * fade + 1).max(-1)
    window = np.hanning(2 * fade + 3)[1:-1]
    return np.convolve(widest, window / window.sum(), mode="valid")


def _room(hip: np.ndarray, knee: np.ndarray, ankle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How long a leg is stretched, hip to ankle (T,), and how much further it may stretch (T,).

    A leg that is almost straight straightens by a jerk when its ankle moves on evenly, so the knee keeps part of the
    bend it has: its distance from the line hip to ankle shrinks to no less than STRAIGHTEN of what it is.
    """
    whole = np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1)
    own = np.linalg.norm(ankle - hip, axis=-1)
    most = np.sqrt(whole**2 - STRAIGHTEN**2 * np.maximum(whole**2 - own**2, 0.0))
    return own, np.maximum(most - own, 1e-5)


def _leg(
    out: np.ndarray,
    before: np.ndarray,
    side: str,
    ankle: np.ndarray,
    sole: np.ndarray,
    hint: np.ndarray,
    stands: np.ndarray,
    fps: float,
) -> None:
    """Bend one leg, in place, so that its ankle comes to `ankle`, as far as it reaches; the foot hangs on as `sole`."""
    hip, knee, foot, ball = (J[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot"))
    thigh = np.linalg.norm(before[:, knee] - before[:, hip], axis=-1)
    shin = np.linalg.norm(before[:, foot] - before[:, knee], axis=-1)
    own, room = _room(before[:, hip], before[:, knee], before[:, foot])
    line = ankle - out[:, hip]
    distance = np.linalg.norm(line, axis=-1)
    # Only what stretches the leg further than the motion does is limited: gently, so that it never snaps straight.
    more = np.maximum(distance - own, 0.0)
    distance = np.minimum(distance, own) + more / np.sqrt(1.0 + np.square(more / room))
    # In the air a knee may come straight a little sooner or later: its bend is evened out where it would jerk.
    bend = np.arccos(np.clip(distance / (thigh + shin), 0.0, 1.0))
    change = bend - np.arccos(np.clip(own / (thigh + shin), 0.0, 1.0))
    straight = 1.0 - smoothstep(bend, 0.3, 0.6)
    free = straight * np.clip(1.0 - 2.0 * blurred(stands[:, None].astype(float), EVEN_SECONDS * fps)[:, 0], 0.0, 1.0)
    bend = bend + free * (blurred(change[:, None], EVEN_SECONDS * fps)[:, 0] - change)
    distance = (thigh + shin) * np.cos(np.maximum(bend, 0.0))
    target = out[:, hip] + rot.unit(line) * distance[:, None]
    pole = pole_of(before[:, hip], before[:, knee], before[:, foot], before[:, hip] + line, hint)
    out[:, knee], out[:, foot] = two_bone(out[:, hip], thigh, shin, target, pole)
    out[:, ball] = out[:, foot] + sole
