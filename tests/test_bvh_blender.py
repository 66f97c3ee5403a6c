"""Our BVH files through Blender's own importer: the joints are where they should be, within a millimetre."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
from motions import MOTIONS

from core.skeleton import JOINTS

ROOT = Path(__file__).resolve().parents[1]

WRITE_ALL = """
import sys
from pathlib import Path
from core.bvh import write_bvh
from motions import MOTIONS
for name, make in MOTIONS.items():
    write_bvh(Path(sys.argv[1]) / f"{name}.bvh", make())
"""


@pytest.fixture(scope="module")
def written(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BVH file of every synthetic motion, written by the core in its own Python."""
    folder = tmp_path_factory.mktemp("bvh")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "PYTHONUTF8": "1"}
    subprocess.run([str(core_python), "-c", WRITE_ALL, str(folder)], env=env, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("name", MOTIONS)
def test_blender_reads_it_back(written: Path, name: str) -> None:
    import addon_utils  # exists once bpy is loaded

    # Blender 5 ships the importer switched off.
    addon_utils.enable("io_anim_bvh", default_set=True)
    bpy.ops.import_anim.bvh(filepath=str(written / f"{name}.bvh"), frame_start=1)
    armature = bpy.context.object
    joints = MOTIONS[name]()
    bone_of = {
        "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
        **{f"{s}_{joint}": side + bone for s, side in (("l", "Left"), ("r", "Right")) for joint, bone in (
            ("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase"), ("collar", "Shoulder"),
            ("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand"))},
    }  # fmt: skip
    got = np.zeros_like(joints)
    for frame in range(len(joints)):
        bpy.context.scene.frame_set(frame + 1)
        for row, joint in enumerate(JOINTS):
            got[frame, row] = armature.matrix_world @ armature.pose.bones[bone_of[joint]].head
    # With the importer's default axes Blender is Z up and the character looks along -Y, to the front view.
    expected = np.stack([joints[..., 0], -joints[..., 2], joints[..., 1]], axis=-1)
    assert np.linalg.norm(got - expected, axis=-1).max() < 0.001
