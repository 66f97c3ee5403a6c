"""The official layout computes what it computed when it was equal to the official code (tests/official_golden.py)."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from official_golden import FILE, compute, model, prompts  # noqa: E402 - after the check that torch is there

BOUNDS = {"gradient_norms": 1e-3, "features": 1e-5, "tokens": 0.0}
BOUND = 2e-5


@pytest.fixture(scope="module")
def computed() -> dict[str, np.ndarray]:
    return compute()


@pytest.mark.parametrize(
    "name",
    ["mean", "log_variance", "decoded", "hidden", "hidden_last1", "condition", "code", "tokens", "losses",
     "gradient_norms", "features"],
)  # fmt: skip
def test_golden_values(name: str, computed: dict[str, np.ndarray]) -> None:
    with np.load(FILE) as golden:
        assert set(golden.files) == set(computed)
        expected = golden[name]
    assert computed[name].shape == expected.shape
    assert np.abs(computed[name] - expected).max() <= BOUNDS.get(name, BOUND) * max(np.abs(expected).max(), 1e-9)
    assert np.ptp(expected) > 0


def test_two_input_motions_are_interleaved_as_trained() -> None:
    """First quarters of both motions, second quarters of both, ...: the released weights were trained so."""
    m = model()
    into = m.tokenizer.holder_in
    ids = torch.tensor([[5, *[into] * 4, 6, *[into] * 4, 7]])
    codes = torch.randn(1, 2, m.cfg.vae.width, generator=torch.Generator().manual_seed(0))
    rows = m.und_head(codes).view(2, 4, -1)
    placed = m.embed(ids, codes)[ids == into]
    for k in range(8):
        assert torch.allclose(placed[k], rows[k % 2, k // 2])


def test_padding_and_company_change_nothing() -> None:
    """A prompt alone, without its padding, has the hidden states that it has in a batch."""
    m, ids = model(), prompts()
    codes = torch.randn(2, 1, m.cfg.vae.width, generator=torch.Generator().manual_seed(0))
    together = m.hidden(ids, codes, pad=-1)
    for i, row in enumerate(ids):
        length = int((row >= 0).sum())
        alone = m.hidden(row[None, :length], codes[i : i + 1])
        assert torch.allclose(together[i : i + 1, :length], alone, atol=1e-5)
        assert not together[i, length:].any()
