"""Rig families recognised by bone names: presets, prefixes, duplicates, near relatives, own presets. No Blender."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgpt3_blender.rig.families import load_presets, match_names, presets
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, NEEDED, PARENTS, SPINE
from mgpt3_blender.rig.tree import Tree, plain_tree
from tests import rigs

NAMES = [preset["name"] for preset in presets()]
SHARED = [entry for entry in rigs.shared_rigs() if entry["file"].endswith((".bvh", ".glb"))]

Parents = dict[str, str | None]


def preset(name: str) -> dict[str, Any]:
    return next(p for p in presets() if p["name"] == name)


def controls(p: dict[str, Any]) -> bool:
    return len(p["deform"]) == len(p["joints"])


def make(parents: Parents, rename=lambda name: name) -> Tree:
    names = list(parents)
    index = {name: i for i, name in enumerate(names)}
    above = [index[parent] if parent is not None else -1 for parent in parents.values()]
    return plain_tree([rename(name) for name in names], above, np.zeros((len(names), 3)))


def body(joints: dict[str, str], spine: list[str], neck: list[str], root: str | None = None) -> Parents:
    """Bone -> parent of a body whose chains may have more bones than the 22 joints."""
    out: Parents = {root: None} if root else {}
    chains = {"pelvis": [joints["pelvis"]], "spine3": spine, "neck": neck, "head": [joints["head"]]}
    above = root
    for chain in chains.values():
        for bone in chain:
            out[bone] = above
            above = bone
    for joint in [j for j in JOINTS if j in joints and j not in (*chains, *SPINE)]:
        parent = PARENTS[INDEX[joint]]
        while JOINTS[parent] not in joints and JOINTS[parent] not in SPINE:
            parent = PARENTS[parent]
        over = JOINTS[parent]
        out[joints[joint]] = spine[-1] if over in SPINE else joints[over]
    return out


def family(p: dict[str, Any], leave_out: tuple[str, ...] = ()) -> Parents:
    """All bones that a preset names first, hung together as its joints are."""
    joints = {j: listed[0] for j, listed in p["joints"].items() if j.split("_")[-1] not in leave_out}
    spine = [listed[0] for listed in p["spine"]]
    neck = [listed[0] for listed in p["neck"]] if "neck" not in leave_out else []
    root = p["root"][0][0] if p["root"] and p["root"][0][0] not in joints.values() else None
    out = body(joints, spine, neck, root)
    if controls(p):
        out = dict.fromkeys(out, root) | {root: None}
        skeleton = {joint: listed[0] for joint, listed in p["deform"].items() if joint in joints}
        chain = [listed[0] for listed in p["deform_spine"]]
        carried = body(skeleton, chain, [listed[0] for listed in p["deform_neck"]])
        out |= {bone: parent or root for bone, parent in carried.items()}
    for (letter, _), chain in p["fingers"].items():
        above = joints[f"{letter}_wrist"]
        for listed in chain:
            out[listed[0]] = above
            above = listed[0]
    ik = p["ik"]
    more = [listed[0] for listed in p["signature"]] + [listed[0] for listed in p["deform"].values()]
    more += [*p["also"], *p["hold"], *(switch["bone"] for switch in p["switches"])]
    more += [*ik.get("controls", ()), *ik.get("poles", ()), *ik.get("keep", ()), *ik.get("hold", ())]
    second = {name for listed in p["joints"].values() for name in listed[1:]}  # "toe.L" where "toe_fk.L" is another's
    for name in (name for name in more if name not in second):
        out.setdefault(name, joints["pelvis"])
    return out


def expected(p: dict[str, Any], leave_out: tuple[str, ...] = ()) -> dict[str, str]:
    return {j: listed[0] for j, listed in p["joints"].items() if j.split("_")[-1] not in leave_out}


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", presets(), ids=NAMES)
def test_a_preset_is_complete_and_agrees_with_itself(p):
    joints = p["joints"]
    assert set(NEEDED) <= set(joints)
    assert any(joint in joints for joint in SPINE)
    first = [listed[0] for listed in joints.values()]
    assert len(set(first)) == len(first), "one bone plays two joints"
    assert set(p["deform"]) <= set(joints)
    chain = [listed[0] for listed in p["spine"]]
    shown = [joints[joint][0] for joint in SPINE if joint in joints]
    assert set(shown) <= set(chain)
    assert [bone for bone in chain if bone in shown] == shown, "the spine's joints are not in the chain's order"
    assert set(p["also"].values()) | set(p["ik"].get("controls", {}).values()) <= set(JOINTS)
    assert set(p["ik"].get("poles", {}).values()) <= {"l_elbow", "r_elbow", "l_knee", "r_knee"}
    assert {finger for _, finger in p["fingers"]} <= {"thumb", "index", "middle", "ring", "pinky"}
    assert "{side}" not in json.dumps({k: v for k, v in p.items() if k not in ("fingers",)}, default=str)


def test_the_names_of_the_families_are_all_different():
    assert len(set(NAMES)) == len(NAMES) >= 40


# --- recognising ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", presets(), ids=NAMES)
@pytest.mark.parametrize("prefix", ["", "hero:", "Armature|", "Skeleton_01:"])
def test_each_family_is_recognised_with_and_without_a_namespace(p, prefix):
    best = match_names(make(family(p), lambda name: prefix + name))[0]
    assert best.mapping.preset == p["name"]
    assert best.confidence == best.mapping.confidence > 0.95
    assert best.needed_missing == ()
    chain = [prefix + listed[0] for listed in p["spine"]]
    assert list(best.mapping.spine) == chain
    assert best.mapping.bones["spine1"] == chain[0]
    assert best.mapping.bones.get("spine3", chain[-1]) == chain[-1]
    rest = {j: prefix + name for j, name in expected(p).items() if j not in SPINE}
    assert {j: bone for j, bone in best.mapping.bones.items() if j not in SPINE} == rest
    assert list(best.mapping.neck) == [prefix + listed[0] for listed in p["neck"]]
    assert len(best.mapping.fingers) == sum(len(chain) for chain in p["fingers"].values())


@pytest.mark.parametrize("p", presets(), ids=NAMES)
@pytest.mark.parametrize(
    "rename",
    [str.upper, str.lower, lambda n: n.replace("_", " "), lambda n: n.replace(".", "_"), lambda n: n + "_jnt"],
    ids=["upper", "lower", "spaces", "underscores", "suffix"],
)
def test_capitals_separators_and_a_common_suffix_do_not_matter(p, rename):
    parents = family(p)
    if len({rename(name) for name in parents}) < len(parents):
        pytest.skip("two bones would have one name")
    best = match_names(make(parents, rename))[0].mapping
    limbs = {j: rename(name) for j, name in expected(p).items() if j not in SPINE}
    assert {j: bone for j, bone in best.bones.items() if j not in SPINE} == limbs
    # "def-spine" is the meta-rig's "spine" with "def-" in front just as well.
    assert best.preset == p["name"] or (p["name"], rename) == ("Rigify deform bones", str.lower)
    assert best.confidence > 0.9


@pytest.mark.parametrize("p", [p for p in presets() if not controls(p)], ids=lambda p: p["name"])
def test_without_toes_collars_and_neck_it_is_still_the_family(p):
    gone = ("foot", "collar", "neck")
    best = match_names(make(family(p, gone)))[0]
    # "UpperLeg.L" without toes, neck and collars is all that KayKit has, in capitals.
    assert best.mapping.preset in {p["name"], "KayKit"} if p["name"].startswith("Unity names") else {p["name"]}
    assert best.confidence > 0.75
    assert best.needed_missing == ()
    assert {j for j in best.mapping.bones if j not in SPINE} == {j for j in expected(p, gone) if j not in SPINE}


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig1:", "mixamorig12_", "mixamorig", "hero:mixamorig:"])
def test_mixamo_with_any_prefix(prefix):
    mapping = match_names(make(family(preset("Mixamo")), lambda name: prefix + name))[0].mapping
    assert mapping.preset == "Mixamo"
    assert mapping.bones["l_elbow"] == prefix + "LeftForeArm"


def test_numbers_behind_every_name_as_web_viewers_write_them():
    count = iter(range(1, 1000))
    tree = make(family(preset("Mixamo")), lambda name: f"mixamorig:{name}_{next(count):02d}")
    mapping = match_names(tree)[0].mapping
    assert mapping.preset == "Mixamo"
    assert mapping.bones["pelvis"].startswith("mixamorig:Hips_")
    assert mapping.bones["r_knee"].startswith("mixamorig:RightLeg_")


@pytest.mark.parametrize(
    ("bones", "spine"),
    [
        (["Spine"], {"spine1": "Spine"}),
        (["Spine", "Spine1"], {"spine1": "Spine", "spine3": "Spine1"}),
        (["Spine", "Spine1", "Spine2"], {"spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2"}),
    ],
)
def test_the_spine_joints_follow_from_the_bones_there_are(bones, spine):
    p = preset("Mixamo")
    mapping = match_names(make(body(expected(p), bones, ["Neck"])))[0].mapping
    assert {j: b for j, b in mapping.bones.items() if j in SPINE} == spine
    assert mapping.spine == tuple(bones)
    assert mapping.bones["neck"] == "Neck"


def test_long_chains_take_first_middle_and_last():
    mapping = match_names(make(family(preset("Unreal mannequin 5 / MetaHuman"))))[0].mapping
    assert [mapping.bones[j] for j in SPINE] == ["spine_01", "spine_03", "spine_05"]
    assert mapping.neck == ("neck_01", "neck_02")
    assert mapping.root == "root"


@pytest.mark.parametrize(("over", "pelvis"), [("Body", "Body"), ("Root", "Hips")])
def test_hips_beside_the_spine(over, pelvis):
    """Where one bone carries both, it is the pelvis that moves the body, unless it is the bone on the ground."""
    p = preset("Quaternius")
    parents = family(p) | {"Root": None} | ({over: "Root"} if over != "Root" else {}) | {"Hips": over, "Abdomen": over}
    mapping = match_names(make(parents))[0].mapping
    assert mapping.preset == "Quaternius"
    assert mapping.bones["pelvis"] == pelvis
    assert mapping.spine == ("Abdomen", "Torso", "Chest")
    assert mapping.root == "Root"


# --- duplicates -------------------------------------------------------------------------------------------------------


def test_a_second_complete_skeleton_does_not_mix_with_the_first():
    p = preset("Mixamo")
    one = family(p)
    two = {name + ".001": parent + ".001" if parent else None for name, parent in one.items()}
    for parents in (one | two, two | one):
        mapping = match_names(make(parents))[0].mapping
        assert mapping.bones == expected(p)
        assert not any(name.endswith(".001") for name in (*mapping.spine, *mapping.neck, *mapping.fingers))


def test_the_skeleton_that_hangs_together_wins_over_a_heap_of_names():
    p = preset("Mixamo")
    loose: Parents = dict.fromkeys(expected(p).values())
    whole = {name + ".001": parent + ".001" if parent else None for name, parent in family(p).items()}
    best = match_names(make(loose | whole))[0]
    assert best.mapping.bones == {j: name + ".001" for j, name in expected(p).items()}
    assert best.confidence > 0.9


def test_a_stray_bone_with_a_limbs_name_is_passed_over():
    p = preset("Unreal mannequin")
    parents = family(p) | {"prop": "root", "hand_l.001": "prop", "ik:head": "prop"}
    assert match_names(make(parents))[0].mapping.bones == expected(p)
    both = {"a:hand_l": "lowerarm_l", "b:hand_l": "prop"}
    renamed = {("a:hand_l" if n == "hand_l" else n): ("a:hand_l" if q == "hand_l" else q) for n, q in parents.items()}
    order = {n: renamed[n] for n in renamed if n != "a:hand_l"} | both
    top = [n for n in order if order[n] is None]
    assert len(top) == 1
    tree = make({n: order[n] for n in sorted(order, key=lambda n: depth(order, n))})
    assert match_names(tree)[0].mapping.bones["l_wrist"] == "a:hand_l"


def depth(parents: Parents, name: str | None) -> int:
    return 0 if name is None else 1 + depth(parents, parents[name])


# --- what is no match ------------------------------------------------------------------------------------------------


def test_a_handful_of_common_names_is_no_family():
    names = ["Hips", "Spine", "Head", "Neck"] + [f"Bone.{i:03d}" for i in range(30)]
    parents: Parents = {name: names[i - 1] if i else None for i, name in enumerate(names)}
    assert all(match.confidence < 0.4 for match in match_names(make(parents)))
    assert match_names(make({f"Bone.{i:03d}": None for i in range(40)})) == []
    assert match_names(make({})) == []


def test_names_that_do_not_hang_together_are_not_trusted():
    flat: Parents = dict.fromkeys(expected(preset("Mixamo")).values())
    assert match_names(make(flat))[0].confidence < 0.6


def test_what_is_needed_and_missing_is_named():
    parents = {
        name: ("LeftArm" if parent == "LeftForeArm" else parent)
        for name, parent in family(preset("Mixamo")).items()
        if name != "LeftForeArm"
    }
    best = match_names(make(parents))[0]
    assert best.mapping.preset == "Mixamo"
    assert best.needed_missing == ("l_elbow",)
    assert "l_elbow" in best.mapping.missing


# --- near relatives ---------------------------------------------------------------------------------------------------

RELATIVES = [
    ["Mixamo", "CMU BVH (MotionBuilder-friendly)", "ACCAD BVH", "Perception Neuron", "HumanIK (Maya, MotionBuilder)",
     "Rokoko", "NVIDIA SOMA"],
    ["Unreal mannequin", "Unreal mannequin 5 / MetaHuman", "Source 2", "Team Fortress 2 (bip_)"],
    ["3ds Max Biped", "ValveBiped (Source)", "GTA V", "Character Creator / iClone", "The Sims 4"],
    ["Poser / Daz-friendly BVH", "Daz Genesis 1 / 2", "Daz Genesis 3 / 8", "Daz Genesis 9"],
    ["VRChat / CATS", "MMD (English names)", "MMD"],
    ["Rigify (FK controls)", "Rigify deform bones", "Rigify meta-rig", "Blender names (hips, thigh.L)",
     "MotionGPT3 mannequin"],
    ["Auto-Rig Pro (FK controls)", "Auto-Rig Pro export"],
    ["Mixamo control rig (FK controls)", "Mixamo"],
    ["Xsens MVN", "Unity humanoid", "Roblox R15"],
    ["Xsens MVN BVH", "CMU BVH (3ds Max-friendly)", "BVH (LeftHip, LeftCollar)"],
    ["KayKit", "Unity names (UpperLeg.L)", "Quaternius", "Synty"],
    ["SMPL", "SMPL (L_Hip)"],
]  # fmt: skip


@pytest.mark.parametrize("names", RELATIVES, ids=lambda names: names[0])
def test_near_relatives_are_told_apart_by_a_margin_or_by_the_bones_only_they_know(names):
    for name in names:
        ranked = match_names(make(family(preset(name))))
        assert ranked[0].mapping.preset == name
        others = [match for match in ranked[1:] if match.mapping.preset in names]
        assert all(match.confidence <= ranked[0].confidence for match in others)


def test_a_leg_is_not_a_thigh():
    """ "LeftLeg" is Mixamo's shin, VRChat's "Left leg" the thigh, and SOMA's "LeftLeg" too."""
    assert match_names(make(family(preset("Mixamo"))))[0].mapping.bones["l_knee"] == "LeftLeg"
    assert match_names(make(family(preset("VRChat / CATS"))))[0].mapping.bones["l_hip"] == "Left leg"
    assert match_names(make(family(preset("NVIDIA SOMA"))))[0].mapping.bones["l_hip"] == "LeftLeg"


# --- control rigs and switches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [p["name"] for p in presets() if controls(p)])
def test_control_rigs_bring_switches_and_ik_controls(name):
    p = preset(name)
    mapping = match_names(make(family(p)))[0].mapping
    assert mapping.is_control_rig
    assert mapping.deform == {j: p["deform"][j][0] for j in JOINTS if j in p["deform"]} | {
        j: mapping.deform[j] for j in SPINE
    }
    assert mapping.deform["spine3"] == p["deform_spine"][-1][0]
    assert [(s.bone, s.property, s.value) for s in mapping.switches] == [
        (s["bone"], s["property"], s["value"]) for s in p["switches"]
    ]
    assert set(mapping.ik["poles"].values()) == {"l_elbow", "r_elbow", "l_knee", "r_knee"}
    assert {"l_wrist", "r_wrist", "l_ankle", "r_ankle"} <= set(mapping.ik["controls"].values())
    assert all(switch["value"] in (0.0, 1.0) for switch in mapping.ik["switches"])
    assert set(mapping.ik["keep"]) >= {mapping.bones[j] for j in ("pelvis", "spine1", "neck", "head", "l_collar")}
    assert not set(mapping.ik["keep"]) & {mapping.bones[j] for j in ("l_knee", "r_elbow", "l_hip")}


def test_ik_controls_that_the_character_lacks_are_left_out():
    parents = {name: parent for name, parent in family(preset("Rigify (FK controls)")).items() if "toe" not in name}
    ik = match_names(make(parents))[0].mapping.ik
    assert "toe_ik.L" not in ik["controls"]
    assert "hand_ik.L" in ik["controls"]
    without = {name: parent for name, parent in parents.items() if "_ik" not in name}
    assert match_names(make(without))[0].mapping.ik == {}


def test_an_auto_rig_pro_spine_of_two_bones():
    p = preset("Auto-Rig Pro (FK controls)")
    gone = {f"{c}spine_0{i}.x" for c in ("c_", "") for i in range(3, 7)}
    parents: Parents = {n: ("c_traj" if q in gone else q) for n, q in family(p).items() if n not in gone}
    mapping = match_names(make(parents))[0].mapping
    assert mapping.preset == p["name"]
    assert [mapping.bones.get(j) for j in SPINE] == ["c_spine_01.x", None, "c_spine_02.x"]
    assert [mapping.deform.get(j) for j in SPINE] == ["spine_01.x", None, "spine_02.x"]


@pytest.mark.parametrize("form", ["足.L", "左足", "足_L"])
def test_mmd_in_each_spelling_with_its_leg_ik_switched_off(form):
    def rename(name: str) -> str:
        if name[-2:] not in (".L", ".R"):
            return name
        side = {"L": "左", "R": "右"}[name[-1]]
        return {"足.L": name, "左足": side + name[:-2], "足_L": name[:-2] + "_" + name[-1]}[form]

    p = preset("MMD")
    parents = {name: parent for name, parent in family(p).items() if name[0] not in "LR左右"}
    parents = {name: parent if parent in parents or parent is None else "センター" for name, parent in parents.items()}
    mapping = match_names(make(parents, rename))[0].mapping
    assert mapping.preset == "MMD"
    assert mapping.bones["l_hip"] == form
    assert mapping.bones["pelvis"] == "センター"
    assert mapping.deform["pelvis"] == "下半身"
    assert mapping.also == {"下半身": "pelvis"}
    assert {(s.bone, s.constraint, s.value) for s in mapping.switches} >= {(rename("ひざ.L"), "IK", 0.0)}
    assert all(s.property == "" for s in mapping.switches)
    assert mapping.root == "全ての親"


# --- the user's own ---------------------------------------------------------------------------------------------------


def test_own_presets_come_first_and_a_broken_file_is_reported(tmp_path: Path):
    own = {
        "name": "Ours",
        "sides": ["lt", "rt"],
        "joints": {j: f"{{side}}-{j}-bone" for j in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")}
        | {"pelvis": "cog", "spine1": "belly", "head": "skull"},
    }
    (tmp_path / "ours.json").write_text(json.dumps(own), encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    (tmp_path / "joints.json").write_text('{"name": "x", "joints": {"tail": "tail"}}', encoding="utf-8")
    (tmp_path / "switch.json").write_text(
        '{"name": "x", "joints": {"head": "h"}, "switches": [{"bone": "b", "value": 1}]}', encoding="utf-8"
    )
    found, warnings = load_presets([tmp_path, tmp_path / "nowhere"])
    assert found[0]["name"] == "Ours"
    assert found[1:] == presets()
    assert sorted(w.split('"')[1] for w in warnings) == ["broken.json", "joints.json", "list.json", "switch.json"]
    assert "tail" in next(w for w in warnings if "joints.json" in w)
    p = found[0]
    best = match_names(make(family(p)), found)[0].mapping
    assert best.preset == "Ours"
    assert best.bones["l_knee"] == "lt-knee-bone"
    assert match_names(make(family(p))) == []  # the built-in families do not know it


def test_a_preset_that_was_mended_is_read_again(tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_text("{", encoding="utf-8")
    assert len(load_presets([tmp_path])[1]) == 1
    path.write_text(json.dumps({"name": "Mine", "joints": {"pelvis": "a", "head": "b"}}), encoding="utf-8")
    found, warnings = load_presets([tmp_path])
    assert warnings == []
    assert found[0]["name"] == "Mine"


# --- real files -------------------------------------------------------------------------------------------------------


def names_in(path: Path) -> Parents:
    """Bone -> parent, from the text of a BVH file or the JSON of a GLB file."""
    if path.suffix == ".bvh":
        out: Parents = {}
        stack: list[str | None] = []
        for line in path.read_text(encoding="utf-8").split("MOTION")[0].splitlines():
            words = line.split()
            if words and words[0] in ("ROOT", "JOINT"):
                out[words[1]] = next((name for name in reversed(stack) if name), None)
                stack.append(words[1])
            elif words and words[0] == "End":
                stack.append(None)
            elif words and words[0] == "}":
                stack.pop()
        return out
    data = path.read_bytes()
    scene = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    nodes = scene["nodes"]
    joints = {i for skin in scene["skins"] for i in skin["joints"]}
    parent = {child: i for i, node in enumerate(nodes) for child in node.get("children", [])}
    order = sorted(joints, key=lambda i: (i not in joints, chain_length(parent, i)))
    return {nodes[i]["name"]: nodes[parent[i]]["name"] if parent.get(i) in joints else None for i in order}


def chain_length(parent: dict[int, int], i: int) -> int:
    return 1 + chain_length(parent, parent[i]) if i in parent else 0


@pytest.mark.skipif(not SHARED, reason="no shared rigs here")
@pytest.mark.parametrize("entry", SHARED, ids=lambda entry: entry["file"])
def test_real_characters_are_mapped_as_their_list_says(entry):
    tree = make(names_in(rigs.SHARED / "rigs" / entry["file"]))
    best = match_names(tree)[0]
    assert best.confidence > 0.95
    assert best.needed_missing == ()
    for joint, bone in entry["mapping"].items():
        accepted = {bone, *entry["mapping_alt"].get(joint, [])}
        assert best.mapping.bones.get(joint) in accepted, joint
