"""The worker's methods on motion that is there already: fill between, go on, string together.

Each takes the params of a request, checks them at once, and returns the work to do later, as those in core/serve.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from core import methods_captions, protocol
from core.protocol import Params, params_error
from core.skeleton import FPS, JOINTS

MAX_SEED = 2**31 - 1


class Job(Protocol):
    """A request under way."""

    cancelled: Any


class Host(Protocol):
    """What a method needs of the worker."""

    def _loaded(self, job: Any) -> Any: ...

    def _progress(self, job: Any) -> Callable[[float, str], None]: ...


Work = Callable[[Any], Any]


def inbetween(host: Host, params: Params) -> Work:
    """Fill the frames between two keys."""
    before = params.array("before", (None, 22, 3))
    after = params.array("after", (None, 22, 3))
    frames = params.integer("frames", 1, 100_000)
    prompt = params.text("prompt") if params.has("prompt") else ""
    seed = params.integer("seed", 0, MAX_SEED, default=0)
    variations = params.integer("variations", 1, 8, default=1)
    strength = params.optional_number("strength")
    constraints = [_constraint(raw, frames) for raw in params.objects("constraints")]

    def work(job: Any) -> dict[str, Any]:
        model = host._loaded(job)
        from core.tasks.inbetween import inbetween

        began = time.perf_counter()
        filled = inbetween(
            model, before[-1], after[0], frames, prompt.strip() or None, before[:-1], after[1:], seed,
            variations=variations, strength=1.0 if strength is None else strength, constraints=constraints,
            progress=host._progress(job), cancelled=job.cancelled.is_set,
        )  # fmt: skip
        motions = [{"joints": protocol.encode_array(f.joints), "seed": f.seed, "report": f.report} for f in filled]
        return _answer(model, motions, prompt, began)

    return work


def predict(host: Host, params: Params) -> Work:
    """Go on from a motion."""
    before = params.array("before", (None, 22, 3))
    frames = params.integer("frames", 1, 100_000)
    prompt = params.text("prompt") if params.has("prompt") else ""
    seed = params.integer("seed", 0, MAX_SEED, default=0)
    variations = params.integer("variations", 1, 8, default=1)

    def work(job: Any) -> dict[str, Any]:
        model = host._loaded(job)
        from core.errors import Cancelled
        from core.tasks.predict import predict

        began, motions = time.perf_counter(), []
        for i in range(variations):
            if job.cancelled.is_set():
                raise Cancelled
            host._progress(job)(i / variations, "Going on")
            take = (seed + i) % (MAX_SEED + 1)
            joints = np.concatenate([before[-1:], predict(model, before, frames, take, prompt.strip() or None)])
            motions.append({"joints": protocol.encode_array(joints), "seed": take, "report": {}})
        return _answer(model, motions, prompt, began)

    return work


def sequence(host: Host, params: Params) -> Work:
    """String prompts together."""
    segments = [_segment(raw) for raw in params.objects("segments")]
    transition = params.number("transition")
    seed = params.integer("seed", 0, MAX_SEED, default=0)
    guidance = params.optional_number("guidance")
    literal = params.flag("literal", default=False)
    path = params.array("path", (None, 1, 3))[:, 0] if params.has("path") else None
    timed = params.flag("timed", default=False)
    start = params.array("start", (None, 22, 3)) if params.has("start") else None

    def work(job: Any) -> dict[str, Any]:
        model = host._loaded(job)
        from core.tasks.sequence import Segment, sequence

        began = time.perf_counter()
        made = sequence(
            model, [Segment(*s) for s in segments], transition, seed, guidance=guidance, literal=literal, path=path,
            timed=timed, start=start, progress=host._progress(job), cancelled=job.cancelled.is_set,
        )  # fmt: skip
        return {
            "joints": protocol.encode_array(made.joints),
            "borders": [int(b) for b in made.borders],
            "seeds": [int(s) for s in made.seeds],
            "notes": list(made.notes),
            "path_error_mm": made.path_error_mm,
            "fps": FPS,
            "model": model.info,
            "timings": {"all_s": time.perf_counter() - began},
        }

    return work


METHODS: dict[str, Callable[[Any, Params], Work]] = {
    "inbetween": inbetween,
    "predict": predict,
    "sequence": sequence,
    **methods_captions.METHODS,
}


def _answer(model: Any, motions: list[dict[str, Any]], prompt: str, began: float) -> dict[str, Any]:
    timings = {"all_s": time.perf_counter() - began}
    return {"motions": motions, "fps": FPS, "prompt": prompt, "model": model.info, "timings": timings}


def _segment(raw: Params) -> tuple[str, float]:
    segment = raw.text("prompt"), raw.number("seconds")
    raw.done()
    return segment


def _constraint(raw: Params, frames: int) -> Any:
    from core.tasks.constraints import Path, Point, Pose

    kind = raw.text("kind")
    out: Any
    if kind == "pose":
        out = Pose(raw.integer("frame", 0, frames + 1), raw.array("joints", (1, 22, 3))[0])
    elif kind == "point":
        name = raw.text("joint")
        if name not in JOINTS:
            raise params_error(f'"{name[:40]}" is no joint.')
        position = np.array(raw.numbers("position", 3), np.float32)
        out = Point(raw.integer("frame", 0, frames + 1), JOINTS.index(name), position)
    elif kind == "path":
        out = Path(raw.array("points", (None, 1, 3))[:, 0], raw.flag("timed", default=False))
    else:
        raise params_error(f'"{kind[:40]}" is no kind of constraint.')
    raw.done()
    return out
