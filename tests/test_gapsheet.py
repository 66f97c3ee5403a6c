"""Pictures of filled gaps: keys stay, the figures see what is wrong, the sheet is a small real picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest
from motions import jump, stand
from tiny_model import make_tiny_model

import mgpt3_blender
from mgpt3_blender import gapfigures, gapsheet, jobs
from mgpt3_blender.errors import UserError
from mgpt3_blender.gapsheet import RECORDED, WAYS, Clip

CLIP = Clip("Jump", "jump", 15, 35, "a person jumps up")


@pytest.fixture
def _worker(core_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MGPT3_MODEL", str(make_tiny_model(tmp_path / "tiny", core_python)))
    mgpt3_blender.register()
    yield
    jobs.stop_worker()
    mgpt3_blender.unregister()


@pytest.mark.usefixtures("_worker")
def test_a_clip_is_closed_in_each_way_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gapsheet, "TILE", (60, 50))
    ways = {name: WAYS[name] for name in ("interpolated", "keys_told")}
    told: list[str] = []
    strips, figures = gapsheet.make(CLIP, jump(), ["interpolated", "keys_told"], ways=ways, tell=told.append)
    assert list(figures) == [RECORDED, "interpolated", "keys_told"]
    assert figures[RECORDED].rise_cm > 5.0 + figures["interpolated"].rise_cm  # what was deleted is gone
    assert figures[RECORDED].keys_mm == 0.0
    assert all(f.keys_mm < 0.01 and f.same for f in figures.values())
    assert len(told) == 3
    assert CLIP.gap.first == 19
    assert CLIP.gap.last == 43
    assert strips[0].frames[0] == 19
    assert strips[0].frames[-1] == 43
    first, last = (np.abs(strips[0].pictures[n] - strips[1].pictures[n]).max() for n in (0, -1))
    assert first < 0.02 > last  # the two poses look the same in all rows
    assert np.abs(strips[0].pictures[0] - strips[0].pictures[-1]).max() > 0.1
    out = tmp_path / "sheet.png"
    gapsheet.write_sheet(strips, out)
    assert out.read_bytes().startswith(b"\x89PNG")
    image = bpy.data.images.load(str(out))
    assert tuple(image.size) == (480, 2 * (50 + gapsheet.LINE) + gapsheet.TITLE)


def seen(joints: np.ndarray) -> gapfigures.Seen:
    count = len(joints)
    return gapfigures.Seen(list(range(count)), joints, np.zeros((count, 2, 3)), joints[..., 1].min(axis=1))


def test_the_figures_see_pops_glides_crossed_legs_and_moved_keys() -> None:
    good = stand(2.0).astype(float)
    base = gapfigures.measure(seen(good), seen(good), True, True)
    assert base.keys_mm == 0.0
    assert base.glide_mm[0] < 5.0
    bad = good.copy()
    bad[20:, [7, 10], 0] -= 0.3  # the left foot glides through the right one, in one frame
    bad[-2:] = good[-2:]
    found = gapfigures.measure(seen(bad), seen(good), True, True)
    assert found.glide_mm[0] == pytest.approx(300.0, abs=10.0)
    assert found.glide_mm[1] in (20, len(good) - 2)
    assert found.pop[0] == pytest.approx(0.3 * gapfigures.SCENE_FPS, rel=0.1)
    assert found.pop[2] in ("l_ankle", "l_foot")
    assert found.legs_cm[0] < base.legs_cm[0] - 3.0
    bad = good.copy()
    bad[1] += 0.01
    assert gapfigures.measure(seen(bad), seen(good), True, True).keys_mm > 9.0


def test_clips_are_read_from_bundles_and_missing_ones_are_named(core_python: Path, tmp_path: Path) -> None:
    joints = jump()
    root = joints[:, 0, [0, 2]].astype(np.float32)
    local = joints.copy()
    local[..., 0] -= root[:, None, 0]
    local[..., 2] -= root[:, None, 1]
    rows = {"local": np.rint(local * 1e4).astype(np.int16), "root_xz": root}
    np.savez(tmp_path / "own_joints.npz", **rows, offsets=np.array([0, len(joints)]), ids=np.array(["jump"]))
    line = {"id": "jump", "source": "own", "split": "test", "captions": [{"text": "a person jumps"}]}
    (tmp_path / "own_captions.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    found = gapsheet.read_clips(tmp_path, core_python, [CLIP])
    assert np.abs(found["jump"] - joints).max() < 1e-3
    with pytest.raises(UserError, match="no clip cmu_13_42"):
        gapsheet.read_clips(tmp_path, core_python)
