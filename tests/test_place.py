"""A body on the floor: placed by its feet, the way it travels, in place, loops, hands and feet in their places."""

from __future__ import annotations

import motions
import numpy as np
import pytest
from bodies import (
    ANKLES,
    BALLS,
    BODIES,
    acceleration,
    at,
    heights_of,
    lengths,
    lifted,
    model,
    placed,
    real_motions,
    reproportioned,
)

from mgpt3_blender.rig import ground, place, reach
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.skeleton22 import INDEX

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
    assert np.abs(turn @ (path[1] - path[0]) - (path[-1] - path[-2])).max() * fps < 0.2
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
        assert before.max() > 0.008
        assert off.mean() < 0.01
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
        own = rot.angle_between(figure[:, b] - figure[:, a], figure[:, c] - figure[:, b])
        assert (np.degrees(bend) > np.minimum(np.degrees(own), 1.0) - 1e-3).all()
    assert acceleration(hands, [INDEX["r_elbow"], INDEX["r_wrist"]], 20.0).max() < 2.0 * max(
        acceleration(figure, [INDEX["r_elbow"], INDEX["r_wrist"]], 20.0).max(), 10.0
    )
