"""The user's own body model: where its 22 body joints are at rest and how its shape parameters move them.

Read from .npz alone, and of it only arrays of numbers: the official files also carry pickled objects, which run code
when they are opened; the smplx package's own loader opens them, so it is not used. Its kinematics are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CoreError
from core.skeleton import PARENTS

JOINT_COUNTS = {24: "smpl", 52: "smplh", 55: "smplx"}
"""A model's number of joints -> what AMASS calls its kind (`surface_model_type`)."""

KIND_NAMES = {"smpl": "SMPL", "smplh": "SMPL+H", "smplx": "SMPL-X"}
GENDERS = ("neutral", "female", "male")
MAX_BETAS = 16
"""Shape parameters that AMASS files have; a model may have more (SMPL-X: 300), of ever finer detail."""

WHERE = (
    "It is licensed and yours to get: register at smpl-x.is.tue.mpg.de, download the SMPL-X models and pass"
    " SMPLX_NEUTRAL.npz, or the folder that holds it, with --body-model."
)
INSTALL = "Install it into this Python: python -m pip install -r core/requirements-smplx.txt (read its licence first)."
_PICKLE = (
    "Pass the .npz of the same download: SMPLX_NEUTRAL.npz is beside it; for SMPL+H there is the 'Extended SMPL+H"
    " model' with model.npz at mano.is.tue.mpg.de."
)
_HUMAN = (0.3, 4.0)  # metres from the lowest to the highest joint; outside, the file is in other units


@dataclass(frozen=True)
class BodyModel:
    """A body whose pose and shape are parameters.

    Attributes:
        kind: "smpl", "smplh" or "smplx".
        gender: "neutral", "female" or "male", as the file's name or folder says; "neutral" where neither does.
        rest: (22, 3) joints of the mean shape with every rotation zero, metres, Y up, facing +Z.
        shape: (22, 3, B) metres that each joint moves for one unit of each shape parameter (beta).
    """

    kind: str
    gender: str
    rest: np.ndarray
    shape: np.ndarray

    def rest_joints(self, betas: np.ndarray) -> np.ndarray:
        """Joints at rest of a body of that shape: (n,) -> (22, 3). Parameters that the model lacks are left out."""
        count = min(len(betas), self.shape.shape[-1])
        return self.rest + self.shape[..., :count] @ np.asarray(betas[:count], np.float64)

    def joints(self, turns: np.ndarray, trans: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Where a pose puts the joints, by the kinematics of the smplx package.

        Args:
            turns: (T, 22, 3) axis-angle or (T, 22, 3, 3) matrices, each relative to the joint's parent.
            trans: (T, 3) metres, added to every joint.
            betas: (n,) shape parameters.
        Returns:
            (T, 22, 3) float64 metres, in the axes that `turns` and `trans` are in.
        """
        import torch

        lbs = require_smplx()
        matrices = torch.as_tensor(np.asarray(turns, np.float64))
        frames = len(matrices)
        if matrices.ndim == 3:
            matrices = lbs.batch_rodrigues(matrices.reshape(-1, 3)).reshape(frames, 22, 3, 3)
        rest = torch.as_tensor(self.rest_joints(betas)).expand(frames, 22, 3)
        where, _ = lbs.batch_rigid_transform(matrices, rest, torch.tensor(PARENTS), dtype=torch.float64)
        return where.numpy() + np.asarray(trans, np.float64)[:, None]


def require_smplx() -> Any:
    """The smplx package's module of kinematics. Raises CoreError("smplx_missing")."""
    try:
        from smplx import lbs
    except ImportError as error:
        raise CoreError(
            "smplx_missing", "SMPL-X motion needs the package 'smplx', which is missing.", INSTALL
        ) from error
    return lbs


def load_body_model(path: Path, *, gender: str = "neutral", kind: str = "smplx") -> BodyModel:
    """Read a body model: SMPL-X, SMPL+H or SMPL as .npz.

    Args:
        path: the file; or a folder, in which the one of `gender` and `kind` is looked for, then others.
    Raises:
        CoreError: smplx_missing, body_model_missing, body_model_pickle, body_model_broken.
    """
    require_smplx()
    path = Path(path)
    if path.is_dir():
        path = _find(path, gender, kind)
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise CoreError(
            "body_model_pickle",
            f"'{path.name}' is a pickle, which can run code when it is opened, so it is not.",
            _PICKLE,
        )
    try:
        with np.load(path, allow_pickle=False) as content:
            parents, template, shape, regressor = (
                content[key] for key in ("kintree_table", "v_template", "shapedirs", "J_regressor")
            )
    except FileNotFoundError as error:
        raise CoreError("body_model_missing", f"There is no body model '{path}'.", WHERE) from error
    except Exception as error:  # a damaged archive can fail in any way: zip, header, numbers
        raise _broken(path, f"it holds no body model ({error})") from error
    return _body_model(path, parents, template, shape, regressor)


def _body_model(
    path: Path, parents: np.ndarray, template: np.ndarray, shape: np.ndarray, regressor: np.ndarray
) -> BodyModel:
    vertices = len(template) if template.ndim == 2 else 0
    count = regressor.shape[0] if regressor.ndim == 2 else 0
    if (
        template.shape != (vertices, 3)
        or count not in JOINT_COUNTS
        or regressor.shape != (count, vertices)
        or shape.shape[:2] != (vertices, 3)
        or shape.ndim != 3
        or parents.shape != (2, count)
        or any(array.dtype.kind not in "fiu" for array in (parents, template, shape, regressor))
    ):
        raise _broken(path, "its arrays are not those of SMPL, SMPL+H or SMPL-X")
    if tuple(parents[0, 1:22].astype(np.int64)) != PARENTS[1:]:
        raise _broken(path, "its joints are not in the order of SMPL")
    regressor = regressor[:22].astype(np.float64)
    rest = regressor @ template.astype(np.float64)
    moves = np.einsum("jv,vcb->jcb", regressor, shape[..., :MAX_BETAS].astype(np.float64), optimize=True)
    if not (np.isfinite(rest).all() and np.isfinite(moves).all()):
        raise _broken(path, "it has values that are not numbers")
    if not _HUMAN[0] <= np.ptp(rest[:, 1]) <= _HUMAN[1]:
        raise _broken(path, "it is not of human size in metres, or does not stand along Y")
    return BodyModel(JOINT_COUNTS[count], _gender(path), rest, moves)


def _find(folder: Path, gender: str, kind: str) -> Path:
    """The model's file in a folder laid out as the downloads or the smplx package have it."""
    kinds = [kind, *(other for other in ("smplx", "smplh", "smpl") if other != kind)]
    for one in kinds:
        for wanted in dict.fromkeys((gender, *GENDERS)):
            name = f"{one.upper()}_{wanted.upper()}.npz"
            for file in (name, f"{one}/{name}", f"{wanted}/model.npz", f"{one}/{wanted}/model.npz"):
                if (folder / file).is_file():
                    return folder / file
    raise CoreError("body_model_missing", f"There is no body model as .npz in '{folder}'.", WHERE)


def _gender(path: Path) -> str:
    words = f"{path.parent.name}_{path.stem}".lower().replace("-", "_").split("_")
    return next((gender for gender in ("female", "male", "neutral") if gender in words), "neutral")


def _broken(path: Path, why: str) -> CoreError:
    return CoreError("body_model_broken", f"'{path}' is no body model that can be used: {why}.", WHERE)
