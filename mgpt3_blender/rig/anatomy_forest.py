"""The bones in which a body is looked for: helpers left out, loose pieces hung where they belong.

A game skeleton is one tree. In a control rig the bones that carry the mesh often hang from invisible helpers, or from
nothing; then only the deforming bones are taken, each piece of them joined to the bone that its top touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .tree import Tree

FAR = 0.2
"""A loose piece that begins farther from the rest than this share of the rest's size is no part of the body."""


@dataclass(frozen=True)
class Forest:
    """Part of a Tree with a hierarchy of its own. Indices are the forest's; `bones` leads back to the Tree.

    Attributes:
        bones: index in the Tree of each bone.
        parent: parent or -1, parents before children.
        kids: children.
        at: (n, 3) heads.
        points: the same as lists, for arithmetic on single bones.
        length: distance from the parent's head, 0 at the top.
        reach: length of the longest chain that hangs from the bone.
        size: number of bones below.
        joined: the hierarchy was partly guessed.
    """

    bones: list[int]
    parent: list[int]
    kids: list[list[int]]
    at: np.ndarray
    length: list[float]
    reach: list[float]
    size: list[int]
    joined: bool

    def path_up(self, bone: int) -> list[int]:
        """The bone and all above it."""
        out = [bone]
        while self.parent[out[-1]] >= 0:
            out.append(self.parent[out[-1]])
        return out

    def between(self, low: int, high: int) -> tuple[int, list[int]]:
        """The bone from which both hang, and the way from `low` to `high` over it, ends included. (-1, []) if none."""
        down, up = self.path_up(low), self.path_up(high)
        shared = set(up)
        top = next((bone for bone in down if bone in shared), -1)
        if top < 0:
            return -1, []
        return top, down[: down.index(top) + 1] + up[: up.index(top)][::-1]


def views(tree: Tree) -> Iterator[Forest]:
    """The selections of bones worth a look, the likeliest first: what deforms or is skinned, then everything."""
    count = len(tree.names)
    chosen: list[np.ndarray] = []
    everything = np.ones(count, bool)
    if 8 <= tree.deform.sum() < count:
        chosen.append(tree.deform.copy())
    skinned = tree.skinned > 0
    if skinned.sum() >= 8:
        chosen.append(_with_skin(tree, skinned))
    largest = _largest_piece(tree)
    if count > largest.sum() >= 0.5 * count:
        chosen.append(largest)  # the rest is loose: targets, poles, props
    chosen.append(everything)
    seen = set()
    for mask in chosen:
        key = mask.tobytes()
        if key not in seen and mask.sum() >= 8:
            seen.add(key)
            yield _forest(tree, mask)


def _with_skin(tree: Tree, skinned: np.ndarray) -> np.ndarray:
    """Leave out the branches without any skin that hang from a bone without skin: IK targets, poles, foot controls.

    A branch without skin on a bone that has some stays: toes, finger tips and heads of simple characters.
    """
    alive = skinned.copy()  # has skin itself or below
    for i in range(len(tree.names) - 1, -1, -1):
        if alive[i] and tree.parents[i] >= 0:
            alive[tree.parents[i]] = True
    keep = alive.copy()
    for i, parent in enumerate(tree.parents):
        if not keep[i] and parent >= 0 and keep[parent]:
            keep[i] = skinned[parent] or not alive[parent]
    return keep


def _largest_piece(tree: Tree) -> np.ndarray:
    """The bones under the top bone that has the most of them."""
    top = np.arange(len(tree.names))
    for i, parent in enumerate(tree.parents):
        if parent >= 0:
            top[i] = top[parent]
    return top == np.bincount(top).argmax() if len(top) else top == 0


def _forest(tree: Tree, mask: np.ndarray) -> Forest:
    bones = [int(i) for i in np.flatnonzero(mask)]
    local = {bone: i for i, bone in enumerate(bones)}
    parent = []
    for bone in bones:
        above = int(tree.parents[bone])
        while above >= 0 and above not in local:
            above = int(tree.parents[above])
        parent.append(local.get(above, -1))
    heads, tails = tree.heads[bones], tree.tails[bones]
    joined = False
    if sum(p < 0 for p in parent) > 1:
        parent = _join(parent, heads, tails)
        joined = True
    return _measured(bones, parent, heads, joined)


def _measured(bones: list[int], parent: list[int], heads: np.ndarray, joined: bool) -> Forest:
    """Sort parents first and work out lengths and sizes."""
    count = len(bones)
    kids: list[list[int]] = [[] for _ in range(count)]
    order: list[int] = []
    for i, p in enumerate(parent):
        (order if p < 0 else kids[p]).append(i)
    for i in order:  # grows while it is walked: breadth first
        order.extend(kids[i])
    new = {old: i for i, old in enumerate(order)}
    bones = [bones[i] for i in order]
    parent = [new[parent[i]] if parent[i] >= 0 else -1 for i in order]
    kids = [[new[k] for k in kids[i]] for i in order]
    at = heads[order]
    above = np.where(np.array(parent) < 0, np.arange(count), parent)
    length = np.linalg.norm(at - at[above], axis=1).tolist()
    reach, size = [0.0] * count, [0] * count
    for i in range(count - 1, 0, -1):
        p = parent[i]
        if p >= 0:
            reach[p] = max(reach[p], reach[i] + length[i])
            size[p] += size[i] + 1
    return Forest(bones, parent, kids, at, length, reach, size, joined)


def _join(parent: list[int], heads: np.ndarray, tails: np.ndarray) -> list[int]:
    """Hang every loose piece on the bone nearest to where the piece begins, starting from the trunk.

    The trunk is a piece without a mirrored twin, from which all others are reached with the least distance bridged.
    Pieces far from all others (poles, targets) stay loose.
    """
    count = len(parent)
    piece = list(range(count))
    for i in range(count):
        root = i
        while parent[root] >= 0:
            root = parent[root]
        piece[i] = root
    roots = sorted(set(piece))
    members = {root: [i for i in range(count) if piece[i] == root] for root in roots}
    # Distance from the head of each piece's top to each bone (head to tail), (pieces, bones).
    along = tails - heads
    squared = np.maximum((along * along).sum(-1), 1e-18)
    offset = heads[roots][:, None] - heads[None]
    where = np.clip((offset * along[None]).sum(-1) / squared[None], 0.0, 1.0)
    gap = np.linalg.norm(offset - where[..., None] * along[None], axis=-1)
    # Chains go on at a bone's tail: a hip that lies beside a bone's middle may as well hang from its end.
    gap += 0.05 * np.minimum(np.linalg.norm(offset - along[None], axis=-1), np.linalg.norm(offset, axis=-1))
    step = [float(np.linalg.norm(heads[i] - heads[p])) if p >= 0 else 0.0 for i, p in enumerate(parent)]
    total = {root: sum(step[i] for i in members[root]) + float(np.sqrt(squared[members[root]]).max()) for root in roots}
    twin = _twins(roots, [len(members[r]) for r in roots], [total[r] for r in roots], heads)
    other = {roots[i]: roots[k] for pair in twin for i, k in (pair, pair[::-1])}
    for i, k in twin:  # the left arm does not hang from the right one
        gap[i, members[roots[k]]] = gap[k, members[roots[i]]] = np.inf
    if twin:  # nor does the neck hang from a collarbone
        tops = heads[roots]
        first, second = tops[[i for i, _ in twin]], tops[[k for _, k in twin]]
        axis = (first - second)[0] / np.linalg.norm((first - second)[0])
        aside = np.abs((tops - 0.5 * (first + second).mean(0)) @ axis)
        sided = [i for root in other for i in members[root]]
        for i, root in enumerate(roots):
            if root not in other and aside[i] < 0.02 * float(np.ptp(heads, axis=0).max()):
                gap[i, sided] = np.inf
    trunks = sorted((r for r in roots if r not in other), key=lambda r: -total[r] - 1e-6 * len(members[r]))
    big = max(float(np.ptp(heads, axis=0).max()), 1e-12)
    best: tuple[float, list[int]] | None = None
    for trunk in (trunks or sorted(roots, key=lambda r: -total[r]))[:4]:
        if best is not None and total[trunk] < 0.3 * max(total.values()):
            break
        cost, joined = _spread(trunk, roots, members, other, gap, parent, FAR * big)
        if best is None or cost < best[0] - 1e-9:
            best = (cost, joined)
    assert best is not None
    return best[1]


def _twins(roots: list[int], counts: list[int], total: list[float], heads: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of pieces that mirror each other, as positions in `roots`: alike, and all apart in the same direction."""
    size = np.array(total)
    first, second = np.triu_indices(len(roots), 1)
    alike = (np.array(counts)[first] == np.array(counts)[second]) & (
        np.abs(size[first] - size[second]) < 0.05 * np.maximum(size[first], 1e-12)
    )
    at = heads[roots]
    between = at[first] - at[second]
    apart = np.linalg.norm(between, axis=-1)
    alike &= apart > 1e-3 * np.maximum(size[first], 1e-12)
    picked = np.flatnonzero(alike)[:400]
    if not len(picked):
        return []
    first, second = first[picked], second[picked]
    way = between[picked] / apart[picked, None]
    place = 0.5 * (at[first] + at[second])
    wide = float(np.ptp(heads, axis=0).max())
    # Mirrored pairs share their direction and lie about one plane across it.
    same = np.abs(way @ way.T) > 0.985
    same &= np.abs((way @ place.T) - (way * place).sum(-1)[:, None]) < 0.02 * wide
    most = same[same.sum(1).argmax()]
    if most.sum() < 2:
        return []
    out, taken = [], set()
    for one, other in zip(first[most], second[most], strict=True):
        if one not in taken and other not in taken:
            taken |= {one, other}
            out.append((int(one), int(other)))
    return out


def _spread(
    trunk: int,
    roots: list[int],
    members: dict[int, list[int]],
    other: dict[int, int],
    gap: np.ndarray,
    parent: list[int],
    far: float,
) -> tuple[float, list[int]]:
    """Prim's algorithm from one piece: (distance bridged, parents). Loose pieces cost as much as the limit."""
    out, cost = list(parent), 0.0
    row = {root: i for i, root in enumerate(roots)}
    nearest = np.full(len(roots), np.inf)
    onto = np.full(len(roots), -1)
    waiting = np.ones(len(roots), bool)
    added = trunk
    while True:
        waiting[row[added]] = False
        own = members[added]
        distance = gap[:, own]
        closest = distance.argmin(1)
        value = distance[np.arange(len(roots)), closest]
        better = value < nearest
        nearest[better] = value[better]
        onto[better] = np.array(own)[closest[better]]
        left = np.where(waiting, nearest, np.inf)
        pick = int(left.argmin())
        if not np.isfinite(left[pick]) or left[pick] > far:
            return cost + far * float(waiting.sum()), out
        cost += float(left[pick])
        added = roots[pick]
        out[added] = int(onto[pick])
        twin = out[other[added]] if added in other else -1
        if twin >= 0 and gap[pick, twin] < 1.4 * left[pick]:
            out[added] = twin  # both shoulders on the same bone, where either of two would do
