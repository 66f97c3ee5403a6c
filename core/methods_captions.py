"""The worker's methods on what motion shows: describe motions, turn words into vectors to search by.

Each takes the params of a request, checks them at once, and returns the work to do later, as those in core/methods.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.errors import CoreError
from core.protocol import Params, params_error
from core.skeleton import FPS

if TYPE_CHECKING:
    from core.methods import Host, Work

MOST = 256
"""Motions, or texts, in one request."""


def describe(host: Host, params: Params) -> Work:
    """Motions -> descriptions, or for each why there is none."""
    motions = []
    for raw in params.objects("motions", MOST):
        motions.append(raw.array("joints", (None, 22, 3)))
        raw.done()
    if not motions:
        raise params_error(f'"motions" must be a list of 1 to {MOST} motions.')
    alternatives = params.integer("alternatives", 0, 8, default=0)
    fast = params.flag("fast", default=False)
    embed = params.flag("embed", default=True)

    def work(job: Any) -> dict[str, Any]:
        model = host._loaded(job)
        from core.captions.describe import describe

        found = describe(
            model, motions, alternatives=alternatives, fast=fast, embed=embed,
            progress=host._progress(job), cancelled=job.cancelled.is_set,
        )  # fmt: skip
        answers = [
            {"error": {"code": d.code, "message": d.message, "remedy": d.remedy}}
            if isinstance(d, CoreError)
            else d.to_dict()
            for d in found
        ]
        return {"descriptions": answers, "model": model.info, "fps": FPS}

    return work


def embed_text(host: Host, params: Params) -> Work:
    """Texts -> the matcher's vectors, which lie near those of motions that fit, and the sentence encoder's."""
    texts = params.texts("texts", MOST)

    def work(job: Any) -> dict[str, Any]:
        from core.captions.describe import embedder_name
        from core.evaluate.matcher import load_matcher
        from core.language.sentence import load_sentence

        return {
            "vectors": load_matcher().embed_text(texts).tolist(),
            "meanings": load_sentence().encode(texts).tolist(),
            "embedder": embedder_name(),
        }

    return work


METHODS: dict[str, Callable[[Any, Params], Work]] = {"describe": describe, "embed_text": embed_text}
