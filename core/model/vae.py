"""Motion VAE: a whole clip <-> one continuous latent (MLD, Chen et al., CVPR 2023).

A U-shaped ("skip") transformer encoder reads the clip and two learned tokens, which become mean and log-variance; a
skip transformer decoder turns per-frame positions back into frames while looking at the latent.

With `linear_frames` > 0 (the compact model) a linear path carries most of the signal: joints of the clip resampled to
a fixed number of frames are projected on a basis (set from a PCA), and the transformers only correct it. Then bone
lengths are those of the canonical skeleton, exactly.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from core.model.config import VAEConfig
from core.model.kinematics import features_to_joints, heading_frame, propagate_bones, resample
from core.model.layers import CrossAttention, PositionTable, SelfAttention
from core.restpose import LENGTHS, rest_joints
from core.skeleton import MIRROR

RESIDUAL = 0.05
"""Metres a unit of the residual decoder's output: corrections are centimetres, and so should its steps be."""


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, ff: int, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.self_attn = SelfAttention(width, heads)
        self.linear1 = nn.Linear(width, ff)
        self.linear2 = nn.Linear(ff, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear2(F.gelu(self.linear1(x)))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:  # (B, T, D)
        if self.norm_first:
            x = x + self.self_attn(self.norm1(x), mask)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.self_attn(x, mask))
        return self.norm2(x + self.mlp(x))


class DecoderLayer(EncoderLayer):
    def __init__(self, width: int, heads: int, ff: int, norm_first: bool) -> None:
        super().__init__(width, heads, ff, norm_first)
        self.multihead_attn = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width)

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, mask: torch.Tensor | None, memory: torch.Tensor
    ) -> torch.Tensor:  # x (B, T, D), memory (B, D)
        seen = self.multihead_attn.constant(memory)
        if self.norm_first:
            x = x + self.self_attn(self.norm1(x), mask)
            x = x + seen  # the norm before a one-token cross-attention would change nothing
            return x + self.mlp(self.norm3(x))
        x = self.norm1(x + self.self_attn(x, mask))
        x = self.norm2(x + seen)
        return self.norm3(x + self.mlp(x))


class SkipTransformer(nn.Module):
    """Input blocks, a middle block, output blocks; each output block first merges an input block's result."""

    def __init__(self, layer: type[EncoderLayer], cfg: VAEConfig) -> None:
        super().__init__()
        if cfg.layers % 2 == 0:
            raise ValueError("a skip transformer needs an odd number of layers")
        n = cfg.layers // 2
        make = lambda: layer(cfg.width, cfg.heads, cfg.ff, cfg.norm_first)  # noqa: E731 - three uses, one line
        self.input_blocks = nn.ModuleList(make() for _ in range(n))
        self.middle_block = make()
        self.output_blocks = nn.ModuleList(make() for _ in range(n))
        self.linear_blocks = nn.ModuleList(nn.Linear(2 * cfg.width, cfg.width) for _ in range(n))
        self.norm = nn.LayerNorm(cfg.width)

    def forward(self, x: torch.Tensor, *context: torch.Tensor | None) -> torch.Tensor:  # (B, T, D)
        stack = []
        for block in self.input_blocks:
            x = block(x, *context)
            stack.append(x)
        x = self.middle_block(x, *context)
        for merge, block in zip(self.linear_blocks, self.output_blocks, strict=True):
            x = block(merge(torch.cat([x, stack.pop()], -1)), *context)
        return self.norm(x)


class LinearPath(nn.Module):
    """The best linear code of a clip: joints at `frames` evenly spaced times, projected on `basis`.

    `basis` and `centre` are set from a PCA by training; `scale` makes every code channel unit variance.
    """

    def __init__(self, frames: int, channels: int) -> None:
        super().__init__()
        self.frames = frames
        # Until a PCA sets them: someone who stands in the rest pose, and small random directions.
        self.basis = nn.Parameter(torch.empty(channels, frames * 66).normal_(std=0.01))
        self.centre = nn.Parameter(torch.from_numpy(rest_joints()).flatten().repeat(frames))
        self.scale = nn.Parameter(torch.ones(channels))

    def encode(self, joints: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:  # (B, T, 22, 3) -> (B, C)
        x = resample(joints, lengths, self.frames).flatten(1)
        return (x - self.centre) @ self.basis.T / self.scale

    def decode(self, z: torch.Tensor, lengths: torch.Tensor, T: int) -> torch.Tensor:  # (B, C) -> (B, T, 22, 3)
        x = ((z * self.scale) @ self.basis + self.centre).view(len(z), self.frames, 22, 3)
        times = torch.full_like(lengths, self.frames)
        frames = torch.arange(T, device=z.device)[None].clamp(max=lengths[:, None] - 1)
        at = frames * ((times - 1) / (lengths - 1).clamp(min=1))[:, None]
        return resample(x, times, at=at)


class MotionVAE(nn.Module):
    """Encode and decode motion.

    Features are (B, T, 263) HumanML3D features, z-normalised with this model's own `mean` and `std`; frames from a
    sample's length on are padding. Latents are (B, C), unscaled (the language model sees `latent_scale * z`).
    """

    mean: torch.Tensor
    std: torch.Tensor
    bones: torch.Tensor
    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        self.cfg = cfg
        D = cfg.width
        self.register_buffer("mean", torch.zeros(cfg.features))
        self.register_buffer("std", torch.ones(cfg.features))
        self.global_motion_token = nn.Parameter(torch.empty(2, D).normal_())
        self.skel_embedding = nn.Linear(cfg.features * cfg.patch, D)
        self.query_pos_encoder = PositionTable(cfg.max_frames // cfg.patch + 2 * (cfg.patch > 1), D)
        self.query_pos_decoder = PositionTable(cfg.max_frames // cfg.patch, D)
        self.encoder = SkipTransformer(EncoderLayer, cfg)
        self.decoder = SkipTransformer(DecoderLayer, cfg)
        self.linear: LinearPath | None = None
        if cfg.linear_frames:
            C = cfg.channels
            self.linear = LinearPath(cfg.linear_frames, C)
            lengths = (LENGTHS + LENGTHS[list(MIRROR)]) / 2  # the same left and right: a mirrored clip keeps them
            self.register_buffer("bones", torch.from_numpy(lengths).float())  # metres
            # The language model sees standardised latents: one scale a channel, not one for all.
            self.register_buffer("latent_mean", torch.zeros(C))
            self.register_buffer("latent_std", torch.ones(C))
            self.posterior = nn.Linear(D, C)  # both rows of the encoder -> correction and log-variance
            self.log_variance = nn.Linear(D, C)
            self.pose_embedding = nn.Linear(66 * 2 * cfg.patch, D)
            self.code_correction = nn.Linear(C, C)
            if C != D:
                self.memory = nn.Linear(C, D)  # the latent as the decoder's blocks look at it
            self.final_layer = nn.Linear(D, 66 * cfg.patch)
            for zero in (self.posterior, self.log_variance, self.code_correction, self.final_layer):
                nn.init.zeros_(zero.weight)
                nn.init.zeros_(zero.bias)
            nn.init.constant_(self.log_variance.bias, -5.0)
        else:
            self.final_layer = nn.Linear(D, cfg.features)

    # -- encode ------------------------------------------------------------------------------------------------------

    def encode(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised features (B, T, F) and lengths (B,) -> mean and log-variance of the latent, each (B, C)."""
        cfg, B = self.cfg, len(features)
        x = self._patches(features, lengths)
        x = torch.cat([self.global_motion_token.expand(B, -1, -1), self.skel_embedding(x)], 1)
        x = x + self.query_pos_encoder(x.shape[1])
        keys = torch.arange(x.shape[1], device=x.device)[None] < (2 + -(-lengths // cfg.patch))[:, None]
        x = self.encoder(x, keys[:, None, None])
        if self.linear is None:
            return x[:, 0], x[:, 1]
        with torch.autocast(x.device.type, enabled=False):  # metres need more than eight bits
            joints = features_to_joints(features.float() * self.std + self.mean)
            z = self.linear.encode(joints, lengths)
        return z + self._in_metres(self.posterior(x[:, 0])), self.log_variance(x[:, 1]).float().clamp(-16, 4)

    def sample(self, mean: torch.Tensor, log_variance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return mean + (0.5 * log_variance).exp() * noise

    # -- decode ------------------------------------------------------------------------------------------------------

    def decode(self, z: torch.Tensor, lengths: torch.Tensor, frames: int | None = None) -> torch.Tensor:
        """Latents (B, C) and lengths (B,) -> normalised features (B, T, F). Not for models with a linear path."""
        T = frames or int(lengths.max())
        x = self.query_pos_decoder(T).expand(len(z), -1, -1)
        alive = torch.arange(T, device=z.device)[None] < lengths[:, None]
        full = bool(alive.all())  # no padding: attention needs no mask
        x = self.decoder(x, None if full else alive[:, None, None], z)
        return self.final_layer(x) * alive[..., None]

    def decode_joints(self, z: torch.Tensor, lengths: torch.Tensor, frames: int | None = None) -> torch.Tensor:
        """Latents (B, C) and lengths (B,) -> joints (B, T, 22, 3), metres, Y up; padding frames are undefined.

        T is the longest length, or `frames` where the caller wants a fixed shape."""
        if self.linear is None:
            return features_to_joints(self.decode(z, lengths).float() * self.std + self.mean)
        z = z + self._in_metres(self.code_correction(z))
        with torch.autocast(z.device.type, enabled=False):  # metres need more than eight bits
            joints = self.linear.decode(z, lengths, frames or int(lengths.max()))  # (B, T, 22, 3)
            rotation, origin = heading_frame(joints)  # body to world (B, T, 3, 3), (B, T, 1, 3)
            local = (joints - origin) @ rotation
            moved = torch.zeros_like(local)
            moved[:, 1:] = (joints[:, 1:] - joints[:, :-1]) @ rotation[:, 1:]
        x = torch.cat([local.flatten(2), moved.flatten(2) * 10.0], -1)  # 10: velocities of the size of positions
        x = self.pose_embedding(self._patches(x, lengths))
        x = x + self.query_pos_decoder(x.shape[1])
        keys = torch.arange(x.shape[1], device=x.device)[None] < (-(-lengths // self.cfg.patch))[:, None]
        memory = z if self.cfg.channels == self.cfg.width else self.memory(z)
        x = self.final_layer(self.decoder(x, keys[:, None, None], memory))
        residual = RESIDUAL * x.reshape(len(z), -1, 22, 3)[:, : joints.shape[1]].float()
        with torch.autocast(z.device.type, enabled=False):
            return propagate_bones(joints + residual @ rotation.transpose(-2, -1), self.bones)

    def _in_metres(self, correction: torch.Tensor) -> torch.Tensor:
        """A correction of the code: a unit is 0.2 m along the basis in every channel, else the first channels, which
        move the whole body by metres, would drown the others."""
        assert self.linear is not None
        return correction.float() * 0.2 / self.linear.scale

    def _patches(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, F) -> (B, ceil(T / patch), patch * F), padding frames set to zero."""
        B, T, F_ = x.shape
        p = self.cfg.patch
        x = x * (torch.arange(T, device=x.device)[None] < lengths[:, None])[..., None]
        if p == 1:
            return x
        return F.pad(x, (0, 0, 0, -T % p)).view(B, -1, p * F_)

    # -- what the language model sees --------------------------------------------------------------------------------

    def to_code(self, z: torch.Tensor) -> torch.Tensor:
        if self.linear is None:
            return z * self.cfg.latent_scale
        return (z - self.latent_mean) / self.latent_std * self.cfg.latent_scale

    def from_code(self, code: torch.Tensor) -> torch.Tensor:
        if self.linear is None:
            return code / self.cfg.latent_scale
        return code / self.cfg.latent_scale * self.latent_std + self.latent_mean
