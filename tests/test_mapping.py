"""Names, shape and what was set by hand, together: which bone plays which joint in the end. No Blender."""

from __future__ import annotations

import numpy as np
import pytest

from mgpt3_blender.errors import RigError, UserError
from mgpt3_blender.rig.mapping import (
    WORDS,
    Chosen,
    Mapping,
    check_mapping,
    find_mapping,
    presets,
)
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, NEEDED, PARENTS
from mgpt3_blender.rig.tree import Tree, plain_tree
from tests import rigs


def tree(names: dict[str, str], more: dict[str, tuple[str, tuple[float, float, float]]] | None = None) -> Tree:
    """A body with these names. `more`: further bone -> (parent's name, offset from its head)."""
    positions = rigs.heads(40.0)
    order = [joint for joint in JOINTS if joint in names]
    listed, parents, heads = [], [], []
    for joint in order:
        above = PARENTS[INDEX[joint]]
        while above >= 0 and JOINTS[above] not in names:
            above = PARENTS[above]
        listed.append(names[joint])
        parents.append(order.index(JOINTS[above]) if above >= 0 else -1)
        heads.append(positions[joint])
    for bone, (parent, offset) in (more or {}).items():
        parents.append(listed.index(parent))
        listed.append(bone)
        heads.append(heads[parents[-1]] + np.array(offset))
    return plain_tree(listed, parents, np.array(heads))


MIXAMO = rigs.names_of("Mixamo")
SILENT = {joint: f"b{(7 * i) % 22:02d}" for i, joint in enumerate(JOINTS)}
HEAD_END = {"head_end": ("Head", (0.0, 0.0, 0.2))}


def test_a_family_is_taken_by_its_names_and_the_shape_agrees():
    mapping = find_mapping(tree(MIXAMO, HEAD_END))
    assert (mapping.preset, mapping.source, mapping.warnings) == ("Mixamo", "names", ())
    assert mapping.bones == MIXAMO
    assert mapping.spine == ("Spine", "Spine1", "Spine2")
    assert mapping.confidence > 0.95


def test_names_that_say_nothing_leave_it_to_the_shape():
    mapping = find_mapping(tree(SILENT, {"b99": (SILENT["head"], (0.0, 0.0, 0.2))}))
    assert (mapping.preset, mapping.source) == ("Unknown", "shape")
    assert mapping.bones == SILENT
    assert 0.5 < mapping.confidence <= 1.0


def test_names_that_are_partly_foreign_are_filled_in_by_the_shape():
    names = {**MIXAMO, "l_knee": "shinbone", "r_knee": "othershin", "l_wrist": "grip"}
    mapping = find_mapping(tree(names, HEAD_END))
    assert mapping.bones == names
    assert mapping.source == "names and shape"
    assert check_mapping(mapping) is mapping


def test_toes_that_the_family_does_not_name_are_found():
    names = {**MIXAMO, "l_foot": "zeh.a", "r_foot": "zeh.b"}
    assert find_mapping(tree(names, HEAD_END)).bones == names


def test_left_and_right_go_by_the_feet_and_the_swap_is_said():
    other = {"l": "r", "r": "l"}
    swapped = {j: MIXAMO[other[j[0]] + j[1:]] if j[1] == "_" else name for j, name in MIXAMO.items()}
    mapping = find_mapping(tree(swapped, HEAD_END))
    assert mapping.bones == swapped  # "RightArm" is on the left of this body and plays the left arm
    assert any("left" in text and "right" in text for text in mapping.warnings)


def test_without_toes_the_names_are_believed():
    other = {"l": "r", "r": "l"}
    names = {j: n for j, n in MIXAMO.items() if j[2:] != "foot"}
    swapped = {j: names[other[j[0]] + j[1:]] if j[1] == "_" else name for j, name in names.items()}
    assert find_mapping(tree(swapped)).bones == names


@pytest.mark.parametrize("names", [MIXAMO, SILENT], ids=["names", "shape"])
def test_what_was_set_by_hand_is_stronger(names):
    body = tree(names, {"grip": (names["l_wrist"], (0.05, 0.0, 0.0)), "top": (names["head"], (0.0, 0.0, 0.2))})
    mapping = find_mapping(body, Chosen({"l_wrist": "grip"}, frozenset({"neck", "l_foot"})))
    assert mapping.bones["l_wrist"] == mapping.deform["l_wrist"] == "grip"
    assert not {"neck", "l_foot"} & set(mapping.bones)
    assert {"neck", "l_foot"} <= set(mapping.missing)
    assert mapping.neck == ()
    assert mapping.source == "yours"
    rest = set(JOINTS) - {"l_wrist", "neck", "l_foot"}
    assert {joint: mapping.bones[joint] for joint in rest} == {joint: names[joint] for joint in rest}


def test_a_bone_set_by_hand_plays_no_second_joint_and_one_that_is_gone_counts_for_nothing():
    body = tree(MIXAMO, HEAD_END)
    mapping = find_mapping(body, Chosen({"l_collar": "LeftArm", "r_knee": "deleted"}))
    assert mapping.bones["l_collar"] == "LeftArm"
    assert "l_shoulder" not in mapping.bones
    assert mapping.bones["r_knee"] == "RightLeg"
    assert mapping.needed_missing == ("l_shoulder",)


def test_a_spine_set_by_hand_is_the_spine():
    mapping = find_mapping(tree(MIXAMO, HEAD_END), Chosen({"spine1": "Spine1"}, frozenset({"spine2"})))
    assert mapping.spine == ("Spine1", "Spine2")


def test_the_ground_bone_is_found_and_may_be_set_or_left_out():
    names = {**MIXAMO}
    body = tree(names, HEAD_END)
    with_root = plain_tree(
        ["ground", *body.names],
        [-1, *(p + 1 for p in body.parents)],
        np.concatenate([[[0.0, 0.0, 0.0]], body.heads]),
    )
    assert find_mapping(with_root).root == "ground"
    assert find_mapping(with_root, Chosen(root="")).root is None
    assert find_mapping(body, Chosen(root="head_end")).root == "head_end"


def test_needed_bones_that_are_missing_are_named_in_words_with_a_remedy():
    names = {joint: name for joint, name in MIXAMO.items() if joint[2:] not in ("wrist", "elbow")}
    with pytest.raises(RigError) as error:
        check_mapping(find_mapping(tree(names, HEAD_END)))
    assert error.value.code in ("missing_bones", "unknown_rig")
    assert "Bone Map" in error.value.remedy
    if error.value.code == "missing_bones":
        assert "left forearm" in error.value.message


def test_something_that_is_no_body_is_refused():
    chain = plain_tree([f"b{i}" for i in range(12)], range(-1, 11), np.arange(36.0).reshape(12, 3))
    with pytest.raises(UserError) as error:
        check_mapping(find_mapping(chain))
    assert error.value.code == "unknown_rig"
    assert error.value.remedy


def test_every_needed_joint_has_a_word():
    assert set(JOINTS) <= set(WORDS)
    assert set(NEEDED) <= set(WORDS)


def test_presets_are_complete():
    for preset in presets():
        assert set(NEEDED) <= set(preset["joints"]) or preset["spine"], preset["name"]


def test_needed_missing_of_an_empty_mapping_is_everything_needed():
    assert set(Mapping("", {}, {}).needed_missing) == {*NEEDED, "spine"}
