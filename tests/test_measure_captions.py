"""build.py measure captions: figures, tables and exit status, on bundles made here, with the bundled model.

The half that needs Blender is asked for as a program; here one written by the test stands in for it, so that what
becomes of its figures can be seen.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from motions import raise_left_hand, run, turn, walk, wave
from test_train import write_bundle

import build
from core.errors import CoreError
from core.evaluate import captions, captions_figures, captions_speed, captions_told, wanted
from core.evaluate.study import CMU_ACCAD, Study
from core.features import canonicalise
from core.model.checkpoint import load_model
from core.train.data import Clip

TEXTS = {
    "a": ["a person walks forward"],
    "b": ["a person runs forward", "a person jogs"],
    "c": ["a person raises the left hand"],
    "d": ["a person walks in a circle"],
    "e": ["a person waves the right hand"],
    "f": ["a person stands"],
}
SOURCES = {"a": "cmu_x", "b": "accad", "c": "cmu_x", "d": "elsewhere", "e": "elsewhere", "f": "elsewhere"}
REPORTS = """
import json, sys
into = sys.argv[sys.argv.index("--json") + 1]
rows = [{"rig": "stick", "clips": 3, "same": SAME, "mm": 1.5}, {"rig": "cloud", "clips": 3, "same": 1.0}]
open(into, "w").write(json.dumps({"rows": rows, "made_with": {"argv": sys.argv[1:]}, "holds": True}))
"""


def bundle(folder: Path, split: str = "test") -> Path:
    """A folder with a bundle deep inside: six clips of three sources, one of them a pose."""
    inside = folder / "deep" / "deeper"
    inside.mkdir(parents=True)
    still = np.repeat(walk(1.0)[:1], 40, 0)
    clips = {"a": walk(2.6), "b": run(2.0), "c": raise_left_hand(2.0), "d": turn(4.0), "e": wave(3.0), "f": still}
    write_bundle(inside, clips, dict.fromkeys(clips, ""))
    lines = [
        json.dumps({"id": i, "source": s, "split": split, "captions": [{"text": t} for t in TEXTS[i]]})
        for i, s in SOURCES.items()
    ]
    (inside / "made_captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def stand_in(folder: Path, code: str) -> str:
    """A program in Blender's place, as the option --blender takes it."""
    (folder / "blender.py").write_text(code, encoding="utf-8")
    return json.dumps([sys.executable, str(folder / "blender.py")])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict, str]:
    """Exit status, figures and what was printed, of everything; one rig misses its bound."""
    folder = bundle(tmp_path_factory.mktemp("captions"))
    into = folder / "new" / "captions.json"
    command = [str(folder), "--repeats", "3", "--motions", "6", "--device", "cpu", "--json", str(into), "--limit", "3"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(wanted, "LIBRARY_SECONDS", 1e9)  # no test times anything
        code = captions.main([*command, "--blender", stand_in(folder, REPORTS.replace("SAME", "0.9"))])
    return code, json.loads(into.read_text(encoding="utf-8")), printed.getvalue()


def test_every_figure_of_every_group_in_all_forms(measured) -> None:
    _, found, text = measured
    assert found["clips"] == {CMU_ACCAD: 3, "elsewhere": 2, "all": 5}  # the pose is refused
    for group in found["clips"]:
        for row in captions_told.ROWS:
            cells = found["figures"]["wording"][group][row]
            names = {f + form for f in ("bleu1", "bleu4", "rouge_l", "cider", "bertscore") for form in
                     ("", "_tok", "_cross")}  # fmt: skip
            assert cells.keys() == names | {"exact"}
            assert all(0 <= cells[n][0] <= 10 for n in names)
        rows = found["figures"]["matching"][group]
        assert rows.keys() == {"real captions", "shuffled", *captions_told.ROWS}
        assert all(row.keys() == {"r1", "r2", "r3", "mm_dist", "group"} for row in rows.values())
        assert all(row["r1"][0] <= row["r2"][0] <= row["r3"][0] <= 1 for row in rows.values())
    assert found["figures"]["actions"]["all"]["as told"].keys() == {
        "same",
        "hit",
        "precision",
        "recall",
        "f1",
        "count",
    }
    assert found["figures"]["sides"]["all"]["real captions"]["limb"][0] == 1.0
    for said in ("greedy, raw", "greedy, tokenised", "as told, raw against tokenised", "R@k", "mm_dist",
                 "Left and right", "Action words", "bertscore"):  # fmt: skip
        assert said in text


def test_it_says_where_figures_come_from(measured) -> None:
    _, found, text = measured
    made = found["made_with"]
    assert made["data"] == ["made_joints.npz"]
    assert made.keys() >= {"model", "split", "seed", "repeats", "protocol", "machine", "bertscore", "described"}
    assert made["clips"] == 6
    assert made["described"] == 5
    assert "refused by describe, motion_static: 1 clips" in text
    assert "made with: model" in text
    said = {c["clip"]: c for c in found["captions"]}
    assert said.keys() == {"a", "b", "c", "d", "e"}
    assert said["b"]["references"] == TEXTS["b"]
    assert all(c[row] for c in said.values() for row in captions_told.ROWS)


def test_blenders_figures_are_asked_for_shown_and_judged(measured) -> None:
    code, found, text = measured
    asked = found["blender"]["made_with"]["argv"]
    assert Path(asked[0]).name == "made_joints.npz"
    assert asked[1:5] == ["--split", "test", "--json", asked[4]]
    assert asked[5:] == ["--limit", "3"]
    assert "stick" in text
    assert "cloud" in text
    held = {c["what"]: c["holds"] for c in found["wanted"]}
    assert held["captions that stay the same on stick"] is False
    assert held["captions that stay the same on cloud"] is True
    assert code == 1
    assert "BROKEN  captions that stay the same on stick" in text


@pytest.mark.parametrize(("bound", "code"), [(1e9, 0), (1e-9, 1)])
def test_the_bound_on_time_decides_the_exit_status(tmp_path, monkeypatch, capsys, bound, code) -> None:
    monkeypatch.setattr(wanted, "LIBRARY_SECONDS", bound)
    folder = bundle(tmp_path)
    assert captions.main([str(folder), "--parts", "speed", "--motions", "3", "--device", "cpu"]) == code
    text = capsys.readouterr().out
    assert "3 motions of 5 s described in" in text
    assert ("BROKEN" in text) == bool(code)


def test_the_bounds() -> None:
    def found(before: float, after: float) -> dict:
        rows = {captions_told.GREEDY: {"kept": [before, None], "count": [10, None]},
                captions_told.CORRECTED: {"kept": [after, None], "count": [10, None]}}  # fmt: skip
        return {"figures": {"named sides": {"all": rows}}, "speed": {"seconds": 7.0, "motions": 100}}

    assert [c.holds for c in wanted.captions_checks(found(0.8, 0.9), ["x", "all"], True)] == [True, False]
    assert [c.holds for c in wanted.captions_checks(found(0.9, 0.8), ["x", "all"], False)] == [False]
    assert wanted.captions_checks({}, [], True) == []


def test_a_blender_that_fails_is_told_after_what_was_measured(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(wanted, "LIBRARY_SECONDS", 1e9)
    into = tmp_path / "figures.json"
    parts = ["--parts", "speed", "blender", "--motions", "3", "--device", "cpu", "--json", str(into)]
    with pytest.raises(CoreError, match="exit code 3") as caught:
        captions.main([str(bundle(tmp_path)), *parts, "--blender", stand_in(tmp_path, "raise SystemExit(3)")])
    assert caught.value.code == "blender_failed"
    found = json.loads(into.read_text(encoding="utf-8"))
    assert found["speed"]["motions"] == 3
    assert "blender" not in found
    assert "note: Blender: " in capfd.readouterr().out


def test_without_blender_it_says_so(tmp_path, capsys) -> None:
    assert captions.main([str(bundle(tmp_path)), "--parts", "blender", "--device", "cpu"]) == 0
    assert "Blender: not measured here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "code"), [(["--repeats", "0"], "repeats_out_of_range"), (["--split", "val"], "data_empty")]
)
def test_what_cannot_be_measured_is_refused(tmp_path, wrong, code) -> None:
    with pytest.raises(CoreError) as caught:
        captions.main([str(bundle(tmp_path)), "--device", "cpu", *wrong])
    assert caught.value.code == code


def test_everything_in_a_folder_is_found(tmp_path) -> None:
    bundle(tmp_path / "bundles")
    (tmp_path / "humanml" / "new_joint_vecs").mkdir(parents=True)
    (tmp_path / "mocap" / "bvh").mkdir(parents=True)
    (tmp_path / "mocap" / "bvh" / "a.bvh").touch()
    (tmp_path / "bundles" / "captions.csv").write_text("a report\n", encoding="utf-8")
    (tmp_path / "mocap" / "captions.txt").write_text("bvh/a.bvh\ta person walks\n", encoding="utf-8")
    names = {p.relative_to(tmp_path).as_posix() for p in captions.find_sources([tmp_path])}
    assert names == {"bundles/deep/deeper/made_joints.npz", "humanml", "mocap"}
    with pytest.raises(CoreError, match='"nowhere"') as caught:
        captions.find_sources([tmp_path / "nowhere"])
    assert caught.value.code == "data_missing"


def test_sides_are_compared_of_the_same_thing() -> None:
    assert captions_figures.side_named("a person raises the left hand") == ("arm", "left")
    assert captions_figures.side_named("a person kicks with the right leg") == ("leg", "right")
    assert captions_figures.side_named("a person walks in a left curve") == ("way", "left")
    assert captions_figures.side_named("a person turns left and raises the left hand") is None  # two things
    assert captions_figures.side_named("a person turns left, then right") is None
    assert captions_figures.side_named("a person left-handedly walks") == ("way", "left")
    assert captions_figures.side_named("a person walks") is None
    kept = captions_figures.side_kept
    assert kept("he waves the left hand", ["she raises her left arm", "a person waves"]) is True
    assert kept("he waves the left hand", ["she raises her right arm"]) is False
    assert kept("he waves the left hand", ["she turns right"]) is None
    assert kept("he waves the left hand", ["her left arm", "her right arm"]) is None


def test_actions_by_hand() -> None:
    kept = captions_figures.actions_kept
    assert kept("a person walks", ["a person strolls"]) == {"same": 1, "hit": 1, "precision": 1, "recall": 1, "f1": 1}
    half = kept("a person walks and waves", ["someone kneels", "he walked ahead"])
    assert half == {"same": 0, "hit": 1, "precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3)}
    assert kept("a person kicks", ["a person walks"])["hit"] == 0
    assert kept("a person kicks", ["..."]) is None
    assert kept("...", ["a person walks"]) == {"same": 0, "hit": 0, "precision": 0, "recall": 0, "f1": 0}


class Judge:
    """A matcher whose vectors are told, so that retrieval can be worked out by hand."""

    def __init__(self, place: dict[str, int], size: int) -> None:
        self.place, self.size = place, size

    def embed_text(self, texts: list[str]) -> np.ndarray:
        return np.eye(self.size, dtype=np.float32)[[self.place[t] for t in texts]]

    def embed_motion(self, motions: list[np.ndarray]) -> np.ndarray:
        return np.eye(self.size, dtype=np.float32)[: len(motions)]


def test_retrieval_by_hand() -> None:
    """Four motions, four axes; two sentences lie on their motion's axis, two on each other's."""
    model = load_model(None, "cpu")
    clips = [Clip(n, "made", "test", walk(1.2), [n]) for n in "abcd"]
    rows = {row: list("abcd") for row in captions_told.ROWS} | {captions_told.GREEDY: ["a", "b", "d", "c"]}
    told = captions_told.Told(clips, rows, [])
    study = Study(model, clips, Judge(dict(zip("abcd", range(4), strict=True)), 4), repeats=2)
    captions_figures.matching(study, told)
    found = study.figures()["matching"]["made"]
    assert found["greedy"]["r1"] == [0.5, 0.0]
    assert found["greedy"]["mm_dist"][0] == pytest.approx(2**0.5 / 2)
    assert found["as told"]["r1"][0] == found["real captions"]["r1"][0] == 1.0
    assert found["as told"]["mm_dist"][0] == pytest.approx(0, abs=1e-6)
    assert found["greedy"]["group"][0] == 4


def test_a_source_with_tokens_brings_them() -> None:
    clip = Clip("a", "humanml3d", "test", walk(1.2), ["he walks"], tokens=[["he/PRON", "walk/VERB"]])
    assert captions_figures._tokens(clip) == ["he walk"]
    assert captions_figures._tokens(replace(clip, tokens=None)) == []


def test_motions_of_five_seconds_from_clips_of_any_length() -> None:
    clips = [Clip(str(s), "made", "test", canonicalise(walk(s)), ["a person walks"]) for s in (1.1, 5.0, 8.0)]
    motions = captions_speed.five_seconds(clips, 20)
    assert len(motions) == 20
    assert all(m.shape == (100, 22, 3) and np.isfinite(m).all() for m in motions)
    speed = max(float(np.abs(np.diff(m, axis=0)).max()) for m in motions)
    assert speed < 1.5 * max(float(np.abs(np.diff(c.joints, axis=0)).max()) for c in clips)  # nothing jumps
    assert len({m.tobytes() for m in motions}) == 20


def test_build_passes_everything_on(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(build.Environment, "ensure", lambda self: Path(sys.executable))  # it stands: it runs this test
    bundle(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert build.main(["measure", "captions", "data", "--split", "val"]) == 2
    assert "No clip of made_joints.npz is in the split 'val'" in capfd.readouterr().err
    assert build.main(["measure", "captions", "--help"]) == 0
    assert "BUNDLE_DIR" in capfd.readouterr().out
