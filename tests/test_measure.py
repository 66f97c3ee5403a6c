"""build.py measure: a broken bound fails the run, and the figures say where they come from. No test times anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bpy")

from mgpt3_blender import measure


@pytest.mark.parametrize(("value", "code"), [(49.0, 0), (51.0, 1), (float("nan"), 1)])
def test_the_exit_code_follows_the_bounds(
    value: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made_with = {"model": {"name": "compact", "parameters": 1_000_000}, "device": "cpu", "seed": 7}
    rows = [measure.Row("bake", value, "ms", 3, bound=50.0), measure.Row("caption", 9.0, "s", 3)]
    monkeypatch.setitem(measure.MEASURES, "speed", lambda: (rows, made_with))
    assert measure.main(["speed", "--json", str(tmp_path / "a" / "speed.json")]) == code
    figures = json.loads((tmp_path / "a" / "speed.json").read_text(encoding="utf-8"))
    assert [row["holds"] for row in figures["rows"]] == [code == 0, True]
    assert figures["machine"]["cores"] >= 1
    assert figures["made_with"]["seed"] == 7
    assert ("BROKEN" in capsys.readouterr().out) == bool(code)


def test_baking_writes_what_it_says() -> None:
    import bpy

    row = measure.bake()
    assert (row.unit, row.bound) == ("ms", 50.0)
    action = bpy.data.actions[0]
    curves = measure.action_curves.fcurves(action, bpy.data.objects["Bake"])
    assert len(curves) == 24 * 4
    assert {len(curve.keyframe_points) for curve in curves} == {200}


def test_the_motion_to_retarget_keeps_its_bones() -> None:
    joints = measure.turning_walk(50)
    assert joints.shape == (50, 22, 3)
    lengths = np.linalg.norm(joints[:, 4] - joints[:, 1], axis=1)
    assert np.ptp(lengths) < 1e-5
