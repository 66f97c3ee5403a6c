"""Bones found by shape alone: random humanoids with every oddity of real rigs, animals refused, facing, warnings."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from mgpt3_blender.errors import RigError
from mgpt3_blender.rig.anatomy import Anatomy, contradictions, facing, find_body
from mgpt3_blender.rig.skeleton22 import NEEDED
from mgpt3_blender.rig.tree import Tree, plain_tree
from mgpt3_blender.rig.words import hints, side
from tests.humanoids import LIMBS, Humanoid, about, humanoid

OTHER = {joint: {"l": "r", "r": "l"}[joint[0]] + joint[1:] for joint in LIMBS}


def indices(body: Humanoid, found: Anatomy) -> dict[str, int]:
    return {joint: body.tree.index[bone] for joint, bone in found.bones.items()}


def wrong(body: Humanoid, found: dict[str, int], joints: tuple[str, ...] = ()) -> list[str]:
    """Joints whose bone is not the right one."""
    return [
        joint
        for joint, right in body.truth.items()
        if found.get(joint) not in right and (joint in joints or not joints)
    ]


def found_or_none(tree: Tree) -> Anatomy | None:
    try:
        return find_body(tree)
    except RigError:
        return None


def test_random_humanoids_are_understood() -> None:
    """400 characters of all kinds: 99 % of limb joints right, 98 % of characters wholly right, no side wrong."""
    limbs = spoilt = flipped = 0
    missed: Counter[str] = Counter()
    for seed in range(5000, 5400):
        body = humanoid(seed)
        found = found_or_none(body.tree)
        if found is None:
            limbs, spoilt = limbs + 12, spoilt + 1
            missed["no body"] += 1
            continue
        index = indices(body, found)
        bad = wrong(body, index)
        if not body.sides_show and bad:  # nothing in the shape tells left from right: either is right
            mirrored = {OTHER.get(j, j.replace("l_", "r_") if j[0] == "l" else j.replace("r_", "l_")): i
                        for j, i in index.items()}  # fmt: skip
            bad = min(bad, wrong(body, mirrored), key=len)
        elif body.sides_show:
            flipped += float(found.forward @ body.forward) < 0.0
        missed.update(bad)
        limbs += sum(joint in LIMBS for joint in bad)
        spoilt += bool(bad)
    assert flipped == 0
    assert limbs <= 0.01 * 400 * 12, f"{limbs} limb joints of {400 * 12} wrong: {missed}"
    assert spoilt <= 0.02 * 400, f"{spoilt} characters of 400 with a wrong joint: {missed}"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_spine_of_any_length(count: int) -> None:
    body = humanoid(11, spine=count, neck=1, pelvis="plain", **PLAIN)
    found = find_body(body.tree)
    assert [body.tree.index[bone] for bone in found.spine] == body.spine
    assert [body.tree.index[bone] for bone in found.neck] == body.neck
    joints = {1: ["spine1"], 2: ["spine1", "spine3"]}.get(count, ["spine1", "spine2", "spine3"])
    assert [joint for joint in found.bones if joint.startswith("spine")] == joints
    assert not wrong(body, indices(body, found))


PLAIN = {"style": "human", "hair": (), "ik": "none", "skirt": False, "cape": False, "tail": False, "weapon": False,
         "sleeves": False, "names": "hash", "toes": "one", "arm twist": "none", "leg twist": "none", "noise": 0.0,
         "posed arm": "no", "ears": False, "pack": False, "zero spine": False, "zero collar": False}  # fmt: skip


@pytest.mark.parametrize("neck", [0, 1, 2, 3])
def test_necks(neck: int) -> None:
    body = humanoid(12, spine=3, neck=neck, **PLAIN, **{"head base": 0.2, "neck length": 0.2, "neck base": 0.03})
    found = find_body(body.tree)
    assert len(found.neck) == neck
    assert ("neck" in found.bones) == (neck > 0)
    assert not wrong(body, indices(body, found))


@pytest.mark.parametrize("pelvis", ["plain", "hip bones", "side branch", "biped"])
def test_ways_of_hanging_the_legs(pelvis: str) -> None:
    """Thighs on the pelvis, on hip bones, on a branch beside the spine, on the first spine bone (3ds Max Biped)."""
    body = humanoid(13, spine=3, neck=1, waist=0.18, pelvis=pelvis, root=True, **PLAIN)
    found = find_body(body.tree)
    assert not wrong(body, indices(body, found))
    assert body.tree.index[found.root] == body.root


@pytest.mark.parametrize("names", ["hash", "bone", "german", "french", "russian", "japanese", "swapped"])
def test_names_make_no_difference(names: str) -> None:
    body = humanoid(14, **{**PLAIN, "names": names, "fingers": 5})
    found = find_body(body.tree)
    assert not wrong(body, indices(body, found))
    assert found.confidence > 0.8
    assert all(found.joint_confidence[joint] > 0.6 for joint in NEEDED)
    assert all(0.0 <= value <= 1.0 for value in found.joint_confidence.values())


def turned(tree: Tree, turn: np.ndarray, scale: float = 1.0) -> Tree:
    return plain_tree(tree.names, tree.parents, tree.heads @ turn.T * scale, tree.tails @ turn.T * scale)


@pytest.mark.parametrize("turn", [np.eye(3), about([1, 0, 0], 90), about([1, 0, 0], -90), about([0, 1, 0], 90),
                                  about([1, 0, 0], 180), about([1, 2, 3], 77)])  # fmt: skip
def test_any_axis_may_be_up_or_front(turn: np.ndarray) -> None:
    body = humanoid(15, **PLAIN, turned="no")
    found = find_body(turned(body.tree, turn, 100.0))
    assert found.up @ turn @ body.up > 0.97
    assert found.forward @ turn @ body.forward > 0.97
    assert not wrong(body, indices(body, found))


def plain_mapping(body: Humanoid) -> dict[str, str]:
    return {joint: body.tree.names[min(bones)] for joint, bones in body.truth.items()}


def test_facing_of_a_mapping_does_not_depend_on_its_sides() -> None:
    body = humanoid(16, **{**PLAIN, "knee bend": 8.0})
    bones = plain_mapping(body)
    swapped = {
        joint.replace("l_", "r_") if joint[:2] == "l_" else joint.replace("r_", "l_"): b for joint, b in bones.items()
    }
    for mapping in (bones, swapped):
        forward, sure = facing(body.tree, mapping)
        assert forward @ body.forward > 0.97
        assert sure > 0.8


def test_facing_that_cannot_be_seen_follows_the_names_and_says_so() -> None:
    """Straight limbs, no feet: the names' left and right, without them -Y as in Blender; little confidence."""
    shape = {**PLAIN, "toes": "none", "knee bend": 0.0, "elbow bend": 0.0, "fingers": "none", "face": False,
             "neck": 0, "tails": "none", "turned": "no", "rest": "T", "arms down": 0.0}  # fmt: skip
    for names, towards in (("english", 1.0), ("swapped", -1.0), ("hash", 1.0)):
        body = humanoid(17, **{**shape, "names": names})
        found = find_body(body.tree)
        assert towards * (found.forward @ body.forward) > 0.97, names
        assert any("which way" in warning for warning in found.warnings)
        _, sure = facing(body.tree, found.bones)
        assert sure < 0.4


def test_facing_of_too_little_is_nothing() -> None:
    body = humanoid(16, **PLAIN)
    forward, sure = facing(body.tree, {"pelvis": body.tree.names[0]})
    assert sure == 0.0
    assert not forward.any()


def test_contradictions() -> None:
    body = humanoid(18, **{**PLAIN, "root": True})
    found = find_body(body.tree)
    right = plain_mapping(body)
    assert contradictions(body.tree, right, found) == ()
    swapped = {
        joint.replace("l_", "r_") if joint[:2] == "l_" else joint.replace("r_", "l_"): b for joint, b in right.items()
    }
    said = contradictions(body.tree, swapped, found)
    assert len(said) == 1
    assert "swapped" in said[0]
    shifted = {**right, "l_elbow": right["l_wrist"]}
    said = contradictions(body.tree, shifted, found)
    assert len(said) == 1
    assert "left forearm" in said[0]
    assert right["l_wrist"] in said[0]
    assert right["l_elbow"] in said[0]
    assert contradictions(body.tree, {**right, "r_knee": "no such bone"}, found) == ()


def chains(*parts: tuple[int, list[tuple[float, float, float]]]) -> Tree:
    """A tree of chains: (parent of the first bone, heads)."""
    parents, heads = [], []
    for parent, places in parts:
        for i, place in enumerate(places):
            parents.append(parent if i == 0 else len(heads) - 1)
            heads.append(place)
    return plain_tree([f"b{i}" for i in range(len(heads))], parents, np.array(heads, float).reshape(-1, 3))


def dog() -> Tree:
    spine = [(0, 0.4 - 0.12 * i, 0.6 + 0.01 * i) for i in range(7)]
    tree = [(-1, spine), (6, [(0, -0.4, 0.72), (0, -0.5, 0.8), (0, -0.65, 0.8)]), (0, [(0, 0.5, 0.6), (0, 0.65, 0.5)])]
    for x in (0.09, -0.09):
        tree.append((0, [(x, 0.38, 0.58), (x, 0.33, 0.36), (x, 0.45, 0.16), (x, 0.4, 0.03), (x, 0.35, 0.01)]))
        tree.append((6, [(x, -0.2, 0.62), (x, -0.28, 0.45), (x, -0.2, 0.3), (x, -0.2, 0.08), (x, -0.24, 0.01)]))
    return chains(*tree)


def random_dog(seed: int) -> Tree:
    """Four legs under a body that slopes, with a neck, a tail or none; lying along any axis."""
    rng = np.random.default_rng(seed)
    long, high, slope = rng.uniform(0.4, 1.2), rng.uniform(0.3, 1.0), np.radians(rng.uniform(-15, 20))
    count, base = int(rng.integers(3, 8)), np.array([0, 0.3, high])
    spine = [base + np.array([0, -np.cos(slope), np.sin(slope)]) * long * i / count for i in range(count)]
    rise = np.array([0, -rng.uniform(0.3, 1.0), 1.0]) * 0.13
    tree = [(-1, spine), (count - 1, [spine[-1] + rise * (i + 1) for i in range(int(rng.integers(2, 5)))])]
    if rng.random() < 0.7:
        tree.append((0, [base + np.array([0, 0.1, -0.03]) * (i + 1) for i in range(int(rng.integers(2, 7)))]))
    bend, wide = rng.uniform(-0.15, 0.15, 4) * high, rng.uniform(0.05, 0.15)
    for x in (wide, -wide):
        for bone, a, b in ((0, bend[0], bend[1]), (count - 1, bend[2], bend[3])):
            top = spine[bone] + [x, 0, -0.03]
            rows = [(0, 1.0), (a, 0.63), (b + 0.05, 0.32), (b, 0.05), (b - 0.06, 0.0)]
            tree.append((bone, [(x, top[1] + y, top[2] * z) for y, z in rows]))
    return turned(chains(*tree), about(rng.normal(size=3), rng.uniform(0, 180) * (seed % 2)))


def test_random_quadrupeds_are_refused() -> None:
    taken = [found for seed in range(150) if (found := found_or_none(random_dog(seed))) is not None]
    assert len(taken) <= 3
    assert all(found.confidence < 0.6 for found in taken)


def spider() -> Tree:
    tree = [(-1, [(0, 0, 0.3), (0, 0.3, 0.35)]), (0, [(0, -0.2, 0.3)])]
    for x in (1, -1):
        for y in (-0.3, -0.1, 0.1, 0.3):
            tree.append((0, [(0.1 * x, y, 0.3), (0.4 * x, 2 * y, 0.6), (0.8 * x, 3 * y, 0.2), (0.9 * x, 3.2 * y, 0)]))
    return chains(*tree)


def hand() -> Tree:
    tree = [(-1, [(0, 0, 0), (0, 0, 0.25)])]
    for i in range(5):
        tree.append((1, [((i - 2) * 0.02, 0, 0.33 + 0.04 * j) for j in range(4)]))
    return chains(*tree)


def robot_arm() -> Tree:
    return chains((-1, [(0, 0, 0.2 * i) for i in range(12)]))


@pytest.mark.parametrize("make", [dog, spider, hand, robot_arm])
def test_what_is_no_humanoid_is_refused(make) -> None:
    with pytest.raises(RigError) as caught:
        find_body(make())
    assert caught.value.code == "no_body"
    assert caught.value.remedy


def test_nothing_and_nonsense_are_refused() -> None:
    for count in (0, 1, 3, 40):  # no bones, one, few, all in one place
        tree = plain_tree([f"b{i}" for i in range(count)], list(range(-1, count - 1)), np.zeros((count, 3)))
        with pytest.raises(RigError) as caught:
            find_body(tree)
        assert caught.value.code == "no_body"
    rng = np.random.default_rng(0)
    for _ in range(20):  # random trees
        parents = [-1, *(int(rng.integers(0, i)) for i in range(1, 40))]
        found = found_or_none(plain_tree([f"b{i}" for i in range(40)], parents, rng.normal(size=(40, 3))))
        assert found is None or found.confidence < 0.6


def test_ik_helpers_do_not_disturb() -> None:
    for kind in ("loose", "root"):
        body = humanoid(19, **{**PLAIN, "ik": kind, "root": True})
        assert not wrong(body, indices(body, find_body(body.tree)))


def test_deforming_bones_of_a_control_rig_come_first() -> None:
    """Every limb bone hangs loose and deforms; controls that do not deform lie about it in a tree of their own."""
    body = humanoid(20, **{**PLAIN, "fingers": "none", "turned": "upright", "root": False, "tails": "true"})
    tree = body.tree
    count = len(tree.names)
    heads, tails = np.concatenate([tree.heads, tree.heads]), np.concatenate([tree.tails, tree.tails])
    parents = [
        *tree.parents,
        *(-1 if i in cut(body) else p + count if p >= 0 else -1 for i, p in enumerate(tree.parents)),
    ]
    names = [f"ctl{i}" for i in range(count)] + [f"def{i}" for i in range(count)]
    deform = np.arange(2 * count) >= count
    found = find_body(plain_tree(names, parents, heads, tails, deform=deform))
    index = {joint: int(bone.removeprefix("def")) for joint, bone in found.bones.items()}
    assert not wrong(body, index)


def cut(body: Humanoid) -> set[int]:
    """Thighs, upper arms: the bones that Rigify leaves without a deforming parent."""
    return {min(body.truth[f"{s}_{j}"]) for s in "lr" for j in ("hip", "shoulder", "knee")}


def test_speed(within: Callable[..., None]) -> None:
    """Well under 15 ms for a game skeleton."""
    body = humanoid(21, **{**PLAIN, "fingers": 5, "finger bones": 3})
    assert 50 <= len(body.tree.names) <= 80
    times = []
    for _ in range(15):
        start = time.perf_counter()
        find_body(body.tree)
        times.append(time.perf_counter() - start)
    within(float(np.median(times)), 0.03)


def test_words() -> None:
    assert hints("control-foot-roll.l") == {"helper", "twist", "left"}
    assert "twist" in hints("mixamorig:LeftForeArmTwist")
    assert side("mixamorig:LeftHand") == 1
    assert side("upper_arm.R") == -1
    assert side("左腕") == 1
    assert side("Unterarm_rechts") == -1
    assert side("предплечье_прав") == -1
    assert side("Spine") == 0
    assert side("roll") == 0
    assert hints("Bone.001") == frozenset()
