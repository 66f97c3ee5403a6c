"""What a small model of the official form computes: the values that tests/golden/official_layout.npz keeps.

They were written while the parity fixtures of the official code held, and guard that parity where those are not at
hand. Weights come from their names by the rule of core/parity/full.py, noise from NumPy's generator, so only results
are stored. To make the file again, after `build.py measure parity` has passed:

    .envs/core/bin/python tests/official_golden.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "golden" / "official_layout.npz"
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests")) if path not in sys.path]

import torch  # noqa: E402 - after the path is set
from motions import walk  # noqa: E402

from core.features import joints_to_features  # noqa: E402
from core.model.config import BackboneConfig, DiffusionConfig, ModelConfig, VAEConfig  # noqa: E402
from core.model.motiongpt3 import MotionGPT3  # noqa: E402
from core.parity.fixtures import NumberedTokenizer  # noqa: E402
from core.parity.full import make_rule_model  # noqa: E402
from core.train.official import losses  # noqa: E402

FIRST = 300  # id of <start_of_motion>: 300 words before it


def model(shared: str = "all") -> MotionGPT3:
    cfg = ModelConfig(
        vae=VAEConfig(width=32, layers=5, heads=4, ff=48, max_frames=80),
        backbone=BackboneConfig(width=48, layers=3, heads=3, ff=192, positions=96, text_vocab=FIRST + 2, shared=shared),
        diffusion=DiffusionConfig(width=64, depth=2, cond_heads=4, cond_ff=96, cond_positions=9, steps=20),
    )
    return make_rule_model(cfg, NumberedTokenizer(FIRST), "golden ", torch.device("cpu")).model


def prompts() -> torch.Tensor:
    """Two prompts with words, an input motion and an output motion; padded with -1: (2, 30)."""
    som, eom, masked, _, out, into = range(FIRST, FIRST + 6)
    head, motion, answer = [17, 4, 250, 99], [som, *[into] * 4, eom], [220, som, *[out] * 4, eom, FIRST - 1]
    first = [*head, *motion, 12, masked, masked, 8, *answer]
    second = [33, *motion, *answer]
    return torch.tensor([row + [-1] * (30 - len(row)) for row in (first, second)])


def compute() -> dict[str, np.ndarray]:
    """Every value by its name."""
    rng = np.random.Generator(np.random.PCG64(2024))

    def noise(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    m, lengths = model(), torch.tensor([40, 27])
    clips = noise(2, 40, 263) * (torch.arange(40)[None] < lengths[:, None])[..., None]
    ids, first, steps = prompts(), noise(2, 32), noise(20, 2, 32)
    with torch.no_grad():
        mean, logvar = m.vae.encode(clips, lengths)
        codes = m.vae.to_code(m.vae.sample(mean, logvar, noise(2, 32)))
        condition = m.condition(ids, codes[:, None], pad=-1)
        code = m.head.sample(condition, m.fake_latent[None], first, lambda i: steps[i], steps=20, guidance=4.0)
        decoded = m.vae.decode(m.vae.from_code(code), lengths)
        written = [m.write(row[row >= 0][None], codes[i : i + 1, None], max_new_tokens=16)[0]
                   for i, row in enumerate(ids)]  # fmt: skip
        hidden = m.hidden(ids, codes[:, None], pad=-1)
        separate = model("last1").hidden(ids, codes[:, None], pad=-1)
    real = ids >= 0
    terms = losses(
        m.requires_grad_(True), ids.masked_fill(~real, m.tokenizer.eos), real, list(codes[:, None]), codes.flip(0),
        count_padding=True, t=torch.tensor([3, 400, 800, 999]), noise=noise(4, 32),
        drop=torch.tensor([False, True, False, False]), copies=2,
    )  # fmt: skip
    terms["total"].backward()
    names = ("backbone.wte.weight", "backbone.h.0.c_attn.fn.1.weight", "und_head.weight", "fake_latent")
    parameters = dict(m.named_parameters())
    norms = [float(parameters[name].grad.norm()) for name in names]
    return {
        "mean": mean.numpy(), "log_variance": logvar.numpy(), "decoded": decoded.numpy()[:, ::4],
        "hidden": hidden.numpy(), "hidden_last1": separate.numpy(), "condition": condition.numpy(),
        "code": code.numpy(), "tokens": np.array([row + [-1] * (16 - len(row)) for row in written]),
        "losses": np.array([float(terms[k].detach()) for k in ("text", "diffusion", "total")]),
        "gradient_norms": np.array(norms), "features": joints_to_features(walk(1.5), continuous=False),
    }  # fmt: skip


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    values = compute()
    np.savez_compressed(FILE, **values)
    print(f"{FILE}: {len(values)} arrays, {FILE.stat().st_size / 1000:.0f} kB")
