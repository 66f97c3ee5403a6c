"""One gap between known frames: from a seed to a motion that passes through the keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from core.evaluate.physical import foot_slide, jerk
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import FPS
from core.tasks import feet, poses
from core.tasks.codeprior import CodePrior
from core.tasks.constraints import Constraint, Demands
from core.tasks.joining import hold, mix
from core.tasks.latentfit import Fitter, Known
from core.tasks.poses import Poses
from core.tasks.proposals import propose
from core.tasks.stage import Stage

LEAST_FRAMES = 20
MOST_FRAMES = 196
TOLERANCE = 0.03
"""Metres: how well a code is to meet a known joint. Less makes it bend everything else for it."""
TRUST = 0.15
"""How far the prior's mean is moved towards a proposal of the model for the ends, and"""
TRUST_WORDS = 0.7
"""towards one for words, at full strength. Both chosen on validation clips: more of either leads away from the real
motion; words may lead a little further, because somebody typed them."""
WORDS_SHARE = 0.5
"""How much of what is left to plain interpolation the fit takes where there are words, in a gap of WORDY frames."""
WORDY = 24


@lru_cache(maxsize=4)
def prior_of(folder: str, channels: int) -> CodePrior:
    """What comes with the model in a folder; of a model that comes from none, nothing is known."""
    if not folder:
        return CodePrior.plain(channels)
    return CodePrior.load(Path(folder), channels)


@lru_cache(maxsize=4)
def fitter_for(model: MotionGPT3, prior: CodePrior, frames: int) -> Fitter:
    """What depends on the length alone is computed once: several gaps of an action are often of one length."""
    return Fitter(model, frames, *prior.at(frames))


class Gap:
    """What is known around a gap, in the clip's canonical place and on the model's body.

    Args:
        model: who proposes and decodes.
        before: (A, 22, 3) known frames, the first key last. after: (B, 22, 3), the second key first.
        frames: strictly between the keys.
        constraints: what else to meet.
        prior: of codes; the model's own where not given.
    """

    def __init__(
        self,
        model: MotionGPT3,
        before: np.ndarray,
        after: np.ndarray,
        frames: int,
        constraints: list[Constraint],
        prior: CodePrior | None = None,
    ) -> None:
        room = max(MOST_FRAMES - frames - 2, 0)  # context gives way where the gap itself needs the frames
        before = before[-(room // 2 + 1) :]
        after = after[: room - len(before) + 2]
        self.model, self.frames = model, frames
        self.before, self.after = before.astype(np.float64), after.astype(np.float64)
        self.first, self.last = len(before) - 1, len(before) + frames  # the keys' frames in the stretch
        self.length = max(self.last + len(after), LEAST_FRAMES)
        self.context = min(len(before), len(after)) > 2  # enough around the gap to show how it moves
        self.stage = Stage(model, self.before[0], self.before[-1])
        self.demands = Demands(constraints, frames)
        frames_known = np.concatenate([np.arange(len(before)), self.last + np.arange(len(after))])
        self.known = Known.poses(frames_known, self.stage.enter(np.concatenate([self.before, self.after])), TOLERANCE)
        folder = str(model.info.get("path", ""))
        self.prior = prior or prior_of(folder, model.cfg.vae.channels)

    def fill(
        self, seed: int, tries: int, prompt: str | None, strength: float, cancelled: Callable[[], bool] | None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The best of some tries: joints (frames + 2, 22, 3) in the given place and its report."""
        plain = self.plain()
        made = []
        if strength > 0.0:
            fits, offs = self.fitted(seed, tries, prompt, strength, cancelled)
            share = strength * self.shares(bool(prompt))
            made = [
                (self.finish(mix(plain, self.held(fit), share, spinning=self.context)), off)
                for fit, off in zip(fits, offs, strict=True)
            ]
        else:
            made = [(self.finish(plain), 0.0)]
        judged = [self.judge(joints, off, strength * self.shares(bool(prompt))) for joints, off in made]
        best = min(range(len(made)), key=lambda i: judged[i]["score"])
        joints = self.demands.meet(made[best][0])
        judged[best]["constraints"] = self.demands.errors(joints)
        return joints, judged[best]

    def plain(self) -> Poses:
        """Interpolation that carries on the velocities of the context. Poses of the gap, keys included."""
        motion = self.demands.interpolate(self.before[-1], self.after[0])
        return self._held(poses.from_joints(motion), None)

    def fitted(
        self, seed: int, tries: int, prompt: str | None, strength: float, cancelled: Callable[[], bool] | None
    ) -> tuple[list[np.ndarray], list[float]]:
        """Fits around the model's proposals: stretches (T, 22, 3) in the given place, and how far each was off at the
        keys, mm."""
        fitter = fitter_for(self.model, self.prior, self.length)
        mean = fitter.mean
        seeds = [seed + 1_000_003 * i for i in range(tries)]
        proposed = propose(
            self.model, self.stage.enter(self.before), self.stage.enter(self.after), self.length, prompt, seeds
        )
        around = fitter.somewhere(seed)[None]
        if proposed is not None:
            trust = (TRUST_WORDS if prompt else TRUST) * strength
            around = mean + trust * (proposed.double() - mean)
        known = self.known + self.demands.known(self.stage.enter, self.first, TOLERANCE)
        motions, _ = fitter.fit(known, around, cancelled)
        fits = [self.stage.leave(m) for m in motions]
        keys = np.stack([self.before[-1], self.after[0]])
        offs = [float(1000 * np.linalg.norm(f[[self.first, self.last]] - keys, axis=-1).mean()) for f in fits]
        return fits, offs

    def held(self, fit: np.ndarray) -> Poses:
        """A fitted stretch, held to the keys: poses of the gap, keys included."""
        return self._held(poses.from_joints(fit[self.first : self.last + 1]), fit)

    def shares(self, words: bool = False) -> np.ndarray:
        """(23,) how much of the fit to take: the root, then the joints."""
        share = self.prior.share(self.frames, self.context)
        return share + (1.0 - share) * WORDS_SHARE * min(self.frames / WORDY, 1.0) if words else share

    def finish(self, motion: Poses) -> np.ndarray:
        """Joints with standing feet pinned."""
        joints = poses.to_joints(motion)
        fixed = np.zeros(len(joints), bool)
        fixed[self.demands.keyed()] = True
        around = np.concatenate([self.before[:-1], joints, self.after[1:]])
        held = np.concatenate([np.ones(len(self.before) - 1, bool), fixed, np.ones(len(self.after) - 1, bool)])
        around = feet.above_floor(around, held)
        gentle = len(self.before) > 1 or len(self.after) > 1
        pinned = feet.pin(around, feet.standing(around, feet.floor_of(around, held)), held, gentle)
        return pinned[self.first : self.first + len(joints)]

    def _held(self, motion: Poses, fit: np.ndarray | None) -> Poses:
        """Held to the keys. fit: the whole stretch the motion is of; None where it knows nothing beside the keys."""
        keys = poses.from_joints(self.demands.keys(self.before[-1], self.after[0]))
        at = self.demands.keyed()
        beside: list[tuple[Poses, Poses] | None] = [None, None]
        if len(self.before) > 1:
            would = motion[np.array([0])] if fit is None else poses.from_joints(fit[self.first - 1 : self.first])
            if fit is None:
                would = _extrapolated(motion, 0, 1)
            beside[0] = (poses.from_joints(self.before[-2:-1]), would)
        if len(self.after) > 1:
            last = len(motion) - 1
            would = (
                _extrapolated(motion, last, last - 1)
                if fit is None
                else poses.from_joints(fit[self.last + 1 : self.last + 2])
            )
            beside[1] = (poses.from_joints(self.after[1:2]), would)
        motion = Poses(motion.root, motion.local, _courses(at, keys.offsets, len(motion)))
        return hold(motion, at, keys, beside[0], beside[1])

    def judge(self, joints: np.ndarray, off: float, shares: np.ndarray) -> dict[str, Any]:
        """The report on a filled gap."""
        whole = np.concatenate([self.before[:-1], joints, self.after[1:]])
        steps = np.diff(whole, axis=0) * FPS
        jumps = [
            float(np.linalg.norm(steps[k] - steps[k - 1], axis=-1).mean())
            for k in (self.first, self.last)
            if 0 < k < len(whole) - 1
        ]
        slide = foot_slide(joints)
        slide = 0.0 if np.isnan(slide) else slide
        rough = jerk(whole)
        share = float(shares.mean())
        score = off / 30.0 + slide / 5.0 + rough / 100.0 + 2.0 * max(jumps, default=0.0)
        return {
            "boundary_mm": round(off, 2),
            "velocity_jump": round(max(jumps, default=0.0), 4),
            "slide_mm": round(slide, 2),
            "jerk": round(rough, 2),
            "model_share": round(share, 3),
            "score": round(score, 4),
            "constraints": [],
        }


def _extrapolated(motion: Poses, at: int, towards: int) -> Poses:
    """One frame further out than frame `at`, as if the step from `towards` went on."""
    here, inner = motion[np.array([at])], motion[np.array([towards])]
    back = poses.difference(inner, here)
    return poses.add(here, back)


def _courses(at: np.ndarray, values: np.ndarray, frames: int) -> np.ndarray:
    """Offsets (K, 22, 3) at keys -> every frame, in straight lines."""
    t = np.arange(frames)
    flat = values.reshape(len(at), -1)
    return np.stack([np.interp(t, at, column) for column in flat.T], 1).reshape(frames, *values.shape[1:])
