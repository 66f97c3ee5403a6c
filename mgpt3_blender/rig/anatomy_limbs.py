"""Pairs of limbs: branches of a bone that mirror each other, and where along them the joints are.

Everything here compares lengths along chains, angles between bones and distances between twins, so that neither the
pose of an arm nor the direction in which the character lies matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .anatomy_forest import Forest
from .words import hints

SMALL = 0.2
"""A branch shorter than this share of the longest twin branches is no limb."""
PAIRS = 30
"""No more pairs of branches than this are tried at one bone."""
PATHS = 6
"""No more ways than this down a pair of branches are tried."""


@dataclass(frozen=True)
class Way:
    """One way down a pair of mirrored branches: n steps, of which coincident bones are taken as one.

    Attributes:
        top: the bone both branches hang from.
        a, b: the bones on either side, n each; of bones at one place the first.
        low_a, low_b: the same, but of bones at one place the last.
        at: (n, 2, 3) their heads.
        fan: how many twin chains hang from each, n.
        hand: fingers or toes fan out from it: three or more, all short, n.
        heavy: penalty for each bone to play a joint, by its name, n.
        begins: how far from the top's head either side begins.
    """

    top: int
    a: list[int]
    b: list[int]
    low_a: list[int]
    low_b: list[int]
    at: np.ndarray
    fan: list[int]
    hand: list[bool]
    heavy: list[float]
    begins: tuple[float, float]


@dataclass(frozen=True)
class Limb:
    """A way with its three joints: hip, knee, ankle or shoulder, elbow, wrist as positions on the way.

    Attributes:
        length: upper and lower part together, mean of both sides.
        score: how much it looks like that kind of limb; above 0 is likely.
    """

    way: Way
    joints: tuple[int, int, int]
    length: float
    score: float


def ways(forest: Forest, names: Sequence[str]) -> list[Way]:
    """All ways down all mirrored branches, `names` being those of the forest's bones."""
    reach = forest.reach
    pairs: list[tuple[float, int, int, int]] = []
    for top, kids in enumerate(forest.kids):
        if len(kids) < 2:
            continue
        long = sorted((k for k in kids if reach[k] > 0.0), key=lambda k: -reach[k])[:14]
        here = []
        for i, a in enumerate(long):
            for b in long[i + 1 :]:
                begin = abs(forest.length[a] - forest.length[b]) / reach[a]
                here.append((begin + 0.2 * (reach[a] - reach[b]) / reach[a] - 0.5 * reach[b] / reach[long[0]], a, b))
        # A skirt's strands all match each other; the likeliest of one place are enough.
        pairs.extend((min(reach[a], reach[b]), top, a, b) for _, a, b in sorted(here)[:PAIRS])
    if not pairs:
        return []
    pairs.sort(reverse=True)
    least, out = SMALL * pairs[0][0], []
    for far, top, a, b in pairs[:70]:
        if far >= least:
            out.extend(_down(forest, names, top, a, b))
    return out


def _down(forest: Forest, names: Sequence[str], top: int, a: int, b: int) -> list[Way]:
    """Walk down both branches in step, choosing at each fork the pairs of children that match and lead far."""
    length, reach = forest.length, forest.reach
    whole = min(reach[a], reach[b])
    done: list[list[tuple[int, int]]] = []
    fans: dict[tuple[int, int], int] = {}
    hands: set[tuple[int, int]] = set()
    heap = [[(a, b)]]
    while heap and len(done) < PATHS:
        path = heap.pop()
        x, y = path[-1]
        twins = _twins(forest, x, y)
        fans[x, y] = sum(1 for _, far, p, _ in twins if length[p] > 0.01 * whole or reach[p] > 0.01 * whole)
        far = max((t[1] for t in twins), default=0.0)
        if fans[x, y] >= 3 and far < 0.4 * whole:
            hands.add((x, y))
        if not twins or len(path) > 11:
            done.append(path)
            continue
        # Hands and feet: the longest finger will do.
        choices = [t for t in twins if t[1] >= (0.45 if far > 0.2 * whole else 1.0) * far]
        choices.sort(key=lambda t: (t[1] * (0.3 if _is_side(names[t[2]]) else 1.0), forest.size[t[2]]))
        heap.extend([*path, (p, q)] for _, _, p, q in choices[-3:])
    out = []
    for path in done:
        way = _way(forest, names, top, path, fans, hands, whole)
        if way is not None:
            out.append(way)
    return out


def _is_side(name: str) -> bool:
    return bool(hints(name) & {"cloth", "twist", "helper"})


def _twins(forest: Forest, x: int, y: int) -> list[tuple[float, float, int, int]]:
    """Pairs of children that match in length: (mismatch, how far they lead, child of x, child of y)."""
    length, reach = forest.length, forest.reach
    out, taken = [], set()
    for p in sorted(forest.kids[x], key=lambda k: -(length[k] + reach[k]))[:8]:
        best = None
        for q in forest.kids[y]:
            if q in taken:
                continue
            big = max(length[p], length[q], 0.15 * max(reach[p], reach[q]), 1e-9)
            wide = max(length[p] + reach[p], length[q] + reach[q], 1e-9)
            off = abs(length[p] - length[q]) / big + 0.5 * abs(reach[p] - reach[q] + length[p] - length[q]) / wide
            if best is None or off < best[0]:
                best = (off, q)
        if best is not None and best[0] < 0.9:
            taken.add(best[1])
            out.append((best[0], min(length[p] + reach[p], length[best[1]] + reach[best[1]]), p, best[1]))
    return out


def _way(
    forest: Forest,
    names: Sequence[str],
    top: int,
    path: list[tuple[int, int]],
    fans: dict[tuple[int, int], int],
    hands: set[tuple[int, int]],
    whole: float,
) -> Way | None:
    """A Way without the steps that lead nowhere, or None where too little is left."""
    keep, low = [path[0]], [path[0]]
    fan, hand = [fans.get(path[0], 0)], [path[0] in hands]
    for step in path[1:]:
        if 0.5 * (forest.length[step[0]] + forest.length[step[1]]) < 1e-3 * whole:
            fan[-1] = max(fan[-1], fans.get(step, 0))
            hand[-1] = hand[-1] or step in hands
            low[-1] = step
        else:
            keep.append(step)
            low.append(step)
            fan.append(fans.get(step, 0))
            hand.append(step in hands)
    if len(keep) < 3:
        return None
    a, b = [s[0] for s in keep], [s[1] for s in keep]
    at = np.stack([forest.at[a], forest.at[b]], 1)
    if np.linalg.norm(at[:, 0] - at[:, 1], axis=-1).max() < 0.02 * whole:
        return None  # two copies of one limb, not two limbs
    heavy = [0.0 if i == 0 else 0.4 * float(_is_side(names[x])) for i, x in enumerate(a)]
    if forest.size[a[0]] != forest.size[b[0]]:
        heavy = [value + 0.05 for value in heavy]  # of two copies of a leg (MMD), the ones that match belong together
    return Way(
        top,
        a,
        b,
        [s[0] for s in low],
        [s[1] for s in low],
        at,
        fan,
        hand,
        heavy,
        (forest.length[a[0]], forest.length[b[0]]),
    )


@cache
def _triples(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [(i, j, k) for i in range(count) for j in range(i + 1, count) for k in range(j + 1, count)]
    table = np.array(rows, int).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def limbs(way: Way, scale: float) -> tuple[Limb, Limb]:
    """The way as a leg and as an arm: the likeliest three joints of each.

    Args:
        scale: the length of the longest limb there may be.
    """
    count = len(way.a)
    i, j, k = _triples(count)
    step = np.diff(way.at, axis=0)  # (n-1, 2, 3)
    long = np.linalg.norm(step, axis=-1)
    arc2 = np.concatenate([np.zeros((1, 2)), np.cumsum(long, 0)])
    arc = arc2.mean(1)
    unit = step / np.maximum(long, 1e-12)[..., None]
    cosine = np.ones(count)
    cosine[1:-1] = np.clip((unit[1:] * unit[:-1]).sum(-1), -1, 1).mean(1)
    bend = np.degrees(np.arccos(np.clip(cosine, -1, 1)))  # turn at each step, 0 at both ends
    sep = np.linalg.norm(way.at[:, 0] - way.at[:, 1], axis=-1)
    fan, hand, heavy = np.array(way.fan), np.array(way.hand), np.array(way.heavy)
    upper, lower = arc[j] - arc[i], arc[k] - arc[j]
    both = np.maximum(upper + lower, 1e-12)
    fits = np.exp(-np.abs(np.log(np.maximum(upper, 1e-12) / np.maximum(lower, 1e-12))))
    # The same parts must be equally long on both sides.
    sides = np.abs(arc2[:, 0][:, None] - arc2[:, 0] - arc2[:, 1][:, None] + arc2[:, 1])
    begins = abs(way.begins[0] - way.begins[1])
    uneven = (sides[i, j] + sides[j, k] + 0.5 * sides[0, i] + begins) / both
    # Bones inside the upper or lower part lie on its line.
    turn = np.minimum((bend / 25.0) ** 2, 3.0) + 0.08 + 0.5 * (fan >= 2)
    along = np.concatenate([[0.0], np.cumsum(turn)])
    inner = (along[j] - along[i + 1]) + (along[k] - along[j + 1])
    part = np.where(k - j > 1, (arc[k] - arc[k - 1]) / np.maximum(lower, 1e-12), 1.0)
    inner = inner + np.clip(
        (0.36 - part) / 0.12, 0.0, 1.0
    )  # a twist bone lies further from the end: this one ends in a finger or toe
    ratio = np.log(np.maximum(upper, 1e-12) / np.maximum(lower, 1e-12))
    before, after = arc[i] / both, (arc[-1] - arc[k]) / both
    next_bend = np.where(k < count - 1, bend[k], 0.0)
    common = (
        0.2
        - (np.maximum(np.abs(ratio) - 0.2, 0.0) / 0.25) ** 2
        - inner
        - np.minimum((uneven / 0.2) ** 2, 6.0)
        + 0.6 * np.minimum(bend[j] / 10.0, 1.0)
        - heavy[i]
        - heavy[j]
        - heavy[k]
        - 3.0 * (fits < 0.25)
    )
    # A hip bone or collarbone begins nearer to its twin than the limb proper; skipping a straight piece is odd.
    first = np.minimum(i + 1, count - 1)
    narrow = (sep[i] < 0.2 * sep[first]) & (i < j - 1)
    straight = np.where(i > 0, np.maximum(0.0, np.cos(np.radians(bend[i])) - 0.5) * 2.0, 0.0)
    straight = np.where(sep[np.maximum(i - 1, 0)] < 0.7 * sep[i], 0.0, straight)
    # Equal pieces in a straight line are one bone cut up, with no joint between them.
    piece = long.mean(1)
    cut = np.zeros(count)
    cut[1:-1] = (np.abs(piece[1:] - piece[:-1]) < 0.06 * piece[1:]) & (bend[1:-1] < 8.0)
    common = common - 0.8 * cut[i] - 0.8 * cut[k]
    # Twist bones come in equal numbers above and below the elbow or knee.
    common = common - 2.0 * narrow - straight - 0.2 * np.abs((j - i) - (k - j))
    size = np.minimum(both / scale, 1.0) + 1.5 * np.minimum(both / (0.6 * arc[-1]), 1.0)
    foot = np.where(
        k < count - 1,
        0.6 * np.minimum(next_bend / 45.0, 1.5) - np.minimum(((after - 0.3) / 0.3) ** 2, 4.0) * (after > 0.3),
        0.1,
    )
    leg = (
        common
        + foot
        + 1.5 * size
        - np.minimum((np.maximum(before - 0.1, 0.0) / 0.2) ** 2, 4.0)
        - 0.5 * np.minimum(np.maximum(np.log(np.maximum(sep[i], 1e-9) / both / 0.8), 0.0) ** 2 * 4, 4.0)
    )
    spread = np.minimum(np.log(np.maximum(sep[i], 1e-6 * both) / (0.35 * both)), 0.0)
    at_hand = hand[k]
    one_on = hand[np.minimum(k + 1, count - 1)] & (k + 1 < count)
    # Fingers begin beyond the wrist: a fan above it means that the joints are those of a finger.
    fans_above = np.concatenate([[0], np.cumsum(hand)])
    arm = (
        common
        + 1.2 * at_hand
        + 0.8 * (one_on & ~at_hand)
        - 3.0 * np.minimum(fans_above[k] - fans_above[np.minimum(i + 1, k)], 1)
        + 1.2 * size
        - np.minimum((np.maximum(before - 0.45, 0.0) / 0.25) ** 2, 4.0)
        - np.minimum((np.maximum(after - 0.45, 0.0) / 0.25) ** 2, 4.0)
        - 0.7 * np.minimum((spread / 0.5) ** 2, 4.0)
        + (i > 0) * (0.25 - np.clip((0.16 - before) / 0.08, 0.0, 1.0))
        - 0.4 * (k == count - 1)
    )
    out = []
    for score in (leg, arm):
        best = int(score.argmax())
        out.append(Limb(way, (int(i[best]), int(j[best]), int(k[best])), float(both[best]), float(score[best])))
    return out[0], out[1]


def played(limb: Limb) -> tuple[list[int], list[int]]:
    """The bones of the three joints on either side. Of bones at one place the last carries an upper or lower part
    (what is above it only holds it), the first is the hand or foot (what is below is a finger)."""
    way, (i, j, k) = limb.way, limb.joints
    return [way.low_a[i], way.low_a[j], way.a[k]], [way.low_b[i], way.low_b[j], way.b[k]]


def unit(vector: np.ndarray) -> np.ndarray:
    """Length 1, or zero where there is no direction. (3,)"""
    size = math.sqrt(float(vector @ vector))
    return vector / size if size > 1e-12 else np.zeros(3)
