"""Fill between keyed poses: what the panel, the command line, a test and another add-on call.

`fill_between` does it all and blocks. The panel goes the same way in steps so that the window stays alive: `fill_job`
asks the worker for one gap after the other, and its `apply` keys all of them at the end, or none.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field, replace

import bpy
import numpy as np

from . import bonemap, filling, jobs
from .action_splice import Backup
from .draftaction import Draft
from .errors import UserError
from .filling import Ask, Point
from .gaps import Gap, body_bones, columns, find_gaps, note_fillers
from .generate import MAX_PROMPT, MAX_SEED, MAX_VARIATIONS
from .results import Reference
from .rig.apply import check_armature
from .rig.mapping import Mapping, map_armature
from .rig.splice import SpliceResult, check_action, splice
from .targets import Target
from .wire import decode_array, encode_array

FILLS = "mgpt3_between"
"""Custom property of an action: how its gaps were filled, a JSON list with one entry a gap."""
NOTABLE = 0.01
"""Metres at the model's size by which a constraint may be missed before that is said."""


@dataclass(frozen=True)
class Request:
    """How to fill.

    Args:
        prompt: what happens in between; "" leaves it to the model.
        use_context: go on from the motion before and lead over to the motion after.
        strength: 0 plain interpolation, 1 what is nearest to real motion.
        seed: 0 to 2^31-1.
        variations: takes to make, 1 to 8; the best one is used.
        selected: fill between the selected key columns, not around the current frame.
        hold: poses keyed between two selected columns stay.
        bones: only these get keys; None: all mapped ones.
        path: name of a curve object that the hips are to follow; "" for none.
        timed: the curve's evaluation time says when they are where.
        points: places that hands, feet or other joints are to reach.
        gaps: these instead of looking for them.
    """

    prompt: str = ""
    use_context: bool = True
    strength: float = 1.0
    seed: int = 0
    variations: int = 1
    selected: bool = False
    hold: bool = True
    bones: frozenset[str] | None = None
    path: str = ""
    timed: bool = False
    points: tuple[Point, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def check(self) -> None:
        """Raises UserError where the core would refuse the request."""
        if len(self.prompt) > MAX_PROMPT:
            raise UserError("prompt_too_long", "The prompt is too long.", "Describe one motion in a sentence or two.")
        if not (math.isfinite(self.strength) and 0.0 <= self.strength <= 1.0):
            raise UserError("strength_out_of_range", "The strength is out of range.", "Choose 0 to 1.")
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError("seed_out_of_range", "The seed is out of range.", f"Choose 0 to {MAX_SEED}.")
        if not 1 <= self.variations <= MAX_VARIATIONS:
            raise UserError(
                "variations_out_of_range", "So many takes cannot be made.", f"Choose 1 to {MAX_VARIATIONS}."
            )

    def params(self, ask: Ask) -> dict:
        """The parameters of the worker's `inbetween` for one gap."""
        return {
            "before": encode_array(ask.before),
            "after": encode_array(ask.after),
            "frames": ask.steps - 1,
            "prompt": self.prompt.strip(),
            "seed": int(self.seed),
            "variations": int(self.variations),
            "strength": float(self.strength),
            "constraints": ask.constraints,
        }


@dataclass(frozen=True)
class Outcome:
    """What was made.

    Attributes:
        action: that was written to.
        gaps: that were filled.
        line: for people.
        warnings: one sentence each; constraints that were not met are among them.
        entries: what FILLS says of each gap.
    """

    armature: bpy.types.Object
    action: bpy.types.Action
    gaps: tuple[Gap, ...]
    line: str
    warnings: list[str] = field(default_factory=list)
    entries: list[dict] = field(default_factory=list)


def fill_between(
    armature: bpy.types.Object,
    request: Request | None = None,
    *,
    scene: bpy.types.Scene | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Outcome:
    """Fill and key, blocking until done. Raises UserError (WorkerError, RigError); nothing is changed then."""
    job = fill_job(armature, scene or bpy.context.scene, request or Request())
    jobs.run_blocking(job, progress=progress, cancelled=cancelled)
    assert isinstance(job.outcome, Outcome)
    return job.outcome


def fill_job(armature: bpy.types.Object, scene: bpy.types.Scene, request: Request) -> jobs.Job:
    """The job of filling; holds no references to Blender's data, which may change meanwhile.

    Raises UserError where it is already clear that it cannot work.
    """
    request.check()
    check_armature(armature)
    mapping = map_armature(armature)
    action = armature.animation_data.action if armature.animation_data else None
    check_action(action, armature)
    assert action is not None
    bones = body_bones(mapping)
    if request.bones is not None:
        bones &= request.bones
        if not bones:
            raise UserError(
                "no_bones",
                "None of the selected bones belongs to the body.",
                "Select bones that the bone map names, or fill the whole body.",
            )
    gaps = request.gaps or tuple(find_gaps(action, armature, scene, request.selected, bones, request.hold))
    _check_keys(action, armature, mapping, gaps, request.bones)
    asks = filling.plan(armature, scene, action, bones, gaps, request.use_context, request.points)
    filling.add_constraints(asks, armature, scene, mapping, request.path, request.timed, request.points)
    filling.check_points(asks, request.points)
    answers: list[dict] = []
    target, played = Target.to(armature, scene), Reference.to(action)
    unread = list(asks)

    def gather(until: float) -> dict | None:
        there, home, _ = _still_there(target, played)
        while unread:
            filling.read(unread[0], there, home, mapping)
            unread.pop(0)
            if unread and time.monotonic() >= until:
                return None
        return request.params(asks[0])

    def take(reply: object) -> None:
        ask = asks[len(answers)]
        answers.append(_answer(reply, ask))
        if len(answers) < len(asks):
            filling.go_on(asks[len(answers)], ask, answers[-1]["joints"])

    def then(reply: object) -> dict | None:
        take(reply)
        return request.params(asks[len(answers)]) if len(answers) < len(asks) else None

    def apply(reply: object) -> Outcome | Generator[None, None, Outcome]:
        if len(answers) < len(asks):  # the worker was not asked through a job: an answer given directly
            take(reply)
        there, home, now = _still_there(target, played)
        fill = _Fill(request, asks, answers, map_armature(there))
        _check_keys(now, there, fill.mapping, gaps, request.bones)
        in_steps = len(asks) > 1 and Draft.possible(there)
        return (fill.in_steps if in_steps else fill.at_once)(there, home, now)

    job = jobs.Job("Fill Between", "inbetween", {}, apply, then, len(asks))
    job.gather_with(gather, lambda: f"Reading the poses, {1.0 - len(unread) / len(asks):.0%}")
    return job


@dataclass(frozen=True)
class _Fill:
    """Gaps that the worker has answered, to be keyed: all, or where one of them fails none.

    Attributes:
        answers: as `fill_job` collects them.
    """

    request: Request
    asks: Sequence[Ask]
    answers: Sequence[dict]
    mapping: Mapping

    def at_once(self, armature: bpy.types.Object, scene: bpy.types.Scene, action: bpy.types.Action) -> Outcome:
        with Backup.of(action, armature).restored_on_failure(action, armature):
            results = [self._key(armature, scene, n) for n in range(len(self.asks))]
            return self._finished(armature, scene, action, results)

    def in_steps(
        self, armature: bpy.types.Object, scene: bpy.types.Scene, action: bpy.types.Action
    ) -> Generator[None, None, Outcome]:
        """A gap a step, on a copy of the action: the user may undo, edit or play between two steps."""
        target, played = Target.to(armature, scene), Reference.to(action)
        draft, results = Draft(armature, scene), []
        try:
            for n in range(len(self.asks)):
                armature, scene, action = _still_there(target, played)
                with draft.played(armature):
                    results.append(self._key(armature, scene, n))
                yield
            armature, scene, action = _still_there(target, played)
            draft.check(armature, scene)
            channels = {channel for result in results for channel in result.channels}
            with Backup.of(action, armature, channels).restored_on_failure(action, armature):
                draft.hand_over(armature, channels)
                return self._finished(armature, scene, action, results)
        finally:
            draft.remove()

    def _key(self, armature: bpy.types.Object, scene: bpy.types.Scene, n: int) -> SpliceResult:
        """Key a gap on the action that the armature plays."""
        ask = self.asks[n]
        return splice(
            armature,
            scene,
            self.answers[n]["joints"],
            ask.gap.first,
            ask.gap.last,
            mapping=self.mapping,
            bones=self.request.bones,
            context_before=ask.before[:-1],
            context_after=ask.after[1:],
        )

    def _finished(
        self,
        armature: bpy.types.Object,
        scene: bpy.types.Scene,
        action: bpy.types.Action,
        results: Sequence[SpliceResult],
    ) -> Outcome:
        """Say how the gaps that were keyed were met, and note it on the action."""
        warnings = list(dict.fromkeys(text for result in results for text in result.warnings))
        warnings += filling.missed(armature, scene, self.mapping, self.asks, self.answers, NOTABLE)
        frames = [frame for result in results for frame in result.frames.tolist()]
        note_fillers(action, armature, frames)
        entries = [_entry(*both, self.request) for both in zip(self.asks, self.answers, strict=True)]
        _note(action, entries)
        bonemap.found(armature, self.mapping)
        gaps = tuple(ask.gap for ask in self.asks)
        return Outcome(armature, action, gaps, _line(armature, gaps, len(frames)), warnings, entries)


def _still_there(target: Target, played: Reference) -> tuple[bpy.types.Object, bpy.types.Scene, bpy.types.Action]:
    """What is to be filled. Raises UserError where it is gone."""
    armature, scene = target.find()
    action = armature.animation_data.action if armature.animation_data else None
    if action is None or played.find([action]) is None:
        raise UserError(
            "action_changed",
            f'"{armature.name}" plays another action than the one that was to be filled.',
            "Give it its action back, or fill again.",
        )
    return armature, scene, action


def _answer(reply: object, ask: Ask) -> dict:
    """The best take of an answer, checked. Raises UserError("bad_answer")."""
    takes = reply.get("motions") if isinstance(reply, dict) else None
    if not isinstance(takes, list) or not takes or not isinstance(takes[0], dict):
        raise UserError("bad_answer", "The motion model's answer holds no motion.", "Fill again.")
    assert isinstance(reply, dict)
    joints = decode_array(takes[0].get("joints"))
    if len(joints) != ask.steps + 1:
        raise UserError(
            "bad_answer", f"The motion model's answer has {len(joints)} frames, not {ask.steps + 1}.", "Fill again."
        )
    report = takes[0].get("report")
    model = reply.get("model") if isinstance(reply.get("model"), dict) else {}
    return {
        "joints": joints.astype(np.float64),
        "seed": int(takes[0].get("seed", 0)),
        "report": report if isinstance(report, dict) else {},
        "model": model,
    }


def _check_keys(
    action: bpy.types.Action,
    armature: bpy.types.Object,
    mapping: Mapping,
    gaps: Sequence[Gap],
    bones: Collection[str] | None,
) -> None:
    """Raises UserError where there is no keyed pose at an end of a gap: none was, or it went while it was filled."""

    names = body_bones(mapping)
    there = [column.frame for column in columns(action, armature, names & set(bones) if bones is not None else names)]
    for frame in (frame for gap in gaps for frame in (gap.first, gap.last)):
        if not any(abs(frame - other) < 0.02 for other in there):
            raise UserError(
                "keys_changed", f"There is no keyed pose at frame {frame:g}.", "Key one there, or fill another gap."
            )


def _entry(ask: Ask, answer: dict, request: Request) -> dict:
    model = answer["model"]
    return {
        "first": ask.gap.first,
        "last": ask.gap.last,
        "prompt": request.prompt.strip(),
        "seed": answer["seed"],
        "strength": float(request.strength),
        "context": bool(request.use_context),
        "bones": sorted(request.bones) if request.bones is not None else None,
        "model": str(model.get("name", "")),
        "licence": str(model.get("licence", "")),
        "report": answer["report"],
    }


def fills(action: bpy.types.Action | None) -> list[dict]:
    """What is noted on an action about its filled gaps; the last fill's gaps have "latest"."""
    try:
        noted = json.loads(str(action.get(FILLS, "[]"))) if action is not None else []
    except ValueError:
        return []
    return [entry for entry in noted if isinstance(entry, dict) and "first" in entry and "last" in entry]


def _note(action: bpy.types.Action, entries: list[dict]) -> None:
    """Note how gaps were filled, instead of what was there about the same frames."""

    def covered(entry: dict) -> bool:
        same = [new for new in entries if new["bones"] == entry.get("bones")]
        return any(entry["first"] < new["last"] and entry["last"] > new["first"] for new in same)

    kept = [{k: v for k, v in entry.items() if k != "latest"} for entry in fills(action) if not covered(entry)]
    made = [entry | {"latest": True} for entry in entries]
    action[FILLS] = json.dumps(sorted(kept + made, key=lambda entry: entry["first"]))


def next_take(armature: bpy.types.Object, request: Request) -> Request:
    """The request that fills the gaps of the last fill once more, with the next seed. Raises UserError("no_fill")."""
    action = armature.animation_data.action if armature.animation_data else None
    latest = [entry for entry in fills(action) if entry.get("latest")]
    if not latest:
        raise UserError("no_fill", "Nothing was filled on this action yet.", "Fill between two keys first.")
    bones = latest[0].get("bones")
    return replace(
        request,
        prompt=str(latest[0].get("prompt", "")),
        use_context=bool(latest[0].get("context", True)),
        strength=float(latest[0].get("strength", 1.0)),
        seed=(max(int(entry.get("seed", 0)) for entry in latest) + 1) % (MAX_SEED + 1),
        bones=frozenset(bones) if bones is not None else None,
        gaps=tuple(Gap(float(entry["first"]), float(entry["last"])) for entry in latest),
    )


def _line(armature: bpy.types.Object, gaps: tuple[Gap, ...], count: int) -> str:
    frames = f"{count} frame{'s' if count != 1 else ''}"
    if len(gaps) == 1:
        return f"Filled {frames} between {gaps[0].first:g} and {gaps[0].last:g} on {armature.name}."
    return f"Filled {len(gaps)} gaps, {frames}, from {gaps[0].first:g} to {gaps[-1].last:g} on {armature.name}."
