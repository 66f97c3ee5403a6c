"""MotionGPT3: the VAE, the bimodal backbone and the diffusion head as one model.

Zhu et al., "MotionGPT3: Human Motion as a Second Modality", ICLR 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn

from core.model.backbone import Backbone
from core.model.config import ModelConfig
from core.model.diffusion import DiffusionHead
from core.model.draft import Draft
from core.model.sampling import draw_noise
from core.model.vae import MotionVAE
from core.model.writing import Written, write_all
from core.prompts import Tokenizer


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
        self.precision = torch.float32  # or bfloat16: matrix products in inference; weights stay float32
        self.draft: Draft | None = None  # made when a large model first writes
        D, C = cfg.backbone.width, cfg.vae.channels
        self.vae = MotionVAE(cfg.vae)
        self.backbone = Backbone(cfg.backbone)
        self.und_head = nn.Linear(C, cfg.backbone.holders * D)  # latent -> embeddings of the input holders
        self.head = DiffusionHead(cfg.diffusion, D, C)
        self.fake_latent = nn.Parameter(torch.zeros(cfg.backbone.holders, D))  # the unconditional condition

    @property
    def device(self) -> torch.device:
        return self.fake_latent.device

    def computing(self) -> torch.autocast:
        """The context that inference runs in: plain float32, or bfloat16 products where `precision` says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)

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

    def hidden(
        self,
        ids: torch.Tensor,
        codes: torch.Tensor | None = None,
        pad: int | None = None,
        want: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Final hidden states (B, T, D) of right-padded prompts.

        Args:
            pad: the id that marks padding.
            want: (B, T) bool, tokens whose state is wanted; the others' are zero. None for all.
        """
        modality = self.tokenizer.modality(ids)
        if pad is not None:
            modality = modality.masked_fill(ids == pad, -1)
            ids = ids.clamp(min=0)
        return self.backbone(self.embed(ids, codes), modality, want=want)

    def condition(self, ids: torch.Tensor, codes: torch.Tensor | None = None, pad: int | None = None) -> torch.Tensor:
        """Hidden rows of the output holders: (B, 4, D)."""
        wanted = ids == self.tokenizer.holder_out
        end = int(wanted.nonzero()[:, 1].max()) + 1  # attention is causal: what stands behind the holders does nothing
        ids, wanted = ids[:, :end], wanted[:, :end]
        return self.hidden(ids, codes, pad, wanted)[wanted].view(len(ids), self.cfg.backbone.holders, -1)

    # -- motion out --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample_codes(
        self,
        condition: torch.Tensor,
        seeds: list[int],
        *,
        guidance: float | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> torch.Tensor:
        """One code (in the language model's scale) per seed: condition (N or 1, 4, D) -> (N, C)."""
        of = steps or self.cfg.diffusion.steps
        noise = draw_noise(seeds, of, self.cfg.vae.channels).to(self.device)  # the first, then one a step but the last
        # A model whose own scale is 1 was trained without guidance: it has nothing to be guided away from.
        unconditional = self.fake_latent[None] if self.cfg.diffusion.guidance > 1 else None
        return self.head.sample(
            condition, unconditional, noise[0], noise[1:],
            steps=steps, guidance=guidance, sampler=sampler, on_step=on_step,
        )  # fmt: skip

    # -- text out ----------------------------------------------------------------------------------------------------

    def write(self, ids: torch.Tensor, codes: torch.Tensor | None = None, **options: Any) -> Written:
        """Continue one prompt in text; see `writing.write_all`."""
        return write_all(self, ids, codes, **options)[0]

    def write_all(self, ids: torch.Tensor, codes: torch.Tensor | None = None, **options: Any) -> list[Written]:
        """Continue several prompts of one length in text; see `writing.write_all`."""
        return write_all(self, ids, codes, **options)

    def prompt(self, text: str) -> torch.Tensor:  # -> (1, T)
        return torch.tensor([self.tokenizer.encode(text)], device=self.device)
