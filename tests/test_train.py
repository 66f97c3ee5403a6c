"""Training: bundles are read and checked, made clips are what their captions say, a small run learns and resumes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from motions import run, walk, wave

from core.errors import CoreError
from core.evaluate.checks import raised, speed, turned
from core.evaluate.physical import foot_slide, jerk
from core.model.config import compact
from core.skeleton import bone_lengths, mirror
from core.train.augment import compose, composed, other_duration, waiting
from core.train.autoencoder import reconstruction, train_autoencoder
from core.train.data import Bucketed, Clip, canonical_bones, load_bundle, mirrored, prepare
from core.train.rewording import base_form, reword


def write_bundle(folder, clips: dict[str, np.ndarray], captions: dict[str, str], split: str = "train"):
    """A bundle of the form in core/train/data.py."""
    rows = np.concatenate(list(clips.values()))
    root = rows[:, 0, [0, 2]]
    local = rows - np.stack([root[:, 0], np.zeros(len(root)), root[:, 1]], -1)[:, None]
    path = folder / "made_joints.npz"
    np.savez(
        path,
        local=np.round(local * 1e4).astype(np.int16),
        root_xz=root.astype(np.float32),
        offsets=np.cumsum([0, *map(len, clips.values())]),
        ids=np.array(list(clips)),
    )
    lines = [
        json.dumps({"id": i, "source": "made", "split": split, "captions": [{"text": captions[i]}]}) for i in clips
    ]
    (folder / "made_captions.jsonl").write_text("\n".join(lines))
    return path


CLIPS = {"a": walk(3.0), "b": run(2.0), "c": wave(3.0)}
CAPTIONS = {"a": "a person walks forward", "b": "a person runs forward", "c": "a person waves the left hand"}


def test_bundle_round_trip(tmp_path):
    clips = load_bundle(write_bundle(tmp_path, CLIPS, CAPTIONS))
    assert [c.captions for c in clips] == [[CAPTIONS[i]] for i in "abc"]
    for clip in clips:
        assert np.abs(clip.joints - CLIPS[clip.id]).max() < 1e-4


def test_a_wrong_line_is_named(tmp_path):
    path = write_bundle(tmp_path, CLIPS, CAPTIONS)
    file = tmp_path / "made_captions.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "{broken", lines[2]]))
    with pytest.raises(CoreError, match=r"made_captions\.jsonl, line 2"):
        load_bundle(path)
    file.write_text("\n".join(lines[:2]))
    with pytest.raises(CoreError, match="no line for the clip c"):
        load_bundle(path)


def test_mirror_swaps_sides_in_motion_and_words():
    clip = Clip("a", "made", "train", wave(2.0), ["a person waves the left hand and turns clockwise"])
    other = mirrored(clip)
    assert other.captions == ["a person waves the right hand and turns counterclockwise"]
    assert raised(other.joints, 21) == pytest.approx(raised(clip.joints, 20))
    assert np.array_equal(mirror(other.joints), clip.joints)


def test_composed_clip_walks_and_waves():
    legs = Clip("a", "made", "train", walk(3.0), ["a person walks forward"])
    arms = Clip("c", "made", "train", wave(3.0), ["a person waves the left hand"])
    side = "left" if raised(arms.joints, 20) > raised(arms.joints, 21) else "right"
    wrist, other = (20, 21) if side == "left" else (21, 20)
    joints = compose(legs, arms, [side])
    assert speed(joints) == pytest.approx(speed(legs.joints[: len(joints)]), rel=1e-4)
    assert raised(joints, wrist) > 0.1 > raised(joints, other)
    assert np.allclose(bone_lengths(joints)[:, 16:], bone_lengths(arms.joints)[: len(joints), 16:], atol=1e-4)
    made = composed([legs, arms], 4, 0)
    assert len(made) == 4
    assert "a person walks forward and waves" in made[0].captions


def test_other_durations_keep_the_motion():
    rng = np.random.default_rng(0)
    legs = Clip("a", "made", "train", walk(5.0), ["a person walks forward"])
    lengths = {len(c.joints) for c in (other_duration(legs, rng) for _ in range(20))}
    assert len(lengths) > 5
    for clip in (other_duration(legs, rng) for _ in range(5)):
        assert 0.7 * speed(legs.joints) < speed(clip.joints) < 1.4 * speed(legs.joints)
    longer = waiting(legs.joints, 30, at_end=True)
    assert len(longer) == len(legs.joints) + 30
    assert np.array_equal(longer[: len(legs.joints)], legs.joints)
    assert np.abs(np.diff(longer[-31:], axis=0)).max() < np.abs(np.diff(legs.joints, axis=0)).max()


@pytest.mark.parametrize(("verb", "base"), [("walks", "walk"), ("punches", "punch"), ("carries", "carry")])
def test_base_form(verb, base):
    assert base_form(verb) == base


def test_rewording_keeps_sides_and_varies():
    rng = np.random.default_rng(0)
    said = {reword("a person raises the left hand up", rng) for _ in range(200)}
    assert len(said) > 15
    assert all("left" in s and "right" not in s for s in said)


def test_buckets_give_clips_that_fit():
    clips = prepare([Clip(str(n), "made", "train", walk(n / 20), ["a"]) for n in range(25, 190, 7)], bones())
    batches = iter(Bucketed(clips, np.ones(len(clips)), 8, 0))
    for _ in range(20):
        rows, length = next(batches)
        assert len(rows) == 8
        assert all(clips[i].frames <= length for i in rows)


def bones() -> np.ndarray:
    return canonical_bones([Clip("a", "made", "train", walk(1.0), ["a"])])


def test_physical_figures_tell_a_slide_from_a_stand():
    still = np.repeat(walk(2.0)[:1], 40, 0)
    sliding = still + np.linspace(0, 2, 40)[:, None, None] * np.array([0, 0, 1])
    assert foot_slide(still) == pytest.approx(0)
    assert foot_slide(sliding) == pytest.approx(1000 * 2 / 39, rel=1e-3)
    assert jerk(still) == pytest.approx(0)
    assert jerk(still + np.random.default_rng(0).normal(0, 0.01, still.shape)) > 10
    assert abs(turned(still)) < 1e-3


def test_autoencoder_learns_and_resumes(tmp_path):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    source = [Clip("w", "made", "train", walk(5.0), [CAPTIONS["a"]]), Clip("v", "made", "train", wave(4.0), ["a wave"])]
    clips = prepare([other_duration(c, rng) for c in source for _ in range(12)], bones())
    cfg = compact().vae
    cfg.width, cfg.latent, cfg.ff, cfg.linear_frames = 16, 0, 16, 8
    args = {"clips": clips, "val": clips[:6], "bones": bones(), "folder": tmp_path, "batch": 8}
    vae = train_autoencoder(cfg, **args, steps=4)
    first = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    vae = train_autoencoder(cfg, **args, steps=60)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[: len(first)] == first  # the log goes on
    assert rows[-1]["step"] == 60
    assert rows[-1]["position"] < first[0]["position"]
    assert reconstruction(vae.eval(), clips)["relative_mm"] < 200
    assert torch.isfinite(vae.latent_std).all()
    assert (vae.latent_std > 0).all()


def test_noise_levels_where_the_prompt_is_decided_count():
    from core.train.bimodal import level_weight

    alpha_bar = torch.tensor([0.999, 0.9, 0.5, 0.1, 0.04])
    in_latent = level_weight(alpha_bar) * alpha_bar / (1 - alpha_bar)  # weight of the error in the clean latent
    assert torch.allclose(in_latent[:2], torch.tensor(5.0))
    assert torch.allclose(in_latent[2:4], torch.tensor(1.0))
    assert in_latent[4] > 0.5
