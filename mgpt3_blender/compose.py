"""Several prompts in a row on a character: one motion, one action, a timeline marker where each segment begins.

`compose_for_character` does it all and blocks; the panel goes through `sequence_job`, so that the window stays alive.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import bpy
import numpy as np

from . import VERSION, bonemap, jobs, markers, results
from .ahead import Ahead
from .errors import UserError
from .framerate import frame_rate
from .generate import (
    MAX_PROMPT,
    MAX_SEED,
    MIN_SECONDS,
    Outcome,
    action_name,
    check_applicable,
    find_character,
    need_character,
)
from .rig.options import DEFAULT, Options
from .targets import Target
from .wire import decode_array, encode_array

MAX_SEGMENTS, MAX_SEGMENT_SECONDS, MAX_TOTAL_SECONDS = 64, 120.0, 3600.0
MIN_TRANSITION, MAX_TRANSITION = 0.1, 4.0
MODEL_FPS = 20.0
SEQUENCE = "mgpt3_sequence"
"""Custom property of an action made from several prompts: how, as JSON."""


@dataclass(frozen=True)
class Segment:
    """What happens, and for how many seconds."""

    prompt: str
    seconds: float


@dataclass(frozen=True)
class Request:
    """What to make.

    Args:
        segments: 1 to 64, each of 1 to 120 seconds.
        transition: seconds that the change from one segment to the next takes, 0.1 to 4.
        seed: of the first segment; the next ones count up.
        guidance, literal, clean_feet, retarget: as in `generate.Request`.
        path: curve object to go along, None for wherever the prompts lead.
        timed: the curve's evaluation time says where to be when; otherwise the motion keeps its own speed.
    """

    segments: tuple[Segment, ...]
    transition: float = 0.8
    seed: int = 0
    guidance: float | None = None
    literal: bool = False
    clean_feet: bool = True
    retarget: Options = DEFAULT
    path: bpy.types.Object | None = None
    timed: bool = False

    @property
    def seconds(self) -> float:
        return sum(segment.seconds for segment in self.segments)

    def check(self) -> None:
        """Raises UserError where the core would refuse the request: said before anything is started."""
        if not self.segments:
            raise UserError("segments_empty", "There is no segment to make.", "Add one with the plus button.")
        if len(self.segments) > MAX_SEGMENTS:
            raise UserError("segments_many", f"{len(self.segments)} segments are too many.", "Make them in parts.")
        for number, segment in enumerate(self.segments, 1):
            if not segment.prompt.strip():
                raise UserError(
                    "prompt_empty", f"The prompt of segment {number} is empty.", "Type what the character should do."
                )
            if len(segment.prompt) > MAX_PROMPT:
                raise UserError(
                    "prompt_too_long", f"The prompt of segment {number} is too long.", "Split it into segments."
                )
            if not (math.isfinite(segment.seconds) and MIN_SECONDS <= segment.seconds <= MAX_SEGMENT_SECONDS):
                raise UserError(
                    "duration_out_of_range",
                    f"Segment {number} cannot take {segment.seconds:g} seconds.",
                    f"Choose between {MIN_SECONDS:g} and {MAX_SEGMENT_SECONDS:g} seconds.",
                )
        if self.seconds > MAX_TOTAL_SECONDS:
            raise UserError("sequence_too_long", "The sequence is longer than an hour.", "Make it in parts.")
        if not (math.isfinite(self.transition) and MIN_TRANSITION <= self.transition <= MAX_TRANSITION):
            raise UserError(
                "transition_out_of_range",
                f"A transition of {self.transition:g} seconds cannot be made.",
                f"Choose between {MIN_TRANSITION:g} and {MAX_TRANSITION:g} seconds.",
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError("seed_out_of_range", "The seed is out of range.", f"Choose 0 to {MAX_SEED}.")

    def params(self, points: np.ndarray | None = None) -> dict[str, Any]:
        """The parameters of the worker's `sequence`. points: (N, 3) of the path in motion space."""
        params: dict[str, Any] = {
            "segments": [{"prompt": s.prompt.strip(), "seconds": float(s.seconds)} for s in self.segments],
            "transition": float(self.transition),
            "seed": int(self.seed),
            "guidance": self.guidance,
            "literal": self.literal,
        }
        if points is not None:
            params |= {"path": encode_array(np.asarray(points, np.float32)[:, None]), "timed": self.timed}
        return params


@dataclass(frozen=True)
class _Made:
    """The worker's answer, checked."""

    joints: np.ndarray
    borders: list[int]
    seeds: list[int]
    notes: list[str]
    fps: float
    model: dict[str, Any]
    path_error_mm: float | None


def compose_for_character(
    armature: bpy.types.Object | None,
    request: Request,
    *,
    scene: bpy.types.Scene | None = None,
    start_frame: float | None = None,
    create_mannequin: bool = False,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Outcome:
    """Make a sequence and apply it, blocking until done. Raises UserError; nothing is changed then."""
    job = sequence_job(
        request, scene or bpy.context.scene, armature, start_frame=start_frame, create_mannequin=create_mannequin
    )
    jobs.run_blocking(job, progress=progress, cancelled=cancelled)
    assert isinstance(job.outcome, Outcome)
    return job.outcome


def sequence_job(
    request: Request,
    scene: bpy.types.Scene,
    armature: bpy.types.Object | None = None,
    *,
    start_frame: float | None = None,
    create_mannequin: bool = False,
) -> jobs.Job:
    """The job of making a sequence for a character. Raises UserError where it is clear that it cannot work."""
    request.check()
    if armature is None:
        armature = find_character(scene, None, bpy.context.view_layer.objects.active)
    if armature is None and (request.path is not None or not create_mannequin):
        armature = need_character(scene)
    start = float(scene.frame_current if start_frame is None else start_frame)
    points = None
    if armature is not None:
        check_applicable(armature)
        if request.path is not None:
            points = path_points(request, armature, scene, start)
    curve = request.path.name if request.path is not None else ""
    request = replace(request, path=None)  # the job outlives an undo, a pointer to an object does not
    target = Target.to(armature, scene) if armature is not None else None
    home = results.Reference.to(scene)
    ahead: Ahead | None = None

    def prepare(reply: object) -> Ahead | None:
        nonlocal ahead
        made = _read(reply, len(request.segments))
        ahead = _solve(made, request, *target.find())[0].start() if target is not None else None
        return ahead

    def apply(reply: object) -> Outcome:
        made = _read(reply, len(request.segments))
        if target is not None:
            return _apply(made, request, *target.find(), start, curve, ahead)
        from .generate import mannequin_in

        where = home.find(bpy.data.scenes)
        if where is None:
            raise UserError("scene_gone", "The scene was deleted while its motion was being made.", "Try again.")
        return _apply(made, request, mannequin_in(where), where, start, curve)

    return jobs.Job("Sequence", "sequence", request.params(points), apply, prepare=prepare)


def path_points(request: Request, armature: bpy.types.Object, scene: bpy.types.Scene, start_frame: float) -> np.ndarray:
    """The request's path in the space that motions for this character are made in: (N, 3) metres, Y up."""
    from .curvepath import curve_points, timed_points
    from .rig.mapping import map_armature
    from .rig.standing import standing_space

    if request.timed:
        frames = round(request.seconds * MODEL_FPS)
        step = frame_rate(scene) / MODEL_FPS
        world = timed_points(request.path, start_frame + step * np.arange(frames))
    else:
        world = curve_points(request.path)
    return standing_space(armature, map_armature(armature)).motion(world)


def _read(reply: object, count: int) -> _Made:
    """The answer's parts. Raises UserError("bad_answer")."""
    wrong = UserError("bad_answer", "The motion model's answer holds no sequence.", "Try again.")
    if not isinstance(reply, dict):
        raise wrong
    joints = decode_array(reply.get("joints"))
    borders, seeds = reply.get("borders"), reply.get("seeds")
    if not (isinstance(borders, list) and isinstance(seeds, list) and len(borders) == len(seeds) == count):
        raise wrong
    if any(type(b) is not int or not 0 <= b < len(joints) for b in borders) or sorted(borders) != borders:
        raise wrong
    model = reply.get("model")
    error = reply.get("path_error_mm")
    return _Made(
        joints,
        borders,
        [int(seed) for seed in seeds],
        [str(note) for note in reply.get("notes") or []],
        float(reply.get("fps", MODEL_FPS)),
        model if isinstance(model, dict) else {},
        float(error) if isinstance(error, int | float) else None,
    )


def _solve(
    made: _Made, request: Request, armature: bpy.types.Object, scene: bpy.types.Scene
) -> tuple[Ahead, float, list[float]]:
    """The motion, to be solved for a character; its frame rate; the borders of its segments in scene frames."""
    fps = frame_rate(scene)
    joints, rate, borders = made.joints, made.fps, [border * fps / made.fps for border in made.borders]
    if request.retarget.loop:  # a loop may begin later and end earlier: here, where the markers can follow
        from .rig.place import kept, loop
        from .rig.solve import resample

        joints, rate = resample(joints, made.fps, fps), fps
        first, last = kept(joints, fps)
        joints = loop(joints, fps)
        borders = [min(max(border - first, 0), last - first) for border in borders]
    options = replace(request.retarget, foot_lock=request.clean_feet)
    return Ahead(armature, [joints], rate, scene, options), rate, borders


def _apply(
    made: _Made,
    request: Request,
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    start: float,
    curve: str,
    ahead: Ahead | None = None,
) -> Outcome:
    """A new action and its markers. Everything is checked before anything is changed."""
    from .rig.apply import apply_motion

    asked, rate, borders = _solve(made, request, armature, scene)
    (prepared,) = asked.solved(ahead)
    prompt = ", then ".join(segment.prompt.strip().rstrip(".") for segment in request.segments)
    frames = [round(start + border) for border in borders]
    previous = results.Binding.of(armature)
    result = apply_motion(
        armature,
        asked.motions[0],
        scene=scene,
        name=action_name(prompt),
        start_frame=start,
        fps=rate,
        metadata=_metadata(made, request, prompt, frames, curve),
        options=asked.options,
        prepared=prepared,
    )
    previous.keep()
    results.remember(armature, [result.action])
    bonemap.found(armature, result.mapping)
    markers.replace(
        scene,
        armature.mgpt3.uid,
        zip(frames, (segment.prompt for segment in request.segments), strict=True),
    )
    warnings = result.warnings + made.notes
    if curve and request.retarget.in_place:
        warnings.append("In Place is on: the character turns like the path, but stays on the spot.")
    first, last = result.action.frame_range
    count = len(request.segments)
    line = f"{count} segments" if count > 1 else "1 segment"
    line += f" on {armature.name}: frames {first:.0f} to {last:.0f}."
    if made.path_error_mm is not None:
        line += f" The way is within {max(made.path_error_mm / 10, 0.1):.1f} cm of the path."
    if last > scene.frame_end or first < scene.frame_start:
        line += f" The scene plays frames {scene.frame_start} to {scene.frame_end} only."
    return Outcome(armature, [result.action], line, warnings)


def _metadata(
    made: _Made, request: Request, prompt: str, frames: list[int], curve: str
) -> dict[str, str | int | float]:
    """What the action remembers of how it was made."""
    segments = [
        {"prompt": segment.prompt.strip(), "seconds": float(segment.seconds), "seed": seed, "frame": frame}
        for segment, seed, frame in zip(request.segments, made.seeds, frames, strict=True)
    ]
    sequence: dict[str, Any] = {"segments": segments, "transition": request.transition, "notes": made.notes}
    if curve:
        sequence |= {"path": curve, "timed": request.timed, "path_error_mm": made.path_error_mm}
    origin = {"mgpt3_model_origin": str(made.model["origin"])} if made.model.get("origin") else {}
    literal: dict[str, str | bool] = {results.LITERAL: True} if request.literal else {}
    return {
        results.PROMPT: prompt,
        results.SEED: request.seed,
        results.MADE: time.time(),
        **literal,
        SEQUENCE: json.dumps(sequence, ensure_ascii=False),
        "mgpt3_seconds": float(request.seconds),
        "mgpt3_guidance": float(request.guidance or 0.0),
        "mgpt3_model": str(made.model.get("name", "")),
        "mgpt3_licence": str(made.model.get("licence", "")),
        **origin,
        "mgpt3_version": VERSION,
    }


def stored(action: bpy.types.Action | None) -> dict[str, Any] | None:
    """How a sequence was made: its segments, transition, seed; None where the action is none."""
    if action is None or SEQUENCE not in action:
        return None
    try:
        read = json.loads(str(action[SEQUENCE]))
        segments = [Segment(str(s["prompt"]), float(s["seconds"])) for s in read["segments"]]
        return {**read, "segments": segments, "transition": float(read["transition"]),
                "seed": int(action.get(results.SEED, 0))}  # fmt: skip
    except (ValueError, TypeError, KeyError):
        return None
