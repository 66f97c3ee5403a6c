"""Left and right in sentences: set right where the motion says otherwise, else left alone."""

from __future__ import annotations

import numpy as np
import pytest
from motions import pose, raise_left_hand, rotation, stand, turn, walk, wave

from core.captions.sides import FOOT, HAND, WAY, claims, corrected, unfounded
from core.skeleton import mirror


def kick(side: str) -> np.ndarray:
    up = np.sin(np.linspace(0, np.pi, 40)) ** 2
    joints = pose({f"{side}_hip": rotation("x", -95 * up)}, 40)
    joints[..., 1] -= joints[..., 1].min()
    return joints.astype(np.float32)


def sideways(way: float) -> np.ndarray:
    joints = stand(2.0)
    joints[..., 0] += np.linspace(0, way, len(joints), dtype=np.float32)[:, None]
    return joints


def mirrored_words(text: str) -> str:
    return text.replace("left", "\0").replace("right", "left").replace("\0", "right")


TRUE = [
    ("a person raises the left hand up", raise_left_hand),
    ("the man slowly lifts his left arm above his head", raise_left_hand),
    ("a person waves the right hand", wave),
    ("a person raises the right arm and waves", wave),
    ("a person walks and turns to the left", lambda: turn(3.0, 90.0)),
    ("a person is walking and makes a 90 degree left turn", lambda: turn(3.0, 90.0)),
    ("a person walks forward, then turns to the right slowly", lambda: turn(3.0, -90.0)),
    ("someone jogs in a circle to the left", lambda: turn(4.0, 300.0)),
    ("a fighter kicks with the left leg", lambda: kick("l")),
    ("a person does a roundhouse kick with the right leg", lambda: kick("r")),
    ("a person side steps to the left", lambda: sideways(1.0)),
    ("a person walks sideways to the right in a sad way", lambda: sideways(-1.0)),
]


@pytest.mark.parametrize(("text", "motion"), TRUE)
def test_what_is_right_stays(text: str, motion) -> None:
    assert corrected(text, motion()) == (text, [])


@pytest.mark.parametrize(("text", "motion"), TRUE)
def test_what_is_wrong_is_set_right(text: str, motion) -> None:
    wrong = mirrored_words(text)
    sentence, changed = corrected(wrong, motion())
    assert sentence == text
    (change,) = changed
    assert change["said"] != change["measured"]
    assert mirrored_words(change["said"]) == change["measured"]


@pytest.mark.parametrize(("text", "motion"), TRUE)
def test_a_mirrored_character_comes_out_right(text: str, motion) -> None:
    assert corrected(text, mirror(motion()))[0] == mirrored_words(text)


def test_what_was_changed_is_told_in_words() -> None:
    assert corrected("a person raises the right hand up", raise_left_hand())[1] == [
        {"said": "right hand", "measured": "left hand"}
    ]
    assert corrected("a person turns right", turn(3.0, 90.0))[1] == [
        {"said": "turn to the right", "measured": "turn to the left"}
    ]
    assert corrected("Right arm raised", raise_left_hand())[0] == "Left arm raised"


@pytest.mark.parametrize(
    ("text", "motion"),
    [
        ("a person waves the left hand", stand),  # nothing is raised: the sentence is wrong, its side is not
        ("a person turns to the right", walk),
        ("a person walks forward", walk),
        ("a person turns to the right, then turns to the left", lambda: turn(3.0, 90.0)),  # which when is not known
        ("a person touches the left elbow to the right knee", raise_left_hand),
        ("a person raises the left hand, then the right hand", wave),
        ("a person looks to the right", lambda: turn(3.0, 90.0)),  # no rule for it
        ("", walk),
    ],
)
def test_what_is_not_clear_is_left_alone(text: str, motion) -> None:
    assert corrected(text, motion()) == (text, [])


@pytest.mark.parametrize(("text", "motion"), TRUE)
def test_a_claim_of_what_is_not_to_be_seen_is_unfounded(text: str, motion) -> None:
    assert not unfounded(text, motion())
    assert unfounded(text, stand(3.0))
    assert unfounded(mirrored_words(text), motion())
    assert not unfounded("a person walks forward", motion())


def test_each_kind_of_side_is_judged_by_itself() -> None:
    text = "a person walks and turns to the right and raises the right hand"
    made = claims(text)
    assert [c.rule.of for c in made] == [WAY, HAND]
    joints = turn(3.0, 90.0)
    sentence, changed = corrected(text, joints)
    assert sentence == "a person walks and turns to the left and raises the right hand"
    assert len(changed) == 1
    assert [c.rule.of for c in claims("kicks with the left leg, then punches with the right hand")] == [FOOT, HAND]


def test_real_captions_are_kept_and_swapped_ones_set_right(shared) -> None:
    from core.train.data import load_bundle, mirror_text

    paths = sorted((shared / "data").rglob("*_joints.npz"))
    assert paths
    kept, fixed, count = 0, 0, 0
    for path in paths:
        for clip in load_bundle(path):
            text = clip.captions[0]
            if clip.split == "train" or not claims(text):
                continue
            wrong = str(mirror_text(text))
            kept += corrected(text, clip.joints) == (text, []) and not unfounded(text, clip.joints)
            fixed += corrected(wrong, clip.joints)[0] == text
            count += 1
    assert count > 100
    assert kept == count
    assert fixed >= 0.98 * count
