"""Spines of one to six bones and necks of one to three: a bend spread along them. NumPy only.

The motion has a spine of three bones and a neck of one. A character's spine has some joints that play the motion's,
and may have more bones between them; so may its neck. Between two such joints lies a segment. Its bones follow the
motion's curve by arc length: in the middle of a segment a bone is turned as the segment is, towards its ends halfway
to the neighbouring segments. The segment as a whole is then turned so that its ends point where they should: with more
bones the back bends more softly and the mapped joints stay where they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import rotation as rot
from .character import Character
from .skeleton22 import INDEX as J
from .skeleton22 import SPINE


@dataclass(frozen=True)
class Segment:
    """The bones from one mapped joint up to the next.

    Attributes:
        joint: the lower one; None below the lowest mapped joint.
        bones: indices, lowest first.
        offsets: (n, 3) rest vectors from each bone's head to the next one's, and on to the upper joint, motion axes;
            None where they are not known to hang on one another.
    """

    joint: int | None
    bones: tuple[int, ...]
    offsets: np.ndarray | None


def segments(character: Character) -> tuple[list[Segment], list[Segment]]:
    """The spine and the neck of a character, cut at their mapped joints; bones that `keyed` covers are not cut."""
    rig = character.rig
    return (
        _cut(character, rig.spine, [J[name] for name in SPINE], J["pelvis"]),
        _cut(character, rig.neck, [J["neck"]], None),
    )


def _cut(character: Character, chain: list[int], joints: list[int], below: int | None) -> list[Segment]:
    rig = character.rig
    plays = {rig.joint_bone[j]: j for j in joints if j in rig.joint_bone}
    taken = {rig.joint_bone[j] for j in rig.joint_bone if j not in joints}
    parts: list[tuple[int | None, list[int]]] = [(None, [])] if below is not None else []
    for bone in chain:
        if bone in plays:
            parts.append((plays[bone], [bone]))
        elif bone not in taken and bone not in rig.keyed and parts:
            parts[-1][1].append(bone)
    return [Segment(j, tuple(bones), _offsets(character, j, bones)) for j, bones in parts if bones]


def _offsets(character: Character, joint: int | None, bones: list[int]) -> np.ndarray | None:
    """Rest vectors along a segment, motion axes; None if its bones do not form one branch up to the next joint."""
    rig = character.rig
    if joint is None or rig.controls:
        return None
    upper = character.next(joint)
    if upper is None:
        return None
    ends = [*bones[1:], rig.joint_bone[upper]]
    for n, end in enumerate(ends):
        up = character.bones[end].parent
        while up >= 0 and up not in character.driven:
            up = character.bones[up].parent
        if up != bones[n]:
            return None
    heads = np.array([character.bones[i].head for i in (*bones, ends[-1])])
    return np.diff(heads, axis=0) @ (character.to_motion @ character.carried).T


def spread(character: Character, turns: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Turns of all spine and neck bones from those of the joints. bone index -> (T, 3, 3), motion axes.

    Only chains with bones between the mapped joints are in the answer; all others are turned as their joint is.
    """
    out: dict[int, np.ndarray] = {}
    spine, neck = segments(character)
    if any(len(part.bones) > 1 or part.joint is None for part in spine):
        _spread(spine, turns, turns[J["pelvis"]], None, out)
    if any(len(part.bones) > 1 for part in neck):
        chest = next(turns[J[name]] for name in reversed(SPINE) if J[name] in turns)
        _spread(neck, turns, chest, turns[J["head"]], out)
    return out


def _spread(
    parts: list[Segment],
    turns: dict[int, np.ndarray],
    below: np.ndarray,
    above: np.ndarray | None,
    out: dict[int, np.ndarray],
) -> None:
    for n, part in enumerate(parts):
        after = [turns[other.joint] for other in parts[n + 1 :] if other.joint is not None]
        following = after[0] if after else above
        count = len(part.bones)
        if part.joint is None:  # between the pelvis and the lowest mapped joint
            for k, bone in enumerate(part.bones):
                out[bone] = rot.between(below, following if following is not None else below, (k + 1) / (count + 1))
            continue
        own = turns[part.joint]
        ahead = own if following is None else following  # nothing above the chest: it stays one piece
        at = [0.5] if part.offsets is None and count == 1 else _middles(part)
        bent = [
            own
            if abs(f - 0.5) < 1e-6
            else (rot.between(below, own, 0.5 + f) if f < 0.5 else rot.between(own, ahead, f - 0.5))
            for f in at
        ]
        if part.offsets is not None and count > 1:
            reach = np.sum([rot.turn(turn, offset) for turn, offset in zip(bent, part.offsets, strict=True)], axis=0)
            fix = rot.swing(reach, rot.turn(own, part.offsets.sum(0)))
            bent = [fix @ turn for turn in bent]
        out.update(zip(part.bones, bent, strict=True))
        below = own


def _middles(part: Segment) -> np.ndarray:
    """How far along its segment the middle of each bone is, 0..1."""
    count = len(part.bones)
    if part.offsets is None:
        return (np.arange(count) + 0.5) / count
    lengths = np.linalg.norm(part.offsets, axis=-1)
    if lengths.sum() < 1e-9:
        return np.full(count, 0.5)
    return (np.cumsum(lengths) - 0.5 * lengths) / lengths.sum()
