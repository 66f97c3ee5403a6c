"""Groups of the motion VAE: encode, decode, losses, and the understanding head that reads its latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from core.parity.fixtures import Fixtures
from core.parity.report import Recorder
from core.train.official import vae_losses


def encode(f: Fixtures, r: Recorder) -> None:
    vae, features, lengths = f.model.vae, f.main["vae/feats_norm"], f.main["vae/lengths"]
    mean, logvar = vae.encode(features, lengths)
    r.close("vae/enc_tokens", torch.stack([mean, logvar]))
    r.close("vae/mu", mean[None])
    r.close("vae/logvar", logvar[None])
    r.close("vae/std", (vae.sample(mean, logvar, torch.ones_like(mean)) - mean)[None])
    with r.optional():
        r.close("vae/z", vae.sample(mean, logvar, f.main["vae/eps"][0])[None])
    first = int(lengths[0])
    r.close("vae/enc_tokens_single0", torch.stack(vae.encode(features[:1, :first], lengths[:1])))
    r.close("vae/enc_tokens_extrapad", torch.stack(vae.encode(F.pad(features, (0, 0, 0, 20)), lengths)))


def decode(f: Fixtures, r: Recorder) -> None:
    vae, lengths = f.model.vae, f.main["vae/lengths"]
    for key, latent in (("vae/decode_z", "vae/z"), ("vae/decode_mu", "vae/mu")):
        with r.optional():
            r.close(key, vae.decode(f.main[latent][0], lengths))


def loss(f: Fixtures, r: Recorder) -> None:
    terms = vae_losses(f.model.vae, f.main["vae/feats_norm"], f.main["vae/lengths"], f.main["vaeloss/eps"][0])
    r.close("vaeloss/recons_feature", terms["features"])
    r.close("vaeloss/recons_velocity_raw", terms["positions"])
    r.close("vaeloss/kl_raw", terms["kl"])
    with r.optional():
        weights = f.main.raw("vaeloss/weights")
        r.close("vaeloss/total", sum(float(w) * t.double() for w, t in zip(weights, terms.values(), strict=True)))  # type: ignore[arg-type]


def input_codes(f: Fixtures) -> torch.Tensor:
    """The codes (B, C) of the recorded input clips, encoded by this model."""
    vae = f.model.vae
    mean, logvar = vae.encode(f.main["motion_in/feats_norm"], f.main["motion_in/lengths"])
    return vae.to_code(vae.sample(mean, logvar, f.main["motion_in/eps_motion"][0]))


def understanding_head(f: Fixtures, r: Recorder) -> None:
    codes = input_codes(f)
    r.close("motion_in/latents_scaled", codes[:, None])
    r.close("motion_in/und_head", f.model.und_head(codes))
