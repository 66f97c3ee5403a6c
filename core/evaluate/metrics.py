"""Figures of text-to-motion from embeddings of text and motion, in NumPy.

After Guo et al. (CVPR 2022): R-precision, FID, MM-Dist, Diversity, MultiModality. Embeddings are (N, E) and of unit
length, so the Euclidean distance orders pairs as the cosine does and lies between 0 and 2.
"""

from __future__ import annotations

import numpy as np

GROUP = 32
"""Texts and motions of one retrieval group."""


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the 95 % interval of the mean, 1.96 std / sqrt(n) (0 for a single value)."""
    v = np.asarray(values, np.float64)
    spread = v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.0
    return float(v.mean()), float(1.96 * spread)


def draw_groups(captions: list[list[str]], rng: np.random.Generator, size: int = GROUP) -> list[np.ndarray]:
    """Groups of clips no two of which share a caption, so that every text has one right answer.

    For each group the clips are gone through in a new random order and taken where none of their captions is in the
    group yet. There are as many groups as the clips fill; where the data has too few different captions for `size`,
    a group is smaller.

    Args:
        captions: all captions of each clip.
    Returns:
        Row indices of each group.
    """
    groups = []
    for _ in range(max(1, len(captions) // size)):
        seen: set[str] = set()
        rows: list[int] = []
        for i in rng.permutation(len(captions)):
            if len(rows) < size and seen.isdisjoint(captions[i]):
                seen.update(captions[i])
                rows.append(int(i))
        groups.append(np.array(rows))
    return groups


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances of all pairs: (N, E), (M, E) -> (N, M)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(square.clip(0))


def r_precision(text: np.ndarray, motion: np.ndarray, top: int = 3) -> np.ndarray:
    """Share of texts whose own motion is among the 1 to `top` nearest ones of the group: (N, E) twice -> (top,).

    Motions at the very same distance (a retrieved clip may serve two texts) are in random order: their expected share
    is counted."""
    d = distances(text, motion)
    own = d.diagonal()[:, None]
    nearer = (d < own - 1e-9).sum(1)
    tied = (np.abs(d - own) <= 1e-9).sum(1)  # itself too
    return np.array([((k - nearer) / tied).clip(0, 1).mean() for k in range(1, top + 1)])


def matching(text: np.ndarray, motion: np.ndarray) -> float:
    """MM-Dist: mean distance of each text to its own motion, (N, E) each."""
    return float(np.linalg.norm(text - motion, axis=1).mean())


def retrieval(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """R-precision and MM-Dist over groups: (texts, motions) of each, (N, E) both -> r1, r2, r3, mm_dist."""
    top = np.mean([r_precision(text, motion) for text, motion in pairs], 0)
    far = float(np.mean([matching(text, motion) for text, motion in pairs]))
    return {"r1": top[0], "r2": top[1], "r3": top[2], "mm_dist": far}


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two sets of embeddings, (N, E) and (M, E); nan where one has fewer than two.

    |mean difference|^2 + tr(A + B - 2 (A B)^1/2). The last trace is the sum of the singular values of X Y^T, X and Y
    the centred sets: exact and quick also where there are fewer motions than dimensions. Few motions bias it upwards.
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    ma, mb = a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64)
    x, y = (a - ma) / np.sqrt(len(a) - 1), (b - mb) / np.sqrt(len(b) - 1)
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(0.0, ((ma - mb) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * cross))


def diversity(motion: np.ndarray, rng: np.random.Generator, size: int = 300) -> float:
    """Mean distance of the pairs of two random disjoint subsets of `size` (half of the set where it is smaller)."""
    n = min(size, len(motion) // 2)
    rows = rng.permutation(len(motion))
    return float(np.linalg.norm(motion[rows[:n]] - motion[rows[n : 2 * n]], axis=1).mean()) if n else float("nan")


def multimodality(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of two motions drawn for the same text, over texts: (N, E) twice."""
    return float(np.linalg.norm(first - second, axis=1).mean())
