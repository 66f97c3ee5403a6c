"""Long motions are cut where the body does something else, into segments that the model can read."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from motions import raise_left_hand, rotation, run, squat, stand, walk, wave

from core.captions.cuts import LONGEST, SHORTEST, cut
from core.captions.facts import read
from core.features import facing
from core.skeleton import FPS

TOLERANCE = 20
"""Frames by which a cut may miss the place where two motions were joined."""


def joined(parts: list[np.ndarray], blend: int = 10) -> tuple[np.ndarray, list[int]]:
    """Motions one after the other, each where and as the last one ended; and the frames at which they meet."""
    out, meet = parts[0], []
    for part in parts[1:]:
        a, b = facing(out[-1:])[0], facing(part[:1])[0]
        degrees = np.degrees(np.arctan2(a[0], a[2]) - np.arctan2(b[0], b[2]))
        part = np.einsum("tij,tnj->tni", rotation("y", degrees, len(part)), part)
        part[..., [0, 2]] += out[-1, 0, [0, 2]] - part[0, 0, [0, 2]]
        fade = np.clip(1 - np.arange(len(part)) / blend, 0, 1)[:, None, None]
        part = part + fade * (out[-1] - part[0])
        meet.append(len(out))
        out = np.concatenate([out, part[1:]])
    return out.astype(np.float32), meet


def check(segments: list[tuple[int, int]], frames: int) -> None:
    """Segments cover the motion and have lengths that the model reads."""
    assert segments[0][0] == 0
    assert segments[-1][1] == frames - 1
    assert all(a[1] + 1 == b[0] for a, b in pairwise(segments))
    assert all(SHORTEST <= last - first + 1 <= LONGEST for first, last in segments) or len(segments) == 1


@pytest.mark.parametrize("frames", [10, 20, 100, LONGEST])
def test_what_the_model_can_read_is_not_cut(frames: int) -> None:
    assert cut(walk(12.0)[:frames]) == [(0, frames - 1)]


@pytest.mark.parametrize("frames", [LONGEST + 1, LONGEST + 3, 2 * LONGEST, 600, 1111])
def test_segments_cover_any_length(frames: int) -> None:
    rng = np.random.default_rng(frames)
    for joints in (
        walk(frames / FPS + 1)[:frames],
        stand(frames / FPS + 1)[:frames] + rng.normal(0, 0.01, (frames, 22, 3)),
    ):
        check(cut(joints), frames)


def test_cuts_are_where_actions_change() -> None:
    joints, meet = joined([walk(4.0), wave(4.0), run(3.0), squat(3.0), raise_left_hand(3.0), walk(4.0)])
    segments = cut(joints)
    check(segments, len(joints))
    cuts = [first for first, _ in segments[1:]]
    found = [min(abs(c - m) for c in cuts) <= TOLERANCE for m in meet]
    assert sum(found) >= len(meet) - 1, (cuts, meet)
    assert len(cuts) <= len(meet) + 2, (cuts, meet)


def test_a_pause_is_a_place_to_cut() -> None:
    joints, meet = joined([walk(5.0), stand(2.0), walk(5.0)])
    cuts = [first for first, _ in cut(joints)[1:]]
    assert any(meet[0] - TOLERANCE <= c <= meet[1] + TOLERANCE for c in cuts), (cuts, meet)


def test_place_and_heading_do_not_matter_and_a_read_body_will_do() -> None:
    joints, _ = joined([walk(4.0), wave(4.0), run(3.0)])
    turned = np.einsum("tij,tnj->tni", rotation("y", 77.0, len(joints)), joints) + np.array([4.0, 0.0, 9.0])
    assert cut(turned) == cut(joints)
    assert cut(read(joints)) == cut(joints)


def test_real_clips_end_to_end(shared) -> None:
    """Better than cuts at even distances: of places where captured clips were joined, more are near a cut."""
    from core.train.data import load_bundle

    clips = [c.joints for c in load_bundle(shared / "data" / "noncommercial" / "bandai_joints.npz") if c.split == "val"]
    rng = np.random.default_rng(0)
    ours, even, total = 0, 0, 0
    for _ in range(8):
        joints, meet = joined([clips[i][:110] for i in rng.choice(len(clips), 5, replace=False)])
        segments = cut(joints)
        check(segments, len(joints))
        cuts = np.array([first for first, _ in segments[1:]])
        same = np.linspace(0, len(joints), len(segments) + 1)[1:-1]
        total += len(meet)
        ours += sum(np.abs(cuts - m).min() <= 15 for m in meet)
        even += sum(np.abs(same - m).min() <= 15 for m in meet)
    assert ours / total >= 0.65, (ours, even, total)
    assert ours > even
