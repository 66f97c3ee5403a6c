"""Motion VQ-VAE: a clip <-> a sentence of codes, one for every four frames (the ablations' discrete tokenizer).

Ideas: VQ-VAE (van den Oord et al., NeurIPS 2017) with a codebook that follows the encoder by a moving average and
takes up dead codes again (as in T2M-GPT, Zhang et al., CVPR 2023). Patches of four frames take the place of strided
convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from core.model.kinematics import features_to_joints


@dataclass
class VQConfig:
    """Sizes of a VQ-VAE."""

    features: int = 263
    codes: int = 512
    channels: int = 64  # of a code; few, so that codes are met (Yu et al., ICLR 2022)
    width: int = 256
    blocks: int = 3  # residual convolutions over patches, dilated 1, 3, 9
    patch: int = 4  # frames a code
    decay: float = 0.99  # of the codebook's moving averages
    least: float = 0.5  # a code met less often than this in a step (moving average) is dead


class Residual(nn.Module):
    """Two convolutions over time, the first dilated. (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, width)
        self.dilation = dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d, T = self.dilation, x.shape[1]
        padded = F.pad(self.norm(x), (0, 0, d, d))  # a convolution as one matrix product: faster on a CPU
        near = torch.cat([padded[:, :T], padded[:, d : d + T], padded[:, 2 * d :]], -1)
        return x + self.out(F.gelu(self.wide(near)))


class Codebook(nn.Module):
    """Nearest code of a vector; the codes follow the vectors that chose them."""

    vectors: torch.Tensor
    counts: torch.Tensor
    sums: torch.Tensor

    def __init__(self, cfg: VQConfig) -> None:
        super().__init__()
        self.decay, self.least = cfg.decay, cfg.least
        self.register_buffer("vectors", torch.randn(cfg.codes, cfg.channels))
        self.register_buffer("counts", torch.zeros(cfg.codes))
        self.register_buffer("sums", torch.zeros(cfg.codes, cfg.channels))

    def nearest(self, x: torch.Tensor) -> torch.Tensor:  # (N, C) -> (N,)
        return (self.vectors.square().sum(1) - 2 * x @ self.vectors.T).argmin(1)

    @torch.no_grad()
    def follow(self, x: torch.Tensor, chosen: torch.Tensor) -> None:
        """Move the codes towards the vectors (N, C) that chose them; dead codes start again at random vectors."""
        if not self.counts.any():  # the first batch: codes are real vectors
            self.vectors.copy_(x[torch.randint(len(x), (len(self.vectors),))])
            chosen = self.nearest(x)
            self.counts.fill_(1.0)
            self.sums.copy_(self.vectors)
        once = F.one_hot(chosen, len(self.vectors)).to(x.dtype)
        self.counts.lerp_(once.sum(0), 1 - self.decay)
        self.sums.lerp_(once.T @ x, 1 - self.decay)
        dead = self.counts < self.least
        if dead.any():
            fresh = x[torch.randint(len(x), (int(dead.sum()),))]
            self.sums[dead], self.counts[dead] = fresh, 1.0
        self.vectors.copy_(self.sums / self.counts[:, None])


class MotionVQ(nn.Module):
    """Encode and decode motion.

    Features are (B, T, 263), z-normalised with this model's own `mean` and `std`; T a multiple of the patch.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, cfg: VQConfig) -> None:
        super().__init__()
        self.cfg = cfg
        W, n = cfg.width, cfg.features * cfg.patch
        self.register_buffer("mean", torch.zeros(cfg.features))
        self.register_buffer("std", torch.ones(cfg.features))
        dilations = [3**i for i in range(cfg.blocks)]
        self.encoder = nn.Sequential(
            nn.Linear(n, W), *(Residual(W, d) for d in dilations[::-1]), nn.LayerNorm(W), nn.Linear(W, cfg.channels)
        )
        self.book = Codebook(cfg)
        self.decoder = nn.Sequential(
            nn.Linear(cfg.channels, W), *(Residual(W, d) for d in dilations), nn.LayerNorm(W), nn.Linear(W, n)
        )

    def vectors(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, F) normalised -> (B, T / patch, C)
        return self.encoder(x.reshape(len(x), -1, self.cfg.patch * x.shape[-1]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Training: normalised features (B, T, F) -> decoded features (B, T, F), squared distance of vectors to their
        codes (mean), chosen codes (B, T / patch)."""
        z = self.vectors(x).float()
        flat = z.reshape(-1, z.shape[-1])
        with torch.autocast(x.device.type, enabled=False):  # neighbours are told apart by more than eight bits
            chosen = self.book.nearest(flat.detach())
            if self.training:
                self.book.follow(flat.detach(), chosen)
        q = self.book.vectors[chosen].view_as(z)
        commitment = F.mse_loss(z, q)
        q = z + (q - z).detach()  # the gradient goes past the choice (straight through)
        return self.decoder(q).reshape(x.shape), commitment, chosen.view(z.shape[:-1])

    @torch.no_grad()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, T, F), not normalised -> codes (B, T / patch), long."""
        z = self.vectors((features - self.mean) / self.std).float()
        return self.book.nearest(z.reshape(-1, z.shape[-1])).view(z.shape[:-1])

    @torch.no_grad()
    def decode_joints(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, N) -> joints (B, N * patch, 22, 3), metres, Y up, from the origin facing +Z."""
        x = self.decoder(self.book.vectors[codes]).float()
        x = x.reshape(*codes.shape[:-1], codes.shape[-1] * self.cfg.patch, -1)
        return features_to_joints(x * self.std + self.mean)
