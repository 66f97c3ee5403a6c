"""Bones found by shape in the hierarchies of well-known families: only the way the bones hang counts, names are hashes.

Positions are a plain person's; what is kept is each family's own: twist, cancel and corrective bones, IK copies,
wings and hind legs, loose deforming pieces.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mgpt3_blender.rig.anatomy import find_body
from mgpt3_blender.rig.tree import plain_tree

Place = tuple[float, float, float]


class Build:
    """Bones by name; `pair` makes a left (".L") and a mirrored right one (".R")."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.parents: list[int] = []
        self.heads: list[Place] = []
        self.tails: list[Place] = []

    def bone(self, name: str, parent: str, head: Place, tail: Place | None = None) -> None:
        self.names.append(name)
        self.parents.append(self.names.index(parent) if parent else -1)
        self.heads.append(head)
        self.tails.append(head if tail is None else tail)

    def pair(self, name: str, parent: str, head: Place, tail: Place | None = None) -> None:
        for sign, end in ((1, ".L"), (-1, ".R")):
            above = parent + end if parent + end in self.names else parent
            far = None if tail is None else (sign * tail[0], *tail[1:])
            self.bone(name + end, above, (sign * head[0], *head[1:]), far)

    def fingers(self, hand: str, x: float, y: float, z: float, loose: bool = False) -> None:
        for i in range(5):
            for k in range(3):
                at = (x + 0.08 + 0.03 * k - 0.05 * (i == 0), y - 0.04 + 0.02 * i, z)
                self.pair(f"f{i}_{k}", f"f{i}_{k - 1}" if k else "" if loose else hand, at, (at[0] + 0.03, *at[1:]))

    def found(self) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...], str | None]:
        hashes = ["x" + hashlib.sha256(name.encode()).hexdigest()[:9] for name in self.names]
        back = dict(zip(hashes, self.names, strict=True))
        body = find_body(plain_tree(hashes, self.parents, np.array(self.heads), np.array(self.tails)))
        assert body.confidence > 0.75
        bones = {joint: back[bone] for joint, bone in body.bones.items()}
        return bones, tuple(back[b] for b in body.spine), tuple(back[b] for b in body.neck), back.get(body.root or "")


def check(build: Build, limbs: dict[str, str], spine: list[str], neck: list[str], root: str | None = None) -> dict:
    bones, found_spine, found_neck, found_root = build.found()
    want = {f"{s}_{joint}": f"{bone}.{s.upper()}" for joint, bone in limbs.items() for s in "lr"}
    assert {joint: bones.get(joint) for joint in want} == want
    assert list(found_spine) == spine
    assert list(found_neck) == neck
    assert found_root == root
    return bones


def test_mmd() -> None:
    """Cancel bones at the hips, twist bones in the arms, a second pair of legs for the mesh, skirt and hair."""
    b = Build()
    for name, above, at in (("all", "", (0, 0, 0)), ("center", "all", (0, 0, 0.8)), ("waist", "center", (0, 0, 1.0)),
                            ("upper", "waist", (0, 0, 1.05)), ("upper2", "upper", (0, 0, 1.2)),
                            ("neck", "upper2", (0, 0, 1.42)), ("head", "neck", (0, 0, 1.5)),
                            ("lower", "waist", (0, 0, 1.05))):  # fmt: skip
        b.bone(name, above, at)
    b.pair("eye", "head", (0.03, -0.08, 1.58))
    for name, above, at in (("shoulder", "upper2", (0.03, 0, 1.4)), ("cancel", "shoulder", (0.13, 0, 1.38)),
                            ("arm", "cancel", (0.13, 0, 1.38)), ("twist", "arm", (0.24, 0, 1.3)),
                            ("elbow", "twist", (0.34, 0, 1.22)), ("twist2", "elbow", (0.42, 0, 1.16)),
                            ("wrist", "twist2", (0.5, 0, 1.1)), ("hipcancel", "lower", (0.08, 0, 0.95))):  # fmt: skip
        b.pair(name, above, at)
    b.fingers("wrist", 0.5, 0, 1.08)
    for copy in ("", "D"):
        b.pair("leg" + copy, "hipcancel", (0.08, 0, 0.95))
        b.pair("knee" + copy, "leg" + copy, (0.08, -0.01, 0.52))
        b.pair("ankle" + copy, "knee" + copy, (0.08, 0.02, 0.09))
        b.pair("toe" + copy, "ankle" + copy, (0.08, -0.1, 0.01))
    b.pair("ik", "all", (0.08, 0.02, 0.09))
    b.pair("toeik", "ik", (0.08, -0.1, 0))
    for i in range(12):
        x, y = np.cos(i * np.pi / 6), np.sin(i * np.pi / 6)
        for k in range(4):
            at = (0.15 * x * (1 + 0.3 * k), 0.15 * y * (1 + 0.3 * k), 1 - 0.12 * k)
            b.bone(f"skirt{i}_{k}", f"skirt{i}_{k - 1}" if k else "lower", at)
            b.bone(f"hair{i}_{k}", f"hair{i}_{k - 1}" if k else "head", (0.08 * x, 0.08 * y, 1.65 - 0.12 * k))
    arms = {"shoulder": "arm", "elbow": "elbow", "wrist": "wrist", "collar": "shoulder"}
    bones = check(b, arms, ["upper", "upper2"], ["neck"], "all")
    copies = {bones[f"{s}_{j}"].split(".")[0].replace(name, "") for s in "lr"
              for j, name in (("hip", "leg"), ("knee", "knee"), ("ankle", "ankle"), ("foot", "toe"))}  # fmt: skip
    assert copies in ({""}, {"D"})  # one pair of legs or the other, not a mixture


def test_loose_deforming_pieces() -> None:
    """As in Auto-Rig Pro: every deforming bone hangs from a control; here from nothing."""
    b = Build()
    b.bone("root", "", (0, 0.01, 0.95), (0, 0, 1.05))
    b.bone("spine1", "", (0, 0, 1.05), (0, 0, 1.2))
    b.bone("spine2", "spine1", (0, 0, 1.2), (0, 0, 1.4))
    b.bone("neck", "", (0, 0.02, 1.45), (0, 0, 1.53))
    b.bone("head", "", (0, 0, 1.53), (0, 0, 1.75))
    arm = [(0.03, 0, 1.42), (0.16, 0.02, 1.43), (0.29, 0.02, 1.43), (0.42, 0.03, 1.43), (0.54, 0.02, 1.43),
           (0.66, 0, 1.43), (0.75, 0, 1.43)]  # fmt: skip
    leg = [(0.1, 0, 0.92), (0.1, -0.01, 0.71), (0.1, -0.02, 0.5), (0.1, 0, 0.3), (0.1, 0.02, 0.1), (0.1, -0.1, 0.03),
           (0.1, -0.16, 0.03)]  # fmt: skip
    for name, row in (("arm", arm), ("leg", leg)):
        for i in range(6):
            b.pair(f"{name}{i}", "", row[i], row[i + 1])
    b.fingers("arm5", 0.66, 0, 1.43, loose=True)
    limbs = {"collar": "arm0", "shoulder": "arm1", "elbow": "arm3", "wrist": "arm5", "hip": "leg0", "knee": "leg2",
             "ankle": "leg4", "foot": "leg5"}  # fmt: skip
    bones = check(b, limbs, ["spine1", "spine2"], ["neck"])
    assert bones["pelvis"] == "root"
    assert bones["head"] == "head"


def test_metahuman_like() -> None:
    """Twist and corrective bones at every joint, metacarpals, IK copies under the root."""
    b = Build()
    rows = [("root", (0, 0, 0)), ("pelvis", (0, 0.02, 0.95)), ("s1", (0, 0.01, 0.98)), ("s2", (0, 0, 1.03)),
            ("s3", (0, 0, 1.1)), ("s4", (0, 0.02, 1.18)), ("s5", (0, 0.04, 1.33)), ("n1", (0, 0.05, 1.47)),
            ("n2", (0, 0.03, 1.52)), ("head", (0, 0.01, 1.57))]  # fmt: skip
    for i, (name, at) in enumerate(rows):
        b.bone(name, rows[i - 1][0] if i else "", at)
    for name, above, at in (("clavicle", "s5", (0.02, 0, 1.45)), ("upperarm", "clavicle", (0.17, 0.05, 1.42)),
                            ("lowerarm", "upperarm", (0.35, 0.06, 1.24)), ("hand", "lowerarm", (0.51, 0, 1.07)),
                            ("thigh", "pelvis", (0.1, 0, 0.92)), ("calf", "thigh", (0.12, 0, 0.5)),
                            ("foot", "calf", (0.13, 0.05, 0.09)), ("ball", "foot", (0.14, -0.08, 0.02))):  # fmt: skip
        b.pair(name, above, at)
        if name not in ("clavicle", "ball"):
            b.pair(name + "_root", name, at)
            for k, off in enumerate(((0, 0.06), (0, -0.06), (0.04, 0.02), (-0.04, 0.02))):
                b.pair(f"{name}_corrective{k}", name + "_root", (at[0] + off[0], at[1] + off[1], at[2]))
            b.pair(name + "_twist1", name, at)
    b.fingers("hand", 0.51, 0, 1.05)
    for i in range(5):
        b.pair(f"toe{i}", "ball", (0.12 + 0.012 * i, -0.12, 0.02))
    b.pair("ik_foot", "root", (0.13, 0.05, 0.09))
    b.pair("ik_hand", "root", (0.51, 0, 1.07))
    limbs = {"collar": "clavicle", "shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand", "hip": "thigh",
             "knee": "calf", "ankle": "foot", "foot": "ball"}  # fmt: skip
    bones = check(b, limbs, ["s1", "s2", "s3", "s4", "s5"], ["n1", "n2"], "root")
    assert [bones[f"spine{i}"] for i in (1, 2, 3)] == ["s1", "s3", "s5"]


@pytest.mark.parametrize("more", [False, True])
def test_second_life(more: bool) -> None:
    """A spine folded back on itself and, with Bento, wings, hind legs and a tail."""
    b = Build()
    rows = [("pelvis", (0, 0, 1.07)), ("s1", (0, 0, 1.15)), ("s2", (0, 0, 1.07)), ("torso", (0, 0, 1.15)),
            ("s3", (0, 0.015, 1.36)), ("s4", (0, 0, 1.15)), ("chest", (0, 0.015, 1.36)), ("neck", (0, 0.025, 1.61)),
            ("head", (0, 0.025, 1.69)), ("skull", (0, 0.025, 1.77))]  # fmt: skip
    for i, (name, at) in enumerate(rows):
        b.bone(name, rows[i - 1][0] if i else "", at)
    b.pair("eye", "head", (0.036, -0.07, 1.77))
    for name, above, at in (("collar", "chest", (0.085, 0.035, 1.53)), ("arm", "collar", (0.164, 0.035, 1.53)),
                            ("elbow", "arm", (0.412, 0.035, 1.53)), ("wrist", "elbow", (0.617, 0.035, 1.53)),
                            ("hip", "pelvis", (0.127, -0.03, 1.03)), ("knee", "hip", (0.08, -0.04, 0.54)),
                            ("ankle", "knee", (0.08, 0, 0.07)), ("foot", "ankle", (0.08, -0.11, 0.01)),
                            ("toe", "foot", (0.08, -0.22, 0.01))):  # fmt: skip
        b.pair(name, above, at)
    b.fingers("wrist", 0.617, 0.035, 1.53)
    if more:
        b.bone("wings", "chest", (0, 0.05, 1.36))
        b.bone("hind", "pelvis", (0, 0.2, 1.15))
        for k, at in enumerate(((0.105, 0.15, 1.53), (0.27, 0.25, 1.6), (0.46, 0.35, 1.6), (0.63, 0.45, 1.6))):
            b.pair(f"wing{k}", f"wing{k - 1}" if k else "wings", at)
        for k, at in enumerate(((0.13, 0, 1.02), (0.09, -0.02, 0.53), (0.09, 0.01, 0.06), (0.09, -0.1, 0))):
            b.pair(f"hind{k}", f"hind{k - 1}" if k else "hind", at)
        for k in range(6):
            b.bone(f"tail{k}", f"tail{k - 1}" if k else "pelvis", (0, 0.12 + 0.17 * k, 1.12))
    limbs = {"collar": "collar", "shoulder": "arm", "elbow": "elbow", "wrist": "wrist", "hip": "hip", "knee": "knee",
             "ankle": "ankle", "foot": "foot"}  # fmt: skip
    bones = check(b, limbs, ["s1", "s2", "torso", "s3", "s4", "chest"], ["neck"])
    assert bones["head"] == "head"
