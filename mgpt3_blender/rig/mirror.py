"""The bone on the other side: by the name's left or right, and where names say nothing by where the bones are.

Knows nothing of Blender; axes and units are the tree's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from .tree import Tree

PAIRS: tuple[tuple[str, str], ...] = (
    ("left", "right"), ("lft", "rgt"), ("左", "右"), ("hidari", "migi"), ("ひだり", "みぎ"), ("zuo", "you"),
    ("왼", "오른"), ("gauche", "droite"), ("gauche", "droit"), ("links", "rechts"), ("link", "recht"),
    ("izquierda", "derecha"), ("izquierdo", "derecho"), ("izq", "der"), ("sinistra", "destra"), ("sinistro", "destro"),
    ("esquerda", "direita"), ("esquerdo", "direito"), ("лев", "прав"),
)  # fmt: skip
"""Words for left and right; they count wherever they stand in a name."""

CLOSE = 0.06
"""How far from the mirrored place a bone may be to be its counterpart, of the character's size."""

_LETTER = re.compile(r"(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<![A-Za-z])[lr](?=[A-Z])|(?<=[a-z])[LR](?![A-Za-z])")
"""A single l or r between signs ("arm.L", "Bip01 L Thigh"), before a capital ("lThigh") or at an end ("thighL")."""


def flips(name: str) -> Iterator[str]:
    """Names that the bone on the other side may have, the likeliest first; none of them is `name` itself."""
    seen = {name}
    for one, two in PAIRS:
        for word, other in ((one, two), (two, one)):
            places = [found.start() for found in re.finditer(re.escape(word), name, re.IGNORECASE)]
            yield from _new(seen, _swapped(name, places, len(word), other))
    places = [found.start() for found in _LETTER.finditer(name)]
    for other in "rl":
        of_this = [place for place in places if name[place].lower() != other]
        yield from _new(seen, _swapped(name, of_this, 1, other))


def _new(seen: set[str], names: list[str]) -> Iterator[str]:
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name


def _swapped(name: str, places: list[int], length: int, word: str) -> list[str]:
    """The name with the word at one of the places, then, where there are several, at all of them."""

    def swap(at: list[int]) -> str:
        out = name
        for place in reversed(at):
            out = out[:place] + _as(out[place : place + length], word) + out[place + length :]
        return out

    return [swap([place]) for place in places] + ([swap(places)] if len(places) > 1 else [])


def _as(text: str, word: str) -> str:
    """The word in the capitals of the text it replaces."""
    if text.isupper():
        return word.upper()
    return word.capitalize() if text[:1].isupper() else word


def mirrored(
    tree: Tree,
    bones: Mapping[str, str],
    source: str = "l",
    flip: Callable[[str], str] | None = None,
) -> dict[str, str | None]:
    """For each joint on the other side the bone that mirrors its counterpart's, None where there is none.

    Args:
        tree: the character's bones.
        bones: joint -> bone. Those of the middle, where there are any, say where the character's middle is.
        source: "l" or "r": the side that is taken over.
        flip: tried before everything else: a name -> the name on the other side.
    """
    there = tree.index
    side, other = f"{source}_", "r_" if source == "l" else "l_"
    out: dict[str, str | None] = {}
    left = {joint: bone for joint, bone in bones.items() if joint.startswith(side) and bone in there}
    unnamed: dict[str, str] = {}
    for joint, bone in left.items():
        names = ([flip(bone)] if flip else []) + list(flips(bone))
        found = next((name for name in names if name != bone and name in there), None)
        out[other + joint[2:]] = found
        if found is None:
            unnamed[other + joint[2:]] = bone
    if unnamed:
        taken = {bone for bone in out.values() if bone} | set(left.values())
        plane = middle(tree, {joint: bone for joint, bone in bones.items() if bone in there}, side)
        for joint, bone in unnamed.items():
            found = _counterpart(tree, there[bone], plane, taken)
            out[joint] = found
            if found:
                taken.add(found)
    return out


def middle(tree: Tree, bones: Mapping[str, str], side: str) -> tuple[np.ndarray, np.ndarray]:
    """The plane that halves the character: a point (3,) on it and the unit direction (3,) across it.

    The point is in the middle of the torso's joints; where none is known the armature's origin, the middle of its
    bones or their median is tried. The direction is an axis or where the side's joints point. Of all of these the one
    that mirrors the bones best onto each other is taken, among those that have the whole side on one side.
    """
    centre = [tree.heads[tree.index[bone]] for joint, bone in bones.items() if joint[1] != "_"]
    beside = np.stack([tree.heads[tree.index[bone]] for joint, bone in bones.items() if joint.startswith(side)])
    size = float(np.ptp(tree.heads, axis=0).max())
    low, high = tree.heads.min(axis=0), tree.heads.max(axis=0)
    points = [np.mean(centre, axis=0)] if centre else [np.zeros(3), 0.5 * (low + high), np.median(tree.heads, axis=0)]
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for point in points:
        aside = beside.mean(axis=0) - point
        if len(centre) > 1:  # what is along the spine is no way to the side
            up = np.eye(3)[int(np.argmax(np.ptp(np.stack(centre), axis=0)))]
            aside = aside - up * (aside @ up)
        aside = aside / max(float(np.linalg.norm(aside)), 1e-12)
        for axis in (*np.eye(3), aside):
            far = (beside - point) @ axis
            far = far if far.mean() > 0.0 else -far
            apart = far.mean() > 0.02 * size and far.min() > -0.02 * size
            error = _asymmetry(tree, point, axis) if apart else np.inf
            if best is None or error < best[0]:
                best = (error, point, axis if apart else aside)
    assert best is not None
    return best[1], best[2]


def _reflected(points: np.ndarray, point: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return points - 2.0 * ((points - point) @ axis)[..., None] * axis


def _asymmetry(tree: Tree, point: np.ndarray, axis: np.ndarray) -> float:
    """Mean distance from each bone's mirrored head to the nearest head."""
    far = np.linalg.norm(_reflected(tree.heads, point, axis)[:, None] - tree.heads[None], axis=-1)
    return float(far.min(axis=1).mean())


def _counterpart(tree: Tree, bone: int, plane: tuple[np.ndarray, np.ndarray], taken: set[str]) -> str | None:
    """The bone that lies where this one's mirror image does; twist bones lie there too, but end elsewhere."""
    size = float(np.ptp(tree.heads, axis=0).max())
    head = np.linalg.norm(tree.heads - _reflected(tree.heads[bone], *plane), axis=-1)
    tail = np.linalg.norm(tree.tails - _reflected(tree.tails[bone], *plane), axis=-1)
    depth = np.array([len(tree.ancestors(i)) for i in range(len(tree.names))])
    family = np.array([len(kids) for kids in tree.children])
    unlike = np.abs(depth - depth[bone]) + np.abs(family - family[bone])
    cost = head + 0.5 * np.minimum(tail, 0.2 * size) + 0.01 * size * np.minimum(unlike, 5)
    for i in np.argsort(cost, kind="stable"):
        if head[i] > CLOSE * size:
            continue
        if i != bone and tree.names[i] not in taken:
            return tree.names[i]
    return None
