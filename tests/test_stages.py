"""Batches of mixed tasks, the stages, and one command from a bundle to a model that moves, speaks and goes on."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest
import torch
from motions import walk
from test_train import CAPTIONS, CLIPS, bones, write_bundle
from tiny_model import make_tiny_model

from core.errors import CoreError
from core.model.checkpoint import load_model
from core.prompts import HOLDER_IN, HOLDERS, MOTION_IN, complete_motion, predict_motion, text_to_motion
from core.tasks.caption import caption
from core.tasks.complete import complete
from core.tasks.generate import generate
from core.tasks.place import fit, heading, turn_and_shift
from core.tasks.predict import predict
from core.train import official
from core.train.augment import part, windows
from core.train.bimodal import MIXTURES, StageOptions, alpha_bars, losses, official_losses, train_stage
from core.train.data import Clip, prepare
from core.train.stages import options_from, run
from core.train.tasks import Latents, TaskBatches
from core.train.textbranch import text_names


@pytest.fixture(scope="module")
def clips():
    return prepare([Clip(k, "made", "train", v, [CAPTIONS[k]]) for k, v in CLIPS.items()], bones())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(make_tiny_model(tmp_path_factory.mktemp("tiny"), sys.executable), "cpu").requires_grad_(True)


@pytest.fixture(scope="module")
def latents(model, clips):
    return Latents(model.vae, clips, 2, 0)


def test_a_batch_is_the_same_whenever_it_is_drawn(model, latents):
    one, two = (TaskBatches(model, latents, MIXTURES["stage3"], seed=1) for _ in range(2))
    for step in (5, 0):
        two(9, 16)  # what was drawn before does not matter
        a, b = one(step, 16), two(step, 16)
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.noise, b.noise)
        assert torch.equal(a.codes, b.codes)
    assert not torch.equal(one(0, 16).noise, one(1, 16).noise)


def test_every_task_is_there_with_its_motions(model, latents):
    batches = TaskBatches(model, latents, MIXTURES["stage3"], seed=0)
    counts = batches.counts(50)
    assert counts == {"t2m": 28, "predict": 5, "inbetween": 5, "m2t": 10, "t2t": 2}
    batch = batches(0, 50)
    tk = model.tokenizer
    holders = model.cfg.backbone.holders
    assert torch.equal((batch.ids == tk.holder_in).sum(1), holders * batch.inputs)
    assert torch.equal((batch.ids == tk.holder_out).sum(1), holders * batch.output.long())
    assert batch.inputs.tolist() == [0] * 28 + [1] * 5 + [2] * 5 + [1] * 10 + [0] * 2
    assert batch.outputs == 38


def test_only_words_that_a_model_may_write_are_learned(model, latents):
    batch = TaskBatches(model, latents, MIXTURES["stage3"], seed=0)(0, 40)
    tk = model.tokenizer
    assert float(batch.weights.sum()) == pytest.approx(1, abs=1e-5)
    counted = batch.weights > 0
    assert not (counted & ~batch.real).any()
    assert not (counted & (batch.ids >= tk.text_vocab)).any()
    assert not (counted & (batch.ids == tk.eom)).any()
    after_motion = torch.zeros_like(counted)
    after_motion[:, 1:] = batch.ids[:, :-1] >= tk.text_vocab
    assert not (counted & after_motion).any()
    answers = batch.weights[~batch.output]
    assert (answers > 0).any(1).all()


def test_shares_of_a_batch_cost_what_the_batch_costs(model, latents):
    batch = TaskBatches(model, latents, MIXTURES["stage3"], seed=0)(3, 13)
    ab = alpha_bars(model)
    whole = losses(model, batch, ab)
    shared = [losses(model, batch.share(rank, 3), ab) for rank in range(3)]
    for key, value in whole.items():
        mean = torch.stack([s[key] for s in shared]).mean()
        assert float(mean.detach()) == pytest.approx(float(value.detach()), rel=1e-4)


def test_the_official_loss_is_a_switch(model, latents):
    batch = TaskBatches(model, latents, MIXTURES["stage2"], seed=0, copies=4)(0, 12)
    found = official_losses(model, batch)
    t, noise, drop = (x[batch.output].transpose(0, 1).flatten(0, 1) for x in (batch.t, batch.noise, batch.drop))
    same = official.losses(
        model, batch.ids, batch.real, batch.motions(), batch.target[batch.output], count_padding=True,
        t=t, noise=noise, drop=drop, copies=4,
    )  # fmt: skip
    assert float(found["text"].detach()) == float(same["text"].detach())
    assert float(found["diffusion"].detach()) == float(same["diffusion"].detach())
    ours = losses(model, batch, alpha_bars(model))
    assert float(found["text"].detach()) != pytest.approx(float(ours["text"].detach()))


def test_parts_are_cut_as_the_official_model_cuts_them(latents, clips):
    for i, clip in enumerate(clips):
        if clip.frames < 40:
            assert i not in latents.predict
            continue
        assert latents.predict[i][0][2] == pytest.approx((clip.frames - int(0.2 * clip.frames)) / 20)
        assert len(latents.predict[i]) == len(latents.inbetween[i]) == 2
    assert torch.isfinite(latents.part_mean).all()


def test_a_part_begins_at_the_origin_and_moves_as_the_whole(clips):
    piece = part(clips[0], 20, 45)
    assert piece.frames == 25
    assert np.abs(piece.joints[0, 0, [0, 2]]).max() < 1e-6
    turn, shift = fit(piece.joints[:25], clips[0].joints[20:45])
    assert np.abs(turn_and_shift(piece.joints[:25], turn, shift) - clips[0].joints[20:45]).max() < 2e-3
    assert all(8 <= w.frames <= 30 for w in windows(clips, 8, 30, 0))


def test_turns_and_shifts_are_found_again():
    there = turn_and_shift(walk(2.0), 2.5, np.array([3.0, -1.0]))
    angle, shift = fit(walk(2.0), there)
    assert angle == pytest.approx(2.5, abs=1e-4)
    assert shift == pytest.approx([3.0, -1.0], abs=1e-4)
    turned = heading(turn_and_shift(walk(1.0), 0.5, np.zeros(2))[0]) - heading(walk(1.0)[0])
    assert turned == pytest.approx(0.5, abs=1e-4)


def test_prediction_goes_on_where_the_motion_ends(model):
    given = turn_and_shift(walk(3.0), 1.0, np.array([2.0, 5.0]))
    trained = load_model(None, "cpu")
    more = predict(trained, given, 30, seed=3)
    assert more.shape == (30, 22, 3)
    step = given[-1, 0] - given[-2, 0]
    assert np.abs(more[0, 0] - given[-1, 0] - step)[[0, 2]].max() < 0.02
    assert heading(more[0]) == pytest.approx(heading(given[-1]), abs=0.1)
    assert np.array_equal(more, predict(trained, given, 30, seed=3))
    between = complete(model, given[:15], given[-15:], 60, prompt="a person walks forward")
    assert between.shape == (60, 22, 3)
    with pytest.raises(CoreError, match="Ask for more frames"):
        complete(model, given[:15], given[-15:], 20)
    with pytest.raises(CoreError, match="22 joints"):
        predict(model, given[:, :5], 30)


def test_braces_in_a_prompt_are_words():
    """What a person types never becomes a placeholder of a motion that is not there."""
    for text in (predict_motion(caption="{motion}"), complete_motion(2.0, "{masked} {start}")):
        assert text.count(HOLDER_IN) == HOLDERS * (1 if "Predict" in text else 2)
    assert "{caption}" in text_to_motion("{caption}", 2.0)
    assert "Predict motion: " + MOTION_IN + " \n" in predict_motion()


def test_an_unknown_entry_of_a_config_is_named():
    with pytest.raises(CoreError, match=r"stage1\.stepz"):
        options_from({"stage1": {"stepz": 3}})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    many = {f"{k}{n}": v for n in range(2) for k, v in CLIPS.items()}
    words = {f"{k}{n}": v for n in range(2) for k, v in CAPTIONS.items()}
    path = write_bundle(folder, many, words)
    lines = (folder / "made_captions.jsonl").read_text().splitlines()
    held_out = [line.replace('"train"', '"val"') for line in lines[3:]]
    (folder / "made_captions.jsonl").write_text("\n".join(lines[:3] + held_out))
    return path


SHORT = {"steps": 2, "batch": 8, "check_seeds": 1}
CONFIG = {
    "size": "tiny", "licence": "none", "autoencoder": {"steps": 2, "batch": 8},
    "text": SHORT, "stage1": SHORT, "stage2": SHORT, "stage3": SHORT, "polish": {"steps": 2, "batch": 4},
    "data": {"composed": 2, "durations": 1, "windows": 1, "longest": 30},
}  # fmt: skip


def test_one_command_makes_a_model_that_moves_and_speaks(bundle, tmp_path):
    out = run("compact", CONFIG, data=[bundle], runs=tmp_path / "runs", out=tmp_path / "model", device="cpu")
    model = load_model(out, "cpu")
    assert model.cfg.data == "made"
    assert model.cfg.licence == "none"
    (joints,) = generate(model, "a person walks forward", 2.0, 0)
    assert joints.shape == (40, 22, 3)
    assert isinstance(caption(model, joints)[0], str)
    assert predict(model, joints, 10).shape == (10, 22, 3)
    logged = [json.loads(line) for line in (tmp_path / "runs/stage3/log.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == 2
    assert "val_walk" in logged[-1]  # watched by what it generates, not by its loss alone


def test_stages_one_by_one_keep_the_text_branch_until_the_third(bundle, tmp_path):
    with pytest.raises(CoreError, match="--start"):
        run("stage1", CONFIG, data=[bundle], runs=tmp_path / "1", device="cpu")
    saved = {"data": [bundle], "device": "cpu"}
    config = CONFIG | {"stored": "float32"}
    start = run("autoencoder", config, runs=tmp_path / "ae", **saved)
    states = []
    for stage in ("stage1", "stage2", "stage3"):
        start = run(stage, config, start=start, runs=tmp_path / stage, **saved)
        states.append(load_model(start, "cpu").state_dict())
    text = [k for k in states[0] if k.startswith("backbone.h.") and ".fn.0." in k]
    motion = [k for k in states[0] if k.startswith("backbone.h.") and ".fn.1." in k and "c_fc.weight" in k]
    assert all(torch.equal(states[0][k], states[1][k]) for k in text)
    assert any(not torch.equal(states[1][k], states[2][k]) for k in text)
    assert all(not torch.equal(states[0][k], states[1][k]) for k in motion)
    assert all(torch.equal(states[0][k], states[2][k]) for k in states[0] if k.startswith("vae."))


def test_the_text_branch_learns_captions_alone(model, latents, tmp_path):
    model = copy.deepcopy(model)
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    options = StageOptions(steps=40, batch=16, every=20, lr=3e-3, matrix_lr=6e-3)
    train_stage(model, "text", latents, latents, tmp_path, options)
    first, last = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert last["val_text"] < 0.9 * first["val_text"]
    text = set(text_names(model))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name not in text), name


def test_a_missing_bundle_is_named(tmp_path):
    with pytest.raises(CoreError, match=r"no_joints\.npz"):
        run("autoencoder", CONFIG, data=[tmp_path / "no_joints.npz"], runs=tmp_path, device="cpu")
