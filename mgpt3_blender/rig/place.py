"""Where a body is on the floor: placed by its feet, its way without the sway of steps, on the spot, in a loop.

NumPy only, on plain joints (T, 22, 3) in the motion's axes (X left, Y up, Z forward), metres, the floor at 0.

    offset = root_offset(figure, motion, heights, fps)     # (T, 3); figure + offset[:, None] stands on the floor
    path, yaw = travel(joints, fps)                        # (T, 3) on the floor, (T,) radians about Y
    still = in_place(joints, fps)                          # the same motion on the spot of its first frame
    again = loop(joints, fps)                              # the same motion, its end flowing into its beginning

All of them take `cyclic=True` for a motion that comes from `loop` (last frame = first frame, moved and turned on the
floor): then what they give is cyclic too, and so is what ground.lock_feet(..., cyclic=True) gives.
Order: loop -> solve -> root_offset -> lock_feet -> in_place. On the spot feet must slide (a treadmill), so they are
locked while the body still travels; in_place(figure, fps, cyclic=...) then takes the way off the finished figure.
"""

from __future__ import annotations

import numpy as np

from . import rotation as rot
from .body import smoothstep
from .skeleton22 import ANKLE_HEIGHT, BALL_HEIGHT, PARENTS
from .skeleton22 import INDEX as J

RETURN_SECONDS = 3.0
"""How long the root takes to come back to the motion's path after it stepped aside for the feet."""

FEET = (J["l_ankle"], J["l_foot"], J["r_ankle"], J["r_foot"])
HEIGHTS = np.array([ANKLE_HEIGHT, BALL_HEIGHT] * 2)
"""Heights of FEET over the floor while the model's body stands flat, metres."""


def floor_of(clearance: np.ndarray) -> float:
    """Where a motion has its floor, from (T,) the lowest foot's height over its rest height. Metres; 0 if unclear.

    Mocap feet are stiff and dip where real toes bend: the floor is where feet mostly are while they are low.
    """
    low = float(np.percentile(clearance, 5))
    floor = float(np.percentile(clearance[clearance < low + 0.04], 20))
    return floor if abs(floor) < 0.04 else 0.0


def root_offset(
    figure: np.ndarray,
    motion: np.ndarray,
    heights: np.ndarray,
    fps: float,
    *,
    motion_heights: np.ndarray | None = None,
    cyclic: bool = False,
) -> np.ndarray:
    """How far the whole character must move at each frame to stand where the motion stands. -> (T, 3) metres.

    The middle of the hips travels as the motion's does. On top of that come the feet: legs with other proportions,
    turned just like the motion's, end elsewhere, and the root makes up for it so that standing feet keep their height
    and slide no more than the motion's. While both feet are far off the floor (a handstand, a fall) the hips alone
    count.

    Args:
        figure: (T, 22, 3) the character's joints posed like the motion, in the motion's axes and metres of the
            motion's size (armature units divided by the scale), wherever its root happens to be.
        motion: (T, 22, 3) the motion itself.
        heights: (4,) rest heights of l_ankle, l_foot, r_ankle, r_foot over the character's floor, same metres.
        fps: frames a second of both.
        motion_heights: (4,) the same for the motion's body; by default the model's.
        cyclic: the motion is a loop (see `loop`): the offset's ends fit together, too.
    """
    figure, motion = np.asarray(figure, np.float64), np.asarray(motion, np.float64)
    heights = np.asarray(heights, np.float64)
    if cyclic:
        more, count = min(len(motion) - 1, round(RETURN_SECONDS * fps)), len(motion)
        longer = root_offset(
            extended(figure, more), extended(motion, more), heights, fps, motion_heights=motion_heights
        )
        # The figures put together were carried on by a move of their own: what counts is where they come to stand.
        move = (extended(figure, more) + longer[:, None])[more : more + count, 0] - figure[:, 0]
        turn, shift = seam(motion)
        off = figure[-1, 0] + move[-1] - (turn @ (figure[0, 0] + move[0]) + shift)
        return move - np.linspace(0.0, 1.0, count)[:, None] * off
    theirs = HEIGHTS if motion_heights is None else np.asarray(motion_heights, np.float64)
    hips = [J["l_hip"], J["r_hip"]]
    own_hips, their_hips = figure[:, hips].mean(1), motion[:, hips].mean(1)
    move = their_hips - own_hips
    clear, rise, reach = [], [], []
    for n, side in enumerate("lr"):
        ankle, ball = J[f"{side}_ankle"], J[f"{side}_foot"]
        foot = figure[:, ball] - figure[:, ankle]
        for k, point in enumerate((ankle, ball)):
            clear.append(motion[:, point, 1] - theirs[2 * n + k])
            rise.append(figure[:, point, 1] - heights[2 * n + k])
            reach.append((figure[:, point] - own_hips) - (motion[:, point] - their_hips))
        # A longer or shorter foot sets its ball down elsewhere; that is no reason to move when the weight goes there.
        own = float(np.median(np.linalg.norm(foot, axis=-1)))
        flat = np.sqrt(max(own**2 - float(heights[2 * n] - heights[2 * n + 1]) ** 2, 0.0))
        source = float(np.median(np.linalg.norm(motion[:, ball] - motion[:, ankle], axis=-1)))
        source = np.sqrt(max(source**2 - float(theirs[2 * n] - theirs[2 * n + 1]) ** 2, 0.0))
        reach[-1] = reach[-1] - (flat - source) * rot.unit(foot * [1.0, 0.0, 1.0])
    clearance = np.min(clear, axis=0)
    clearance = clearance - floor_of(clearance)
    near = 1.0 - smoothstep(clearance, 0.15, 0.5)
    stands = np.exp(-(np.array(clear) - np.min(clear, axis=0)) / 0.015) * near  # (4, T) how much each point stands
    move += held_feet(np.array(reach), stands, fps)
    move[:, 1] += near * (clearance - np.min(rise, axis=0) - move[:, 1])
    return move


def held_feet(reach: np.ndarray, stands: np.ndarray, fps: float) -> np.ndarray:
    """Shift across the floor that keeps standing feet where they stand. -> (T, 3), Y zero.

    A thigh and a shin of other proportions carry a foot on where the motion's stood. The shift undoes that, as the
    least-squares answer over the whole motion: its steps cancel those of the standing feet, and it is drawn back to
    zero over some seconds, so that the way travelled stays the motion's.

    Args:
        reach: (n, T, 3) how much further each foot point is from its hip than the motion's.
        stands: (n, T) how much each point carries, 0..1.
        fps: frames a second.
    """
    weight = np.minimum(stands[:, 1:], stands[:, :-1])  # (n, T-1)
    step = np.diff(reach[..., [0, 2]], axis=1)
    pull = (weight[..., None] * step).sum(0)
    hold = weight.sum(0) + 0.01  # in the air the shift merely goes on smoothly
    back = 1.0 / (RETURN_SECONDS * fps) ** 2
    count = stands.shape[1]
    middle = np.full(count, back)
    middle[:-1] += hold
    middle[1:] += hold
    right = np.zeros((count, 2))
    right[:-1] += pull
    right[1:] -= pull
    # A tridiagonal system: eliminate downwards, substitute upwards. Plain floats are quicker one by one than arrays.
    main, off, xs, zs = (x.tolist() for x in (middle, hold, right[:, 0], right[:, 1]))
    for t in range(1, count):
        part = off[t - 1] / main[t - 1]
        main[t] -= part * off[t - 1]
        xs[t] += part * xs[t - 1]
        zs[t] += part * zs[t - 1]
    xs[-1] /= main[-1]
    zs[-1] /= main[-1]
    for t in range(count - 2, -1, -1):
        xs[t] = (xs[t] + off[t] * xs[t + 1]) / main[t]
        zs[t] = (zs[t] + off[t] * zs[t + 1]) / main[t]
    return np.stack([xs, np.zeros(count), zs], -1)


def seam(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The move across the floor that takes a motion's first frame to its last: rotation (3, 3) about Y, shift (3,)."""
    first, last = joints[0] - joints[0].mean(0), joints[-1] - joints[-1].mean(0)
    angle = np.arctan2(
        (first[:, 2] * last[:, 0] - first[:, 0] * last[:, 2]).sum(),
        (first[:, 0] * last[:, 0] + first[:, 2] * last[:, 2]).sum(),
    )
    turn = about_up(angle)
    shift = joints[-1].mean(0) - turn @ joints[0].mean(0)
    return turn, shift * [1.0, 0.0, 1.0]


def about_up(angle: np.ndarray | float) -> np.ndarray:
    """Rotation about Y by radians, (...) -> (..., 3, 3); positive from Z (forward) to X (left)."""
    angle = np.asarray(angle, np.float64)
    return rot.about(np.broadcast_to(np.array([0.0, 1.0, 0.0]), (*angle.shape, 3)), angle)


def extended(joints: np.ndarray, more: int) -> np.ndarray:
    """A loop with `more` (at most T - 1) frames of it before and after itself, each carried on where the loop goes."""
    turn, shift = seam(joints)
    count = len(joints)
    before = (joints[count - 1 - more : count - 1] - shift) @ turn
    after = joints[1 : 1 + more] @ turn.T + shift
    return np.concatenate([before, joints, after])


SWAY_SECONDS = 0.45
"""Standard deviation of the average that takes the sway of steps out of a way: about a step."""


def travel(joints: np.ndarray, fps: float, *, cyclic: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The way a body travels and how it is headed, without the sway of its steps: for a bone on the ground.

    Args:
        joints: (T, 22, 3).
        fps: frames a second.
        cyclic: the motion is a loop (see `loop`); None: look whether it is.
    Returns:
        path (T, 3): on the floor (Y 0), from under the pelvis at the first frame to under it at the last.
        yaw (T,): radians about Y without jumps, 0 = facing +Z, positive towards +X (its left).
    """
    joints = np.asarray(joints, np.float64)
    cyclic = is_loop(joints) if cyclic is None else cyclic
    where = np.column_stack([joints[:, 0, [0, 2]], heading(joints)])
    sigma = SWAY_SECONDS * fps
    more = max(1, round(3.0 * sigma))
    if len(joints) < 3:
        smooth = where
    else:
        once = _gaussian(_carried_on(where, 2 * more, seam(joints) if cyclic else None), sigma)
        smooth = 2.0 * once[more:-more] - _gaussian(once, sigma)  # sharpened, or circles would shrink
        if not cyclic:  # both ends where the body is, without a bend there
            smooth += np.linspace(0.0, 1.0, len(where))[:, None] * (where[-1] - smooth[-1] - where[0] + smooth[0])
            smooth += where[0] - smooth[0]
        else:
            lag = smooth[0] - where[0]
            turned = (about_up(smooth[:, 2] - smooth[0, 2]) @ np.array([lag[0], 0.0, lag[1]]))[:, [0, 2]]
            smooth = smooth - np.column_stack([turned, np.full(len(where), lag[2])])
    return np.column_stack([smooth[:, 0], np.zeros(len(where)), smooth[:, 1]]), smooth[:, 2]


def in_place(
    joints: np.ndarray, fps: float, *, path: np.ndarray | None = None, cyclic: bool | None = None
) -> np.ndarray:
    """The same motion on the spot of its first frame: its way is taken off, the sway of its steps stays. (T, 22, 3).

    Heading and heights stay as they are. Standing feet move backwards as on a treadmill, so lock them before: this
    only shifts the whole body, (path - path[0]) of `travel`, and can be done to the finished figure.

    Args:
        joints: the motion, or a figure that plays it.
        fps: frames a second.
        path: (T, 3) from `travel` of the motion, where `joints` is a figure; by default their own.
        cyclic: as in `travel`.
    """
    joints = np.asarray(joints, np.float64)
    path = travel(joints, fps, cyclic=cyclic)[0] if path is None else path
    return joints - (path - path[:1])[:, None]


def heading(joints: np.ndarray) -> np.ndarray:
    """Which way hips and shoulders face: (T,) radians about Y, without jumps, 0 = +Z, positive towards +X."""
    left = joints[:, J["l_hip"]] - joints[:, J["r_hip"]] + joints[:, J["l_shoulder"]] - joints[:, J["r_shoulder"]]
    return np.unwrap(np.arctan2(-left[:, 2], left[:, 0]))


def is_loop(joints: np.ndarray, tolerance: float = 0.004) -> bool:
    """Whether the last frame is the first one, moved and turned on the floor; to `tolerance` metres."""
    if len(joints) < 8:
        return False
    turn, shift = seam(joints)
    moved = joints[0] @ turn.T + shift
    steps = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1)
    return bool(np.linalg.norm(moved - joints[-1], axis=-1).max() < tolerance and steps.sum() > 0.0)


def _carried_on(where: np.ndarray, more: int, move: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """X, Z and yaw (T, 3) carried on by `more` frames at both ends: by a loop's move, or mirrored through the ends."""
    count = len(where)
    if move is None:
        before = 2 * where[0] - where[np.minimum(np.arange(more, 0, -1), count - 1)]
        after = 2 * where[-1] - where[np.maximum(count - 1 - np.arange(1, more + 1), 0)]
        return np.concatenate([before, where, after])
    turn, shift = move
    flat, period = turn[np.ix_([0, 2], [0, 2])], count - 1
    turned = np.arctan2(turn[0, 2], turn[0, 0])
    whole = where[-1, 2] - where[0, 2]
    whole = turned + 2 * np.pi * np.round((whole - turned) / (2 * np.pi))
    out = where
    parts = [where]
    for _ in range(-(-more // period)):
        last = parts[-1]
        parts.append(np.column_stack([last[:, :2] @ flat.T + shift[[0, 2]], last[:, 2] + whole]))
    for _ in range(-(-more // period)):
        first = parts[0]
        parts.insert(0, np.column_stack([(first[:, :2] - shift[[0, 2]]) @ flat, first[:, 2] - whole]))
    out = np.concatenate([part[:-1] for part in parts[:-1]] + [parts[-1]])
    start = period * -(-more // period)
    return out[start - more : start + count + more]


def _gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average of (T + 2 k, n) -> (T, n), k = three times `sigma`, rounded."""
    reach = max(1, round(3.0 * sigma))
    window = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    return np.stack([np.convolve(c, window / window.sum(), mode="valid") for c in x.T], -1)


LEAST_KEPT = 0.6
"""How much of a clip a loop keeps at least."""


def loop(joints: np.ndarray, fps: float) -> np.ndarray:
    """Make the end of a motion flow into its beginning. (T, 22, 3) -> (T', 22, 3), T' at least 0.6 T.

    The clip is cut where its two ends look and move alike, where that helps; then both ends are bent towards each
    other, most at the seam: directions of bones in the frame of the heading, the height of the lowest foot, the speed
    along the floor and of the turn. Bones are rebuilt from directions, so they keep their lengths. The last frame is
    the first one, moved and turned on the floor by what a round travels (`seam`); a clip that goes nowhere ends
    exactly where it began. Velocities agree over the seam, too.
    """
    joints = np.asarray(joints, np.float64)
    if len(joints) < 12:
        return joints.copy()
    first, last = kept(joints, fps)
    clip = joints[first : last + 1]
    count = len(clip)
    yaw = heading(clip)
    back = about_up(-yaw)
    bones = np.stack([clip[:, k] - clip[:, p] for k, p in enumerate(PARENTS) if p >= 0], 1)
    lengths = np.linalg.norm(bones, axis=-1, keepdims=True)
    ways = (bones / np.maximum(lengths, 1e-9)) @ rot.transposed(back)
    low = clip[:, FEET, 1].min(1)
    middle = 0.5 * (yaw[1:] + yaw[:-1])
    step = rot.turn(about_up(-middle), np.diff(clip[:, 0], axis=0) * [1.0, 0.0, 1.0])

    local = (clip - clip[:, :1] * [1.0, 0.0, 1.0]) @ rot.transposed(back)
    apart = float(np.sqrt(np.square(local[-1] - local[0]).sum(-1).mean()))
    width = min((0.25 + 1.5 * apart) * fps, 0.45 * (count - 1))
    bent = rot.unit(meet(ways, width, 0.0))
    lengths = meet(lengths, width, 0.0)
    turning = meet(np.diff(yaw), width, 0.5)
    step = meet(step, width, 0.5)
    low = meet(low, width, 0.0)

    stands = _standing(clip)
    closed = stands.mean(1).max() > 0.95
    angle = turning.sum()
    if closed or (np.hypot(*(clip[-1, 0] - clip[0, 0])[[0, 2]]) < 0.1 and abs(angle) < np.radians(20.0)):
        closed = True
        turning = turning - angle / (count - 1)
    yaw = yaw[0] + np.concatenate([[0.0], np.cumsum(turning)])
    step = rot.turn(about_up(0.5 * (yaw[1:] + yaw[:-1])), step)
    if closed:
        step = step - step.mean(0)
    root = clip[:1, 0] * [1.0, 0.0, 1.0] + np.concatenate([np.zeros((1, 3)), np.cumsum(step, axis=0)])
    out = np.zeros_like(clip)
    bones = (bent * lengths) @ rot.transposed(about_up(yaw))
    for k, p in enumerate(PARENTS):
        if p >= 0:
            out[:, k] = out[:, p] + bones[:, k - 1]
    root[:, 1] = low - out[:, FEET, 1].min(1)
    out += root[:, None]
    return out + _held_through(out, clip, stands, fps)[:, None]


def kept(joints: np.ndarray, fps: float) -> tuple[int, int]:
    """The first and last frame that `loop` keeps: the whole clip unless a shorter one closes clearly better."""
    count = len(joints)
    spare = int((1.0 - LEAST_KEPT) * (count - 1))
    back = about_up(-heading(joints))
    local = (joints - joints[:, :1] * [1.0, 0.0, 1.0]) @ rot.transposed(back)
    speed = (np.gradient(joints, axis=0) * fps) @ rot.transposed(back)
    what = np.concatenate([local, 0.12 * speed], 1).reshape(count, -1) / np.sqrt(22.0)
    what = np.concatenate([what, 0.05 * _standing(joints).T], 1)
    starts, ends = np.arange(spare + 1), np.arange(count - 1 - spare, count)
    a, b = what[starts], what[ends]
    apart = np.sqrt(np.maximum((a * a).sum(-1)[:, None] + (b * b).sum(-1) - 2.0 * a @ b.T, 0.0))
    lost = (starts[:, None] + (count - 1 - ends)) / (count - 1)
    cost = np.where(lost <= 1.0 - LEAST_KEPT, apart + 0.15 * lost, np.inf)
    i, j = np.unravel_index(int(cost.argmin()), cost.shape)
    return int(starts[i]), int(ends[j])


def _standing(joints: np.ndarray) -> np.ndarray:
    """(4, T) how much each point of FEET carries, 0..1, from its height alone."""
    over = joints[:, FEET, 1].T - HEIGHTS[:, None]
    over = over - floor_of(over.min(0))
    return np.exp(-np.square(np.maximum(over, 0.0) / 0.03))


def meet(x: np.ndarray, width: float, half: float) -> np.ndarray:
    """Bend both ends of (n, ...) to each other within `width` frames, so that value and slope agree at the seam.

    half: 0 for values at frames, of which the last is the first again; 0.5 for steps between frames.
    """
    x = np.asarray(x, np.float64)
    n = len(x)
    if half:
        start, end = 1.5 * x[0] - 0.5 * x[1], 1.5 * x[-1] - 0.5 * x[-2]
        rate = (x[-1] - x[-2]) - (x[1] - x[0])
    else:
        start, end = x[0], x[-1]
        rate = 0.5 * (3.0 * x[-1] - 4.0 * x[-2] + x[-3]) - 0.5 * (-3.0 * x[0] + 4.0 * x[1] - x[2])
    gap = end - start
    shape = (-1,) + (1,) * (x.ndim - 1)
    since = (np.arange(n) + half) / width
    t = np.clip(since, 0.0, 1.0).reshape(shape)
    value = 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t * t)
    slope = width * (t - t**3 * (6.0 - 8.0 * t + 3.0 * t * t))
    return x + 0.5 * (value * gap + slope * rate) + 0.5 * (-value * gap + slope * rate)[::-1]


def _held_through(out: np.ndarray, clip: np.ndarray, stands: np.ndarray, fps: float) -> np.ndarray:
    """Shift across the floor (T, 3) that keeps standing feet of a looped clip from sliding more than the clip's own."""
    turn, _ = seam(out)
    count = len(out)
    steps = np.diff(out[:, FEET] - clip[:, FEET], axis=0).transpose(1, 0, 2)  # (4, T - 1, 3)
    steps = np.concatenate([steps @ turn, steps, steps @ turn.T], 1)
    reach = np.concatenate([np.zeros((4, 1, 3)), np.cumsum(steps, axis=1)], 1)
    weight = np.concatenate([stands[:, :-1], stands[:, :-1], stands], 1)
    shift = held_feet(reach, weight, fps)[count - 1 : 2 * count - 1]
    ends = shift[-1] @ turn - shift[0]  # over the seam the shift is one and the same, in the frame of the heading
    share = (np.arange(count) / (count - 1) - 0.5)[:, None]
    angle = np.arctan2(turn[0, 2], turn[0, 0]) * np.arange(count) / (count - 1)
    return shift - rot.turn(about_up(angle), share * ends)
