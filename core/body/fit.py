"""Pose and shape parameters of a body model that put its joints where a motion has them.

Least squares over the whole clip (Gauss-Newton with Levenberg's damping). Positions rule; where they leave a choice,
habits decide: a bone's turn about itself is small and steady, knees and elbows bend about one axis and one way. A frame
is tied to the next only through that steadiness, so the equations are banded and a step is one banded solve; the
shape, which all frames share, is a border of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, solveh_banded

from core.body import rotation as rot
from core.body.model import BodyModel
from core.body.start import HINGES, first_pose
from core.features import check_joints, retarget
from core.skeleton import JOINTS, PARENTS, bone_lengths

FITTED_BETAS = 10
"""Shape parameters that are fitted: every SMPL-X file has them; finer ones hardly move joints."""

POSITION = 0.002
"""Metres that a joint may be off before that counts as much as one unit of a habit or of the shape. The shape's unit is
its spread among people; a habit's is in `HABITS`."""

STEADY = 2.0
"""Radians a second: the unit for how fast a bone turns against its parent."""

_KNEE, _ELBOW = (3.0, 0.1, 0.1), (0.3, 3.0, 0.1)
HABITS: dict[str, tuple[float, float, float]] = {
    "hip": (1.5, 0.6, 1.5), "knee": _KNEE, "ankle": (0.6, 0.4, 0.4), "spine1": (0.3, 0.3, 0.3),
    "spine2": (0.3, 0.3, 0.3), "spine3": (0.3, 0.3, 0.3), "neck": (0.5, 0.5, 0.5), "collar": (0.3, 0.3, 0.3),
    "shoulder": (1.0, 1.0, 1.0), "elbow": _ELBOW,
}  # fmt: skip
"""Radians about x, y and z of the parent that a joint turns without effort, with SMPL's T pose as zero."""

WRONG_WAY = 0.1
"""Radians: the unit for a knee or elbow that bends the other way."""

_STEPS, _ENOUGH = 15, 1e-5
_LEG = [5, 8]  # right knee and ankle: the bones whose lengths `retarget` scales the path by
_ENDS = {joint: [end for end in range(22) if PARENTS[end] == joint] for joint in range(22)}
_TURNING = [joint for joint in range(22) if _ENDS[joint]]  # joints whose rotation moves another one
_SLOT = {joint: 3 * slot for slot, joint in enumerate(_TURNING)}
_ROOT = 3 * len(_TURNING)
_SIZE = _ROOT + 3  # unknowns a frame: a small turn of each such joint, then the place of the root
_LOCAL = _TURNING[1:]


@dataclass(frozen=True)
class BodyFit:
    """A motion as parameters of a body model, Y up.

    Attributes:
        turns: (T, 22, 3) axis-angle, radians, each joint relative to its parent; the first is the root's.
        trans: (T, 3) metres.
        betas: (FITTED_BETAS,) shape, or zeros.
        target: (T, 22, 3) where the joints should be: the motion, or, where the shape is not fitted, the motion carried
            over to the body's own lengths.
        errors: (T, 22) metres between the body's joints and `target`.
        scale: what the motion was scaled by to get `target`; 1 where the shape is fitted.
        fps: frames a second.
    """

    turns: np.ndarray
    trans: np.ndarray
    betas: np.ndarray
    target: np.ndarray
    errors: np.ndarray
    scale: float
    fps: float


def fit_body(model: BodyModel, joints: np.ndarray, fps: float, *, fit_shape: bool = True) -> BodyFit:
    """Fit a body to a motion.

    Args:
        joints: (T, 22, 3) metres, Y up.
        fit_shape: give the body the proportions of the motion; otherwise it keeps those of its mean shape, and poses
            and path are carried over to them, so that its feet still reach the floor.
    Raises:
        CoreError: joints_invalid.
    """
    joints = check_joints(joints)
    scale = 1.0
    if not fit_shape:
        bones = model.rest - model.rest[np.maximum(PARENTS, 0)]
        carried = retarget(joints, bones)
        scale = float(np.linalg.norm(bones[_LEG], axis=-1).sum() / max(bone_lengths(joints[0])[_LEG].sum(), 1e-9))
        joints = carried
    target = joints.astype(np.float64)
    betas = np.zeros(min(FITTED_BETAS, model.shape.shape[-1]) if fit_shape else 0)
    state = _State(first_pose(target, model.rest, fps), target[:, 0].copy(), betas)
    state = _descend(_Problem(model, target, fps), state)

    local = state.turns.copy()
    local[:, 1:] = np.swapaxes(state.turns[:, PARENTS[1:]], -1, -2) @ state.turns[:, 1:]
    turns = rot.without_jumps(rot.log(local))
    full = np.zeros(FITTED_BETAS)
    full[: len(state.betas)] = state.betas
    trans = state.root - model.rest_joints(full)[0]
    errors = np.linalg.norm(model.joints(turns, trans, full) - target, axis=-1)
    return BodyFit(turns, trans, full, target, errors, scale, fps)


@dataclass(frozen=True)
class _State:
    """World rotations (T, 22, 3, 3), the root's place (T, 3), shape (B,)."""

    turns: np.ndarray
    root: np.ndarray
    betas: np.ndarray

    def moved(self, step: np.ndarray, betas: np.ndarray) -> _State:
        """After small turns and moves (T, _SIZE) and a change of shape (B,)."""
        turns = self.turns.copy()
        turns[:, _TURNING] = rot.exp(step[:, :_ROOT].reshape(len(step), -1, 3)) @ turns[:, _TURNING]
        for joint in range(22):
            if not _ENDS[joint]:
                turns[:, joint] = turns[:, PARENTS[joint]]
        return _State(turns, self.root + step[:, _ROOT:], self.betas + betas)


class _Problem:
    """What is to be small, and its slope, for one clip."""

    def __init__(self, model: BodyModel, target: np.ndarray, fps: float) -> None:
        self.model, self.target = model, target
        self.steady = (fps / STEADY) ** 2
        self.habits = np.array([HABITS[JOINTS[joint].removeprefix("l_").removeprefix("r_")] for joint in _LOCAL])

    def residuals(self, state: _State) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Distance vectors (T, 22, 3), metres; local turns (T, n, 3) and their weights; their changes (T-1, n, 3)."""
        rest = self.model.rest_joints(state.betas)
        where = np.empty_like(self.target)
        where[:, 0] = state.root
        for joint in range(1, 22):
            parent = PARENTS[joint]
            where[:, joint] = where[:, parent] + state.turns[:, parent] @ (rest[joint] - rest[parent])
        before = state.turns[:, [PARENTS[joint] for joint in _LOCAL]]
        relative = np.swapaxes(before, -1, -2) @ state.turns[:, _LOCAL]
        local = rot.log(relative)
        weights = np.broadcast_to(1 / self.habits**2, local.shape).copy()
        for joint, (axis, sign) in HINGES.items():
            slot = _LOCAL.index(joint)
            weights[:, slot, axis] = np.where(sign * local[:, slot, axis] < 0, 1 / WRONG_WAY**2, weights[:, slot, axis])
        change = rot.log(relative[1:] @ np.swapaxes(relative[:-1], -1, -2))
        return where - self.target, local, weights, change

    def cost(self, state: _State) -> float:
        off, local, weights, change = self.residuals(state)
        habits = float((weights * local**2).sum() + self.steady * (change**2).sum())
        return float((off**2).sum()) / POSITION**2 + habits + len(off) * float((state.betas**2).sum())

    def equations(self, state: _State) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The normal equations at a state.

        Returns:
            Blocks of the frames (T, n, n), of a frame with the one before (T-1, n, n), of the frames with the shape
            (T, n, B), of the shape (B, B); right sides of the frames (T, n) and of the shape (B,).
        """
        off, local, weights, change = self.residuals(state)
        frames, count = len(off), len(state.betas)
        rest, turns = self.model.rest_joints(state.betas), state.turns

        slope = np.zeros((frames, 22, 3, _SIZE))  # of the joints' positions
        shape = np.zeros((frames, 22, 3, count))
        slope[..., _ROOT:] = np.eye(3)
        for joint in range(1, 22):
            parent = PARENTS[joint]
            bone = turns[:, parent] @ (rest[joint] - rest[parent])
            slope[:, joint] = slope[:, parent]
            slope[:, joint, :, _SLOT[parent] : _SLOT[parent] + 3] -= rot.skew(bone)
            change_of_bone = self.model.shape[joint, :, :count] - self.model.shape[parent, :, :count]
            shape[:, joint] = shape[:, parent] + turns[:, parent] @ change_of_bone
        slope, shape = slope.reshape(frames, 66, _SIZE) / POSITION, shape.reshape(frames, 66, count) / POSITION
        right = off.reshape(frames, 66, 1) / POSITION
        transposed = np.swapaxes(slope, 1, 2)
        block, border, side = transposed @ slope, transposed @ shape, (transposed @ right)[..., 0]
        corner = np.einsum("tib,tic->bc", shape, shape, optimize=True) + frames * np.eye(count)
        shape_side = np.einsum("tib,ti->b", shape, right[..., 0]) + frames * state.betas

        inward = np.swapaxes(turns[:, [PARENTS[joint] for joint in _LOCAL]], -1, -2)
        own = rot.inverse_left_jacobian(local) @ inward
        weighted = np.swapaxes(own * weights[..., None], -1, -2)
        squares, sides = weighted @ own, (weighted @ local[..., None])[..., 0]
        # A small turn of the frame before is seen through the change that follows it.
        ties = np.swapaxes(inward[1:], -1, -2) @ rot.exp(change) @ inward[:-1]
        later, earlier = ((np.swapaxes(part, -1, -2) @ change[..., None])[..., 0] for part in (inward[1:], inward[:-1]))
        squares[1:] += self.steady * np.eye(3)
        squares[:-1] += self.steady * np.eye(3)
        sides[1:] += self.steady * later
        sides[:-1] -= self.steady * earlier
        tie = np.zeros((max(frames - 1, 0), _SIZE, _SIZE))
        for slot, joint in enumerate(_LOCAL):  # a local turn is the joint's less its parent's
            a = slice(_SLOT[joint], _SLOT[joint] + 3)
            b = slice(_SLOT[PARENTS[joint]], _SLOT[PARENTS[joint]] + 3)
            for one, other, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
                block[:, one, other] += sign * squares[:, slot]
                tie[:, one, other] -= sign * self.steady * ties[:, slot]
            side[:, a] += sides[:, slot]
            side[:, b] -= sides[:, slot]
        return block, tie, border, corner, side, shape_side


def _descend(problem: _Problem, state: _State) -> _State:
    """The best state found from this one: never worse than it."""
    cost, damping = problem.cost(state), 1e-2
    for _ in range(_STEPS):
        equations = problem.equations(state)
        while damping < 1e8:
            try:
                after = state.moved(*_step(*equations, damping))
                better = problem.cost(after)
            except (LinAlgError, ValueError):  # not positive definite, or not finite
                better = np.inf
            if better < cost:
                break
            damping = max(damping, 1e-2) * 10
        else:
            return state
        state, gained, cost, damping = after, cost - better, better, damping / 10
        if gained < _ENOUGH * cost:
            break
    return state


def _step(
    block: np.ndarray,
    tie: np.ndarray,
    border: np.ndarray,
    corner: np.ndarray,
    side: np.ndarray,
    shape_side: np.ndarray,
    damping: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve the normal equations (see `_Problem.equations`): the step of the frames (T, n) and of the shape (B,)."""
    frames, size = side.shape
    band = np.zeros((2 * size, frames, size))  # LAPACK's lower form: band[i - j, j] = matrix[i, j]
    row, column = np.tril_indices(size)
    band[row - column, :, column] = block[:, row, column].T
    band[0] += damping
    row, column = (index.ravel() for index in np.indices((size, size)))
    band[size + row - column, :-1, column] = tie[:, row, column].T
    known = np.concatenate([side[..., None], border], -1).reshape(frames * size, -1)
    solved = solveh_banded(band.reshape(2 * size, -1), known, lower=True, overwrite_ab=True)
    flat = border.reshape(frames * size, -1)
    betas = np.linalg.solve(corner - flat.T @ solved[:, 1:], flat.T @ solved[:, 0] - shape_side)
    step = -solved[:, 0] - solved[:, 1:] @ betas
    return step.reshape(frames, size), betas
