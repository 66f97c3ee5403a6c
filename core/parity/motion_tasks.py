"""Groups of motion out: text-to-motion in both prompt forms, prediction, in-betweening; from prompt to joints."""

from __future__ import annotations

import torch

from core.features import features_to_joints as numpy_joints
from core.model.kinematics import features_to_joints
from core.parity.bimodal import same_text
from core.parity.fixtures import Fixtures
from core.parity.report import RELATIVE, Recorder
from core.parity.sampling import draw
from core.train.official import encode_segments, motion_segments


def _motion_out(f: Fixtures, r: Recorder, name: str, codes: torch.Tensor | None = None) -> None:
    """Prompt -> condition -> latent -> features -> joints, each from what we computed, not from what was recorded."""
    model = f.model
    ids, real = f.main[f"{name}/input_ids_global"], f.main[f"{name}/attention_mask"] > 0
    same_text(f, r, name, ids, real)
    condition = model.condition(torch.where(real, ids, -1), codes, pad=-1)
    r.close(f"{name}/cond", condition)
    z = model.vae.from_code(draw(f, name, condition))
    r.close(f"{name}/latents_unscaled", z[:, None])
    lengths = f.main[f"{name}/lengths"] if f"{name}/lengths" in f.main else f.main["motion_in/lengths"][: len(z)]
    features = model.vae.decode(z, lengths)
    r.close(f"{name}/feats_norm", features)
    if "stats/mean" not in f.main or not any(f"{name}/{key}" in f.main for key in ("feats_denorm", "joints")):
        return
    plain = features * model.vae.std + model.vae.mean
    r.close(f"{name}/feats_denorm", plain)
    r.close(f"{name}/joints", model.vae.decode_joints(z, lengths))
    with r.optional():
        mean, std = f.main.raw("stats/mean_eval"), f.main.raw("stats/std_eval")
        expected = f.main.raw(f"{name}/feats_renorm_eval")
        r.near(f"{name}/feats_renorm_eval", (plain.double().cpu().numpy()[: len(expected)] - mean) / std, expected)


def t2m_demo(f: Fixtures, r: Recorder) -> None:
    _motion_out(f, r, "t2m_demo")


def t2m_eval(f: Fixtures, r: Recorder) -> None:
    _motion_out(f, r, "t2m_eval")


def _with_segments(f: Fixtures, r: Recorder, name: str, count: int) -> None:
    """A prompt that shows all segments of its clip but the last, which is the answer."""
    model = f.model
    ids = f.main[f"{name}/input_ids_global"]
    clips, lengths = f.main["motion_in/feats_norm"], f.main["motion_in/lengths"].tolist()
    predict, inbetween = float(f.setting("predict_ratio", 0.2)), float(f.setting("inbetween_ratio", 0.25))
    codes = torch.stack(
        [
            encode_segments(
                model.vae,
                clips[i],
                motion_segments(lengths[i], count, predict, inbetween),
                f.main[f"{name}/eps_{i}"][0],
            )[: count - 1]
            for i in range(len(ids))
        ]
    )
    with r.optional():
        expected = f.main[f"{name}/und_embeds_at_input_holders"]
        placed = model.embed(ids, codes)[ids == model.tokenizer.holder_in].view(expected.shape)
        r.close(f"{name}/und_embeds_at_input_holders", placed)
    _motion_out(f, r, name, codes)


def prediction(f: Fixtures, r: Recorder) -> None:
    _with_segments(f, r, "pred", 2)


def inbetweening(f: Fixtures, r: Recorder) -> None:
    _with_segments(f, r, "inbetween", 3)


def left_padding(f: Fixtures, r: Recorder) -> None:
    """What the official code gives for text-to-motion after a caption in the same process, prompts padded on the left
    and positions counted over the padding. We can compute it when asked to, and by ourselves never do."""
    model, name = f.model, "t2m_leftpad_quirk"
    real = f.main[f"{name}/attention_mask"] > 0
    recorded = f.main[f"{name}/cond"]
    source = next(s for s in ("t2m_demo", "t2m_eval")
                  if f"{s}/input_ids_global" in f.main
                  and torch.equal(f.main[f"{s}/attention_mask"].sum(1), real.sum(1)))  # fmt: skip
    right, there = f.main[f"{source}/input_ids_global"], f.main[f"{source}/attention_mask"] > 0
    left = torch.full_like(right, model.tokenizer.eos)
    left[real] = right[there]
    hidden = model.backbone(model.embed(left), model.tokenizer.modality(left), keys=real)
    rows = hidden[left == model.tokenizer.holder_out].view(recorded.shape)
    r.close(f"{name}/cond", rows, label="understood: their result, when asked for")
    if bool((~real).any()):
        ours = model.condition(torch.where(there, right, -1), pad=-1)
        apart = float((ours - recorded).abs().max() / recorded.abs().max())
        r.same("not copied: ours is another result", [apart > 10 * RELATIVE], [True])


def joints(f: Fixtures, r: Recorder) -> None:
    """Normalised features -> joints, by both implementations of it."""
    features = f.main["joints/feats_norm"] * f.main["stats/std"] + f.main["stats/mean"]
    r.close("joints/joints", features_to_joints(features), label="joints/joints, torch")
    r.close("joints/joints", numpy_joints(features.cpu().numpy()), label="joints/joints, NumPy")
