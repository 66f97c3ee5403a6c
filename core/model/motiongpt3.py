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
from core.model.diffusion import DiffusionHead
from core.model.sampling import draw_noise
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
        noise = draw_noise(seeds, of, self.cfg.vae.width).to(self.device)  # the first, then one a step but the last
        return self.head.sample(
            condition, self.fake_latent[None], noise[0], noise[1:],
            steps=steps, guidance=guidance, sampler=sampler, on_step=on_step,
        )  # fmt: skip

    # -- text out ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def write(self, ids: torch.Tensor, codes: torch.Tensor | None = None, **options: Any) -> tuple[list[int], float]:
        """Continue one prompt in text; `write_all` of a single row."""
        return self.write_all(ids, codes, **options)[0]

    @torch.no_grad()
    def write_all(
        self,
        ids: torch.Tensor,
        codes: torch.Tensor | None = None,
        *,
        copies: int = 1,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        top_k: int = 50,
        on_token: Callable[[int], None] | None = None,
        on_logits: Callable[[torch.Tensor], None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        penalty: float = REPETITION_PENALTY,
    ) -> list[tuple[list[int], float]]:
        """Continue prompts in text, greedily, or sampled where a generator is given.

        Args:
            ids: (B, T) prompts of equal length. codes: (B, k, C) of the prompts' input motions.
            copies: continuations of each prompt, which is read only once; needs a generator to differ.
            on_token: called before each token; may raise to stop.
            on_logits: called once a step with the first row's logits (V,) before penalty and bans, for checks.
            penalty: of repeated new tokens.
        Returns:
            Per continuation the new token ids without the end token, and their mean log-probability.
        """
        tk = self.tokenizer
        x, modality = self.embed(ids, codes), tk.modality(ids)
        cache = Cache(ids.shape[1] + max_new_tokens)
        last = torch.zeros_like(modality, dtype=torch.bool)
        last[:, -1] = True
        if on_token is not None:
            on_token(0)
        h = self.backbone(x, modality, cache, want=last)[:, -1].repeat(copies, 1)  # (N, D)
        if copies > 1:
            cache.repeat(copies)
        rows = len(h)
        written = torch.zeros(rows, self.cfg.backbone.text_vocab, dtype=torch.bool, device=h.device)
        text = torch.zeros(rows, 1, dtype=torch.long, device=h.device)  # new tokens are always text
        out: list[list[int]] = [[] for _ in range(rows)]
        total, count, running = [0.0] * rows, [0] * rows, set(range(rows))
        for step in range(max_new_tokens):
            if step and on_token is not None:
                on_token(step)
            raw = self.backbone.logits(h).float()  # (N, V)
            if on_logits is not None:
                on_logits(raw[0])
            # The official penalty: new tokens only, each once.
            scores = torch.where(written, torch.where(raw > 0, raw / penalty, raw * penalty), raw)
            scores[:, [tk.som, tk.eom]] = -torch.inf
            if generator is None:
                tokens = scores.argmax(-1)
            else:
                best = (scores / temperature).topk(min(top_k, scores.shape[-1]))
                pick = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=generator)
                tokens = best.indices.gather(1, pick.to(h.device))[:, 0]
            likely = raw.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
            for row, (token, logp) in enumerate(zip(tokens.tolist(), likely.tolist(), strict=True)):
                if row in running:
                    total[row], count[row] = total[row] + logp, count[row] + 1
                    if token == tk.eos:
                        running.discard(row)
                    else:
                        out[row].append(token)
            if not running or step == max_new_tokens - 1:
                break
            written.scatter_(1, tokens[:, None], True)
            h = self.backbone(self.backbone.embed(tokens[:, None]), text, cache)[:, -1]
        return [(tokens, total[i] / max(count[i], 1)) for i, tokens in enumerate(out)]

    def prompt(self, text: str) -> torch.Tensor:  # -> (1, T)
        return torch.tensor([self.tokenizer.encode(text)], device=self.device)
