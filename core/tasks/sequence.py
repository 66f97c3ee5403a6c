"""Several prompts in a row -> one motion of any length.

Each prompt gets a motion of its own. It is put where the one before leads to, facing where that one heads, and the
frames around the border are then filled like a gap between two keys (core/tasks/inbetween.py), with both motions as
context. What the model sees at once is limited; how many segments there are is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from core.errors import Cancelled, CoreError
from core.features import check_joints, facing, retarget
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import FPS, bone_lengths
from core.tasks import path as paths
from core.tasks.generate import MAX_SECONDS, MAX_SEED, MIN_SECONDS, check_seed, generate
from core.tasks.inbetween import inbetween
from core.tasks.place import turn_and_shift
from core.tasks.understand import Understood

MAX_SEGMENT, MAX_TOTAL = 120.0, 3600.0
"""Seconds of one segment and of the whole: no limit of the method, but of what anybody can have meant."""
MIN_TRANSITION, MAX_TRANSITION = 0.1, 4.0
SHARE = 1 / 3
"""How much of a segment a transition may take at each of its ends."""
SLACK = 10
"""Frames that a segment is made longer by, to begin where its pose is like the one that it follows."""
CONTEXT = 20
"""Frames on both sides of a transition that its in-between sees."""
LOOK = 8
"""Frames from which the speed and heading at an end are read."""
MAX_TURN_RATE = math.radians(60.0) / FPS
"""Radians a frame that a transition turns at most of its own accord."""


@dataclass(frozen=True)
class Segment:
    """What happens, and for how long (1 second at the least; longer than the model knows is made in parts)."""

    prompt: str
    seconds: float


@dataclass
class Sequence:
    """One motion made of several.

    Attributes:
        joints: (T, 22, 3) float32, metres, Y up, 20 fps.
        borders: the first frame of each segment.
        seeds: of each segment; the same prompt, duration and seed give the same segment, before it is joined.
        notes: what prompts that the model does not know were taken for, shortened transitions, how the path went.
        path_error_mm: the largest distance between the way and the path; None without a path.
        transitions: (first, last) frame of each fill; both are the segments' own, what is between them was filled.
    """

    joints: np.ndarray
    borders: list[int]
    seeds: list[int]
    notes: list[str] = field(default_factory=list)
    path_error_mm: float | None = None
    transitions: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """What the model makes at once: a segment, or a part of a long one."""

    segment: int
    prompt: str
    frames: int
    seed: int


def sequence(
    model: MotionGPT3,
    segments: list[Segment],
    transition_seconds: float,
    seed: int,
    *,
    guidance: float | None = None,
    literal: bool = False,
    path: np.ndarray | None = None,
    timed: bool = False,
    start: np.ndarray | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Sequence:
    """One motion from several prompts.

    Args:
        segments: at least one.
        transition_seconds: 0.1 to 4; how long the change from one segment to the next takes, half of it in each.
        seed: of the first segment; the next ones count up.
        guidance, literal: as in `generate`.
        path: (N, 3) points of the way to follow, in metres; see `core.tasks.path.follow`. timed: evenly spaced in time.
        start: (A, 22, 3) what came before. The motion goes on from its last frame, in its place and its proportions.
        progress: told (fraction, message). cancelled: polled often.
    Returns:
        Without `start` or `path` the motion begins at the origin facing +Z; with `path` at its first point. With
        `start` frame 0 is its last frame, and the first segment follows from frame 1 on, which is its border.
    Raises:
        CoreError: segments_empty, segment_too_long, sequence_too_long, transition_out_of_range, path_invalid,
            joints_invalid, and what `generate` and `inbetween` raise. Cancelled.
    """
    parts, seeds = _parts(_checked(segments, transition_seconds), check_seed(seed))
    if path is not None:
        paths.check_path(path)
    body = None if start is None else check_joints(start).astype(np.float64)
    row = _Row(model, round(transition_seconds * FPS), guidance, literal, body, cancelled)
    whole = sum(part.frames for part in parts)
    done = 0
    for part in parts:

        def step(fraction: float, done: int = done, part: _Part = part) -> None:
            if progress is not None:
                message = f"Segment {part.segment + 1} of {len(segments)}"
                progress(0.98 * (done + fraction * part.frames) / whole, message)

        row.add(part, step)
        done += part.frames
    joints, error = row.joints(), None
    if path is not None:
        if progress is not None:
            progress(0.98, "Following the path")
        joints, error, notes = _on_path(joints, path, timed, body)
        row.notes += notes
    joints = joints.astype(np.float32)
    if start is not None:
        joints[0] = start[-1]
    if progress is not None:
        progress(1.0, "Done")
    return Sequence(joints, row.borders, seeds, row.notes, error, row.transitions)


@dataclass
class _Row:
    """The motion as far as it is made.

    Attributes:
        fill: frames that a transition has.
        body: (A, 22, 3) what came before, None where nothing did.
        made: (T, 22, 3) with up to CONTEXT frames of what came before in front, and its last one.
    """

    model: MotionGPT3
    fill: int
    guidance: float | None
    literal: bool
    body: np.ndarray | None
    cancelled: Callable[[], bool] | None
    borders: list[int] = field(default_factory=list)
    transitions: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = np.zeros((0, 22, 3)) if self.body is None else self.body[-CONTEXT - 1 :]
        self._skip = max(len(self.made) - 1, 0)
        self._previous = 0  # frames of the part before

    def joints(self) -> np.ndarray:
        """(T, 22, 3) float64, from the last frame of what came before on."""
        return self.made[self._skip :]

    def add(self, part: _Part, progress: Callable[[float], None]) -> None:
        """Make a part and join it to what there is."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled
        clip = self._clip(part, progress)
        if part.segment == len(self.borders):
            self.borders.append(len(self.made) - self._skip)
        if not len(self.made):
            self.made = clip
        else:
            lead = min(self.fill // 2, int(self._previous * SHARE))
            wanted = self.fill - self.fill // 2 if self._previous else self.fill
            trail = min(wanted, int(part.frames * SHARE))
            if (lead < self.fill // 2 and self._previous) or trail < wanted:
                self._note(f"A transition beside a short segment takes {(lead + trail) / FPS:g} s.")
            self.made, (first, last) = _join(
                self.model, self.made, clip, part.frames, lead, trail, part.seed, self.cancelled
            )
            self.transitions.append((first - self._skip, last - self._skip))
        self._previous = part.frames

    def _clip(self, part: _Part, progress: Callable[[float], None]) -> np.ndarray:
        spare = min(SLACK, round(MAX_SECONDS * FPS) - part.frames) if len(self.made) else 0

        def told(read: Understood) -> None:
            if read.note:
                self._note(f'"{part.prompt}": {read.note}')

        clip = generate(
            self.model, part.prompt, (part.frames + spare) / FPS, part.seed, guidance=self.guidance,
            literal=self.literal, progress=lambda fraction, _: progress(fraction), cancelled=self.cancelled, told=told,
        )[0].astype(np.float64)  # fmt: skip
        return clip if self.body is None else _on_body(clip, self.body)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _checked(segments: list[Segment], transition: float) -> list[Segment]:
    """The segments, prompts tidied. Raises CoreError before the model works for a minute in vain."""
    if not segments:
        raise CoreError("segments_empty", "There is no segment to make.", "Add a prompt and a duration.")
    if not (math.isfinite(transition) and MIN_TRANSITION <= transition <= MAX_TRANSITION):
        raise CoreError(
            "transition_out_of_range",
            f"A transition of {transition:g} s cannot be made.",
            f"Choose {MIN_TRANSITION:g} to {MAX_TRANSITION:g} seconds.",
        )
    for number, segment in enumerate(segments, 1):
        if not segment.prompt.strip():
            raise CoreError("prompt_empty", f"The prompt of segment {number} is empty.", "Type what happens in it.")
        if not (math.isfinite(segment.seconds) and MIN_SECONDS <= segment.seconds <= MAX_SEGMENT):
            raise CoreError(
                "duration_out_of_range",
                f"Segment {number} cannot take {segment.seconds:g} s.",
                f"Choose {MIN_SECONDS:g} to {MAX_SEGMENT:g} seconds.",
            )
    if (total := sum(segment.seconds for segment in segments)) > MAX_TOTAL:
        raise CoreError("sequence_too_long", f"The sequence would take {total / 60:.0f} minutes.", "Make it in parts.")
    return [Segment(" ".join(segment.prompt.split()), segment.seconds) for segment in segments]


def _parts(segments: list[Segment], seed: int) -> tuple[list[_Part], list[int]]:
    """What is made one after the other, and the seed of each segment. A part of a long segment has a seed of its own,
    far from the others', so that a segment's seed does not depend on how long the ones before it are."""
    parts: list[_Part] = []
    seeds = [(seed + i) % (MAX_SEED + 1) for i in range(len(segments))]
    longest = round(MAX_SECONDS * FPS)
    for i, segment in enumerate(segments):
        frames = round(segment.seconds * FPS)
        count = -(-frames // longest)
        ends = [round(frames * k / count) for k in range(count + 1)]
        for k in range(count):
            own = (seeds[i] + k * 1_000_003) % (MAX_SEED + 1)
            parts.append(_Part(i, segment.prompt, ends[k + 1] - ends[k], own))
    return parts, seeds


def _join(
    model: MotionGPT3,
    made: np.ndarray,
    clip: np.ndarray,
    frames: int,
    lead: int,
    trail: int,
    seed: int,
    cancelled: Callable[[], bool] | None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Put `frames` of a clip after what is made, the `lead` frames before and the `trail` after the border filled.

    Returns the longer motion and the frames (of it) between which it was filled.
    """
    key = len(made) - 1 - lead
    speed, heading, rate = _ending(made[: key + 1])
    begin = _best_start(made[: key + 1], clip, frames, trail)
    clip = clip[begin : begin + frames]
    after, faces, turning = _ending(clip[trail : trail + LOOK][::-1])
    steps = lead + trail + 1
    turn = heading + 0.5 * (rate - turning) * steps - faces  # read backwards, its rates have the other sign
    turned = turn_and_shift(clip, turn, np.zeros(2))
    onward = turn_and_shift(np.array([[-after[0], 0.0, -after[1]]]), turn, np.zeros(2))[0, [0, 2]]
    there = made[key, 0][[0, 2]] + 0.5 * (speed + onward) * steps
    clip = turn_and_shift(turned, 0.0, there - turned[trail, 0][[0, 2]])
    filled = inbetween(
        model,
        made[key].astype(np.float32),
        clip[trail].astype(np.float32),
        lead + trail,
        context_before=made[max(key - CONTEXT, 0) : key].astype(np.float32),
        context_after=clip[trail + 1 : trail + 1 + CONTEXT].astype(np.float32),
        seed=seed,
        cancelled=cancelled,
    )[0].joints
    return np.concatenate([made[:key], filled[:-1], clip[trail:]]), (key, key + steps)


def _ending(joints: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Speed (2,) metres a frame over the floor, heading (radians) and its rate (a frame) at the last frame."""
    part = joints[-LOOK:]
    ways = facing(part)
    headings = np.unwrap(np.arctan2(ways[:, 0], ways[:, 2]))
    if len(part) < 2:
        return np.zeros(2), float(headings[-1]), 0.0
    time = np.arange(len(part)) - (len(part) - 1)
    at = np.column_stack([part[:, 0][:, [0, 2]], headings])
    slope = ((time - time.mean())[:, None] * at).sum(0) / np.square(time - time.mean()).sum()
    # The body turns to and fro with each step: the heading is the average, carried on by half of what it turned.
    heading = float(headings.mean() + slope[2] * -time.mean())
    return slope[:2], heading, float(np.clip(slope[2], -MAX_TURN_RATE, MAX_TURN_RATE))


def _best_start(made: np.ndarray, clip: np.ndarray, frames: int, trail: int) -> int:
    """Which frame of a clip to begin with, so that after the transition it goes on like what came before.

    Compared are pose and speed, each in its own heading: a walk is taken up on the right foot.
    """
    spare = len(clip) - frames
    if spare <= 0 or len(made) < 2:
        return 0
    wanted = _state(made[-2:])
    apart = [np.abs(_state(clip[trail + s : trail + s + 2]) - wanted).mean() for s in range(spare + 1)]
    return int(np.argmin(np.array(apart) + 0.002 * np.arange(spare + 1)))


def _state(two: np.ndarray) -> np.ndarray:
    """Pose and a quarter second's movement of two frames, seen from the body: (44, 3)."""
    ahead = facing(two[-1:])[0]
    here = two[-1, 0] * [1.0, 0.0, 1.0]
    seen = turn_and_shift(two - here, -math.atan2(ahead[0], ahead[2]), np.zeros(2))
    return np.concatenate([seen[-1], (seen[1] - seen[0]) * FPS / 4])


def _on_body(clip: np.ndarray, body: np.ndarray) -> np.ndarray:
    """A clip on a body of other bone lengths, its lowest point where it was."""
    lengths = np.median(bone_lengths(body), axis=0)
    out = retarget(clip, np.eye(3)[1] * lengths[:, None]).astype(np.float64)
    out[..., 1] += clip[..., 1].min() - out[..., 1].min()
    return out


def _on_path(
    joints: np.ndarray, path: np.ndarray, timed: bool, start: np.ndarray | None
) -> tuple[np.ndarray, float, list[str]]:
    """The motion on a path: joints, the largest distance from it in millimetres, and notes."""
    entering = None
    if start is not None:  # from where it stands to where the path begins
        here = start[-1, 0].astype(np.float64)
        if np.linalg.norm((path[0] - here)[[0, 2]]) > 0.05:
            path = np.concatenate([here[None], path])
        entering = 0.0
    followed = paths.follow(joints, path, timed=timed, entering=entering)
    notes = []
    left = followed.length - followed.travelled
    if timed:
        if not 0.67 < followed.speed < 1.5:
            times = f"{followed.speed:.1f} times"
            notes.append(f"The path's timing asks for {times} the motion's own speed: feet slide.")
    elif followed.travelled == 0.0:
        notes.append("This motion stays on the spot: it stands where the path begins.")
    elif abs(left) > max(0.25, 0.05 * followed.length) and not followed.closed:
        more = "longer" if left > 0 else "shorter"
        notes.append(
            f"The path is {followed.length:.1f} m long, the motion goes {followed.travelled:.1f} m at its own speed: "
            f"choose {more} durations, or let the path set the time."
        )
    return followed.joints, followed.error_mm, notes
