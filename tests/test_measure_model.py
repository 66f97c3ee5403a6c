"""build.py measure model: all figures of a random model on bundles made here, the errors of data that will not do, and
the set of paraphrases."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from motions import raise_left_hand, run, stand, turn, walk, wave
from test_train import write_bundle
from tiny_model import make_tiny_model

import build
from core.errors import CoreError
from core.evaluate import cli, drawing, paraphrase, wanted
from core.evaluate.matcher import load_matcher
from core.evaluate.measure import PARTS, measure
from core.evaluate.study import ALL, BANDAI, CMU_ACCAD, HDM05, REST, groups_of, read_clips
from core.features import canonicalise
from core.model.checkpoint import load_model
from core.skeleton import mirror
from core.tasks.generate import generate
from core.train.data import Clip

LEFT, RIGHT = "a person waves the left hand", "a person waves the right hand"
MADE = {
    "walk": (walk(2.0), "accad", ["a person walks forward", "someone walks"]),
    "run": (run(1.5), "cmu_x", ["a person runs forward"]),
    "right": (wave(2.0), "bandai", [RIGHT]),
    "left": (mirror(wave(2.0)), "bandai", [LEFT]),
    "up": (raise_left_hand(1.5), "bandai", ["a person raises the left hand up"]),
    "turn": (turn(2.0, 90.0), "elsewhere", ["a person walks and turns left"]),
    "still": (stand(1.5), "elsewhere", ["a person stands still"]),
}


def bundle(folder: Path, splits: dict[str, list[str]]) -> Path:
    """A bundle of the motions of MADE: split -> their names."""
    names = [(f"{split}_{name}", name, split) for split, chosen in splits.items() for name in chosen]
    path = write_bundle(folder, {i: MADE[n][0] for i, n, _ in names}, {i: "" for i, _, _ in names})
    lines = [
        json.dumps({"id": i, "source": MADE[n][1], "split": s, "captions": [{"text": t} for t in MADE[n][2]]})
        for i, n, s in names
    ]
    path.with_name("made_captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), Path(sys.executable))


@pytest.fixture(scope="module")
def report(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str, int, Path]:
    """Everything measured once, of a random model: the figures, what was printed, the exit code, the pictures."""
    folder = tmp_path_factory.mktemp("measured")
    data = bundle(folder, {"test": list(MADE), "train": ["walk", "run", "left", "still"]})
    arguments = ["--model", str(tiny), "--data", str(data), "--repeats", "2", "--bounds", "--device", "cpu"]
    arguments += ["--json", str(folder / "a" / "f.json"), "--pictures", str(folder / "pictures"), "--steps", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paraphrase, "load_paraphrases", lambda: paraphrases()[:3])
        patch.setattr("core.evaluate.measure.RULE_TAKES", 1)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = cli.main(arguments)
    figures = json.loads((folder / "a" / "f.json").read_text(encoding="utf-8"))
    return figures, printed.getvalue(), code, folder / "pictures"


def paraphrases() -> list[dict[str, str]]:
    return json.loads(paraphrase.FILE.read_text(encoding="utf-8"))


def test_every_part_of_every_group(report):
    figures, text, _, _ = report
    assert set(figures["figures"]) == set(PARTS)
    assert figures["clips"] == {CMU_ACCAD: 2, "elsewhere": 2, BANDAI: 3, REST: 4, ALL: 7}
    for part, groups in figures["figures"].items():
        if part in ("sides", "rules", "paraphrases"):
            continue
        assert set(groups) == set(figures["clips"]), part
    t2m = figures["figures"]["t2m"][ALL]
    assert list(t2m) == ["real", "reconstruction", "nearest", "generated", "shuffled"]
    assert t2m["real"]["group"] == [7, 0]
    assert {"r1", "r2", "r3", "mm_dist", "fid", "diversity", "multimodality"} <= set(t2m["generated"])
    for title in ("Text-to-motion", "Left and right", "Reconstruction", "Prediction", "In-betweening", "unseen words"):
        assert title in text


def test_figures_say_where_they_come_from(report):
    figures, text, _, _ = report
    made = figures["made_with"]
    assert {"model", "data", "split", "seed", "repeats", "protocol", "machine", "guidance", "matcher"} <= set(made)
    assert made["data"] == ["made_joints.npz"]
    assert "too few different captions" in text
    assert "made with" in text


def test_a_known_bound_that_does_not_hold_is_an_exit_code_only_where_asked_for(report):
    figures, text, code, _ = report
    assert code == 1
    assert not all(w["holds"] for w in figures["wanted"])
    assert "BROKEN" in text


def test_real_motion_is_right_about_sides_and_needs_no_reconstruction(report):
    figures = report[0]["figures"]
    assert figures["sides"][BANDAI]["real"]["limb"] == [1.0, None]
    assert figures["sides"][BANDAI]["real"]["limb_count"] == [3, None]
    assert figures["sides"]["elsewhere"]["real"]["turn"] == [1.0, None]
    assert figures["reconstruction"][ALL]["real"]["global_mm"] == [0.0, None]
    assert figures["physical"][ALL]["real"]["deepest_mm"][0] == pytest.approx(0, abs=0.2)
    assert figures["prediction"][ALL]["last frame"]["ade"][0] < figures["prediction"][ALL]["generated"]["ade"][0]


def test_pictures_of_every_source(report):
    names = {p.name for p in report[3].glob("*.png")}
    assert names == {f"{g}_{w}.png" for g in ("cmu_accad", "elsewhere", "bandai") for w in ("worst", "median")}


def test_the_bundled_matcher_knows_real_from_shuffled(tiny, tmp_path):
    clips, _, _ = read_clips([bundle(tmp_path, {"test": list(MADE)})], "test")
    model = load_model(tiny, "cpu")
    options = {"parts": ["t2m"], "repeats": 3, "steps": 2}
    found = measure(model, load_matcher(), clips, **options)
    rows = found["figures"]["t2m"][ALL]
    assert rows["real"]["r3"][0] > rows["shuffled"]["r3"][0]
    assert rows["real"]["mm_dist"][0] < rows["shuffled"]["mm_dist"][0]
    assert "nearest" not in rows
    assert any("'nearest' is absent" in note for note in found["notes"])
    assert measure(model, load_matcher(), clips, **options)["figures"] == found["figures"]  # the same seed
    assert measure(model, load_matcher(), clips, seed=1, **options)["figures"] != found["figures"]


def test_without_a_matcher_the_rest_is_measured(tiny, tmp_path):
    clips, _, _ = read_clips([bundle(tmp_path, {"test": ["walk"]})], "test")
    found = measure(load_model(tiny, "cpu"), None, clips, parts=["t2m", "physical", "captions"], repeats=1, steps=2)
    assert set(found["figures"]) == {"physical", "captions"}
    assert "t2m: not measured, there is no matcher" in found["notes"]
    assert found["figures"]["captions"][CMU_ACCAD]["greedy"].keys() >= {"bleu1", "bleu4_tok", "rouge_l", "cider"}


def test_clips_alone_or_without_words_are_no_failure(tiny, tmp_path):
    model = load_model(tiny, "cpu")
    one = [Clip("a", "new", "test", walk(2.0), ["a person walks " + "and walks " * 300])]  # longer than any prompt
    found = measure(model, load_matcher(), one, parts=["t2m", "physical"], repeats=1, steps=2)
    assert "t2m" not in found["figures"]
    assert any("new has 1 captioned clip" in note for note in found["notes"])
    silent = [Clip("a", "new", "test", walk(2.0), [" "]), Clip("b", "new", "test", run(2.0), [])]
    found = measure(model, load_matcher(), silent, parts=["t2m", "sides", "captions", "physical"], repeats=1)
    assert set(found["figures"]) == {"physical"}


def test_a_batch_draws_what_one_prompt_draws():
    model = load_model(None, "cpu")
    words, frames, seeds = ["a person walks forward", "a person jumps up", "a person bows"], [60, 44, 60], [3, 4, 5]
    drawn = drawing.draw(model, words, frames, seeds)
    for joints, prompt, n, seed in zip(drawn, words, frames, seeds, strict=True):
        assert joints.shape == (n, 22, 3)
        (alone,) = generate(model, prompt, n / 20, seed)
        assert np.abs(canonicalise(joints) - alone).max() < 1e-3


@pytest.mark.parametrize(
    ("splits", "split", "says"),
    [
        ({"train": ["walk"]}, "test", r"made_joints\.npz is in the split 'test'.*train 1"),
        ({"test": ["walk"]}, "nothing", "test 1"),
    ],
)
def test_an_empty_split_is_told(tmp_path, splits, split, says):
    with pytest.raises(CoreError, match=says) as caught:
        read_clips([bundle(tmp_path, splits)], split)
    assert caught.value.code == "data_empty"


def test_missing_files_are_told(tmp_path):
    with pytest.raises(CoreError, match=r"no_joints\.npz"):
        read_clips([tmp_path / "no_joints.npz"], "test")
    path = bundle(tmp_path, {"test": ["walk"]})
    path.with_name("made_captions.jsonl").unlink()
    with pytest.raises(CoreError, match=r"made_captions\.jsonl"):
        read_clips([path], "test")


def test_sources_are_grouped():
    sources = ["cmu_amc", "accad", "hdm05", "bandai", "my own", "cmu_x"]
    clips = [Clip(str(i), s, "test", walk(1.1), ["a"]) for i, s in enumerate(sources)]
    found = {name: rows.tolist() for name, rows in groups_of(clips).items()}
    assert found == {
        CMU_ACCAD: [0, 1, 5], HDM05: [2], "my own": [4], BANDAI: [3], REST: [0, 1, 2, 4, 5], ALL: [0, 1, 2, 3, 4, 5],
    }  # fmt: skip
    assert list(groups_of(clips[:2])) == [CMU_ACCAD]


def test_wanted_figures_are_bounded_where_they_belong():
    r3 = {"generated": {"r3": [0.80, 0.01], "fid": [0.02, None]}}
    figures = {"t2m": {BANDAI: r3, REST: r3, ALL: r3}}
    found = {c.what: c.holds for c in wanted.checks(figures, [CMU_ACCAD, HDM05, BANDAI, REST, ALL])}
    assert found == {f"text-to-motion, {BANDAI}: R@3": False, f"text-to-motion, {REST}: R@3": True,
                     f"text-to-motion, {ALL}: FID": True}  # fmt: skip
    assert [c.what for c in wanted.checks({"t2m": {"new": r3}}, ["new"])] == [
        "text-to-motion, new: R@3", "text-to-motion, new: FID",
    ]  # fmt: skip
    two = wanted.checks({"t2m": {HDM05: r3, BANDAI: r3, ALL: r3}}, [HDM05, BANDAI, ALL])
    assert {c.what for c in two} >= {f"text-to-motion, {HDM05}: R@3", f"text-to-motion, {BANDAI}: R@3"}


def test_ranks_count_what_is_nearer():
    far = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    assert paraphrase.ranks(far, np.array([0, 0])).tolist() == [1, 3]


def test_the_set_of_paraphrases_is_in_form():
    pairs = paraphrase.load_paraphrases()
    assert len(pairs) >= 70
    assert len({p["prompt"] for p in pairs}) == len(pairs)
    assert len({p["caption"] for p in pairs}) >= 60
    assert all(set(p) == {"prompt", "caption"} and p["prompt"].strip() == p["prompt"] for p in pairs)
    assert len(paraphrase.candidates(pairs, [f"other {i}" for i in range(300)], np.random.default_rng(0))) == 150


def test_paraphrases_use_words_that_no_training_caption_has(shared):
    captions: set[str] = set()
    for file in (shared / "data").rglob("*_captions.jsonl"):
        for line in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            if line["split"] == "train":
                captions.update(c["text"] for c in line["captions"])
    known = {w for t in captions for w in re.findall(r"[a-z]+", t.lower())}
    no_content = {"the", "off", "for", "with", "and", "then", "she", "his", "her", "him", "you", "they", "after"}
    for pair in paraphrase.load_paraphrases():
        assert pair["caption"] in captions, pair["caption"]
        new = set(re.findall(r"[a-z]+", pair["prompt"].lower())) - known - no_content
        assert any(len(word) > 2 for word in new), pair["prompt"]


def test_build_passes_everything_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`build.py measure model …` runs where the caller is and passes on every argument and the exit code."""
    monkeypatch.setattr(build.Environment, "ensure", lambda self: Path(sys.executable))  # it stands: it runs this test
    path = bundle(tmp_path, {"train": ["walk"]})
    monkeypatch.chdir(tmp_path)
    assert build.main(["measure", "model", "--data", path.name, "--split", "val"]) == 2


def test_a_broken_set_of_paraphrases_is_told(tmp_path):
    (tmp_path / "p.json").write_text('[{"prompt": "a"}]', encoding="utf-8")
    with pytest.raises(CoreError, match=r"p\.json"):
        paraphrase.load_paraphrases(tmp_path / "p.json")
