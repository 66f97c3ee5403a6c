"""The text branch: from GPT-2, and frozen but for the two rows text never had."""

from __future__ import annotations

import pytest
import torch

from core.errors import CoreError
from core.model.config import tiny
from core.model.motiongpt3 import MotionGPT3
from core.prompts import EOS, Tokenizer
from core.train.loop import Loop
from core.train.textbranch import freeze_text, from_gpt2, gpt2_folder, text_names

WORDS = 300


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A GPT-2 of a few thousand weights in transformers' own form, with its tokenizer."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gpt2")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([f"a person {w}" for w in ("walks forward", "waves", "kicks the ball", "sits down")] * 9,
                            vocab_size=WORDS, special_tokens=[EOS], show_progress=False)  # fmt: skip
    bpe.save_model(str(folder))
    torch.manual_seed(0)
    sizes = GPT2Config(vocab_size=bpe.get_vocab_size(), n_positions=256, n_embd=32, n_layer=2, n_head=2, n_inner=48)
    made = GPT2LMHeadModel(sizes)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))  # norms and biases that are not 1 and 0
    made.save_pretrained(folder)
    return folder


def text_logits(model: MotionGPT3, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.backbone.logits(model.eval().hidden(ids))


def test_gpt2_becomes_the_text_branch(gpt2):
    from transformers import GPT2LMHeadModel

    torch.manual_seed(1)
    model = MotionGPT3(tiny(), Tokenizer(gpt2_folder(gpt2)))
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    from_gpt2(model, gpt2)
    theirs = GPT2LMHeadModel.from_pretrained(gpt2).eval()
    ids = torch.tensor([model.tokenizer.encode("a person walks forward and waves")])
    with torch.no_grad():
        expected = theirs(ids).logits
    som = model.tokenizer.som
    assert som == theirs.config.vocab_size
    assert torch.allclose(text_logits(model, ids)[..., :som], expected, atol=1e-4, rtol=1e-4)
    text = set(text_names(model))
    assert len(text) == 2 + 2 * 12 + 2  # two tables, twelve tensors a layer, the last norm
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name not in text), name
    table = model.backbone.wte.weight
    assert torch.allclose(table[som:], table[:som].mean(0).expand(2, -1), atol=1e-3)
    assert not torch.equal(table[som], table[som + 1])


def test_a_gpt2_that_does_not_fit_is_named(gpt2, tmp_path):
    cfg = tiny()
    cfg.backbone.layers, cfg.backbone.ff = 3, 64
    model = MotionGPT3(cfg, Tokenizer(gpt2))
    with pytest.raises(CoreError, match="layers 3 here, 2 there; ff 64 here, 48 there"):
        from_gpt2(model, gpt2)
    with pytest.raises(CoreError, match="cannot be read"):
        from_gpt2(model, tmp_path)
    with pytest.raises(CoreError, match=r"vocab\.json"):
        gpt2_folder(tmp_path)


def test_a_gpt2_that_was_never_fetched_is_not_fetched_unasked():
    with pytest.raises(CoreError, match="not on this computer"):
        gpt2_folder("someone/no-such-gpt2")


@pytest.fixture
def model(gpt2):
    torch.manual_seed(0)
    return MotionGPT3(tiny(), Tokenizer(gpt2))


def test_a_frozen_text_branch_is_the_same_bit_for_bit(model, tmp_path):
    tk = model.tokenizer
    ids = torch.tensor([tk.encode("a person walks \n <start_of_motion>") + [tk.holder_out] * 4 + [tk.eom, tk.eos]])

    def step_fn(_: int) -> tuple[torch.Tensor, dict[str, float]]:
        hidden = model.hidden(ids)
        text = model.backbone.logits(hidden[:, :6])
        return hidden.square().mean() + text.logsumexp(-1).mean(), {}

    def steps(folder, n):
        Loop(model, folder, n, step_fn, dict, lr=1e-2, matrix_lr=1e-2, warm_up=1).run()

    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    freeze_text(model)
    freeze_text(model)  # twice is once
    steps(tmp_path / "frozen", 8)
    new = [tk.som, tk.eom]
    old = [i for i in range(tk.text_vocab) if i not in new]
    table = model.backbone.wte.weight
    assert torch.equal(table[old], before["backbone.wte.weight"][old])
    assert not torch.equal(table[new], before["backbone.wte.weight"][new])
    for name in set(text_names(model)) - {"backbone.wte.weight"}:
        assert torch.equal(model.get_parameter(name), before[name]), name
    assert not torch.equal(model.backbone.h[0].mlp.fn[1].c_fc.weight, before["backbone.h.0.mlp.fn.1.c_fc.weight"])
    model.requires_grad_(True)  # the third stage
    steps(tmp_path / "thawed", 2)
    assert not torch.equal(table[old], before["backbone.wte.weight"][old])
