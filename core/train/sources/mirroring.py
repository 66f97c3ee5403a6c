"""The other side: a clip as seen in a mirror, with the words for left and right swapped."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from core.features import joint_count, parts
from core.skeleton import MIRROR, mirror
from core.train.sources import kit
from core.train.sources.clip import Clip

_SWAP = {"left": "right", "right": "left", "clockwise": "counterclockwise", "counterclockwise": "clockwise"}

# "right away", "a right angle" and "rights himself" are no sides; words such as "upright" and "leftover" are others.
_SIDE = (
    r"(?<![a-z])(?<!\ball )(left|right)"
    r"(?=(?:s(?! \w+sel)|most|wards?|hand(?:s|ed|er)?|side[ds]?|foot(?:ed)?)?(?![a-z]))(?![ -]angle| away(?! from))"
)
_TURN = r"(?<![a-z])(?:(an)\s+(?=anti))?(?:(counter|anti|contra)[\s-]*)?clock[\s-]?(?:wise)(?![a-z])"
_WORDS = re.compile(f"{_SIDE}|{_TURN}", re.IGNORECASE)


class _Mirrored(str):
    """A mirrored text that knows what it was made from: "clockwise" does not tell how its opposite was spelled."""

    original: str


def mirror_text(text: str) -> str:
    """The caption of the mirrored clip; mirroring that again gives the first one back, letter for letter.

    Sides alone or as the beginning of a word (left, Right, LEFTMOST, left-handed, rightwards) and turns in any spelling
    (clockwise, counter-clockwise, anti clockwise) are swapped, in the case in which they were written.
    """
    if isinstance(text, _Mirrored):
        return text.original
    other = _WORDS.sub(_swapped, text)
    if _WORDS.sub(_swapped, other) == text:
        return other
    marked = _Mirrored(other)
    marked.original = text
    return marked


def _swapped(found: re.Match[str]) -> str:
    side, article, against = found[1], found[2], found[3]
    if side:
        return _in_case(_SWAP[side.lower()], side)
    word = found[0][len(article or "") :].lstrip()
    other = _in_case("clockwise" if against else "counterclockwise", word)
    if article:  # "an anticlockwise" -> "a clockwise"
        return f"{article[0]} {other}"
    return other


def _in_case(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def mirror_tokens(tokens: list[str]) -> list[str]:
    """Words with their part of speech ("left/ADJ"), mirrored; the tag stays."""
    out: list[str] = []
    for token in tokens:
        word, slash, tag = token.rpartition("/")
        if mirror_text(word) == "counterclockwise" and out and out[-1].partition("/")[0] in ("counter", "anti"):
            out[-1] = token  # two words for one turn
        else:
            out.append(str(mirror_text(word)) + slash + tag)
    return out


def mirror_features(features: np.ndarray) -> np.ndarray:
    """Features of the mirrored motion: (T, 263) or (T, 251), not normalised -> the same shape.

    Exact, as every number of a frame has a partner: sideways becomes the other way, and a rotation R becomes S R S
    with S = diag(-1, 1, 1).
    """
    count = joint_count(features.shape[-1])
    partner = list(MIRROR if count == 22 else kit.MIRROR)
    others = [joint - 1 for joint in partner[1:]]  # the root has no position and no rotation of its own
    part, out = parts(features.shape[-1]), features.copy()
    out[:, part["turn"]] *= -1
    out[:, 1] *= -1
    for name, order, signs in (
        ("positions", others, [-1, 1, 1]), ("rotations", others, [1, -1, -1, -1, 1, 1]),
        ("velocities", partner, [-1, 1, 1]), ("contacts", [1, 0], [1, 1]),
    ):  # fmt: skip
        where = part[name]
        values = features[:, where].reshape(len(features), len(order), len(signs))
        out[:, where] = (values[:, order] * np.array(signs, features.dtype)).reshape(len(features), -1)
    return out


def mirrored(clip: Clip) -> Clip:
    """The clip in the mirror. Its features are to be computed from the joints again; KIT-ML's, which nothing here
    computes, are mirrored."""
    captions = [mirror_text(c) for c in clip.captions]
    tokens = [mirror_tokens(t) for t in clip.tokens] if clip.tokens is not None else None
    clip = replace(clip, id=clip.id + "~m", captions=captions, tokens=tokens)
    if clip.joints.shape[1] == 22:
        return replace(clip, joints=mirror(clip.joints), features=None)
    joints = clip.joints[:, list(kit.MIRROR)] * np.array([-1, 1, 1], np.float32)
    return replace(clip, joints=joints, features=None if clip.features is None else mirror_features(clip.features))


def with_mirrored(clips: list[Clip]) -> list[Clip]:
    """The clips, and mirrored copies of those whose mirror image is not among them: HumanML3D and KIT-ML bring theirs,
    the id with an M before it."""
    names = {(c.source, c.id) for c in clips}

    def there(c: Clip) -> bool:
        return c.features is not None and (
            re.match(r"M\d", c.id) is not None or (c.source, "M" + c.id) in names  # sub-clips: 000021@0-2.5
        )

    return clips + [mirrored(c) for c in clips if not there(c)]
