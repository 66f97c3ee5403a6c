"""Motion -> description: many motions at a time, of any length, each with its sentence, facts, tags and vector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from core import prompts
from core.captions import choosing, measured
from core.captions import facts as measures
from core.captions.cuts import cut
from core.captions.description import Description
from core.captions.drafts import Draft, write_drafts
from core.captions.sides import corrected, unfounded
from core.captions.summary import summarise
from core.captions.tags import tags
from core.captions.treadmill import travelling
from core.errors import Cancelled, CoreError
from core.model.motiongpt3 import MotionGPT3
from core.model.writing import MAX_NEW_TOKENS
from core.tasks.caption import MIN_FRAMES, encode_motions

__all__ = ["Description", "describe", "embedder_name"]

SHORTEST = 10
"""Frames: half a second. What is shorter says too little."""
STATIC = 0.004
"""Metres: a motion in which no joint strays farther from its mean place is a pose. Who only breathes moves more."""
BATCH = 64
"""Segments that are encoded and put into words at a time, at most."""
ROOM = 320 << 20
"""Bytes that keys and values of the sentences being written may take: a large model writes fewer at a time."""

Tell = Callable[[float, str], None]


@dataclass
class _Segment:
    """A part of a motion on its way to a sentence."""

    first: int
    last: int
    joints: np.ndarray  # as the model reads it
    vector: np.ndarray | None = None  # the matcher's, where it judges
    drafts: list[str] = field(default_factory=list)  # what the model wrote, the best first


@dataclass
class _Motion:
    """A motion that can be described."""

    joints: np.ndarray  # as it is captioned: a body that walks in place travels
    facts: dict[str, Any]
    segments: list[_Segment]
    vector: np.ndarray | None = None


def describe(
    model: MotionGPT3,
    motions: Sequence[np.ndarray],
    *,
    alternatives: int = 0,
    fast: bool = False,
    embed: bool = True,
    progress: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Description | CoreError]:
    """Describe motions. One that cannot be described does not keep the others from it.

    Args:
        motions: (T, 22, 3) each, metres, Y up, floor at 0, 20 fps; any place, heading, proportions and length.
        alternatives: how many further, different sentences to look for; fewer come back where there are no more.
        fast: let a large model that is asked for no alternatives write the sentence of a motion that is alone with
            8-bit weights: now and then another word.
        embed: also give the matcher's vector.
        progress: told (share done, what is being done).
        cancelled: asked between batches and words.
    Returns:
        One a motion, in order: its description, or why there is none: CoreError motion_shape, motion_not_finite,
        motion_too_short (under half a second), motion_static.
    Raises:
        Cancelled. CoreError: matcher_missing, matcher_broken.
    """

    def tell(share: float, what: str) -> None:
        _heed(cancelled)
        if progress is not None:
            progress(share, what)

    judged = choosing.judged(model)
    read: list[_Motion | CoreError] = []
    for i, joints in enumerate(motions):
        if i % 16 == 0:
            tell(0.2 * i / len(motions), "Measuring")
        try:
            read.append(_read(joints))
        except CoreError as error:
            read.append(error)
    good = [entry for entry in read if isinstance(entry, _Motion)]
    segments = [segment for motion in good for segment in motion.segments]
    if embed or judged:
        tell(0.2, "Looking at the motion")
        _embed(good, judged)
    more = max(4 * alternatives, choosing.FORKS if judged else 0)
    order = sorted(segments, key=lambda s: len(s.joints))  # alike lengths share a batch
    batch = _batch(model, more)
    for start in range(0, len(order), batch):
        tell(0.3 + 0.7 * start / len(order), "Putting it into words")
        _write(model, order[start : start + batch], more, fast, lambda _: _heed(cancelled))
    name = embedder_name() if embed else ""
    out = [e if isinstance(e, CoreError) else _describe(e, alternatives, embed, name) for e in read]
    choosing.forget()
    if progress is not None:
        progress(1.0, "Done")
    return out


def _batch(model: MotionGPT3, more: int) -> int:
    """How many segments may be put into words at a time, with `more` other drafts of each."""
    backbone = model.cfg.backbone
    words = len(model.tokenizer.encode(prompts.motion_to_text())) + MAX_NEW_TOKENS
    row = 2 * backbone.layers * backbone.width * words * 4
    return int(np.clip(ROOM // (row * (1 + more)), 1, BATCH))


def _heed(cancelled: Callable[[], bool] | None) -> None:
    """Between words: stop where that is wanted. Raises Cancelled."""
    if cancelled is not None and cancelled():
        raise Cancelled


def _read(joints: np.ndarray) -> _Motion:
    """The motion, its facts and its segments, still without words. Raises CoreError."""
    joints = checked(joints)
    body = measures.read(joints)
    shown, gait = travelling(body.joints)
    walking = measures.read(shown) if gait else body
    seen = shown.astype(np.float32)
    segments = [_Segment(a, b, readable(seen[a : b + 1])) for a, b in cut(walking)]
    return _Motion(seen, measures.measured(body, walking, gait), segments)


def checked(joints: np.ndarray) -> np.ndarray:
    """The motion as float32 (T, 22, 3). Raises CoreError: motion_shape, motion_not_finite, motion_too_short,
    motion_static."""
    joints = np.asarray(joints)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or joints.dtype.kind not in "fiu":
        raise CoreError(
            "motion_shape", f"A motion is (frames, 22, 3) joint positions; this is {joints.shape}.", "Pass 22 joints."
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
        joints = joints.astype(np.float32)
    if not np.isfinite(joints).all():
        raise CoreError("motion_not_finite", "The motion has values that are not numbers.", "Check the animation.")
    if len(joints) < SHORTEST:
        raise CoreError(
            "motion_too_short",
            f"The motion lasts {(len(joints) - 1) / 20:.2f} s; a description needs half a second.",
            "Choose a longer frame range.",
        )
    if np.abs(joints - joints.mean(0)).max() < STATIC:
        raise CoreError(
            "motion_static", "Nothing moves: this is a pose, not a motion.", "Choose a range in which something moves."
        )
    return joints


def readable(joints: np.ndarray) -> np.ndarray:
    """A motion of half a second to a second is played slower, so that it lasts the second the model needs."""
    if len(joints) >= MIN_FRAMES:
        return joints
    at = np.linspace(0, len(joints) - 1, MIN_FRAMES)
    low = np.minimum(at.astype(int), len(joints) - 2)
    part = (at - low)[:, None, None].astype(np.float32)
    return joints[low] * (1 - part) + joints[low + 1] * part


def _embed(motions: list[_Motion], segments: bool) -> None:
    """Fill in the matcher's vectors of the motions and, where asked, of their segments."""
    from core.evaluate.matcher import load_matcher

    parts = [s for m in motions if len(m.segments) > 1 for s in m.segments] if segments else []
    found = load_matcher().embed_motion([m.joints for m in motions] + [s.joints for s in parts])
    for motion, vector in zip(motions, found, strict=False):
        motion.vector = motion.segments[0].vector = vector
    for segment, vector in zip(parts, found[len(motions) :], strict=True):
        segment.vector = vector
    if not segments:
        for motion in motions:
            motion.segments[0].vector = None


@lru_cache(maxsize=1)
def embedder_name() -> str:
    """Which weights make the vectors: a name and the start of their SHA-256."""
    from core.evaluate.matcher import BUNDLED

    return "matcher-" + hashlib.sha256((BUNDLED / "model.safetensors").read_bytes()).hexdigest()[:12]


def _write(model: MotionGPT3, segments: list[_Segment], more: int, fast: bool, on_token: Callable[[int], None]) -> None:
    """Fill in what the model writes of each segment, the best first."""
    with torch.inference_mode(), model.computing():
        codes = encode_motions(model, [s.joints for s in segments])  # (B, C)
        if more:
            written = [choosing.sensible(model, drafts) for drafts in write_drafts(model, codes, more, on_token)]
        else:
            ids = model.prompt(prompts.motion_to_text()).expand(len(codes), -1)
            rows = model.write_all(ids, codes[:, None], on_token=on_token, unchecked=fast)
            written = [[Draft(model.tokenizer.decode(tokens), likely)] for tokens, likely in rows]
    if segments[0].vector is not None:
        choosing.remember(d.text for drafts in written for d in drafts)
    for segment, drafts in zip(segments, written, strict=True):
        segment.drafts = choosing.ranked(drafts, segment.vector) or [""]


@dataclass
class _Told:
    """A segment in words."""

    first: int
    last: int
    raw: str
    fit: float | None
    sentences: list[str]  # sides corrected; the first is told
    corrections: list[dict[str, str]]


def _told(motion: _Motion, segment: _Segment) -> _Told:
    joints = motion.joints[segment.first : segment.last + 1]
    body = measures.read(joints)
    right = [(raw, *corrected(raw, body)) for raw in segment.drafts]
    if segment.vector is not None:  # among drafts that were chosen from, what the motion bears out comes first
        right.sort(key=lambda r: unfounded(r[1], body))
    raw, best, changed = right[0]
    sentences = [text for _, text, _ in right]
    fit = choosing.fit(raw, segment.vector) if segment.vector is not None and raw else None
    if not raw or (fit is not None and (fit < choosing.UNSURE or unfounded(best, body))):
        known = motion.facts if len(motion.segments) == 1 else measures.measured(body, body, 0.0)
        sentences, changed = [measured.sentence(known), *(t for t in sentences if t)], []
    return _Told(segment.first, segment.last, raw, fit, list(dict.fromkeys(sentences)), changed)


def _describe(motion: _Motion, alternatives: int, embed: bool, embedder: str) -> Description:
    each = [_told(motion, segment) for segment in motion.segments]
    fits = [(t.fit, t.last - t.first + 1) for t in each if t.fit is not None]
    told: list[_Told] = []
    for new in each:
        if told and told[-1].sentences[0] == new.sentences[0]:
            told[-1].last = new.last
            told[-1].corrections += new.corrections
        else:
            told.append(new)
    corrections: list[dict[str, str]] = []
    for change in (c for t in told for c in t.corrections):
        if change not in corrections:
            corrections.append(change)
    fit = sum(f * n for f, n in fits) / sum(n for _, n in fits) if fits else None
    facts = motion.facts | {"fit": None if fit is None else round(fit, 2)}
    lines = measures.lines(facts)
    if fit is not None and fit < choosing.UNSURE:
        lines.append("unlike what the model has learnt: told from what was measured")
    vector = motion.vector if embed and motion.vector is not None else ()
    sentences = _lines(told, 1 + alternatives)
    return Description(
        sentence=sentences[0],
        raw=told[0].raw if len(told) == 1 else "",
        alternatives=tuple(sentences[1:]),
        segments=tuple({"first": t.first, "last": t.last, "sentence": t.sentences[0], "raw": t.raw} for t in told),
        facts=facts,
        fact_lines=tuple(lines),
        corrections=tuple(corrections),
        tags=tuple(tags([t.sentences[0] for t in told], facts)),
        embedding=tuple(float(v) for v in vector),
        embedder=embedder,
    )


def _lines(told: list[_Told], wanted: int) -> list[str]:
    """Up to `wanted` different lines for the whole: the first of what is told of every segment, then the next."""
    frames = [t.last - t.first + 1 for t in told]
    out: list[str] = []
    for k in range(max(len(t.sentences) for t in told)):
        line = summarise([t.sentences[min(k, len(t.sentences) - 1)] for t in told], frames)
        if line not in out:
            out.append(line)
        if len(out) == wanted:
            break
    return out
