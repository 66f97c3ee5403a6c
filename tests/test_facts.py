"""What is measured of a motion: true, in anyone's place, heading, size and mirror, and the same keys always."""

from __future__ import annotations

import json

import numpy as np
import pytest
from motions import MOTIONS, jump, lie_down, pose, raise_left_hand, rotation, run, squat, stand, turn, walk, wave

from core.captions import facts
from core.captions.treadmill import travelling
from core.errors import CoreError
from core.skeleton import FPS, mirror

KEYS = {
    "seconds", "distance_m", "path_m", "direction", "turn_deg", "speed_mps", "in_place", "gait_mps", "loops", "raised",
    "contacts", "airborne_s", "highest_m", "arms_mps", "lean_deg", "lowest", "posture",
}  # fmt: skip
SWAP = {"left": "right", "right": "left"}


def elsewhere(joints: np.ndarray, degrees: float = 130.0) -> np.ndarray:
    """The same motion far away, facing elsewhere."""
    turned = np.einsum("tij,tnj->tni", rotation("y", degrees, len(joints)), joints)
    return (turned + np.array([7.0, 0.0, -3.0])).astype(np.float32)


def in_place(joints: np.ndarray) -> np.ndarray:
    out = joints.copy()
    out[..., [0, 2]] -= joints[:, :1, [0, 2]]
    return out


@pytest.mark.parametrize("name", MOTIONS)
def test_every_motion_has_the_same_facts_and_lines(name: str) -> None:
    found = facts.measure(MOTIONS[name]())
    assert set(found) == KEYS
    assert json.loads(json.dumps(found)) == found
    lines = facts.lines(found)
    assert lines[0] == f"{found['seconds']:.1f} s"
    assert all(0 < len(line) < 60 for line in lines)


@pytest.mark.parametrize("name", MOTIONS)
def test_place_and_heading_do_not_matter(name: str) -> None:
    joints = MOTIONS[name]()
    found, moved = facts.measure(joints), facts.measure(elsewhere(joints))
    for key, value in found.items():
        if isinstance(value, float):
            assert moved[key] == pytest.approx(value, abs=0.021), key
        elif isinstance(value, int) and not isinstance(value, bool):
            assert moved[key] == pytest.approx(value, abs=1), key
        elif key != "contacts":
            assert moved[key] == value, key


@pytest.mark.parametrize("name", ["walk", "wave", "raise_left_hand", "turn"])
def test_the_mirror_swaps_the_sides(name: str) -> None:
    joints = MOTIONS[name]()
    found, other = facts.measure(joints), facts.measure(mirror(joints))
    assert other["turn_deg"] == pytest.approx(-found["turn_deg"], abs=1)
    assert other["raised"] == sorted(" ".join(SWAP.get(w, w) for w in r.split()) for r in found["raised"])
    swapped = {" ".join(SWAP.get(w, w) for w in k.split()): v for k, v in found["contacts"].items()}
    assert other["contacts"] == pytest.approx(swapped, abs=0.02)


@pytest.mark.parametrize("size", [0.5, 1.7])
def test_a_giant_and_a_child_do_the_same(size: float) -> None:
    for name, joints in (("walk", walk()), ("jump", jump()), ("wave", wave()), ("squat", squat())):
        found, other = facts.measure(joints), facts.measure(joints * np.float32(size))
        assert other["distance_m"] == pytest.approx(found["distance_m"] * size, abs=0.02), name
        for key in ("direction", "in_place", "raised", "posture", "lowest"):
            assert other[key] == found[key], (name, key)


def test_a_walk() -> None:
    joints = walk(4.0)
    found = facts.measure(joints)
    way = float(np.linalg.norm(joints[-1, 0, [0, 2]] - joints[0, 0, [0, 2]]))
    assert found["seconds"] == pytest.approx((len(joints) - 1) / FPS, abs=0.01)
    assert found["distance_m"] == pytest.approx(way, abs=0.02)
    assert found["direction"] == "forward"
    assert found["speed_mps"] == pytest.approx(way / found["seconds"], rel=0.05)
    assert abs(found["turn_deg"]) <= 3
    assert not found["in_place"]
    assert found["gait_mps"] == 0.0
    assert found["raised"] == []
    assert 0.3 < found["contacts"]["left foot"] < 0.8
    assert found["posture"] == "standing"
    assert f"{found['distance_m']:.1f} m forward" in facts.lines(found)


@pytest.mark.parametrize(
    ("degrees", "way"), [(0, "forward"), (90, "left"), (180, "backward"), (-90, "right"), (45, "forward and left")]
)
def test_ways(degrees: float, way: str) -> None:
    """Somebody who glides along without turning."""
    joints = stand(2.0)
    path = np.linspace(0, 3, len(joints))
    joints[..., 0] += path[:, None] * np.float32(np.sin(np.radians(degrees)))
    joints[..., 2] += path[:, None] * np.float32(np.cos(np.radians(degrees)))
    found = facts.measure(elsewhere(joints, 70.0))
    assert found["direction"] == way
    assert found["distance_m"] == pytest.approx(3.0, abs=0.05)
    assert found["turn_deg"] == 0


def test_a_turn_past_half_a_turn() -> None:
    found = facts.measure(turn(4.0, 450.0))
    assert found["turn_deg"] == pytest.approx(450, rel=0.05)
    assert facts.measure(turn(4.0, -200.0))["turn_deg"] == pytest.approx(-200, rel=0.05)
    assert any("left" in line for line in facts.lines(found))


def test_standing_still_is_in_place_with_both_feet_down() -> None:
    found = facts.measure(stand())
    assert found["in_place"]
    assert found["direction"] == "in place"
    assert found["path_m"] == 0
    assert found["contacts"] == {"left foot": 1.0, "right foot": 1.0}
    assert not found["loops"], "nothing moves"


def test_raised_hands() -> None:
    assert facts.measure(wave())["raised"] == ["right hand"]
    found = facts.measure(raise_left_hand())
    assert found["raised"] == ["left hand"]
    assert "left hand raised" in facts.lines(found)
    assert facts.measure(walk())["raised"] == []
    assert facts.measure(run())["raised"] == []


def test_a_kick_raises_the_foot() -> None:
    frames = 40
    up = np.sin(np.linspace(0, np.pi, frames)) ** 2
    joints = pose({"r_hip": rotation("x", -95 * up)}, frames)
    joints[..., 1] -= joints[..., 1].min()
    assert facts.measure(joints)["raised"] == ["right foot"]


def test_a_jump_a_squat_and_lying_down() -> None:
    up = facts.measure(jump())
    assert 0.2 < up["airborne_s"] < 0.8
    assert facts.measure(squat())["airborne_s"] == 0
    down = facts.measure(squat())
    assert down["lowest"] < 0.8
    assert down["posture"] == "standing"
    flat = facts.measure(lie_down())
    assert flat["posture"] == "lying"
    assert flat["lowest"] < 0.3
    assert flat["lean_deg"] > 75


def test_loops() -> None:
    period = round(FPS / 0.9)  # of motions.walk
    joints = walk(6.0)[10:]
    assert facts.measure(joints[: 3 * period + 1])["loops"]
    assert not facts.measure(joints[: 2 * period + period // 2 + 1])["loops"]


def test_a_walk_in_place_is_a_walk() -> None:
    joints = walk(4.0)
    here = in_place(joints)
    found = facts.measure(here)
    assert found["in_place"]
    assert found["distance_m"] == 0
    assert found["gait_mps"] == pytest.approx(facts.measure(joints)["speed_mps"], rel=0.25)
    assert any("steps of" in line for line in facts.lines(found))
    shown, gait = travelling(here)
    assert gait > 0
    way = shown[-1, 0, 2] - shown[0, 0, 2]
    assert way == pytest.approx(joints[-1, 0, 2] - joints[0, 0, 2], rel=0.25)
    assert abs(shown[-1, 0, 0]) < 0.3


def test_a_circle_walked_in_place_closes() -> None:
    here = in_place(turn(4.0, 360.0))
    shown, gait = travelling(here)
    way = np.linalg.norm(np.diff(shown[:, 0, [0, 2]], axis=0), axis=-1).sum()
    assert gait > 1
    assert np.linalg.norm(shown[-1, 0] - shown[0, 0]) < 0.15 * way


@pytest.mark.parametrize("name", ["walk", "run", "stand", "wave", "raise_left_hand", "squat", "jump", "turn"])
def test_only_who_walks_in_place_is_put_on_a_way(name: str) -> None:
    joints = MOTIONS[name]()
    shown, gait = travelling(joints)
    assert gait == 0
    assert shown is joints


def test_no_real_motion_is_taken_for_a_treadmill(shared) -> None:
    """Captured people move through the world."""
    from core.train.data import load_bundle

    clips = load_bundle(shared / "data" / "permissive" / "cmu_joints.npz")
    assert len(clips) > 100
    changed = [c.id for c in clips if travelling(c.joints)[1]]
    assert len(changed) <= 0.02 * len(clips), changed


def test_real_captions_hold(shared) -> None:
    """What captions say of way, turn and hands is what is measured, of clips whose captions say it."""
    from core.train.data import load_bundle

    clips = load_bundle(shared / "data" / "noncommercial" / "bandai_joints.npz")
    wanted = {
        "a person walks forward": lambda f: f["direction"] == "forward" and not f["in_place"],
        "a person walks and turns left": lambda f: f["turn_deg"] > 45,
        "a person walks and turns right": lambda f: f["turn_deg"] < -45,
        "a person raises the left hand up": lambda f: f["raised"] == ["left hand"],
        "a person raises the right hand up": lambda f: f["raised"] == ["right hand"],
    }
    for caption, holds in wanted.items():
        found = [facts.measure(c.joints) for c in clips if c.captions[0] == caption][:30]
        assert len(found) >= 10, caption
        assert np.mean([holds(f) for f in found]) >= 0.75, caption


def test_what_is_no_motion_is_refused() -> None:
    with pytest.raises(CoreError):
        facts.measure(np.zeros((5, 21, 3)))
