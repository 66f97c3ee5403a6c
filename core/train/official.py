"""The official training step: what one mixed batch of texts and motions costs, term by term.

A batch mixes every task: text -> motion, motion -> text, prediction, in-betweening, text -> text. Each sample is one
row of tokens with its input motions as codes; a sample with output holders also has a target code. References:
MotionGPT3 (Zhu et al., ICLR 2026); MAR (Li et al., NeurIPS 2024) for the diffusion loss; MLD (Chen et al., CVPR 2023)
for the VAE's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from core.model.motiongpt3 import MotionGPT3
from core.model.schedule import Schedule
from core.model.vae import MotionVAE
from core.prompts import Tokenizer

IGNORED = -100
"""Label of a position that is not predicted."""
COPIES = 4
"""Noise levels drawn per condition (official: diffusion_batch_mul)."""
DROP = 0.1
"""Share of conditions replaced by the unconditional one, for classifier-free guidance."""
RIC = slice(4, 67)
"""The joint positions among the features; the official VAE loss weighs them extra and calls them "velocity"."""


# -- motion ----------------------------------------------------------------------------------------------------------


def motion_segments(
    frames: int, count: int, predict_ratio: float = 0.2, inbetween_ratio: float = 0.25
) -> list[tuple[int, int]]:
    """The parts [start, end) of a clip that are encoded; the last one is what an output holder stands for.

    Args:
        frames: length of the clip.
        count: 1 for the whole clip (text-to-motion, motion-to-text), 2 for prediction (head, rest), 3 for
            in-betweening (head, tail, whole clip).
    Raises:
        ValueError: another count.
    """
    if count == 1:
        return [(0, frames)]
    if count == 2:
        head = int(predict_ratio * frames)
        return [(0, head), (head, frames)]
    if count == 3:
        return [(0, int(inbetween_ratio * frames)), (int((1 - inbetween_ratio) * frames), frames), (0, frames)]
    raise ValueError(f"no task has {count} motion segments")


def encode_segments(
    vae: MotionVAE, features: torch.Tensor, segments: Sequence[tuple[int, int]], noise: torch.Tensor
) -> torch.Tensor:
    """Codes of parts of one clip, sampled as the official model always does.

    Args:
        features: (T, F) normalised. segments: n parts [start, end). noise: (n, C).
    Returns:
        (n, C) in the language model's scale.
    """
    lengths = torch.tensor([end - start for start, end in segments], device=features.device)
    batch = features.new_zeros(len(segments), max(int(lengths.max()), 1), features.shape[-1])
    for row, (start, end) in zip(batch, segments, strict=True):
        row[: end - start] = features[start:end]
    mean, log_variance = vae.encode(batch, lengths)
    return vae.to_code(vae.sample(mean, log_variance, noise))


def vae_losses(
    vae: MotionVAE, features: torch.Tensor, lengths: torch.Tensor, noise: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The terms of the VAE's loss, unweighted; the official weights are 1, 0.5 and 1e-5.

    Args:
        features: (B, T, F) normalised, zeros after each length. lengths: (B,), T the longest. noise: (B, C).
    Returns:
        "features" and "positions": smooth L1 over all channels and over the joint positions, padding included;
        "kl": mean divergence from the standard normal distribution.
    """
    mean, log_variance = vae.encode(features, lengths)
    decoded = vae.decode(vae.sample(mean, log_variance, noise), lengths)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return {
        "features": F.smooth_l1_loss(decoded, features),
        "positions": F.smooth_l1_loss(decoded[..., RIC], features[..., RIC]),
        "kl": kl.mean(),
    }


# -- the mixed batch -------------------------------------------------------------------------------------------------


def text_labels(ids: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
    """What each position of (B, T) ids is to be predicted as, in the official form.

    Holders and <end_of_motion> are IGNORED (they are put there, never written); the other motion tokens have their
    local ids, which no loss uses. Padding, which is written as the end token, keeps its label.
    """
    tk = tokenizer
    labels = torch.where(ids >= tk.text_vocab, ids - tk.text_vocab, ids)
    unwritten = (ids == tk.eom) | (ids == tk.holder_in) | (ids == tk.holder_out)
    return labels.masked_fill(unwritten, IGNORED)


def embed_mixed(model: MotionGPT3, ids: torch.Tensor, codes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Embeddings (B, T, D) of rows (B, T) with different numbers of input motions.

    Args:
        codes: for each row (k, C), k its input motions, 0 where it has none.
    """
    x = model.backbone.embed(ids)
    for k in sorted({len(c) for c in codes} - {0}):
        chosen = [i for i, c in enumerate(codes) if len(c) == k]
        rows = torch.tensor(chosen, device=ids.device)
        x = x.index_copy(0, rows, model.embed(ids[rows], torch.stack([codes[i] for i in chosen])).to(x.dtype))
    return x


def hidden_mixed(
    model: MotionGPT3, ids: torch.Tensor, real: torch.Tensor, codes: Sequence[torch.Tensor], *, pads: bool = False
) -> torch.Tensor:
    """Final hidden states (B, T, D).

    Args:
        ids: (B, T), padded on the right with the end token. real: (B, T) bool. codes: as for `embed_mixed`.
        pads: compute padding too, as text that sees the real tokens only; else its rows are zero.
    """
    x, modality = embed_mixed(model, ids, codes), model.tokenizer.modality(ids)
    if pads:
        return model.backbone(x, modality, keys=real)
    return model.backbone(x, modality.masked_fill(~real, -1))


def text_loss(
    model: MotionGPT3,
    hidden: torch.Tensor,
    ids: torch.Tensor,
    real: torch.Tensor,
    labels: torch.Tensor,
    *,
    count_padding: bool = False,
) -> torch.Tensor:
    """Mean cross-entropy of every text token that the language model may write, prompts included.

    Args:
        hidden: (B, T, D). ids, real, labels: (B, T).
        count_padding: True is the official loss to the letter: the padding counts, and so does a text token after a
            motion token (the <start_of_motion> of in-betweening), for which it knows nothing and guesses evenly.
    """
    vocab = model.cfg.backbone.text_vocab
    target = labels[:, 1:]
    use = (target != IGNORED) & (ids[:, 1:] < vocab)
    source_is_text = ids[:, :-1] < vocab
    if not count_padding:
        use &= real[:, 1:] & source_is_text
    read = use & source_is_text
    logits = model.backbone.logits(hidden[:, :-1][read]).float()
    total = F.cross_entropy(logits, target[read], reduction="sum")
    guessed = (use & ~source_is_text).sum()
    return (total + guessed * torch.log(torch.tensor(float(vocab), device=total.device))) / use.sum().clamp(min=1)


def diffusion_loss(
    model: MotionGPT3,
    condition: torch.Tensor,
    target: torch.Tensor,
    *,
    t: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    drop: torch.Tensor | None = None,
    drop_rate: float = DROP,
    copies: int = COPIES,
) -> torch.Tensor:
    """Mean squared error of the predicted noise.

    Args:
        condition: (n, 4, D) hidden rows of output holders. target: (n, C) codes, language model's scale.
        t: (copies * n,) time steps; noise: (copies * n, C); drop: (copies * n,) bool, rows that get the unconditional
            condition. Rows are tiled: all n, then all n again. None draws them.
    """
    n, device = copies * len(target), target.device
    alpha_bar = torch.from_numpy(Schedule(model.cfg.diffusion, 2).full_alpha_bar).float().to(device)
    if t is None:
        t = torch.randint(len(alpha_bar), (n,), device=device)
    if noise is None:
        noise = torch.randn(n, target.shape[-1], device=device)
    if drop is None:
        drop = torch.rand(n, device=device) < drop_rate
    rows = condition.repeat(copies, 1, 1)
    rows = torch.where(drop[:, None, None], model.fake_latent.to(rows.dtype), rows)
    return model.head.errors(target.repeat(copies, 1), rows, t, noise, alpha_bar).mean()


def losses(
    model: MotionGPT3,
    ids: torch.Tensor,
    real: torch.Tensor,
    codes: Sequence[torch.Tensor],
    target: torch.Tensor,
    *,
    labels: torch.Tensor | None = None,
    count_padding: bool = False,
    text_weight: float = 1.0,
    diffusion_weight: float = 0.5,
    t: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    drop: torch.Tensor | None = None,
    drop_rate: float = DROP,
    copies: int = COPIES,
) -> dict[str, torch.Tensor]:
    """All terms of one step of the language model's training.

    Args:
        ids: (B, T) token ids, padded on the right with the end token. real: (B, T) bool, False on padding.
        codes: for each row the codes (k, C) of its k input motions, in the order of their holders.
        target: (n, C) codes of the output motions of those rows that have output holders, in their order.
        labels: (B, T) as of `text_labels`, which derives them where None.
        count_padding: see `text_loss`.
        text_weight, diffusion_weight: of the total.
        t, noise, drop, drop_rate, copies: see `diffusion_loss`.
    Returns:
        "text", "diffusion" (0 where no row has output holders) and "total", scalars.
    """
    labels = text_labels(ids, model.tokenizer) if labels is None else labels
    hidden = hidden_mixed(model, ids, real, codes, pads=count_padding)
    text = text_loss(model, hidden, ids, real, labels, count_padding=count_padding)
    diffusion = torch.zeros_like(text)
    if len(target):
        condition = hidden[ids == model.tokenizer.holder_out].view(len(target), model.cfg.backbone.holders, -1)
        diffusion = diffusion_loss(model, condition, target, t=t, noise=noise, drop=drop, drop_rate=drop_rate,
                                   copies=copies)  # fmt: skip
    return {"text": text, "diffusion": diffusion, "total": text_weight * text + diffusion_weight * diffusion}
