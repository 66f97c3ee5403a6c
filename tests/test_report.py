"""The report on a motion: angles, flips, swaps and jerk of motions in which they are known; JSON and words. No bpy."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mgpt3_blender.rig.mapping import Mapping
from mgpt3_blender.rig.report import Report, judge, mirrored, roll_flips, side_swaps
from mgpt3_blender.rig.skeleton22 import INDEX as J
from mgpt3_blender.rig.skeleton22 import JOINTS, NEUTRAL, NEXT
from mgpt3_blender.rig.solve import COMPARED
from tests import motions

PAIRS = [(j, NEXT[j]) for j in COMPARED]


def about_y(degrees: np.ndarray) -> np.ndarray:
    """Turns about a bone's own axis, (T, 3, 3)."""
    return motions.rotation("y", np.asarray(degrees, float))


def hold(frames: int) -> np.ndarray:
    return np.repeat(NEUTRAL[None], frames, axis=0)


def test_a_motion_against_itself_is_perfect():
    walk = motions.walk(3.0)
    told = judge(walk, walk, 20.0, compared=PAIRS)
    assert told.max_deg == pytest.approx(0.0, abs=1e-3)
    assert (told.roll_flips, told.side_swaps) == (0, 0)
    assert told.jerk == pytest.approx(1.0)
    assert {row[1] for row in told.lines() if row[2] == "bad"} == set()


def test_angles_are_those_that_were_put_in():
    walk = motions.walk(2.0).astype(np.float64)
    figure = walk.copy()
    bone = walk[:, J["l_wrist"]] - walk[:, J["l_elbow"]]
    across = np.cross(bone, np.broadcast_to([0.3, 1.0, 0.2], bone.shape))
    across *= np.linalg.norm(bone, axis=-1, keepdims=True) / np.linalg.norm(across, axis=-1, keepdims=True)
    angle = np.radians(np.where(np.arange(len(walk)) < len(walk) // 2, 10.0, 30.0))[:, None]
    figure[:, J["l_wrist"]] = walk[:, J["l_elbow"]] + np.cos(angle) * bone + np.sin(angle) * across
    mapping = Mapping("Test", {"l_elbow": "LeftForeArm"}, {})
    told = judge(walk, figure, 20.0, compared=PAIRS, mapping=mapping)
    assert told.bones["LeftForeArm"] == pytest.approx([20.0, 30.0, 30.0], abs=1e-6)
    assert told.bones["r_elbow"] == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    assert told.mean_deg == pytest.approx(20.0 / len(PAIRS))
    assert told.limb_mean_deg == pytest.approx(20.0 / 8)
    assert told.max_deg == pytest.approx(30.0)


def test_other_sizes_and_bones_of_no_length_change_no_angle():
    walk = motions.walk(1.0)
    figure = walk * 1.3 + [0.0, 0.2, 0.0]
    figure[:, J["neck"]] = figure[:, J["spine3"]]
    told = judge(walk, figure, 20.0, compared=PAIRS)
    assert "spine3" not in told.bones
    assert told.bones["l_knee"][2] < 1e-3


@pytest.mark.parametrize("fps", [10.0, 20.0, 24.0, 30.0, 60.0, 120.0])
def test_a_jump_about_a_bone_is_one_flip_at_any_frame_rate(fps):
    frames = int(2 * fps)
    jump = np.where(np.arange(frames) < frames // 2, 0.0, 179.0)
    spike = np.where(np.arange(frames) == frames // 2, 170.0, 0.0)  # there and back: two jumps, seen as one or two
    figure = hold(frames)
    assert roll_flips({"a": about_y(jump)}, {"a": J["l_elbow"]}, figure, fps) == {"a": 1}
    assert roll_flips({"a": about_y(spike)}, {"a": J["l_elbow"]}, figure, fps)["a"] in (1, 2)
    quick = np.arange(frames) * (600.0 / fps)  # 600 degrees a second is fast, and no flip
    assert roll_flips({"a": about_y(quick)}, {"a": J["l_elbow"]}, figure, fps) == {}
    assert roll_flips({"a": about_y(np.minimum(jump, 85.0))}, {"a": J["l_elbow"]}, figure, fps) == {}


def test_a_bone_that_swings_round_does_not_flip():
    figure = hold(20)
    figure[10:, J["l_wrist"]] = figure[10:, J["l_elbow"]] + [0.0, 0.0, 0.27]  # from the side to the front: 90 degrees
    turn = about_y(np.where(np.arange(20) < 10, 0.0, 170.0))
    assert roll_flips({"a": turn}, {"a": J["l_elbow"]}, figure, 20.0) == {}
    assert roll_flips({"a": turn}, {"a": J["r_elbow"]}, figure, 20.0) == {"a": 1}


@pytest.mark.parametrize("joint", ["head", "l_wrist", "r_foot", "pelvis", None])
def test_hands_head_toes_and_bones_without_a_joint_can_flip_too(joint):
    turn = about_y(np.where(np.arange(20) < 10, 0.0, 170.0))
    plays = {} if joint is None else {"a": J[joint]}
    assert roll_flips({"a": turn}, plays, hold(20), 20.0) == {"a": 1}


def test_a_hand_whose_own_axes_lie_across_it_can_flip_too():
    axes = motions.rotation("x", 90.0)[0]  # the bone's Y is across, the hand turns about another axis
    turn = motions.rotation("x", np.where(np.arange(20) < 10, 0.0, 170.0)) @ motions.rotation("z", 90.0)[0] @ axes
    assert roll_flips({"a": turn}, {"a": J["l_wrist"]}, hold(20), 20.0) == {"a": 1}


@pytest.mark.parametrize("name", ["hip", "knee", "ankle", "shoulder"])
def test_swapped_sides_are_counted_by_frames(name):
    walk = motions.walk(3.0).astype(np.float64)
    figure = walk.copy()
    left, right = J[f"l_{name}"], J[f"r_{name}"]
    figure[5:12, [left, right]] = walk[5:12, [right, left]]
    assert side_swaps(walk, figure)[5:12].all()
    assert side_swaps(walk, figure).sum() == 7
    assert judge(walk, figure, 20.0, compared=PAIRS).side_swaps == 7
    present = np.ones(22, bool)
    present[left] = False
    assert side_swaps(walk, figure, present).sum() == 0


def test_crossed_legs_and_a_turned_chest_are_no_swap():
    crossed = hold(10)
    for name, place in (("l_ankle", -0.1), ("r_ankle", 0.1), ("l_shoulder", -0.2), ("r_shoulder", 0.2)):
        crossed[:, J[name], 0] = place
    figure = crossed * 1.2
    assert side_swaps(crossed, figure).sum() == 0
    assert side_swaps(crossed, hold(10)).all()


def test_a_mapping_with_its_sides_the_wrong_way_round_is_told():
    walk = motions.walk(1.0)
    assert not mirrored(NEUTRAL)
    backwards = NEUTRAL * [-1.0, 1.0, -1.0]  # left called right: it seems to face the other way
    assert mirrored(backwards)
    assert judge(walk, walk, 20.0, compared=PAIRS, rest=backwards).side_swaps == len(walk)
    no_toes = backwards.copy()
    no_toes[J["l_foot"]] = np.nan
    assert not mirrored(no_toes)


def test_jerk_is_told_against_the_motion():
    walk = motions.walk(3.0).astype(np.float64)
    shaken = walk.copy()
    shaken[::2, J["l_wrist"]] += 0.02
    assert judge(walk, shaken, 20.0, compared=PAIRS).jerk > 1.2
    assert judge(walk, walk * 0.5, 20.0, compared=PAIRS).jerk == pytest.approx(0.5)
    assert judge(hold(5), hold(5), 20.0, compared=PAIRS).jerk is None  # nothing moves: nothing to compare


def full_report() -> Report:
    walk = motions.walk(1.0)
    mapping = Mapping("Mixamo", {}, {}, missing=("l_collar",), confidence=0.93, source="names", warnings=("odd",))
    feet = SimpleNamespace(slide_mm=0.6, floating_mm=3.0, floating_share=0.1, penetration_mm=1.0, contact_share=0.5)
    loose = SimpleNamespace(slide_mm=1.2, floating_mm=5.0, floating_share=0.2, penetration_mm=4.0, contact_share=0.5)
    return judge(walk, walk * 1.1, 20.0, compared=PAIRS, mapping=mapping, ground_source=1.9, ground_before=loose,
                 ground_after=feet, warnings=["odd", "late"], milliseconds=31.0)  # fmt: skip


def test_json_and_back():
    told = full_report()
    again = Report.from_json(told.to_json())
    assert again.family == "Mixamo"
    assert again.missing == ("l_collar",)
    assert again.warnings == ("odd", "late")
    assert (again.slide_source_mm, again.slide_before_mm, again.slide_after_mm) == (1.9, 1.2, 0.6)
    assert again.to_json() == told.to_json()
    assert again.lines() == told.lines()


def test_json_has_no_nan():
    text = Report(mean_deg=float("nan"), jerk=float("inf"), bones={"a": [float("nan"), 1.0, 2.0]}).to_json()
    raw = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert raw["mean_deg"] is None
    again = Report.from_json(text)
    assert again.mean_deg is None
    assert again.bones == {}
    again.lines()


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "null", "{", "{}", '{"of_the_future": 3, "family": 7, "frames": "many", "bones": [1], "missing": 4}'],
)
def test_a_damaged_or_foreign_note_gives_an_empty_report(text):
    again = Report.from_json(text)
    assert again == Report()
    assert again.lines()


def test_words_have_units_and_levels():
    rows = {what: (words, level) for what, words, level in full_report().lines()}
    assert rows["Feet slide"] == ("0.6 mm a frame (motion 1.9, before 1.2)", "ok")
    assert rows["Bones off by"][0].startswith("0.0° on average, 0.0° for 95 %")
    assert rows["Bones found"] == ("Mixamo by name, 93 % sure", "ok")
    assert rows["No bone for"] == ("left collarbone", "warn")
    assert rows["Feet float"] == ("3 mm where they should stand (before 5), in the air in 10 % of the frames", "ok")
    assert rows["Time taken"][0] == "31 ms for 20 frames"
    bad = Report(frames=40, roll_flips=2, flipped=("hand.L",), side_swaps=3, slide_after_mm=9.0, slide_source_mm=1.0)
    levels = {what: level for what, _, level in bad.lines()}
    assert levels["Bones that flip over"] == levels["Left and right swapped"] == levels["Feet slide"] == "bad"


def test_judging_200_frames_takes_no_time(within):
    walk = np.tile(motions.walk(5.0), (2, 1, 1)).astype(np.float64)[:200]
    rng = np.random.default_rng(1)
    figure = walk + rng.normal(0.0, 0.01, walk.shape)
    turns = {name: motions.rotation("y", np.arange(200.0)) for name in JOINTS}
    plays = {name: J[name] for name in JOINTS}
    took = []
    for _ in range(9):
        began = time.perf_counter()
        judge(walk, figure, 20.0, compared=PAIRS, orientations=turns, plays=plays, rest=NEUTRAL)
        took.append(time.perf_counter() - began)
    within(min(took), 0.005)
