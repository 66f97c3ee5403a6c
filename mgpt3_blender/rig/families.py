"""Recognising a rig family by the names of its bones.

Nothing here knows Blender, and nothing looks at positions. Where a name occurs more than once (two skeletons in one
armature, "Hips.001") the bones that hang together win.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .bonenames import LOOSE, TAKEN_OFF, BoneNames, plain
from .presetfiles import load_presets, presets
from .presetfiles import presets as built_in
from .skeleton22 import INDEX, JOINTS, NEEDED, PARENTS, SPINE
from .tree import Tree

if TYPE_CHECKING:
    from .mapping import Mapping

__all__ = ["Match", "load_presets", "match_names", "presets"]

GROUND_NAMES = frozenset(
    ("root", "reference", "master", "motion", "trajectory", "rootnode", "global", "world", "cpos", "ctraj", "rootjoint")
)
"""Bare names of a bone over the pelvis that carries the whole character, in any family."""

_UP = tuple(PARENTS[INDEX[joint]] for joint in JOINTS)


@dataclass(frozen=True)
class Match:
    """How well a family fits an armature.

    Attributes:
        mapping: the bones found, `mapping.confidence` being `confidence`.
        confidence: 0..1; from about 0.6 on it is this family or a near relative.
        needed_missing: joints a character cannot do without and has no bone for ("spine" where no spine bone is found).
    """

    mapping: Mapping
    confidence: float
    needed_missing: tuple[str, ...]


class _Bones:
    """Ancestors of an armature's bones, found once each."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._above: dict[int, dict[int, int]] = {}

    def above(self, bone: int) -> dict[int, int]:
        """Ancestor -> how many bones up."""
        if bone not in self._above:
            self._above[bone] = {up: i for i, up in enumerate(self.tree.ancestors(bone), 1)}
        return self._above[bone]


def _controls(preset: dict[str, Any]) -> bool:
    """Whether the keyed bones are controls, which hang together through constraints and not as a tree."""
    return len(preset["deform"]) == len(preset["joints"])


def _weight(joint: str) -> float:
    return 1.0 if joint in NEEDED else 0.5


def _over(joint: str, chosen: dict[str, int]) -> int | None:
    """The bone of the nearest joint above that has one."""
    above = _UP[INDEX[joint]]
    while above >= 0 and JOINTS[above] not in chosen:
        above = _UP[above]
    return chosen[JOINTS[above]] if above >= 0 else None


def _choose(
    found: dict[str, list[tuple[int, int]]], bones: _Bones, tied: bool
) -> tuple[dict[str, int], list[int], float]:
    """One bone a joint, so that the bones hang together.

    Args:
        found: joint -> candidates (cost, bone).
        tied: the bones should form one tree; control rigs hang together through constraints instead.
    Returns:
        joint -> bone, what each cost, and the share of joints whose bone hangs below the bone of the joint above.
    """
    order = [joint for joint in JOINTS if found.get(joint)]
    if not order:
        return {}, [], 0.0
    tries = found[order[0]][:6] if tied else found[order[0]][:1]
    best: tuple[tuple[float, int], dict[str, int], list[int], float] | None = None
    for first in tries:
        chosen, costs, right, total = {order[0]: first[1]}, [first[0]], 0, 0
        for joint in order[1:]:
            up = _over(joint, chosen)
            used = set(chosen.values())
            free = [(c, bone) for c, bone in found[joint] if bone not in used]
            if not free:
                continue

            def fits(item: tuple[int, int], up: int | None = up) -> tuple[bool, int, int]:
                steps = bones.above(item[1]).get(up, 0) if tied and up is not None else 1
                return (not steps, item[0], steps)

            pick = min(free, key=fits) if len(free) > 1 and tied else free[0]
            chosen[joint] = pick[1]
            costs.append(pick[0])
            if up is not None:
                total += 1
                right += up in bones.above(pick[1])
        share = right / total if total else 0.0
        rank = (len(chosen) + 2.0 * share * len(chosen), -sum(costs))
        if best is None or rank > best[0]:
            best = (rank, chosen, costs, share)
    assert best is not None
    return best[1], best[2], best[3]


def _spread(chain: list[int]) -> dict[str, int]:
    """Which bones of a spine chain are spine1 to spine3."""
    if len(chain) < 2:
        return dict(zip(SPINE, chain, strict=False))
    out = {"spine1": chain[0], "spine3": chain[-1]}
    if len(chain) > 2:
        out["spine2"] = chain[(len(chain) - 1) // 2]
    return out


def _chain(listed: list[list[str]], names: BoneNames, prefix: str, near: _Bones, within: int | None) -> list[int]:
    """Bones of a chain in the preset's order: each below the one before, the first below `within`."""
    out: list[int] = []
    for alternatives in listed:
        over = out[-1] if out else within
        found = [bone for _, bone in names.find(alternatives, prefix) if bone not in out]
        below = [bone for bone in found if over is None or over in near.above(bone)]
        out += below[:1]
    return out


def _ground(preset: dict[str, Any], tree: Tree, names: BoneNames, pelvis: int, near: _Bones, tied: bool) -> int | None:
    """A bone over the pelvis that carries the whole character."""
    over = near.above(pelvis)
    for alternatives in preset["root"]:
        for _, bone in names.find(alternatives, preset.get("prefix", "")):
            if bone in over or (not tied and bone != pelvis):
                return bone
    for bone in reversed(over):  # from the top
        if _is_ground(bone, names):
            return bone
    return None


def _quick(preset: dict[str, Any], names: BoneNames) -> tuple[dict[str, list[tuple[int, int]]], float]:
    """Candidates for the joints of a family, and the share of joints that have some."""
    prefix = preset.get("prefix", "")
    wanted = preset["joints"]
    found = {joint: names.find(listed, prefix) for joint, listed in wanted.items()}
    total = sum(_weight(joint) for joint in wanted)
    return found, sum(_weight(joint) for joint, items in found.items() if items) / total


@dataclass
class _Found:
    """The bones of one family on one armature, as indices.

    Attributes:
        joints: joint -> bone to key.
        spine, neck: the chains, lowest first.
        costs: for each joint that was found, how far the spelling is from the family's.
        order: share of joints whose bone hangs below the bone of the joint above.
    """

    joints: dict[str, int]
    spine: list[int]
    neck: list[int]
    costs: list[int]
    order: float


def _find(preset: dict[str, Any], names: BoneNames, near: _Bones, found: dict[str, list[tuple[int, int]]]) -> _Found:
    """Choose the bones of a family from the candidates for its joints."""
    prefix, tied = preset.get("prefix", ""), not _controls(preset)
    chosen, costs, order = _choose(found, near, tied)
    limbs = {bone for joint, bone in chosen.items() if joint not in SPINE and joint != "neck"}
    if tied:
        spine = _chain(preset["spine"], names, prefix, near, chosen.get("pelvis"))
        if not spine:  # hips and spine side by side under one bone: that is the pelvis, unless it stands on the ground
            spine = _chain(preset["spine"], names, prefix, near, None)
            chosen |= _common(chosen, spine, names, near)
    else:
        spine = _first(preset["spine"], names, prefix)
    spine = [bone for bone in spine if bone not in limbs]
    if spine:
        chosen = {joint: bone for joint, bone in chosen.items() if joint not in SPINE} | _spread(spine)
    if tied:
        neck = _chain(preset["neck"], names, prefix, near, spine[-1] if spine else None)
    else:
        neck = _first(preset["neck"], names, prefix)
    neck = [bone for bone in neck if bone not in limbs and bone not in spine]
    if neck:
        chosen["neck"] = neck[0]
    for side in "lr":  # a collarbone that does not carry the arm is another bone of that name
        collar, shoulder = chosen.get(f"{side}_collar"), chosen.get(f"{side}_shoulder")
        if tied and collar is not None and shoulder is not None and collar not in near.above(shoulder):
            del chosen[f"{side}_collar"]
    return _Found({joint: chosen[joint] for joint in JOINTS if joint in chosen}, spine, neck, costs, order)


def _common(joints: dict[str, int], spine: list[int], names: BoneNames, near: _Bones) -> dict[str, int]:
    """The lowest bone over both thighs and the spine as the pelvis; {} where there is none or it is a ground bone."""
    if not spine or "l_hip" not in joints or "r_hip" not in joints:
        return {}
    over = near.above(spine[0])
    both = [bone for bone in over if bone in near.above(joints["l_hip"]) and bone in near.above(joints["r_hip"])]
    if not both or _is_ground(both[0], names) or both[0] in joints.values():
        return {}
    return {"pelvis": both[0]}


def _is_ground(bone: int, names: BoneNames) -> bool:
    return any(plain(form) in GROUND_NAMES for form, _ in names.forms[bone])


def _first(listed: list[list[str]], names: BoneNames, prefix: str) -> list[int]:
    """The best bone of each entry that has one: controls of a chain need not hang from each other."""
    return [hit[0][1] for alternatives in listed if (hit := names.find(alternatives, prefix))]


def _carriers(preset: dict[str, Any], names: BoneNames, found: _Found) -> tuple[dict[str, int], float]:
    """The bones that carry the mesh where the keyed bones do not, and the share of those that exist."""
    prefix = preset.get("prefix", "")
    out = {joint: hit[0][1] for joint, listed in preset["deform"].items() if (hit := names.find(listed, prefix))}
    share = 1.0 - (len(preset["deform"]) - len(out)) / len(preset["joints"])
    chain = _first(preset["deform_spine"], names, prefix)
    if chain:
        out.update(_spread(chain))
    return {joint: bone for joint, bone in out.items() if joint in found.joints}, share


def _fingers(preset: dict[str, Any], names: BoneNames, near: _Bones, found: _Found) -> dict[int, tuple[str, int]]:
    """Finger bones -> side and place from the palm outwards; of the hand that was chosen where there are more."""
    out: dict[int, tuple[str, int]] = {}
    for (letter, _), chain in preset["fingers"].items():
        wrist = found.joints.get(f"{letter}_wrist")
        for step, alternatives in enumerate(chain):
            hits = [bone for _, bone in names.find(alternatives, preset.get("prefix", ""))]
            hits = [bone for bone in hits if wrist in near.above(bone)] or ([] if not _controls(preset) else hits)
            out.update(dict.fromkeys(hits[:1], (letter, step)))
    return out


def _match(preset: dict[str, Any], tree: Tree, names: BoneNames, near: _Bones, candidates: dict) -> tuple[Match, tuple]:
    """A family's mapping on an armature, and what it is ranked by."""
    from .mapping import Mapping, Switch  # mapping.py uses this module

    prefix, tied = preset.get("prefix", ""), not _controls(preset)
    found = _find(preset, names, near, candidates)
    carriers, carried = _carriers(preset, names, found)
    fingers = _fingers(preset, names, near, found)
    signed = [bool(names.find(listed, prefix)) for listed in preset["signature"]]
    pelvis = found.joints.get("pelvis")
    root = _ground(preset, tree, names, pelvis, near, tied) if pelvis is not None else None
    bones = {joint: tree.names[bone] for joint, bone in found.joints.items()}

    wanted = preset["joints"]
    whole = len(found.spine) == len(preset["spine"])
    share = sum(_weight(joint) for joint in wanted if joint in bones or (joint in SPINE and whole))
    share *= carried / sum(_weight(joint) for joint in wanted)
    share *= 0.5 + 0.5 * found.order if tied else 1.0
    share *= 1.0 if all(signed) else 0.8
    loose = sum(cost % TAKEN_OFF >= LOOSE for cost in found.costs)
    share *= 1.0 - 0.03 * loose / max(len(found.costs), 1)

    def some(listed: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tree.names[bone] for bone in _first([[name] for name in listed], names, prefix)))

    def table(entries: dict[str, str]) -> dict[str, str]:
        return {bone: joint for name, joint in entries.items() if joint in bones for bone in some([name])}

    def switches(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "bone": bone} for entry in entries for bone in some([entry["bone"]])]

    ik: dict[str, Any] = {
        key: table(value) if isinstance(value, dict) else list(some(value))
        for key, value in preset["ik"].items()
        if key != "switches"
    }
    if ik.get("controls"):
        ik["switches"] = switches(preset["ik"]["switches"])
    else:
        ik = {}
    mapping = Mapping(
        preset=preset["name"],
        bones=bones,
        deform={**bones, **{joint: tree.names[bone] for joint, bone in carriers.items()}},
        also=table(preset["also"]),
        hold=some(preset["hold"]),
        switches=tuple(
            Switch(entry["bone"], entry.get("property", ""), float(entry["value"]), entry.get("constraint", ""))
            for entry in switches(preset["switches"])
        ),
        rest_is_pose=preset.get("rest_is_pose", True),
        missing=tuple(joint for joint in JOINTS if joint not in bones),
        confidence=round(share, 4),
        spine=tuple(tree.names[bone] for bone in found.spine),
        neck=tuple(tree.names[bone] for bone in found.neck),
        root=tree.names[root] if root is not None else None,
        fingers={tree.names[bone]: place for bone, place in fingers.items()},
        ik=ik,
    )
    gone = [joint for joint in NEEDED if joint not in bones]
    if not any(joint in bones for joint in SPINE):
        gone.append("spine")
    # Of families that fit about as well: controls rather than the bones they move, the one whose own names are there,
    # the one that finds more of the body, then the one that knows more of the bones and spells them as they are spelt.
    fit = share * (0.8 + 0.2 * len(bones) / len(JOINTS))
    if share > 0.6:
        fit += (0.25 if not tied else 0.0) + (0.05 if signed and all(signed) else 0.0)
    known = len(found.spine) + len(found.neck) + len(fingers) + sum(signed) + len(mapping.hold)
    rank = (round(fit, 2), known, -sum(found.costs), fit)
    return Match(mapping, mapping.confidence, tuple(gone)), rank


def match_names(tree: Tree, presets: Sequence[dict[str, Any]] | None = None) -> list[Match]:
    """The families whose names an armature uses, best first; empty where no family comes near.

    Args:
        tree: names and hierarchy; positions are not looked at.
        presets: as `load_presets` gives them; the built-in ones by default.
    """
    known = built_in() if presets is None else presets
    if not tree.names:
        return []
    names, near = BoneNames(tree.names), _Bones(tree)
    quick = [(preset, *_quick(preset, names)) for preset in known]
    top = max((share for _, _, share in quick), default=0.0)
    full = [_match(preset, tree, names, near, found) for preset, found, share in quick if share >= max(0.3, top - 0.25)]
    return [match for match, _ in sorted(full, key=lambda item: item[1], reverse=True)]
