"""The ablations: equal parameters, one stream and two, codes that reconstruct, runs that finish, resume and report."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from motions import raise_left_hand, run, squat, walk, wave
from test_train import write_bundle

from core.errors import CoreError
from core.model.backbone import Backbone
from core.model.config import BackboneConfig, tiny
from core.model.vae import MotionVAE
from core.model.vq import MotionVQ, VQConfig
from core.train import ablation, ablation_systems
from core.train.ablation_curves import Curve, reached
from core.train.ablation_data import CODES, Batches, Motions
from core.train.ablation_systems import MAIN, Objective, Sizes, System, build, parameters, sharing, text_names
from core.train.ablation_train import Budget
from core.train.ablation_vq import decoded, reconstruction, tokenise, train_vq
from core.train.data import Clip, canonical_bones, prepare
from core.train.tokenizer import train_tokenizer

SIZES = Sizes(width=32, layers=2, heads=2, ff=96, head=32, depth=1, copies=2)
CAPTIONS = {"walk": "a person walks forward", "run": "a person runs forward", "wave": "a person waves the right hand",
            "raise": "a person raises the left hand up", "squat": "a person squats"}  # fmt: skip
MAKE = {"walk": walk, "run": run, "wave": wave, "raise": raise_left_hand, "squat": squat}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(list(CAPTIONS.values()), tmp_path_factory.mktemp("words") / "tokenizer.json", 300)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return MotionVAE(tiny().vae).eval()


def made_motions(channels: int) -> Motions:
    rng = np.random.default_rng(0)
    clips = [Clip(k, "made", "train", MAKE[k](2.0), [t]) for k, t in CAPTIONS.items()]
    frames = [c.frames for c in clips]
    codes = [torch.from_numpy(rng.integers(0, CODES, -(-n // 4))) for n in frames]
    return Motions(clips, frames, torch.randn(len(clips), channels), torch.full((len(clips), channels), 0.1), codes)


def test_one_branch_is_one_set_of_weights():
    cfg = BackboneConfig(width=32, layers=2, heads=2, ff=64, positions=32, text_vocab=20, dropout=0.0)
    torch.manual_seed(0)
    one, two = Backbone(replace(cfg, branches=1)), Backbone(cfg)
    assert not any(".fn.1." in n for n, _ in one.named_parameters())
    two.load_state_dict(one.state_dict() | {k.replace(".fn.0.", ".fn.1."): v for k, v in one.state_dict().items()})
    ids = torch.tensor([[3, 4, 20, 21, 5], [20, 1, 2, 22, 23]])
    modality = (ids >= 20).long()
    modality[0, 4] = -1
    assert torch.allclose(one(one.embed(ids), modality), two(two.embed(ids), modality), atol=1e-6)
    with pytest.raises(ValueError, match="nothing to share"):
        Backbone(replace(cfg, branches=1, shared="last1"))


def test_all_systems_have_equal_parameters(tokenizer, vae, monkeypatch):
    for sizes in (SIZES, Sizes()):
        systems = [*MAIN, *sharing(sizes)]
        counts = [parameters(build(s, sizes, tokenizer, vae, 0)) for s in systems]
        assert max(counts) / min(counts) < 1.05, counts
    monkeypatch.setattr(ablation_systems, "matched_ff", lambda *_: SIZES.ff)
    with pytest.raises(CoreError, match="times the parameters"):
        build(System(1, "vae"), SIZES, tokenizer, vae, 0)


def test_codes_follow_the_motion(tmp_path):
    clips = [Clip(k, "made", "train", m(2.0), [CAPTIONS[k]]) for k, m in MAKE.items()]
    clips = prepare(clips, canonical_bones(clips))
    cfg = VQConfig(codes=64, channels=16, width=48, blocks=1)
    torch.manual_seed(0)
    before = reconstruction(MotionVQ(cfg).eval(), clips)
    vq = train_vq(clips, clips, tmp_path, steps=60, cfg=cfg)
    after = reconstruction(vq, clips)
    assert after["relative_mm"] < 0.5 * before["relative_mm"]
    assert 0 < after["used"] <= 1 <= after["perplexity"] <= 64
    codes = tokenise(vq, clips)
    assert [len(c) for c in codes] == [-(-c.frames // 4) for c in clips]
    alone = tokenise(vq, clips[2:3])[0]  # whatever else is encoded with it
    assert torch.equal(alone, codes[2])
    assert [m.shape for m in decoded(vq, codes, [c.frames for c in clips])] == [(c.frames, 22, 3) for c in clips]


def test_dead_codes_are_taken_up_again():
    torch.manual_seed(0)
    vq = MotionVQ(VQConfig(codes=16, channels=4, width=8, blocks=1))
    x = torch.randn(400, 4)
    for _ in range(200):
        vq.book.follow(x, vq.book.nearest(x))
    assert len(vq.book.nearest(x).unique()) == 16
    far = x + 50  # the encoder has moved: every code but the nearest would stay behind
    for _ in range(700):
        vq.book.follow(far, vq.book.nearest(far))
    assert len(vq.book.nearest(far).unique()) > 12


@pytest.mark.parametrize("system", MAIN, ids=lambda s: s.name)
def test_a_system_learns_both_ways_and_one_example_is_the_same_for_all(system, tokenizer, vae):
    net = build(system, SIZES, tokenizer, vae, 0)
    batches = Batches(system.kind, made_motions(vae.cfg.channels), tokenizer, vae, 0)
    words = [i for i in batches(3, 8).ids[0].tolist() if 0 <= i < tokenizer.som]
    other = Batches("vq" if system.kind == "vae" else "vae", batches.motions, tokenizer, vae, 0)
    assert [i for i in other(3, 8).ids[0].tolist() if 0 <= i < tokenizer.som] == words
    objective = Objective(net, SIZES)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)

    def both() -> dict[str, float]:
        torch.manual_seed(1)
        return {k: float(v.detach()) for k, v in objective(batches(0, 16), drop=0.0, compare=True).items()}

    before = both()
    for step in range(40):
        parts = objective(batches(step, 16))
        (parts["motion"] + parts["text"]).backward()
        optimiser.step()
        optimiser.zero_grad()
    after = both()
    assert after["text"] < 0.6 * before["text"]
    assert after["motion"] < (0.97 if system.kind == "vae" else 0.8) * before["motion"]


def test_a_text_prompt_has_no_motion_and_moves_text_weights_alone(tokenizer, vae):
    net = build(System(), SIZES, tokenizer, vae, 0)
    batch = Batches("vae", made_motions(vae.cfg.channels), tokenizer, vae, 0)(0, 8, "text")
    assert int(batch.ids.max()) < tokenizer.text_vocab
    Objective(net, SIZES)(batch)["text"].backward()
    moved = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved
    assert moved <= text_names(net)


def test_sooner_is_counted_in_steps_and_in_time():
    steps = np.arange(0, 401, 20)

    def curve(rate: float, seconds: float) -> Curve:
        rows = [{"step": int(s), "val_total": float(2 - rate * s / 400)} for s in steps]
        return Curve(0, rows, seconds, True)

    slow, quick = curve(1.0, 0.1), curve(2.0, 0.2)
    in_steps, in_time = reached(slow, quick, "total")
    assert in_steps == pytest.approx(2, rel=0.06)
    assert in_time == pytest.approx(1, rel=0.06)  # half the steps at twice the price
    in_steps, in_time = reached(quick, slow, "total")  # the "bimodal" one never gets there
    assert in_steps == pytest.approx(0.5, rel=0.06)


@pytest.fixture
def bundle(tmp_path):
    clips, captions, splits = {}, {}, {}
    for split, seconds in (("train", (2.0, 2.4, 2.8)), ("val", (2.2,)), ("test", (2.6,))):
        for s in seconds:
            for k, make in MAKE.items():
                name = f"{k}{s}"
                clips[name], captions[name], splits[name] = make(s), CAPTIONS[k], split
    path = write_bundle(tmp_path, clips, captions)
    file = path.with_name("made_captions.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps(line | {"split": splits[line["id"]]}) for line in lines))
    return path


def test_everything_runs_stops_goes_on_and_reports(bundle, tmp_path, monkeypatch):
    runs, out = tmp_path / "runs", tmp_path / "out"
    budget = Budget(steps=12, batch=8, text_steps=4, warm_up=2, every=4, speak_every=6, val_batches=1, val_motions=4,
                    copies=1, rule_seeds=1)  # fmt: skip
    options = {"seeds": [0], "sizes": SIZES, "budget": budget, "tokenizer_steps": (6, 4), "vae_cfg": tiny().vae}
    monkeypatch.setattr(ablation, "MAIN", [System(1, "vq"), System()])
    monkeypatch.setattr(ablation, "STAGED", [System(stages="12")])
    monkeypatch.setattr(ablation, "LONG", [])
    ablation.run([bundle], runs, out, minutes=0.0, **options)  # no time at all: one step, and a checkpoint
    first = runs / "runs" / ablation.run_name(System(1, "vq"), 0)
    assert (first / "last.pt").exists()
    assert not (first / "result.json").exists()
    ablation.run([bundle], runs, out, **options)
    results = {p.parent.name: json.loads(p.read_text()) for p in runs.glob("runs/*/result.json")}
    assert len(results) == 4  # two systems, one of two layers shared (for more steps), one staged
    for name, r in results.items():
        rows = [json.loads(line) for line in (runs / "runs" / name / "log.jsonl").read_text().splitlines()]
        times = r["system"]["times"]
        assert r["steps"] == 12 * times
        assert sorted({x["step"] / times for x in rows}) == [0, 4, 6, 8, 12]
        score = json.loads((runs / "runs" / name / "score.json").read_text())
        assert set(score) == {"matcher", f"val_{round(6 * times)}", "test"}
        assert set(score["test"]) >= {"R@1", "R@3", "FID", "MM-Dist", "BLEU-4"}
    assert (out / "ablation.md").exists()
    assert len(list((out / "ablation").glob("*.png"))) >= 2
    with pytest.raises(CoreError, match="no ablation 'colours'"):
        ablation.run([bundle], runs, out, only=["colours"], **options)
