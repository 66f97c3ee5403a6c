"""Random humanoids for the tests of `rig.anatomy`: any proportions, rest pose, extras, names and axes, with the truth.

No Blender. A body is built standing in a T (X to its left, -Y in front, Z up, about 1.7 high), posed bone by bone,
given the oddities of real rigs, and turned and scaled as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mgpt3_blender.rig.tree import Tree, plain_tree

LIMBS = tuple(f"{s}_{j}" for s in "lr" for j in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"))
UP, LEFT, FRONT = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])


def about(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation matrix about an axis (3, 3)."""
    x, y, z = axis / np.linalg.norm(axis)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + s * k + (1 - c) * k @ k


@dataclass
class Humanoid:
    """Bones under construction and the right answer.

    Attributes:
        truth: joint -> bones that are right for it.
        sides_show: the shape tells left from right (feet, knees or elbows).
        what: what this one has, for the report of a failure.
    """

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    heads: list[np.ndarray] = field(default_factory=list)
    tails: list[np.ndarray] = field(default_factory=list)
    truth: dict[str, set[int]] = field(default_factory=dict)
    what: dict[str, object] = field(default_factory=dict)
    spine: list[int] = field(default_factory=list)
    neck: list[int] = field(default_factory=list)
    root: int = -1
    forward: np.ndarray = field(default_factory=lambda: FRONT.copy())
    up: np.ndarray = field(default_factory=lambda: UP.copy())
    sides_show: bool = True
    tree: Tree | None = None

    def bone(self, name: str, parent: int, head: np.ndarray, tail: np.ndarray | None = None) -> int:
        self.names.append(name)
        self.parents.append(parent)
        self.heads.append(np.array(head, float))
        self.tails.append(np.array(head if tail is None else tail, float))
        if tail is None and parent >= 0:
            self.tails[parent] = self.heads[-1].copy()
        return len(self.names) - 1

    def chain(self, name: str, parent: int, start: np.ndarray, step: np.ndarray, count: int) -> list[int]:
        """`count` bones in a row, each `step` farther."""
        out = []
        for i in range(count):
            parent = self.bone(
                f"{name}{i + 1}", parent, start + i * np.asarray(step), start + (i + 1) * np.asarray(step)
            )
            out.append(parent)
        return out


def humanoid(seed: int, **fixed: object) -> Humanoid:
    """A random body.

    Args:
        fixed: choices that are not left to chance, by their names in `what`.
    """
    rng = np.random.default_rng(seed)
    body = Humanoid()

    def pick(key: str, options: list, weights: list[float] | None = None):
        value = options[rng.choice(len(options), p=None if weights is None else np.array(weights) / sum(weights))]
        body.what[key] = fixed.get(key, value)
        return body.what[key]

    def between(key: str, low: float, high: float) -> float:
        value = float(rng.uniform(low, high))
        body.what[key] = fixed.get(key, round(value, 3))
        return float(body.what[key])

    style = pick("style", ["human", "chibi", "monster", "child"], [6, 2, 2, 1])
    leg = {"human": (0.75, 0.95), "chibi": (0.25, 0.45), "monster": (0.45, 0.75), "child": (0.45, 0.6)}[style]
    arm = {"human": (0.48, 0.62), "chibi": (0.25, 0.4), "monster": (0.8, 1.1), "child": (0.32, 0.42)}[style]
    trunk = {"human": (0.42, 0.58), "chibi": (0.25, 0.45), "monster": (0.45, 0.75), "child": (0.32, 0.4)}[style]
    head = {"human": (0.2, 0.26), "chibi": (0.4, 0.7), "monster": (0.15, 0.35), "child": (0.2, 0.26)}[style]
    leg, arm, trunk, head = (between(k, *r) for k, r in zip(("leg", "arm", "trunk", "head"), (leg, arm, trunk, head),
                                                              strict=True))  # fmt: skip
    _torso(body, rng, pick, between, leg, trunk, head)
    for side in "lr":
        _leg(body, rng, pick if side == "l" else _again(body), between if side == "l" else _again(body), side, leg)
    for side in "lr":
        _arm(
            body, rng, pick if side == "l" else _again(body), between if side == "l" else _again(body), side, arm, trunk
        )
    _extras(body, rng, pick, leg, arm, trunk, head)
    _helpers(body, rng, pick, leg, arm)
    _pose_one_arm(body, rng, pick)
    _finish(body, rng, pick, between, leg)
    return body


def _again(body: Humanoid):
    """The right side repeats what the left side drew."""
    return lambda key, *_: body.what[key]


def _torso(body: Humanoid, rng, pick, between, leg: float, trunk: float, head: float) -> None:
    foot = 0.09 * leg / 0.85
    hips = leg + foot
    what = pick("pelvis", ["plain", "hip bones", "side branch", "biped"], [6, 2, 2, 1])
    pick("collars", [0, 1, 2], [2, 6, 1.5])
    spine, neck = pick("spine", [1, 2, 3, 4, 5, 6], [1, 2, 3, 1, 1, 1]), pick("neck", [0, 1, 2, 3], [1.5, 5, 1.5, 1])
    if what == "biped":
        spine, neck = max(spine, 2), max(neck, 1)
    parent = -1
    if pick("root", [True, False]):
        parent = body.root = body.bone("root", -1, np.zeros(3), UP * 0.2)
    lift = (
        0.0 if what == "biped" or pick("pelvis at hips", [True, False], [1, 2]) else between("pelvis lift", 0.0, 0.12)
    )
    pelvis = body.bone("pelvis", parent, np.array([0, 0, hips + lift * trunk]))
    body.truth["pelvis"] = {pelvis}
    base = between("waist", 0.05, 0.25) * trunk
    start = max(base, lift * trunk)
    if pick("zero spine", [True, False], [1, 5]) and what != "biped":
        start = lift * trunk
    top = between("chest", 0.62, 0.85) * trunk
    curve = rng.uniform(-0.02, 0.02, 8)
    heights = np.linspace(start, max(top, start + 0.2 * trunk), spine) if spine > 1 else [start]
    above = pelvis
    for i, height in enumerate(heights):
        above = body.bone(f"spine{i + 1}", above, np.array([0, curve[i], hips + height]))
        body.spine.append(above)
    if what == "side branch":
        legs = body.bone("pelvis2", pelvis, body.heads[pelvis])
        body.truth["pelvis"].add(legs)
    else:
        legs = body.spine[0] if what == "biped" else pelvis
    shoulder = np.array([0, 0.0, hips + trunk])
    if neck:
        long = between("neck length", 0.12, 0.26) * trunk
        low = shoulder + UP * trunk * between("neck base", 0.0, 0.1)
        if what == "biped":
            low = shoulder + UP * trunk * 0.15
        lean = FRONT * rng.uniform(0, 0.25) * long
        for i in range(neck):
            above = body.bone(f"neck{i + 1}", above, low + (UP * long + lean) * i / neck)
            body.neck.append(above)
        at = low + UP * long + lean
    else:
        at = shoulder + UP * trunk * between("head base", 0.08, 0.28)
    skull = body.bone("head", above, at, at + UP * head)
    body.truth["head"] = {skull}
    if pick("head end", [True, False], [1, 2]):
        body.bone("head_end", skull, at + UP * head, at + UP * head * 1.2)
    for name, bones in (("neck", body.neck), ("spine1", body.spine)):
        if bones:
            body.truth[name] = {bones[0]}
    if spine > 1:
        body.truth["spine3"] = {body.spine[-1]}
    if spine > 2:
        body.truth["spine2"] = {body.spine[(spine - 1) // 2]}
    body.truth["_legs"], body.truth["_hips"] = {legs}, {pelvis}
    body.what["hips"] = hips


def _segments(body: Humanoid, name: str, parent: int, start, end, parts: int) -> list[int]:
    """A limb's upper or lower part of one bone, or more with twist bones in the chain."""
    out = []
    for i in range(parts):
        parent = body.bone(f"{name}{i}" if i else name, parent, start + (end - start) * i / parts)
        out.append(parent)
    return out


def _side_twist(body: Humanoid, kind: str, name: str, parent: int, start, end) -> None:
    if kind == "side":
        body.bone(f"{name}_twist", parent, start + 0.5 * (end - start), end)
    elif kind == "side chain":
        first = body.bone(f"{name}_twist1", parent, np.array(start), start + 0.5 * (end - start))
        body.bone(f"{name}_twist2", first, start + 0.5 * (end - start), end)


def _leg(body: Humanoid, rng, pick, between, side: str, leg: float) -> None:
    sign = 1.0 if side == "l" else -1.0
    out = LEFT * sign
    hips = float(body.what["hips"])
    wide = between("hip width", 0.06, 0.12) * (0.5 + 0.5 * leg / 0.85)
    hip = UP * hips + out * wide
    split, spread = between("thigh share", 0.44, 0.56), between("legs apart", -3, 20)
    bend = pick("knee bend", [0.0, 2.0, 8.0, 25.0], [3, 3, 2, 1])
    down = about(FRONT, -sign * spread) @ -UP
    thigh = about(LEFT, -0.5 * bend) @ down
    shin = about(LEFT, 0.5 * bend) @ down
    knee = hip + thigh * leg * split
    ankle = knee + shin * leg * (1 - split)
    parent = next(iter(body.truth["_legs"]))
    if body.what["pelvis"] == "hip bones":
        where = pick("hip bone at", ["middle", "beside"])
        at = body.heads[next(iter(body.truth["_hips"]))] if where == "middle" else hip + np.array([0, 0.03, 0.03]) * leg
        parent = body.bone(f"hipbone_{side}", parent, at)
    twist = pick("leg twist", ["none", "chain", "side", "side chain", "three"], [6, 1.5, 1, 1, 0.5])
    parts = {"chain": 2, "three": 3}.get(twist, 1)
    up = _segments(body, f"thigh_{side}", parent, hip, knee, parts)
    low = _segments(body, f"shin_{side}", up[-1], knee, ankle, parts if twist == "chain" else 1)
    foot = body.bone(f"foot_{side}", low[-1], ankle)
    _side_twist(body, twist, f"thigh_{side}", up[0], hip, knee)
    _side_twist(body, twist, f"shin_{side}", low[0], knee, ankle)
    for joint, bone in (("hip", up[0]), ("knee", low[0]), ("ankle", foot)):
        body.truth[f"{side}_{joint}"] = {bone}
    drop = float(ankle @ UP) * 0.75
    long = between("foot length", 0.12, 0.2) * leg
    front = about(UP, sign * between("toes out", -5, 20)) @ FRONT
    ball = ankle + front * long - UP * min(drop, 0.6 * long)
    toes = pick("toes", ["none", "one", "end", "five", "ball and five"], [2, 4, 2, 1, 1])
    body.tails[foot] = ball
    if toes in ("one", "end", "ball and five"):
        toe = body.bone(f"toe_{side}", foot, ball, ball + front * 0.4 * long)
        body.truth[f"{side}_foot"] = {toe}
        if toes == "end":
            body.bone(f"toe_end_{side}", toe, ball + front * 0.4 * long, ball + front * 0.5 * long)
        foot_of_toes = toe
    if toes in ("five", "ball and five"):
        first = set()
        for i in range(5):
            at = ball - out * (0.04 - 0.02 * i) * leg / 0.85 + front * (0.02 - 0.006 * i + 0.1 * (toes != "five")) * leg
            first.add(
                body.chain(f"toe{i}_{side}", foot if toes == "five" else foot_of_toes, at, front * 0.04 * leg, 2)[0]
            )
        if toes == "five":
            body.truth[f"{side}_foot"] = first
    if pick("heel", [True, False], [1, 5]) and toes != "none":
        heel = ankle - front * 0.3 * long - UP * drop
        body.bone(f"heel_{side}", foot, heel, heel + out * 0.05)


def _arm(body: Humanoid, rng, pick, between, side: str, arm: float, trunk: float) -> None:
    sign = 1.0 if side == "l" else -1.0
    out = LEFT * sign
    top = UP * (float(body.what["hips"]) + trunk)
    wide = between("shoulder width", 0.26, 0.42) * trunk
    low = between("arms down", 0, 10) if pick("rest", ["T", "A", "strong A", "down"]) == "T" else {
        "A": 40.0, "strong A": 70.0, "down": 88.0}[str(body.what["rest"])]  # fmt: skip
    if "arms down" not in body.what:
        body.what["arms down"] = low
    low, forward = float(body.what["arms down"]), between("arms forward", -5, 15)
    bend = pick("elbow bend", [0.0, 5.0, 20.0, 50.0], [3, 3, 2, 1])
    split = between("upper arm share", 0.46, 0.58)
    shoulder = top + out * wide + FRONT * -0.01
    swing = about(UP, -sign * forward) @ about(FRONT, sign * low)
    straight = swing @ out
    # Elbows close the arm forwards, about the axis that is up in a T.
    fore = swing @ about(UP, -sign * bend) @ out
    elbow = shoulder + straight * arm * split
    wrist = elbow + fore * arm * (1 - split)
    biped = body.what["pelvis"] == "biped" and body.neck
    parent = body.neck[0] if biped else body.spine[-1]
    collars = int(body.what["collars"])
    base = top + out * wide * between("collar base", 0.0, 0.3) - UP * 0.04 * trunk
    if pick("zero collar", [True, False], [1, 6]) and not biped and len(body.spine) > 1:
        base = body.heads[body.spine[-1]]
    for i in range(collars):
        parent = body.bone(f"collar{i}_{side}", parent, base + (shoulder - base) * i / max(collars, 1))
        if i == 0:
            body.truth[f"{side}_collar"] = {parent}
    twist = pick("arm twist", ["none", "chain", "side", "side chain", "fore", "three"], [6, 1.5, 1, 1, 1, 0.5])
    parts = {"chain": (2, 2), "fore": (1, 2), "three": (3, 3)}.get(twist, (1, 1))
    up = _segments(body, f"upperarm_{side}", parent, shoulder, elbow, parts[0])
    forearm = _segments(body, f"forearm_{side}", up[-1], elbow, wrist, parts[1])
    hand = body.bone(f"hand_{side}", forearm[-1], wrist, wrist + fore * 0.1 * arm)
    _side_twist(body, twist, f"upperarm_{side}", up[0], shoulder, elbow)
    _side_twist(body, twist, f"forearm_{side}", forearm[0], elbow, wrist)
    for joint, bone in (("shoulder", up[0]), ("elbow", forearm[0]), ("wrist", hand)):
        body.truth[f"{side}_{joint}"] = {bone}
    palm = between("palm", 0.13, 0.2) * arm
    across = np.cross(fore, swing @ UP) * sign  # towards the thumb
    fingers = pick("fingers", ["none", "end", "hand", 1, 2, 3, 4, 5], [2, 1, 1, 1, 1, 1, 1, 5])
    if fingers in ("end", "hand"):
        last = body.bone(f"{fingers}_{side}", hand, wrist + fore * palm, wrist + fore * palm * 1.8)
        if fingers == "hand":
            body.bone(f"slot_{side}", last, wrist + fore * palm * 1.5, wrist + fore * palm * 2)
    elif fingers != "none":
        count = int(fingers)
        bones = pick("finger bones", [2, 3, 4])
        meta = pick("metacarpals", [True, False], [1, 4])
        for i in range(count):
            thumb = i == 0 and count > 1
            aim = fore + 0.9 * across if thumb else fore
            at = (
                wrist + (fore * 0.3 + across * 0.25) * palm
                if thumb
                else wrist + fore * palm + across * palm * (0.3 - 0.2 * i)
            )
            above = hand
            if meta and not thumb:
                above = body.bone(f"meta{i}_{side}", hand, wrist + 0.2 * (at - wrist))
            body.chain(f"finger{i}_{side}", above, at, aim / np.linalg.norm(aim) * palm * 0.9 / bones, bones)


def _extras(body: Humanoid, rng, pick, leg: float, arm: float, trunk: float, head: float) -> None:
    """Everything that hangs on a character and is no joint."""
    skull, pelvis, chest = next(iter(body.truth["head"])), next(iter(body.truth["_hips"])), body.spine[-1]
    crown, hips, back = body.heads[skull], body.heads[pelvis], body.heads[chest] - FRONT * 0.1
    for kind in pick("hair", [(), ("strands",), ("tail",), ("twin",), ("strands", "twin")], [5, 2, 1, 1, 1]):
        if kind == "strands":
            for i in range(int(rng.integers(2, 9))):
                turn = about(UP, float(rng.uniform(-150, 150))) @ -FRONT
                body.chain(f"hair{i}_", skull, crown + UP * head * 0.8 + turn * head * 0.4,
                           -UP * head * rng.uniform(0.1, 0.3), int(rng.integers(2, 6)))  # fmt: skip
        elif kind == "tail":
            body.chain("ponytail", skull, crown + UP * head * 0.7 - FRONT * head * 0.4, (-UP - 0.3 * FRONT) * 0.12, 5)
        else:
            for sign in (1, -1):
                body.chain(f"twintail{sign}_", skull, crown + UP * head * 0.7 + LEFT * sign * head * 0.5,
                           (-UP + 0.3 * LEFT * sign) * trunk * 0.25, 5)  # fmt: skip
    if pick("face", [True, False], [1, 2]):
        body.bone("jaw", skull, crown + FRONT * head * 0.1, crown + FRONT * head * 0.45)
        for sign in (1, -1):
            eye = crown + UP * head * 0.4 + FRONT * head * 0.4 + LEFT * sign * head * 0.17
            body.bone(f"eye{sign}", skull, eye, eye + FRONT * 0.03)
            for i in range(3):
                at = eye + UP * 0.1 * head + LEFT * sign * 0.08 * i * head
                body.bone(f"brow{i}{sign}", skull, at, at + FRONT * 0.01)
    if pick("ears", [True, False], [1, 5]):
        for sign in (1, -1):
            body.chain(f"ear{sign}_", skull, crown + UP * head + LEFT * sign * head * 0.3, UP * head * 0.4, 3)
    if pick("skirt", [True, False], [1, 4]):
        count, bones = int(rng.integers(4, 11)), int(rng.integers(2, 5))
        for i in range(count):
            out = about(UP, 360.0 * (i + 0.5) / count) @ FRONT
            body.chain(f"skirt{i}_", pelvis, hips + out * 0.15, (-UP + 0.2 * out) * leg * 0.7 / bones, bones)
    if pick("cape", [True, False], [1, 6]):
        for x in np.linspace(-0.1, 0.1, int(rng.integers(1, 5))):
            body.chain(f"cape{x:.2f}_", chest, back + LEFT * x + UP * 0.2 * trunk, -UP * (trunk + leg) * 0.18, 5)
    if pick("tail", [True, False], [1, 6]):
        body.chain("tail", pelvis, hips - FRONT * 0.08, (-UP * 0.5 - FRONT) * leg * 0.2, int(rng.integers(3, 9)))
    if pick("weapon", [True, False], [1, 4]):
        hand = next(iter(body.truth["r_wrist"]))
        at = body.heads[hand] + FRONT * 0.05
        body.chain("sword", hand, at, FRONT * rng.uniform(0.1, 0.5), int(rng.integers(1, 4)))
    if pick("breasts", [True, False], [1, 4]):
        for sign in (1, -1):
            body.chain(f"breast{sign}_", chest, body.heads[chest] + FRONT * 0.1 + LEFT * sign * 0.08, FRONT * 0.05, 2)
    if pick("sleeves", [True, False], [1, 8]):
        for side in "lr":
            elbow, wrist = (body.heads[next(iter(body.truth[f"{side}_{j}"]))] for j in ("elbow", "wrist"))
            body.chain(f"sleeve_{side}", next(iter(body.truth[f"{side}_elbow"])), 0.3 * elbow + 0.7 * wrist,
                       -UP * 0.25 * arm, 3)  # fmt: skip
    if pick("pack", [True, False], [1, 8]):
        body.chain("pack", chest, back, -FRONT * 0.1, 2)


def _helpers(body: Humanoid, rng, pick, leg: float, arm: float) -> None:
    """IK targets, poles and foot controls, loose or under the root."""
    kind = pick("ik", ["none", "loose", "root"], [4, 1, 1])
    if kind == "none":
        return
    parent = body.root if kind == "root" else -1
    for side in "lr":
        place = {j: body.heads[next(iter(body.truth[f"{side}_{j}"]))] for j in ("knee", "ankle", "elbow", "wrist")}
        body.bone(f"hand_ik_{side}", parent, place["wrist"], place["wrist"] + UP * 0.1)
        body.bone(f"knee_pole_{side}", parent, place["knee"] + FRONT * 0.6 * leg, place["knee"] + FRONT * 0.7 * leg)
        body.bone(f"elbow_pole_{side}", parent, place["elbow"] - FRONT * 0.6, place["elbow"] - FRONT * 0.7)
        floor = place["ankle"] * [1, 1, 0]
        roll = body.bone(f"foot_roll_{side}", parent, floor + FRONT * 0.25 * leg, floor + FRONT * 0.1)
        heel = body.bone(f"heel_roll_{side}", roll, floor - FRONT * 0.1 * leg)
        ball = body.bone(f"ball_roll_{side}", heel, floor + FRONT * 0.15 * leg)
        body.bone(f"foot_ik_{side}", ball, place["ankle"], place["ankle"] + UP * 0.1)


def _below(body: Humanoid, bone: int) -> list[int]:
    out = [bone]
    for i, parent in enumerate(body.parents):
        if parent in out and i not in out:
            out.append(i)
    return out


def _pose_one_arm(body: Humanoid, rng, pick) -> None:
    how = pick("posed arm", ["no", "raised", "bent", "forward"], [5, 1, 1, 1])
    if how == "no":
        return
    upper, elbow = next(iter(body.truth["l_shoulder"])), next(iter(body.truth["l_elbow"]))
    down = float(body.what["arms down"])
    turns = {"raised": [(upper, about(FRONT, -min(60.0 + down, 140.0)))], "forward": [(upper, about(UP, -80.0))],
             "bent": [(elbow, about(UP, -90.0))]}[how]  # fmt: skip
    for bone, turn in turns:
        if how == "bent":  # about the elbow's own hinge, whatever the arm's direction
            aim = body.tails[bone] - body.heads[bone]
            side = np.cross(aim, FRONT)
            turn = about(side, 85.0) if np.linalg.norm(side) > 1e-3 * np.linalg.norm(aim) else turn
        centre = body.heads[bone].copy()
        for i in _below(body, bone):
            body.heads[i] = centre + turn @ (body.heads[i] - centre)
            body.tails[i] = centre + turn @ (body.tails[i] - centre)


_WORDS = {
    "german": {"spine": "Wirbel", "neck": "Hals", "head": "Kopf", "thigh": "Oberschenkel", "shin": "Unterschenkel",
               "foot": "Fuss", "toe": "Zehe", "upperarm": "Oberarm", "forearm": "Unterarm", "hand": "Hand",
               "pelvis": "Becken", "collar": "Schluessel", "_l": "_links", "_r": "_rechts"},
    "french": {"spine": "colonne", "neck": "cou", "head": "tete", "thigh": "cuisse", "shin": "tibia", "foot": "pied",
               "toe": "orteil", "upperarm": "bras", "forearm": "avantbras", "hand": "main", "pelvis": "bassin",
               "_l": "_gauche", "_r": "_droite"},
    "russian": {"spine": "позвоночник", "neck": "шея", "head": "голова", "thigh": "бедро", "shin": "голень",
                "foot": "стопа", "upperarm": "плечо", "forearm": "предплечье", "hand": "кисть",
                "_l": "_лев", "_r": "_прав"},
    "japanese": {"spine": "上半身", "neck": "首", "head": "頭", "thigh": "足", "shin": "ひざ", "foot": "足首",
                 "upperarm": "腕", "forearm": "ひじ", "hand": "手首", "_l": "左", "_r": "右"},
}  # fmt: skip


def _named(body: Humanoid, kind: str, rng) -> list[str]:
    if kind == "hash":
        names = [f"{int(rng.integers(16**8)):08x}" for _ in body.names]
    elif kind == "bone":
        names = [f"Bone.{i:03d}" if i else "Bone" for i in range(len(body.names))]
    elif kind == "swapped":
        other = {"_l": "_r", "_r": "_l"}
        names = [n[:-2] + other[n[-2:]] if n[-2:] in other else n for n in body.names]
    elif kind in _WORDS:
        names = list(body.names)
        for english, word in _WORDS[kind].items():
            names = [n.replace(english, word) for n in names]
    else:
        names = list(body.names)
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}.{seen[name]:03d}")
    return out


def _finish(body: Humanoid, rng, pick, between, leg: float) -> None:
    """Noise, turn, scale, names, order of the bones."""
    for key in [key for key in body.truth if key[0] == "_"]:
        del body.truth[key]
    noise = pick("noise", [0.0, 0.003, 0.008], [2, 1, 1]) * leg
    heads, tails = np.array(body.heads), np.array(body.tails)
    jitter = rng.normal(size=heads.shape) * noise
    heads, tails = heads + jitter, tails + jitter
    toes = body.what["toes"] != "none"
    body.sides_show = bool(toes or float(body.what["knee bend"]) >= 8.0)
    kind = pick("tails", ["true", "up", "none"], [3, 1, 1])
    if kind == "up":
        tails = heads + UP * 0.1 * leg
    elif kind == "none":
        tails = heads.copy()
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    if pick("turned", ["any", "upright", "no"], [2, 2, 1]) == "upright":
        turn = about(UP, rng.uniform(-180, 180))
    elif body.what["turned"] == "no":
        turn = np.eye(3)
    scale = 10.0 ** between("scale", -2, 2)
    heads, tails = heads @ turn.T * scale, tails @ turn.T * scale
    body.forward, body.up = turn @ FRONT, turn @ UP
    names = _named(
        body, str(pick("names", ["hash", "bone", "swapped", "english", *_WORDS], [4, 4, 2, 1, 1, 1, 1, 1])), rng
    )
    # Parents first, brothers in any order.
    depth = []
    for i, parent in enumerate(body.parents):
        depth.append(0 if parent < 0 else depth[parent] + 1)
        assert parent < i
    order = np.lexsort((rng.random(len(names)), depth))
    new = np.argsort(order)
    parents = [int(new[body.parents[i]]) if body.parents[i] >= 0 else -1 for i in order]
    body.tree = plain_tree([names[i] for i in order], parents, heads[order], tails[order])
    body.truth = {joint: {int(new[i]) for i in bones} for joint, bones in body.truth.items()}
    body.spine, body.neck = [int(new[i]) for i in body.spine], [int(new[i]) for i in body.neck]
    body.root = int(new[body.root]) if body.root >= 0 else -1
