"""What is said of one motion."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Description:
    """A described motion; frames are the motion's own, 20 a second.

    Args:
        sentence: the one line for the whole motion, sides corrected; a summary where there are several segments.
        raw: what the model wrote where there is one segment, else "".
        alternatives: further different sentences, sides corrected, the likeliest first.
        segments: {"first", "last" (both included), "sentence", "raw"} in order; they cover the motion.
        facts: what was measured (core/captions/facts.py).
        fact_lines: the same in short lines for people.
        corrections: {"said", "measured"} for each side that the model had the wrong way round.
        tags: words of the controlled vocabulary (core/captions/tags.json), sorted.
        embedding: the matcher's vector of the motion, of length one; empty where none was asked for.
        embedder: the matcher's weights by name; vectors of different names cannot be compared.
    """

    sentence: str
    raw: str
    alternatives: tuple[str, ...] = ()
    segments: tuple[dict[str, Any], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    fact_lines: tuple[str, ...] = ()
    corrections: tuple[dict[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    embedding: tuple[float, ...] = ()
    embedder: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dictionaries, numbers and strings, as JSON has them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
