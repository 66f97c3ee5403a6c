"""Feet and floor: contacts, foot lock, figures for both, placing, the way travelled, in place, loops, reach.

On motions the tests make, on bodies of other proportions, at many frame rates, and on real motion where there is any.
"""

from __future__ import annotations

import time
from pathlib import Path

import motions
import numpy as np
import pytest

from mgpt3_blender.rig import ground, place, reach
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, PARENTS
from mgpt3_blender.rig.solve import resample

RATES = [12.0, 20.0, 24.0, 30.0, 59.94, 120.0]
BODIES = {
    "as the motion": {},
    "long shins": {"knee": 0.85, "ankle": 1.14},
    "long thighs": {"knee": 1.15, "ankle": 0.86},
    "big feet, wide hips": {"foot": 1.3, "hip": 1.4},
}
LEGS = [(INDEX[f"{s}_{a}"], INDEX[f"{s}_{b}"]) for s in "lr" for a, b in (("hip", "knee"), ("knee", "ankle"))]
ANKLES, BALLS = [INDEX["l_ankle"], INDEX["r_ankle"]], [INDEX["l_foot"], INDEX["r_foot"]]


def reproportioned(joints: np.ndarray, **factors: float) -> np.ndarray:
    """The same directions on another body: bone lengths times a factor by the name of the joint they end in."""
    out = np.array(joints, np.float64)
    for k, parent in enumerate(PARENTS):
        if parent >= 0:
            factor = factors.get(JOINTS[k], factors.get(JOINTS[k][2:], 1.0))
            out[:, k] = out[:, parent] + factor * (joints[:, k] - joints[:, parent])
    return out


def heights_of(foot: float = 1.0, **_: float) -> np.ndarray:
    """Rest heights of the feet of such a body. The tests' own skeleton has feet that are not quite alike."""
    own = model(motions.stand())[0, ground.FEET, 1]
    return own[[1, 1, 3, 3]] + foot * (own - own[[1, 1, 3, 3]])


def placed(motion: np.ndarray, fps: float, body: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A body that plays a motion and stands on the floor: figure, contacts of the motion, rest heights."""
    heights = heights_of(**body)
    figure = reproportioned(motion, **body)
    figure = figure + place.root_offset(figure, motion, heights, fps)[:, None]
    return figure, ground.contacts(motion[:, ground.FEET], fps), heights


def at(motion: np.ndarray, fps: float) -> np.ndarray:
    return resample(np.asarray(motion, np.float64), 20.0, fps)


def lifted(motion: np.ndarray, up: float) -> np.ndarray:
    return np.asarray(motion, np.float64) + np.array([0.0, up, 0.0])


def model(motion: np.ndarray) -> np.ndarray:
    """A motion of the tests with its feet as high over the floor as the model's."""
    return lifted(motion, place.HEIGHTS[1])


def skating_walk(seconds: float = 4.0, speed: float = 0.06) -> np.ndarray:
    """A walk whose standing feet slide forward, metres a second."""
    walk = model(motions.walk(seconds))
    walk[..., 2] += (speed * np.arange(len(walk)) / 20.0)[:, None]
    return walk


def lengths(joints: np.ndarray) -> np.ndarray:
    return np.stack([np.linalg.norm(joints[:, k] - joints[:, p], axis=-1) for k, p in enumerate(PARENTS) if p >= 0], -1)


def with_lengths(joints: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The same directions with these bone lengths, (T, 21)."""
    out = np.array(joints, np.float64)
    for k, parent in enumerate(PARENTS):
        if parent >= 0:
            out[:, k] = out[:, parent] + rot.unit(joints[:, k] - joints[:, parent]) * sizes[:, [k - 1]]
    return out


def smooth_walk(fps: float) -> np.ndarray:
    """The sliding walk without the corners that the tests' walk has: what accelerates then is the lock."""
    walk = at(skating_walk(), fps)
    sigma = 0.06 * fps
    more = max(1, round(3.0 * sigma))
    padded = np.pad(walk.reshape(len(walk), -1), ((more, more), (0, 0)), mode="reflect", reflect_type="odd")
    return with_lengths(place._gaussian(padded, sigma).reshape(walk.shape), lengths(walk[:1]).repeat(len(walk), 0))


def pitch(joints: np.ndarray) -> np.ndarray:
    """How far each heel is up over its toe, degrees (T, 2)."""
    foot = joints[:, ANKLES] - joints[:, BALLS]
    return np.degrees(np.arcsin(foot[..., 1] / np.linalg.norm(foot, axis=-1)))


def acceleration(joints: np.ndarray, which: list[int], fps: float) -> np.ndarray:
    return np.linalg.norm(np.diff(joints[:, which], 2, axis=0), axis=-1) * fps**2


def real_motions(shared: Path) -> list[tuple[str, np.ndarray]]:
    from core.bvh import read_bvh

    files = sorted((shared / "bvh").glob("*.bvh"))
    found = [(path.stem, read_bvh(path, uniform=True).astype(np.float64)) for path in files]
    bundle = shared / "data" / "permissive" / "cmu_joints.npz"
    if bundle.exists():
        with np.load(bundle) as data:
            offsets, local, root = data["offsets"], data["local"], data["root_xz"]
        for n in (0, 45, 180, 270, 405):
            clip = local[offsets[n] : offsets[n + 1]][:200] * 1e-4
            clip[..., [0, 2]] += root[offsets[n] : offsets[n + 1], None][:200]
            found.append((f"cmu{n}", clip))
    if not found:
        pytest.skip("needs BVH files in the shared/ folder")
    return found


# Contacts


@pytest.mark.parametrize("fps", RATES)
def test_contacts_are_the_same_at_any_frame_rate_and_do_not_flicker(fps):
    walk = model(motions.walk(4.0))
    rng = np.random.default_rng(3)
    motion = at(walk, fps)
    noisy = motion + rng.normal(0.0, 0.0015, motion.shape)
    reference = ground.contacts(walk[:, ground.FEET], 20.0)
    for joints in (motion, noisy):
        standing = ground.contacts(joints[:, ground.FEET], fps)
        assert standing.mean() == pytest.approx(reference.mean(), abs=0.06)
        changes = np.abs(np.diff(standing.astype(int), axis=0)).sum(0)
        assert (changes <= np.abs(np.diff(reference.astype(int), axis=0)).sum(0) + 1).all()


@pytest.mark.parametrize("fps", RATES)
def test_a_jump_is_not_pinned(fps):
    motion = at(model(motions.jump(2.0)), fps)
    standing = ground.contacts(motion[:, ground.FEET], fps)
    high = motion[:, ground.FEET, 1].min(1) > 0.15
    assert high.sum() > 0.3 * fps
    assert not standing[high].any()
    assert standing[: int(0.3 * fps)].all()
    locked = ground.lock_feet(motion, standing, heights_of(), fps)
    middle = np.flatnonzero(high)[len(np.flatnonzero(high)) // 2]
    np.testing.assert_allclose(locked[middle, ANKLES], motion[middle, ANKLES], atol=5e-3)


def test_the_floor_of_a_motion_may_be_a_little_off():
    walk = model(motions.walk(4.0))
    for floor in (-0.03, 0.03):
        moved = lifted(walk, floor)
        np.testing.assert_array_equal(
            ground.contacts(moved[:, ground.FEET], 20.0), ground.contacts(walk[:, ground.FEET], 20.0)
        )


# Foot lock


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("body", BODIES)
def test_sliding_feet_are_pinned_and_bones_keep_their_lengths(fps, body):
    motion = at(skating_walk(), fps)
    figure, standing, heights = placed(motion, fps, BODIES[body])
    locked = ground.lock_feet(figure, standing, heights, fps)
    before, after = (ground.measure_ground(x, standing, heights, fps) for x in (figure, locked))
    assert before.slide_mm > 2.5
    assert after.slide_mm < 0.5
    assert after.penetration_mm < 0.5
    np.testing.assert_allclose(lengths(locked), lengths(figure), atol=1e-4)


@pytest.mark.parametrize("fps", RATES)
def test_the_release_does_not_pop(fps):
    motion = smooth_walk(fps)
    for body in BODIES.values():
        figure, standing, heights = placed(motion, fps, body)
        locked = ground.lock_feet(figure, standing, heights, fps)
        for which in (ANKLES, BALLS, [0]):
            before, after = (acceleration(x, which, fps) for x in (figure, locked))
            assert after.max() < 1.15 * before.max() + 10.0
            assert np.sqrt((after**2).mean()) < 1.05 * np.sqrt((before**2).mean()) + 1.0


def test_a_lock_without_a_soft_release_would_be_noticed():
    """The check above can fail: feet that jump back to their places show in it."""
    fps = 60.0
    motion = smooth_walk(fps)
    figure, standing, heights = placed(motion, fps, {})
    locked = ground.lock_feet(figure, standing, heights, fps)
    hard = np.where(standing[:, [1, 3], None], locked[:, BALLS], figure[:, BALLS])
    peak = np.linalg.norm(np.diff(hard, 2, axis=0), axis=-1).max() * fps**2
    assert peak > 1.15 * acceleration(figure, BALLS, fps).max() + 10.0


@pytest.mark.parametrize("body", BODIES)
def test_never_onto_tiptoe(body):
    fps = 30.0
    stretched = at(skating_walk(4.0, 0.15), fps)  # feet held back a long way pull the legs straight
    figure, standing, heights = placed(stretched, fps, BODIES[body])
    locked = ground.lock_feet(figure, standing, heights, fps)
    size = np.linalg.norm(figure[0, BALLS[0]] - figure[0, ANKLES[0]])
    flat = np.degrees(np.arcsin((heights[0] - heights[1]) / size))
    rise = pitch(locked) - np.maximum(pitch(figure), flat)
    assert rise[standing[:, [0, 2]]].max() < 0.2


def test_a_standing_foot_lies_still_and_flat():
    rng = np.random.default_rng(0)
    stand = model(motions.stand(3.0))
    noise = place._gaussian(rng.normal(size=(len(stand) + 6, 66)), 1.0).reshape(-1, 22, 3)
    noisy = with_lengths(stand + 0.006 * noise, lengths(stand))
    standing = ground.contacts(noisy[:, ground.FEET], 20.0)
    assert standing.all()
    locked = ground.lock_feet(noisy, standing, heights_of(), 20.0)
    feet = locked[:, ground.FEET]
    assert np.ptp(feet, axis=0).max() < 1.5e-3
    np.testing.assert_allclose(feet[..., 1], np.broadcast_to(heights_of(), feet.shape[:2]), atol=1.5e-3)
    moved = np.linalg.norm(feet[..., [0, 2]].mean(0) - noisy[:, ground.FEET][..., [0, 2]].mean(0), axis=-1)
    assert moved.max() < 0.01  # pinned where it is, not somewhere else


def test_nothing_stays_below_the_floor():
    walk = model(motions.walk(3.0))
    sunk = lifted(walk, -0.03)
    standing = ground.contacts(walk[:, ground.FEET], 20.0)
    before = ground.measure_ground(sunk, standing, heights_of(), 20.0)
    after = ground.measure_ground(ground.lock_feet(sunk, standing, heights_of(), 20.0), standing, heights_of(), 20.0)
    assert before.penetration_mm > 20.0
    assert after.penetration_mm < 1.0
    assert after.penetration_p95_mm < 3.0


def test_a_foot_that_turns_on_its_ball_keeps_turning():
    fps = 30.0
    stand = at(model(motions.stand(3.0)), fps)
    time_ = np.arange(len(stand)) / fps
    angle = np.radians(150.0) * np.clip((time_ - 1.0) / 1.0, 0.0, 1.0)
    pivot = stand[:1, BALLS[0]] * [1.0, 0.0, 1.0]
    turned = (stand - pivot[:, None]) @ rot.transposed(place.about_up(angle)) + pivot[:, None]
    standing = ground.contacts(turned[:, ground.FEET], fps)
    assert standing[:, 1].mean() > 0.95
    locked = ground.lock_feet(turned, standing, heights_of(), fps)
    foot = locked[:, BALLS[0]] - locked[:, ANKLES[0]]
    heading = np.degrees(np.unwrap(np.arctan2(foot[:, 0], foot[:, 2])))
    assert heading[-1] - heading[0] == pytest.approx(150.0, abs=8.0)
    own = np.degrees(np.unwrap(np.arctan2(*(turned[:, BALLS[0]] - turned[:, ANKLES[0]])[:, [0, 2]].T)))
    assert np.abs(heading - own).max() < 15.0
    assert np.ptp(locked[:, BALLS[0]][:, [0, 2]], axis=0).max() < 0.004


def test_the_hips_sink_a_little_and_softly_when_a_leg_is_short():
    fps = 30.0
    motion = at(model(motions.walk(4.0)), fps)
    figure, standing, heights = placed(motion, fps, {})
    figure[..., 1] += 0.03  # the feet float: they must come down
    locked = ground.lock_feet(figure, standing, heights, fps)
    drop = figure[:, 0, 1] - locked[:, 0, 1]
    assert 0.005 < drop.max() < 0.055
    assert drop.min() > -0.03
    assert np.abs(np.diff(drop, 2)).max() * fps**2 < 8.0
    assert ground.measure_ground(locked, standing, heights, fps).floating_mm < 4.0


def test_knees_keep_their_side():
    for name in ("walk", "run", "squat", "turn"):
        motion = model(motions.MOTIONS[name]())
        figure, standing, heights = placed(motion, 20.0, BODIES["long shins"])
        locked = ground.lock_feet(figure, standing, heights, 20.0)
        for side in "lr":
            hip, knee, ankle = (INDEX[f"{side}_{n}"] for n in ("hip", "knee", "ankle"))
            left = rot.unit(locked[:, INDEX["l_hip"]] - locked[:, INDEX["r_hip"]])
            thigh, shin = locked[:, knee] - locked[:, hip], locked[:, ankle] - locked[:, knee]
            assert ((np.cross(thigh, shin) * left).sum(-1) > -1e-4).all()


def test_a_clip_that_already_stands_still_stays_as_it_is():
    still = model(motions.stand())
    standing = ground.contacts(still[:, ground.FEET], 20.0)
    np.testing.assert_allclose(ground.lock_feet(still, standing, heights_of(), 20.0), still, atol=2.5e-3)
    none = np.zeros((len(still), 4), bool)
    np.testing.assert_allclose(ground.lock_feet(still, none, heights_of(), 20.0), still, atol=2.5e-3)
    few = still[:3]
    assert ground.lock_feet(few, none[:3], heights_of(), 20.0).shape == few.shape


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("fps", [24.0, 60.0])
def test_real_motion(shared, body, fps):
    turns, shares, peaks = [], [], []
    for name, clip in real_motions(shared):
        motion = at(clip, fps)
        figure, standing, heights = placed(motion, fps, BODIES[body])
        locked = ground.lock_feet(figure, standing, heights, fps)
        source = ground.slide(motion[:, ground.FEET], fps, standing)
        after = ground.measure_ground(locked, standing, heights, fps)
        assert after.slide_mm < 0.75 * source + 0.2, name
        shares.append(after.slide_mm / max(source, 0.5))
        assert after.floating_mm < 12.0, name
        assert after.penetration_mm < 0.5, name
        np.testing.assert_allclose(lengths(locked), lengths(figure), atol=1e-4)
        turns.append(
            np.degrees([rot.angle_between(figure[:, k] - figure[:, j], locked[:, k] - locked[:, j]) for j, k in LEGS])
        )
        ankles = [np.sqrt((acceleration(x, ANKLES, fps) ** 2).mean()) for x in (figure, locked)]
        peaks.append(ankles[1] / ankles[0])
    turns = np.concatenate([t.ravel() for t in turns])
    assert turns.mean() < 2.0
    assert np.percentile(turns, 95) < 6.0
    assert np.mean(peaks) < 1.1
    assert np.mean(shares) < 0.35


def test_it_is_quick():
    motion = at(motions.walk(20.0), 10.0)
    assert len(motion) == 200
    figure, standing, heights = placed(motion, 20.0, BODIES["long shins"])
    best = {}
    for name, call in {
        "lock": lambda: ground.lock_feet(figure, standing, heights, 20.0),
        "place": lambda: place.root_offset(figure, motion, heights, 20.0),
        "travel": lambda: place.travel(motion, 20.0),
        "loop": lambda: place.loop(motion, 20.0),
        "reach": lambda: reach.reach(figure, motion),
    }.items():
        for _ in range(5):
            began = time.perf_counter()
            call()
            best[name] = min(best.get(name, np.inf), time.perf_counter() - began)
    assert max(best.values()) < 0.02, best  # about 3 ms each on an idle core


# Measuring


def test_ground_measures_what_it_says():
    still = model(motions.stand(2.0))
    standing = np.ones((len(still), 4), bool)
    heights = still[0, ground.FEET, 1]
    fine = ground.measure_ground(still, standing, heights, 20.0)
    assert (fine.slide_mm, fine.floating_share, fine.contact_share) == (0.0, 0.0, 1.0)
    assert fine.floating_mm == pytest.approx(0.0, abs=0.1)
    assert fine.penetration_mm == pytest.approx(0.0, abs=0.1)
    up = ground.measure_ground(lifted(still, 0.05), standing, heights, 20.0)
    assert up.floating_mm == pytest.approx(50.0, abs=0.5)
    assert up.floating_share == 1.0
    down = ground.measure_ground(lifted(still, -0.02), standing, heights, 20.0)
    assert down.penetration_mm == pytest.approx(20.0, abs=0.5)
    for fps in RATES:
        moving = at(still, fps)
        moving[..., 0] += (0.1 * np.arange(len(moving)) / fps)[:, None]  # 0.1 m/s is 5 mm in 1/20 s
        slid = ground.measure_ground(moving, np.ones((len(moving), 4), bool), heights, fps)
        assert slid.slide_mm == pytest.approx(5.0, rel=0.02)


# Placing


@pytest.mark.parametrize("body", BODIES)
def test_bodies_of_other_proportions_stand_where_the_motion_stands(body):
    motion = model(motions.walk(4.0))
    figure, standing, heights = placed(motion, 20.0, BODIES[body])
    elsewhere = reproportioned(motion, **BODIES[body]) + np.array([3.0, 1.0, -2.0])  # its root may be anywhere
    again = elsewhere + place.root_offset(elsewhere, motion, heights, 20.0)[:, None]
    np.testing.assert_allclose(again, figure, atol=1e-9)
    assert ground.measure_ground(figure, standing, heights, 20.0).slide_mm < 4.5
    assert (figure[:, ground.FEET, 1] - heights).min() > -0.02
    way = figure[-1, 0] - figure[0, 0] - motion[-1, 0] + motion[0, 0]
    assert np.abs(way).max() < 0.05 * np.linalg.norm(motion[-1, 0] - motion[0, 0])


def test_a_body_in_the_air_follows_its_hips():
    motion = lifted(motions.stand(2.0), 1.0)
    figure = reproportioned(motion, **BODIES["long shins"])
    figure = figure + place.root_offset(figure, motion, heights_of(), 20.0)[:, None]
    hips = [INDEX["l_hip"], INDEX["r_hip"]]
    np.testing.assert_allclose(figure[:, hips].mean(1)[:, 1], motion[:, hips].mean(1)[:, 1], atol=1e-6)


# The way travelled, in place


def test_travel_is_smooth_and_in_place_keeps_the_sway():
    fps = 30.0
    walk = at(model(motions.walk(6.0)), fps)
    sway = 0.04 * np.sin(2 * np.pi * 0.9 * np.arange(len(walk)) / fps)
    walk[..., 0] += sway[:, None]
    path, yaw = place.travel(walk, fps)
    assert (path[:, 1] == 0.0).all()
    np.testing.assert_allclose(path[[0, -1]][:, [0, 2]], walk[[0, -1], 0][:, [0, 2]], atol=1e-9)
    assert np.abs(yaw).max() < 0.1
    inner = slice(int(fps), -int(fps))
    assert np.ptp(path[inner, 0]) < 0.35 * np.ptp(sway)
    still = place.in_place(walk, fps)
    np.testing.assert_allclose(still[0], walk[0], atol=1e-12)
    np.testing.assert_allclose(still[..., 1], walk[..., 1], atol=1e-12)
    assert np.abs(still[:, 0, [0, 2]] - still[0, 0, [0, 2]]).max() < 0.2
    assert np.ptp(still[inner, 0, 0]) > 0.7 * np.ptp(sway)
    np.testing.assert_allclose(still - still[:, :1], walk - walk[:, :1], atol=1e-9)  # the pose is untouched


def test_travel_round_a_circle():
    circle = motions.turn(6.0, 450.0).astype(np.float64)
    path, yaw = place.travel(circle, 20.0)
    assert np.degrees(yaw[-1] - yaw[0]) == pytest.approx(450.0, abs=12.0)
    assert np.abs(np.diff(yaw, 2)).max() < 0.01
    away = np.linalg.norm((path - circle[:, 0])[20:-20, [0, 2]], axis=-1)
    assert away.max() < 0.15


# Loops


def seam_error(joints: np.ndarray, fps: float) -> tuple[float, float]:
    """How far first and last frame are apart (metres), and their velocities (metres a second), in the root's frame."""
    turn, shift = place.seam(joints)
    apart = np.abs(joints[0] @ turn.T + shift - joints[-1]).max()
    leave, arrive = (joints[1] - joints[0]) @ turn.T, joints[-1] - joints[-2]
    return float(apart), float(np.linalg.norm(leave - arrive, axis=-1).max() * fps)


@pytest.mark.parametrize("fps", [20.0, 60.0])
@pytest.mark.parametrize("name", motions.MOTIONS)
def test_loops_close(name, fps):
    motion = at(model(motions.MOTIONS[name]()), fps)
    again = place.loop(motion, fps)
    assert 0.6 * (len(motion) - 1) <= len(again) - 1 <= len(motion)
    apart, speed = seam_error(again, fps)
    assert apart < 1e-6
    steps = np.linalg.norm(np.diff(motion, 2, axis=0), axis=-1).max() * fps  # the largest change of speed in a frame
    assert speed <= 1.1 * steps + 0.05
    own = np.ptp(lengths(motion), axis=0).max()  # resampling does not keep them quite
    np.testing.assert_allclose(lengths(again), lengths(motion)[:1].repeat(len(again), 0), atol=own + 1e-5)
    jerks = np.linalg.norm(np.diff(again, 2, axis=0), axis=-1).max() * fps
    assert jerks <= 1.1 * steps + 0.05
    assert place.is_loop(again)
    assert again[:, ground.FEET, 1].min() > motion[:, ground.FEET, 1].min() - 0.005


def test_a_loop_of_what_goes_nowhere_ends_where_it_began():
    for name in ("wave", "squat", "jump", "stand", "raise_left_hand"):
        again = place.loop(model(motions.MOTIONS[name]()), 20.0)
        np.testing.assert_allclose(again[-1], again[0], atol=1e-6)


def test_a_walk_is_cut_to_whole_cycles_and_a_turn_keeps_turning():
    walk = place.loop(model(motions.walk(4.0)), 20.0)
    cycles = (len(walk) - 1) / 20.0 * 0.9
    assert cycles == pytest.approx(round(cycles), abs=0.06)
    assert walk[-1, 0, 2] - walk[0, 0, 2] > 2.0
    turn, _ = place.seam(place.loop(model(motions.turn(4.0, 200.0)), 20.0))
    assert abs(np.degrees(np.arctan2(turn[0, 2], turn[0, 0]))) > 60.0


def test_the_middle_of_a_loop_is_the_clips_own():
    wave = model(motions.wave(6.0))
    again = place.loop(wave, 20.0)
    middle = again[len(again) // 2]
    apart = np.linalg.norm(wave - wave[:, :1] - (middle - middle[0]), axis=-1).max(1)
    assert apart.min() < 1e-3


@pytest.mark.parametrize("name", ["walk", "wave", "turn", "squat"])
def test_placing_lock_and_in_place_keep_a_loop_a_loop(name):
    fps = 30.0
    motion = place.loop(at(model(motions.MOTIONS[name]()), fps), fps)
    body = BODIES["long shins"]
    figure = reproportioned(motion, **body)
    figure = figure + place.root_offset(figure, motion, heights_of(), fps, cyclic=True)[:, None]
    assert seam_error(figure, fps)[0] < 1e-6
    standing = ground.contacts(motion[:, ground.FEET], fps)
    locked = ground.lock_feet(figure, standing, heights_of(), fps, cyclic=True)
    apart, speed = seam_error(locked, fps)
    assert apart < 1e-6
    assert speed < seam_error(figure, fps)[1] + 0.25
    np.testing.assert_allclose(lengths(locked), lengths(figure), atol=1e-4)
    before, after = (ground.slide(x[:, ground.FEET], fps, standing) for x in (figure, locked))
    assert after < 0.6 * before + 0.1
    still = place.in_place(locked, fps, cyclic=True)
    np.testing.assert_allclose(still[-1, 0], still[0, 0], atol=1e-6)
    path, yaw = place.travel(locked, fps, cyclic=True)
    turn, _ = place.seam(locked)
    assert np.abs(turn @ (path[1] - path[0]) - (path[-1] - path[-2])).max() * fps < 0.1
    assert abs((yaw[1] - yaw[0]) - (yaw[-1] - yaw[-2])) * fps < 0.3


def test_real_motion_loops(shared):
    for name, clip in real_motions(shared):
        again = place.loop(clip, 20.0)
        apart, speed = seam_error(again, 20.0)
        steps = np.linalg.norm(np.diff(clip, 2, axis=0), axis=-1).max() * 20.0
        assert apart < 1e-6, name
        assert speed < steps + 0.1, name
        assert np.linalg.norm(np.diff(again, 2, axis=0), axis=-1).max() * 20.0 < 1.15 * steps + 0.1, name


# Reach


def test_hands_and_feet_reach_their_places():
    motion = model(motions.wave())
    figure = reproportioned(motion, elbow=0.8, wrist=1.1, shoulder=1.2, knee=0.9, ankle=1.1, hip=1.2)
    placed_ = reach.reach(figure, motion)
    np.testing.assert_allclose(lengths(placed_), lengths(figure), atol=1e-9)
    for first, middle, last in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
        ratio = reach.limb_length(figure, first, middle, last) / reach.limb_length(motion, first, middle, last)
        starts, ends = ([INDEX[f"{s}_{n}"] for s in "lr"] for n in (first, last))

        def places(x, starts=starts, ends=ends):
            return x[:, ends] - x[:, starts].mean(1, keepdims=True)

        off = np.linalg.norm(places(placed_) - ratio * places(motion), axis=-1)
        before = np.linalg.norm(places(figure) - ratio * places(motion), axis=-1)
        assert before.max() > 0.03
        assert off.mean() < 0.012
        assert off.mean() < 0.3 * before.mean()
    for end in (BALLS[0], INDEX["l_elbow"]):
        assert np.isfinite(placed_[:, end]).all()
    np.testing.assert_allclose(placed_[:, BALLS] - placed_[:, ANKLES], figure[:, BALLS] - figure[:, ANKLES], atol=1e-9)


def test_reach_of_the_motions_own_body_changes_nothing():
    for name in ("walk", "wave", "squat"):
        motion = model(motions.MOTIONS[name]())
        np.testing.assert_allclose(reach.reach(motion, motion), motion, atol=2e-3)


def test_only_what_is_asked_for_moves_and_out_of_reach_stays_soft():
    motion = model(motions.wave())
    figure = reproportioned(motion, elbow=0.7, wrist=0.7)
    hands = reach.reach(figure, motion, 1.0, hands=True, feet=False)
    np.testing.assert_array_equal(hands[:, ANKLES], figure[:, ANKLES])
    for side in "lr":  # short arms cannot get there: almost straight, but never past it
        a, b, c = (INDEX[f"{side}_{n}"] for n in ("shoulder", "elbow", "wrist"))
        bend = rot.angle_between(hands[:, b] - hands[:, a], hands[:, c] - hands[:, b])
        assert np.degrees(bend).max() < 120.0
        assert np.degrees(bend).min() > 1.0
    assert acceleration(hands, [INDEX["r_elbow"], INDEX["r_wrist"]], 20.0).max() < 2.0 * max(
        acceleration(figure, [INDEX["r_elbow"], INDEX["r_wrist"]], 20.0).max(), 10.0
    )
