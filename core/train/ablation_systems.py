"""The systems the ablations compare, each of the same number of parameters: one stream or two branches, codes or a
latent, attention shared in all layers or in the last ones.

A system is a network with two losses, "motion" and "text", that makes motions for texts and texts for motions.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from core.errors import CoreError
from core.model.backbone import Backbone, Cache
from core.model.config import BackboneConfig, DiffusionConfig, ModelConfig
from core.model.draft import Draft
from core.model.motiongpt3 import MotionGPT3
from core.model.schedule import Schedule
from core.model.vae import MotionVAE
from core.prompts import Tokenizer
from core.train.ablation_data import CODES, PAD, Batch
from core.train.bimodal import channel_weight, level_weight

DROP = 0.1
"""Share of conditions replaced by the unconditional one, for classifier-free guidance."""
TOLERANCE = 0.05
"""Systems may differ by that much in parameters."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the reference system, Bimodal+VAE; the others' feed-forward layers follow from its parameters."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    ff: int = 256
    head: int = 192  # width of the diffusion head
    depth: int = 2  # of the diffusion head
    copies: int = 4  # noise levels drawn for each condition


@dataclass(frozen=True)
class System:
    """What is varied."""

    branches: int = 2  # 1 unified, 2 bimodal
    kind: str = "vae"  # "vae": one continuous latent and a diffusion head; "vq": codes and next-token prediction
    shared: str = "all"  # layers with shared attention
    stages: str = "3"  # which stages share the steps: 1 text frozen, text-to-motion; 2 frozen, both; 3 all trained
    times: float = 1.0  # how often the budget's steps

    @property
    def name(self) -> str:
        return f"{'Bimodal' if self.branches == 2 else 'Unified'}+{self.kind.upper()}"

    @property
    def key(self) -> tuple[str, str, str, float]:
        """What tells runs apart that differ in more than the seed."""
        return self.name, self.shared, self.stages, self.times


class CodeModel(nn.Module):
    """A backbone whose motion tokens are codes: what `writing.write_all` needs, and motion token by token."""

    def __init__(self, cfg: BackboneConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.cfg, self.tokenizer = ModelConfig(backbone=cfg), tokenizer
        self.draft: Draft | None = None
        self.backbone = Backbone(cfg)
        nn.init.normal_(self.backbone.motion_embedding.weight, std=0.02)  # it is also the head

    @property
    def device(self) -> torch.device:
        return self.backbone.wte.weight.device

    def embed(self, ids: torch.Tensor, codes: torch.Tensor | None = None) -> torch.Tensor:
        return self.backbone.embed(ids)

    def motion_logits(self, hidden: torch.Tensor) -> torch.Tensor:  # (..., D) -> (..., motion_vocab)
        return hidden @ self.backbone.motion_embedding.weight.T

    @torch.no_grad()
    def sample(
        self, ids: torch.Tensor, steps: int, generator: torch.Generator, temperature: float, top_k: int
    ) -> torch.Tensor:
        """Continue prompts (B, T) that end in <start> by `steps` codes, drawn: (B, steps)."""
        cache = Cache(ids.shape[1] + steps)
        hidden = self.backbone(self.embed(ids), self.tokenizer.modality(ids), cache)[:, -1]
        one = torch.ones(len(ids), 1, dtype=torch.long, device=ids.device)
        out: list[torch.Tensor] = []
        while True:
            best = (self.motion_logits(hidden)[:, :CODES].float() / temperature).topk(min(top_k, CODES))
            chosen = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=generator).to(ids.device)
            out.append(best.indices.gather(1, chosen))
            if len(out) == steps:
                return torch.cat(out, 1)
            x = self.embed(out[-1] + self.tokenizer.text_vocab)
            hidden = self.backbone(x, one, cache)[:, -1]


Network = MotionGPT3 | CodeModel


def parameters(net: nn.Module) -> int:
    """What is trained: everything but the motion tokenizer (VAE or VQ-VAE)."""
    return sum(p.numel() for n, p in net.named_parameters() if not n.startswith("vae."))


def _configure(system: System, sizes: Sizes, ff: int, tokenizer: Tokenizer, vae: MotionVAE) -> ModelConfig:
    return ModelConfig(
        name=system.name,
        reads_duration=True,
        vae=copy.deepcopy(vae.cfg),
        backbone=BackboneConfig(
            width=sizes.width, layers=sizes.layers, heads=sizes.heads, ff=ff, positions=256,
            text_vocab=tokenizer.text_vocab, motion_vocab=6 if system.kind == "vae" else CODES + 2,
            shared=system.shared, branches=system.branches, dropout=0.0,
        ),
        diffusion=DiffusionConfig(
            width=sizes.head, depth=sizes.depth, cond_ff=2 * sizes.width, cond_positions=5, steps=20, guidance=2.0,
            rescale=1.0, predicts="velocity",  # a head narrower than the latent cannot give the noise
        ),
    )  # fmt: skip


def _network(cfg: ModelConfig, kind: str, tokenizer: Tokenizer) -> Network:
    return MotionGPT3(cfg, tokenizer) if kind == "vae" else CodeModel(cfg.backbone, tokenizer)


def matched_ff(system: System, sizes: Sizes, tokenizer: Tokenizer, vae: MotionVAE) -> int:
    """The feed-forward width, a multiple of 8, that gives a system the reference's number of parameters."""

    def count(s: System, ff: int) -> int:
        with torch.device("meta"):
            return parameters(_network(_configure(s, sizes, ff, tokenizer, vae), s.kind, tokenizer))

    target = count(System(), sizes.ff)
    low, high = count(system, 8), count(system, 16)
    return max(8, round((target - low) / (high - low)) * 8 + 8)


def build(system: System, sizes: Sizes, tokenizer: Tokenizer, vae: MotionVAE, seed: int) -> Network:
    """A system with fresh weights and the VAE given (frozen).

    Raises:
        CoreError("ablation_unequal"): its parameters are not within 5 % of the reference's.
    """
    torch.manual_seed(seed)
    ff = matched_ff(system, sizes, tokenizer, vae)
    net = _network(_configure(system, sizes, ff, tokenizer, vae), system.kind, tokenizer)
    with torch.device("meta"):
        reference = _network(_configure(System(), sizes, sizes.ff, tokenizer, vae), "vae", tokenizer)
    share = parameters(net) / parameters(reference)
    if abs(share - 1) > TOLERANCE:
        raise CoreError(
            "ablation_unequal", f"{system.name} has {share:.2f} times the parameters of Bimodal+VAE.",
            "Choose other sizes in core/train/ablation_systems.py.",
        )  # fmt: skip
    if isinstance(net, MotionGPT3):  # the VAE is used, not trained: no part of the network's own weights
        del net.vae
        net.__dict__["vae"] = vae
    return net.to(vae.mean.device)


def text_names(net: Network) -> set[str]:
    """Parameters that text alone runs through: what is pre-trained on captions; all of a unified stream is."""
    text = ("backbone.wte.", "backbone.wpe.")
    return {n for n, _ in net.named_parameters() if n.startswith(text) or ".fn.0." in n}


# -- losses --------------------------------------------------------------------------------------------------------


class Objective:
    """Both losses of a system on a batch.

    Args:
        joint: how a unified VQ system is trained: one softmax over words and codes, its vocabulary being one. Else
            words compete with words and codes with codes, which is how all VQ systems are compared.
    """

    def __init__(self, net: Network, sizes: Sizes) -> None:
        self.net, self.copies = net, sizes.copies
        self.joint = isinstance(net, CodeModel) and net.cfg.backbone.branches == 1
        if isinstance(net, MotionGPT3):
            schedule = Schedule(net.cfg.diffusion, 2)
            self.alpha_bar = torch.from_numpy(schedule.full_alpha_bar).float().to(net.device)

    def __call__(self, batch: Batch, drop: float = DROP, compare: bool = False) -> dict[str, torch.Tensor]:
        """ "motion" and "text"; `compare`: as they are compared between systems of one tokenizer (see `joint`)."""
        net, tk = self.net, self.net.tokenizer
        ids = batch.ids.to(net.device)
        weights = batch.weights.to(net.device)
        modality = tk.modality(ids).masked_fill(ids == PAD, -1)
        source, target = modality[:, :-1], modality[:, 1:]
        words = (source == 0) & (target == 0) & (weights[:, 1:] > 0) & (ids[:, 1:] != tk.eom)
        steps = (source == 1) & (target == 1)
        steps[batch.outputs :] = False
        vae = isinstance(net, MotionGPT3)
        want = F.pad(words, (0, 1)) | ((ids == tk.holder_out) if vae else F.pad(steps, (0, 1)))
        known = ids.clamp(min=0)
        latents = batch.latents.to(net.device)
        asked = isinstance(net, MotionGPT3) and batch.outputs not in (0, len(ids))
        x = net.embed(known, latents[batch.outputs :, None] if asked else None)
        hidden = net.backbone(x, modality, want=want)
        one = self.joint and not compare
        text = self._chosen(hidden[:, :-1][words], ids[:, 1:][words], one)
        w = weights[:, 1:][words]
        out = {"text": (text * w).sum() / w.sum().clamp(min=1e-6), "motion": text.new_zeros(())}
        if batch.outputs and vae:
            out["motion"] = self._diffusion(hidden[ids == tk.holder_out], latents[: batch.outputs], drop)
        elif batch.outputs:
            out["motion"] = self._chosen(hidden[:, :-1][steps], ids[:, 1:][steps], one).mean()
        return out

    def _chosen(self, hidden: torch.Tensor, target: torch.Tensor, joint: bool) -> torch.Tensor:
        """Cross-entropy of each target (N,), words or codes, from the hidden states before them (N, D)."""
        net, first = self.net, self.net.tokenizer.text_vocab
        if joint:
            assert isinstance(net, CodeModel)
            logits = torch.cat([net.backbone.logits(hidden), net.motion_logits(hidden)], -1)
        elif len(target) and int(target[0]) >= first:
            assert isinstance(net, CodeModel)
            logits, target = net.motion_logits(hidden), target - first
        else:
            logits = net.backbone.logits(hidden)
        return F.cross_entropy(logits.float(), target, reduction="none")

    def _diffusion(self, condition: torch.Tensor, latent: torch.Tensor, drop: float) -> torch.Tensor:
        net = self.net
        assert isinstance(net, MotionGPT3)
        condition = condition.view(len(latent), net.cfg.backbone.holders, -1).repeat(self.copies, 1, 1)
        latent = latent.repeat(self.copies, 1)
        n, levels = len(latent), len(self.alpha_bar)
        forget = (torch.rand(n) < drop)[:, None, None].to(net.device)
        condition = torch.where(forget, net.fake_latent.to(condition.dtype), condition)
        # Spread evenly over the schedule: the loss of a batch depends less on which levels it happened to draw.
        t = ((torch.randperm(n) + torch.rand(n)) / n * levels).long().to(net.device)
        error = net.head.errors(latent, condition, t, torch.randn(n, latent.shape[1]).to(net.device), self.alpha_bar)
        return (error * level_weight(self.alpha_bar[t])[:, None] * channel_weight(net)).mean()


LONGER = 1.5
"""A step with a latent costs about two thirds of one with codes. So the latent systems, and what is varied of them, are
also run for that many times the steps: about the time of the others."""


def sharing(sizes: Sizes) -> list[System]:
    """Bimodal+VAE with attention shared in the last 1, 2, ... layers; in all of them is the reference itself."""
    return [System(shared=f"last{n}", times=LONGER) for n in range(1, sizes.layers)]


MAIN = [System(b, k) for b in (1, 2) for k in ("vq", "vae")]
LONG = [System(b, "vae", times=LONGER) for b in (2, 1)]
STAGED = [System(stages=s, times=LONGER) for s in ("123", "12", "23", "1")]
"""Bimodal+VAE; stage 3 only, joint from the start, is the reference itself."""
