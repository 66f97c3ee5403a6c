"""The official training losses: what counts and what does not, and batches that mix tasks."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
from official_golden import FIRST, model  # noqa: E402 - after the check that torch is there

from core.train.official import (  # noqa: E402
    IGNORED,
    diffusion_loss,
    encode_segments,
    losses,
    motion_segments,
    text_labels,
)

SOM, EOM, MASKED, _, OUT, IN = range(FIRST, FIRST + 6)
EOS = FIRST - 1
T2M = [7, 8, 9, 220, SOM, *[OUT] * 4, EOM, EOS]
M2T = [SOM, *[IN] * 4, EOM, 220, 31, 32, EOS]
INBETWEEN = [50, SOM, *[IN] * 4, EOM, *[MASKED] * 4, SOM, *[IN] * 4, EOM, 220, SOM, *[OUT] * 4, EOM, EOS]
T2T = [60, 61, 220, 62, EOS]


@pytest.fixture(scope="module")
def m():
    return model()


def batch(rows: list[list[int]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([row + [EOS] * (width - len(row)) for row in rows])
    return ids, torch.tensor([[k < len(row) for k in range(width)] for row in rows])


def codes_for(m, *counts: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(5)
    return [torch.randn(k, m.cfg.vae.width, generator=g) for k in counts]


def fixed(m, n: int) -> dict[str, torch.Tensor]:
    """Noise levels, noise and drops of n tiled rows."""
    g = torch.Generator().manual_seed(6)
    noise = torch.randn(n, m.cfg.vae.width, generator=g)
    return {"t": torch.randint(1000, (n,), generator=g), "noise": noise, "drop": torch.arange(n) % 3 == 0}


def test_padding_counts_only_when_asked_for(m) -> None:
    rows, codes, target = (
        [T2M, M2T, INBETWEEN, T2T],
        codes_for(m, 0, 1, 2, 0),
        torch.stack(codes_for(m, 1, 1)).flatten(0, 1),
    )
    narrow, wide = batch(rows, 40), batch(rows, 70)
    chance = fixed(m, 8)
    ours = [losses(m, *b, codes, target, **chance) for b in (narrow, wide)]
    assert abs(float(ours[0]["text"] - ours[1]["text"])) < 1e-5
    assert abs(float(ours[0]["diffusion"] - ours[1]["diffusion"])) < 1e-5
    official = [losses(m, *b, codes, target, count_padding=True, **chance) for b in (narrow, wide)]
    assert abs(float(official[0]["text"] - official[1]["text"])) > 1e-3
    assert abs(float(official[0]["diffusion"] - ours[0]["diffusion"])) < 1e-5
    weighted = losses(m, *narrow, codes, target, text_weight=0.0, diffusion_weight=3.0, **chance)
    assert float(weighted["total"]) == pytest.approx(3 * float(ours[0]["diffusion"]), rel=1e-5)


def test_a_text_token_after_a_motion_token_is_an_even_guess(m) -> None:
    """The official loss counts the <start_of_motion> after the masked tokens, at which it knows nothing; ours not."""
    ids, real = batch([[MASKED, SOM]], 2)
    official = losses(m, ids, real, codes_for(m, 0), torch.zeros(0, m.cfg.vae.width), count_padding=True)
    assert float(official["text"]) == pytest.approx(math.log(m.cfg.backbone.text_vocab), rel=1e-6)
    assert float(losses(m, ids, real, codes_for(m, 0), torch.zeros(0, m.cfg.vae.width))["text"]) == 0


def test_the_text_loss_is_the_mean_over_what_is_written(m) -> None:
    ids, real = batch([T2T], len(T2T))
    hidden = m.hidden(ids)
    expected = -m.backbone.logits(hidden[0, :-1]).log_softmax(-1)[range(len(T2T) - 1), T2T[1:]].mean()
    assert float(losses(m, ids, real, codes_for(m, 0), torch.zeros(0, m.cfg.vae.width))["text"]) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_labels(m) -> None:
    ids, _ = batch([INBETWEEN], 32)
    labels = text_labels(ids, m.tokenizer)[0].tolist()
    for token, label in zip(ids[0].tolist(), labels, strict=True):
        assert label == {EOM: IGNORED, IN: IGNORED, OUT: IGNORED, MASKED: 0}.get(token, token)


def test_rows_are_tiled_and_dropped(m) -> None:
    """Row i of copy c uses noise level c * n + i; a dropped row has the unconditional condition."""
    g = torch.Generator().manual_seed(1)
    condition, target = torch.randn(3, 4, 48, generator=g), torch.randn(3, 32, generator=g)
    chance = fixed(m, 6)
    every = diffusion_loss(m, condition, target, copies=2, **chance)
    single = [
        diffusion_loss(
            m,
            condition[k % 3 :][:1],
            target[k % 3 :][:1],
            copies=1,
            **{name: v[k : k + 1] for name, v in chance.items()},
        )
        for k in range(6)
    ]
    assert float(every) == pytest.approx(float(torch.stack(single).mean()), rel=1e-5)
    nobody = torch.zeros(6, dtype=torch.bool)
    dropped = diffusion_loss(m, condition, target, copies=2, **(chance | {"drop": ~nobody}))
    same = diffusion_loss(m, m.fake_latent.expand(3, -1, -1), target, copies=2, **(chance | {"drop": nobody}))
    assert float(dropped) == pytest.approx(float(same), rel=1e-6)


def test_what_is_not_given_is_drawn(m) -> None:
    ids, real = batch([T2M, M2T], 16)
    codes, target = codes_for(m, 0, 1), codes_for(m, 1)[0]
    torch.manual_seed(0)
    first, second = (float(losses(m, ids, real, codes, target)["diffusion"]) for _ in range(2))
    assert first != second
    assert all(0.3 < v < 3 for v in (first, second))
    nothing = losses(m, *batch([M2T, T2T], 16), codes_for(m, 1, 0), target[:0])
    assert float(nothing["diffusion"]) == 0


def test_every_task_trains_its_own_part(m) -> None:
    """A caption trains the understanding head, a motion the diffusion head; the VAE stays as it is."""
    trained = model().requires_grad_(True)
    trained.vae.requires_grad_(False)
    ids, real = batch([M2T], 16)
    losses(trained, ids, real, codes_for(m, 1), torch.zeros(0, 32))["total"].backward()
    assert float(trained.und_head.weight.grad.norm()) > 0
    assert trained.head.input_proj.weight.grad is None
    ids, real = batch([T2M], 16)
    losses(trained, ids, real, codes_for(m, 0), codes_for(m, 1)[0], **fixed(m, 4))["total"].backward()
    assert float(trained.head.input_proj.weight.grad.norm()) > 0
    assert float(trained.fake_latent.grad.norm()) > 0
    assert all(p.grad is None for p in trained.vae.parameters())


def test_segments(m) -> None:
    assert motion_segments(72, 1) == [(0, 72)]
    assert motion_segments(72, 2) == [(0, 14), (14, 72)]
    assert motion_segments(72, 3) == [(0, 18), (54, 72), (0, 72)]
    assert motion_segments(72, 3, inbetween_ratio=0.1) == [(0, 7), (64, 72), (0, 72)]
    with pytest.raises(ValueError, match="4"):
        motion_segments(72, 4)
    g = torch.Generator().manual_seed(2)
    clip, eps = torch.randn(50, 263, generator=g), torch.randn(3, 32, generator=g)
    together = encode_segments(m.vae, clip, motion_segments(50, 3), eps)
    for code, (start, end), e in zip(together, motion_segments(50, 3), eps, strict=True):
        alone = encode_segments(m.vae, clip[start:end], [(0, end - start)], e[None])[0]
        assert torch.allclose(code, alone, atol=1e-5)
