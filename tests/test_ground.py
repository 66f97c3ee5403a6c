"""Feet and floor: contacts, the foot lock and its measures.

On motions the tests make, on bodies of other proportions, at many frame rates, and on real motion where there is any.
"""

from __future__ import annotations

import time

import motions
import numpy as np
import pytest
from bodies import (
    ANKLES,
    BALLS,
    BODIES,
    LEGS,
    RATES,
    acceleration,
    at,
    heights_of,
    lengths,
    lifted,
    model,
    placed,
    real_motions,
    skating_walk,
    smooth_walk,
    tiptoe,
    with_lengths,
)

from mgpt3_blender.rig import ground, place, reach
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.skeleton22 import INDEX

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
            assert np.sqrt((after**2).mean()) < 1.25 * np.sqrt((before**2).mean()) + 1.0


def test_a_foot_set_free_gathers_speed():
    """It leaves its place as slowly as it stood there, though the motion's foot is under way already."""
    fps = 60.0
    motion = smooth_walk(fps)
    figure, standing, heights = placed(motion, fps, {})
    locked = ground.lock_feet(figure, standing, heights, fps)
    speeds = []
    for n, joint in ((1, BALLS[0]), (3, BALLS[1])):
        for t in np.flatnonzero(standing[:-1, n] & ~standing[1:, n] & ~standing[1:, n - 1]):
            speeds.append([np.linalg.norm(x[t + 1, joint] - x[t, joint]) * fps for x in (figure, locked)])
    before, after = np.array(speeds).T
    assert before.mean() > 0.2
    assert after.mean() < 0.75 * before.mean()


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
    assert tiptoe(figure, locked, standing, heights) < 0.2


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
    assert after.penetration_p95_mm < 5.0


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
        assert tiptoe(figure, locked, standing, heights) < 1.0, name
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


def test_it_is_quick(within):
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
        for _ in range(8):
            began = time.process_time()
            call()
            best[name] = min(best.get(name, np.inf), time.process_time() - began)
    for name, seconds in best.items():
        within(seconds, 0.015, name)  # 0.3 to 3 ms each on an idle core


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
