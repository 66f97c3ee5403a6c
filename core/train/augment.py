"""More motion out of the same clips: composed bodies and other durations; ids say what was done."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from core.features import features_to_joints
from core.train.data import MAX_FRAMES, Clip

_ARMS = {"left": [13, 16, 18, 20], "right": [14, 17, 19, 21]}
_CHEST = [9, 12, 13, 14]
_STYLE = r"(?: in an? .* way| energetically| gracefully| wearily| with .*| like .*| slowly.*)?$"
_LEGS_RE = re.compile(r"^a person (walks forward|runs forward|walks backward)" + _STYLE)
_ARMS_RE = re.compile(r"^a person (waves|raises) (?:the )?(left|right|both) (?:hands?)( up)?$")


def compose(legs: Clip, arms: Clip, sides: list[str]) -> np.ndarray:
    """Arms of one clip on the body of another, carried over in the chest's frame.

    The idea of spatial composition is that of SINC (Athanasiou et al., ICCV 2023). Returns (T, 22, 3).
    """
    T = min(len(legs.joints), len(arms.joints))
    body, other = legs.joints[:T].copy(), arms.joints[:T]
    a, b = body[:, _CHEST], other[:, _CHEST]
    ca, cb = a.mean(1, keepdims=True), b.mean(1, keepdims=True)
    U, _, Vt = np.linalg.svd(np.swapaxes(b - cb, 1, 2) @ (a - ca))
    Vt[:, 2] *= np.sign(np.linalg.det(U @ Vt))[:, None]  # a rotation, not a reflection
    R = U @ Vt  # row vectors: (b - cb) @ R lies on (a - ca)
    for side in sides:
        j = _ARMS[side]
        body[:, j] = (other[:, j] - cb) @ R + ca
    return body


def composed(clips: list[Clip], count: int, seed: int) -> list[Clip]:
    """Clips of people who walk or run and wave or raise a hand: captions like "a person walks forward and waves".

    The bundles have both halves of such prompts but never together.
    """
    rng = np.random.default_rng(seed)
    legs = [(c, m[1]) for c in clips for t in c.captions[:1] if (m := _LEGS_RE.match(t)) and len(c.joints) > 40]
    arms = [(c, m) for c in clips for t in c.captions if (m := _ARMS_RE.match(t)) and len(c.joints) > 40]
    if not legs or not arms:
        return []
    out: list[Clip] = []
    while len(out) < count:
        c, walk = legs[rng.integers(len(legs))]
        d, m = arms[rng.integers(len(arms))]
        if min(len(c.joints), len(d.joints)) < 0.6 * max(len(c.joints), len(d.joints)):
            continue
        act, side = m[1], m[2]
        hand = "both hands" if side == "both" else f"the {side} hand"
        up = " up" if act == "raises" else ""
        gerund = act[:-1].removesuffix("e") + "ing"
        texts = [f"a person {walk} and {act} {hand}{up}", f"a person {walk} while {gerund} {hand}{up}"]
        if act == "waves":
            texts.append(f"a person {walk} and waves")
        else:
            arm = "both arms" if side == "both" else f"the {side} arm"
            texts.append(f"a person {walk} and raises {arm}")
        joints = compose(c, d, ["left", "right"] if side == "both" else [side])
        out.append(Clip(f"composed_{len(out)}", "composed", "train", joints, texts))
    return out


# -- other durations --------------------------------------------------------------------------
# The latent holds a clip in normalised time, so the model must have seen an action at many durations to know that a
# longer walk has more steps and a longer gesture does not become slow motion.

_STEADY_RE = re.compile(r"^a person (walks (forward|backward|straight)|runs (forward|straight)|is (walking|running))")
STRETCH = 0.15


def retimed(joints: np.ndarray, frames: int) -> np.ndarray:
    """The same motion in another number of frames: (T, 22, 3) -> (frames, 22, 3), linear in between."""
    at = np.linspace(0, len(joints) - 1, frames)
    low = np.minimum(at.astype(int), len(joints) - 2)
    part = (at - low)[:, None, None].astype(np.float32)
    return joints[low] * (1 - part) + joints[low + 1] * part


def waiting(joints: np.ndarray, frames: int, at_end: bool) -> np.ndarray:
    """The motion with `frames` more at one end, played back and forth over its last (or first) 8 frames at half speed:
    someone who stands there, not a statue."""
    span = min(8, len(joints) - 1)
    steps = np.arange(1, frames + 1) * 0.5 % (2 * span)
    steps = np.where(steps > span, 2 * span - steps, steps)  # a triangle wave
    if at_end:
        index = len(joints) - 1 - steps
        return np.concatenate([joints, _between(joints, index)])
    return np.concatenate([_between(joints, steps[::-1]), joints])


def _between(joints: np.ndarray, index: np.ndarray) -> np.ndarray:
    low = np.minimum(index.astype(int), len(joints) - 2)
    part = (index - low)[:, None, None].astype(np.float32)
    return joints[low] * (1 - part) + joints[low + 1] * part


def is_gesture(clip: Clip) -> bool:
    """Stands in one place, and ends in the pose and place in which it began."""
    j = clip.joints
    travelled = np.linalg.norm((j[:, 0] - j[0, 0])[:, [0, 2]], axis=-1).max()
    return travelled < 0.25 and np.linalg.norm(j[-1] - j[0], axis=-1).max() < 0.2


def other_duration(clip: Clip, rng: np.random.Generator) -> Clip:
    """A copy of the clip at another duration that still shows what its captions say."""
    T = len(clip.joints)
    joints = clip.joints
    if _STEADY_RE.match(clip.captions[0]):  # any part of a walk is a walk
        if T > 30:
            n = int(rng.integers(24, T))
            start = int(rng.integers(0, T - n + 1))
            joints = joints[start : start + n]
    elif is_gesture(clip) and T < 180:
        extra = int(rng.integers(4, max(5, min(100, MAX_FRAMES + 1 - T))))
        before = int(rng.integers(0, extra // 3 + 1))
        joints = waiting(waiting(joints, extra - before, at_end=True), before, at_end=False) if extra else joints
    frames = round(len(joints) * rng.uniform(1 - STRETCH, 1 + STRETCH))
    joints = retimed(joints, int(np.clip(frames, 21, MAX_FRAMES + 1)))
    return replace(clip, id=clip.id + "~t", joints=joints.astype(np.float32), features=None)


def augmented(clips: list[Clip], count: int, copies: int, seed: int) -> list[Clip]:
    """`count` composed clips and `copies` other durations of each clip (not the clips themselves)."""
    rng = np.random.default_rng(seed)
    extra = composed(clips, count, seed)
    base = clips + extra
    return extra + [other_duration(c, rng) for _ in range(copies) for c in base]


def windows(clips: list[Clip], shortest: int, longest: int, seed: int) -> list[Clip]:
    """A random part of each prepared clip, `shortest` to `longest` frames of features, put where a clip begins.

    Prediction and in-betweening encode such parts, so the autoencoder must know them; they have no captions."""
    rng = np.random.default_rng(seed)
    out = []
    for clip in clips:
        assert clip.features is not None
        n = int(rng.integers(shortest, max(shortest + 1, min(longest, clip.frames))))
        start = int(rng.integers(0, max(1, clip.frames - n)))
        out.append(part(clip, start, start + n))
    return out


def part(clip: Clip, start: int, end: int) -> Clip:
    """Frames start to end (of the features) of a prepared clip, from the origin facing +Z; without captions.

    Made from the features, so it is what the features of the part stand for: their heading is a smoothed one."""
    assert clip.features is not None
    features = clip.features[start:end]
    joints = features_to_joints(features).astype(np.float32)
    joints = np.concatenate([joints, joints[-1:]])  # a clip has one frame more than its features
    return replace(clip, id=f"{clip.id}~{start}-{end}", joints=joints, features=features, captions=[])
