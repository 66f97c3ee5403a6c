"""MotionGPT3: the VAE, the bimodal backbone and the diffusion head as one model.

Zhu et al., "MotionGPT3: Human Motion as a Second Modality", ICLR 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn

from core.model.backbone import Backbone, Cache
from core.model.config import ModelConfig
from core.model.diffusion import DiffusionHead, noise_source
from core.model.vae import MotionVAE
from core.prompts import Tokenizer

MAX_NEW_TOKENS = 40
REPETITION_PENALTY = 1.1


class MotionGPT3(nn.Module):
    """Text and motion in, text and motion out.

    Args:
        cfg: sizes; `cfg.backbone.text_vocab` 0 means "as the tokenizer says".
        tokenizer: the text side.
    """

    def __init__(self, cfg: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        cfg.backbone.text_vocab = cfg.backbone.text_vocab or tokenizer.text_vocab
        self.cfg, self.tokenizer = cfg, tokenizer
        self.info: dict[str, Any] = {}
        D, C = cfg.backbone.width, cfg.vae.width
        self.vae = MotionVAE(cfg.vae)
        self.backbone = Backbone(cfg.backbone)
        self.und_head = nn.Linear(C, cfg.backbone.holders * D)  # latent -> embeddings of the input holders
        self.head = DiffusionHead(cfg.diffusion, D, C)
        self.fake_latent = nn.Parameter(torch.zeros(cfg.backbone.holders, D))  # the unconditional condition

    @property
    def device(self) -> torch.device:
        return self.fake_latent.device

    # -- reading -----------------------------------------------------------------------------------------------------

    def embed(self, ids: torch.Tensor, codes: torch.Tensor | None = None) -> torch.Tensor:
        """Token ids (B, T) and, where there are input holders, codes (B, k, C) of k motions -> (B, T, D)."""
        x = self.backbone.embed(ids)
        if codes is None:
            return x
        B, k, _ = codes.shape
        rows = self.und_head(codes).view(B, k, self.cfg.backbone.holders, -1)
        # With k > 1 motions the official model writes all first quarters, then all second quarters, ...
        rows = rows.transpose(1, 2).reshape(B * k * self.cfg.backbone.holders, -1)
        at = (ids == self.tokenizer.holder_in).reshape(-1).nonzero()[:, 0]
        return x.reshape(-1, x.shape[-1]).index_copy(0, at, rows.to(x.dtype)).view_as(x)

    def hidden(self, ids: torch.Tensor, codes: torch.Tensor | None = None, pad: int | None = None) -> torch.Tensor:
        """Final hidden states (B, T, D) of right-padded prompts; `pad` is the id that marks padding."""
        modality = self.tokenizer.modality(ids)
        if pad is not None:
            modality = modality.masked_fill(ids == pad, -1)
            ids = ids.clamp(min=0)
        return self.backbone(self.embed(ids, codes), modality)

    def condition(self, ids: torch.Tensor, codes: torch.Tensor | None = None, pad: int | None = None) -> torch.Tensor:
        """Hidden rows of the output holders: (B, 4, D)."""
        h = self.hidden(ids, codes, pad)
        return h[ids == self.tokenizer.holder_out].view(len(ids), self.cfg.backbone.holders, -1)

    # -- motion out --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample_codes(
        self,
        condition: torch.Tensor,
        seeds: list[int],
        *,
        guidance: float | None = None,
        steps: int | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> torch.Tensor:
        """One code (in the language model's scale) per seed: condition (N or 1, 4, D) -> (N, C)."""
        draw = noise_source(seeds, self.cfg.vae.width, self.device)
        return self.head.sample(
            condition.expand(len(seeds), -1, -1), self.fake_latent[None], draw(), lambda _: draw(),
            steps=steps, guidance=guidance, on_step=on_step,
        )  # fmt: skip

    # -- text out ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def write(
        self,
        ids: torch.Tensor,
        codes: torch.Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        top_k: int = 50,
        on_token: Callable[[int], None] | None = None,
    ) -> tuple[list[int], float]:
        """Continue one prompt in text, greedily, or sampled where a generator is given.

        Args:
            ids: (1, T). codes: (1, k, C) of the prompt's input motions.
        Returns:
            The new token ids without the end token, and their mean log-probability.
        """
        tk, cache = self.tokenizer, Cache()
        x, modality, seen = self.embed(ids, codes), tk.modality(ids), 0
        out: list[int] = []
        total = 0.0
        for step in range(MAX_NEW_TOKENS):
            if on_token is not None:
                on_token(step)
            h = self.backbone(x, modality, cache, seen)
            seen += x.shape[1]
            raw = self.backbone.logits(h[0, -1])
            scores = raw.clone()
            if out:  # the official penalty: new tokens only, each once
                at = torch.tensor(sorted(set(out)), device=scores.device)
                s = scores[at]
                scores[at] = torch.where(s > 0, s / REPETITION_PENALTY, s * REPETITION_PENALTY)
            scores[[tk.som, tk.eom]] = -torch.inf
            if generator is None:
                token = int(scores.argmax())
            else:
                best = (scores / temperature).topk(min(top_k, len(scores)))
                pick = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=generator)
                token = int(best.indices[int(pick)])
            total += float(raw.log_softmax(-1)[token])
            if token == tk.eos:
                return out, total / (len(out) + 1)
            out.append(token)
            new = torch.tensor([[token]], device=ids.device)
            x, modality = self.backbone.embed(new), torch.zeros_like(new)  # new tokens are always text
        return out, total / max(len(out), 1)

    def prompt(self, text: str) -> torch.Tensor:  # -> (1, T)
        return torch.tensor([self.tokenizer.encode(text)], device=self.device)
