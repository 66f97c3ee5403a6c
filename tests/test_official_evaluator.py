"""Guo et al.'s evaluator: read from made files of the official names, against the same networks in plain torch."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from core.errors import CoreError
from core.evaluate.official_evaluator import TAGS, load_official_evaluator, load_words

WORDS, TEXT, MOVE, MOTION, OUT, FEATURES = 12, 20, 18, 24, 16, 263


def weights(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """The three state dicts, small, with the official names: 19, 6 and 17 tensors."""
    torch.manual_seed(seed)

    def reader(inputs: int, hidden: int) -> dict[str, torch.Tensor]:
        state = {f"gru.{k}": v for k, v in nn.GRU(hidden, hidden, bidirectional=True).state_dict().items()}
        shapes = {"input_emb": (hidden, inputs), "output_net.0": (hidden, 2 * hidden), "output_net.3": (OUT, hidden)}
        for name, shape in shapes.items():
            state |= {f"{name}.weight": torch.randn(shape) / 4, f"{name}.bias": torch.randn(shape[0])}
        state |= {"output_net.1.weight": torch.rand(hidden), "output_net.1.bias": torch.randn(hidden)}
        return state | {"hidden": torch.randn(2, 1, hidden)}

    text = reader(WORDS, TEXT) | {"pos_emb.weight": torch.randn(WORDS, 15), "pos_emb.bias": torch.randn(WORDS)}
    move = {
        "main.0.weight": torch.randn(MOVE, FEATURES - 4, 4) / 20, "main.0.bias": torch.randn(MOVE),
        "main.3.weight": torch.randn(OUT, MOVE, 4) / 4, "main.3.bias": torch.randn(OUT),
        "out_net.weight": torch.randn(OUT, OUT), "out_net.bias": torch.randn(OUT),
    }  # fmt: skip
    return {"text_encoder": text, "movement_encoder": move, "motion_encoder": reader(OUT, MOTION)}


def read_one(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """One sequence (T, inputs) through the recurrent network, a direction at a time."""
    hidden = state["hidden"].shape[-1]
    x = F.linear(x, state["input_emb.weight"], state["input_emb.bias"])
    last = []
    for way, suffix in enumerate(("", "_reverse")):
        cell = nn.GRUCell(hidden, hidden)
        cell.load_state_dict({k: state[f"gru.{k}_l0{suffix}"] for k in cell.state_dict()})
        h = state["hidden"][way]
        for row in x.flip(0) if way else x:
            h = cell(row[None], h)
        last.append(h)
    y = F.linear(torch.cat(last, -1), state["output_net.0.weight"], state["output_net.0.bias"])
    y = F.layer_norm(y, y.shape[1:], state["output_net.1.weight"], state["output_net.1.bias"])
    return F.linear(F.leaky_relu(y, 0.2), state["output_net.3.weight"], state["output_net.3.bias"])[0]


def move_one(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:  # (T, 259) -> (T // 4, OUT)
    x = x.T[None]
    for layer in ("main.0", "main.3"):
        x = F.leaky_relu(F.conv1d(x, state[f"{layer}.weight"], state[f"{layer}.bias"], 2, 1), 0.2)
    return F.linear(x[0].T, state["out_net.weight"], state["out_net.bias"])


def as_checkpoint(parts: dict[str, dict[str, torch.Tensor]], which: str = "TM2TMetrics") -> dict:
    names = {"text_encoder": "textencoder", "movement_encoder": "moveencoder", "motion_encoder": "motionencoder"}
    state = {f"metrics.{which}.t2m_{names[p]}.{k}": v for p, part in parts.items() for k, v in part.items()}
    return {"epoch": 3, "state_dict": state | {"metrics.TM2TMetrics.count": torch.tensor(4), "vae.x": torch.zeros(2)}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluator")
    parts = weights()
    torch.save(
        {**parts, "epoch": 7, "opt_text": {"state": {}}}, folder / "finest.tar", _use_new_zipfile_serialization=False
    )
    both = as_checkpoint(parts)
    both["state_dict"] |= as_checkpoint(weights(1), "MMMetrics")["state_dict"]
    torch.save(both, folder / "motiongpt3.ckpt")
    return folder, parts


@pytest.mark.parametrize("name", ["finest.tar", "motiongpt3.ckpt"])
@torch.no_grad()
def test_both_files_give_what_plain_torch_gives(files, name):
    folder, parts = files
    evaluator = load_official_evaluator(folder / name)
    rng = torch.Generator().manual_seed(5)
    words, tags = torch.randn(3, 9, WORDS, generator=rng), torch.rand(3, 9, 15, generator=rng)
    lengths = torch.tensor([4, 9, 7])
    got = evaluator.embed_text(words, tags, lengths)
    text = parts["text_encoder"]
    for i, n in enumerate(lengths):
        row = words[i, :n] + F.linear(tags[i, :n], text["pos_emb.weight"], text["pos_emb.bias"])
        assert torch.allclose(got[i], read_one(text, row), atol=1e-5)

    features, frames = torch.randn(3, 42, FEATURES, generator=rng), torch.tensor([42, 21, 9])
    packed = evaluator.embed_motion(features, frames)
    whole = evaluator.embed_motion(features, frames, pack=False)
    for i, n in enumerate(frames):
        steps = move_one(parts["movement_encoder"], features[i, :, :-4])
        assert torch.allclose(packed[i], read_one(parts["motion_encoder"], steps[: n // 4]), atol=1e-5)
        assert torch.allclose(whole[i], read_one(parts["motion_encoder"], steps), atol=1e-5)
    assert torch.allclose(packed[0], whole[0], atol=1e-6)
    assert (packed[1] - whole[1]).abs().max() > 1e-3  # the padding was read


def test_the_checkpoint_s_other_copy(files):
    folder, parts = files
    other = load_official_evaluator(folder / "motiongpt3.ckpt", use="MMMetrics").state_dict()
    wanted = weights(1)
    assert all(torch.equal(other[f"{p}.{k}"], v) for p, part in wanted.items() for k, v in part.items())
    assert not torch.equal(other["text_encoder.hidden"], parts["text_encoder"]["hidden"])


def test_its_own_statistics(files, tmp_path):
    folder, _ = files
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=FEATURES), rng.uniform(0.5, 2, FEATURES)
    np.save(tmp_path / "mean_eval.npy", mean)
    np.save(tmp_path / "std_eval.npy", std)
    plain, own = (
        load_official_evaluator(folder / "finest.tar"),
        load_official_evaluator(folder / "finest.tar", tmp_path),
    )
    x = torch.from_numpy(rng.normal(size=(1, 16, FEATURES))).float()
    there = (x - torch.from_numpy(mean).float()) / torch.from_numpy(std).float()
    n = torch.tensor([16])
    assert torch.allclose(own.embed_motion(x, n), plain.embed_motion(there, n), atol=1e-5)
    np.save(tmp_path / "std_eval.npy", std[:5])
    with pytest.raises(CoreError, match=r"std_eval\.npy"):
        load_official_evaluator(folder / "finest.tar", tmp_path)
    with pytest.raises(CoreError, match="has no mean_eval"):
        load_official_evaluator(folder / "finest.tar", folder)


@pytest.mark.parametrize(("break_it", "words"), [
    (lambda s: s["motion_encoder"].pop("gru.bias_hh_l0_reverse"), "gru.bias_hh_l0_reverse is missing"),
    (lambda s: s["text_encoder"].update(more=torch.zeros(1)), "more is unknown"),
    (lambda s: s["movement_encoder"].update({"main.3.bias": torch.zeros(3)}), r"main\.3\.bias is \(3,\)"),
    (lambda s: s["movement_encoder"].update({"main.0.weight": torch.zeros(3)}), r"main\.0\.weight is \(3,\)"),
    (lambda s: s["text_encoder"].pop("pos_emb.weight"), r"pos_emb\.weight is missing"),
])  # fmt: skip
def test_wrong_weights_are_named(tmp_path, break_it, words):
    state = weights()
    break_it(state)
    torch.save(state, tmp_path / "finest.tar")
    with pytest.raises(CoreError, match=words) as caught:
        load_official_evaluator(tmp_path / "finest.tar")
    assert caught.value.code == "evaluator_broken"


def test_a_checkpoint_without_one(tmp_path):
    torch.save({"state_dict": {"vae.x": torch.zeros(2)}}, tmp_path / "motiongpt3.ckpt")
    with pytest.raises(CoreError, match="holds no text-motion evaluator") as caught:
        load_official_evaluator(tmp_path / "motiongpt3.ckpt")
    assert caught.value.code == "evaluator_missing"
    with pytest.raises(CoreError) as caught:
        load_official_evaluator(tmp_path / "finest.tar")
    assert caught.value.code == "checkpoint_missing"


def test_features_of_another_size(files):
    evaluator = load_official_evaluator(files[0] / "finest.tar")
    with pytest.raises(CoreError, match="263"):
        evaluator.embed_motion(torch.zeros(1, 20, 251), torch.tensor([20]))


# -- words ---------------------------------------------------------------------------------------------------------


def make_glove(folder, words=("walk", "person", "red", "sos", "eos", "unk"), index=None):
    vectors = np.random.default_rng(2).normal(size=(len(words), WORDS)).astype(np.float32)
    np.save(folder / "our_vab_data.npy", vectors)
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(list(words)))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps(index or {w: i for i, w in enumerate(words)}))
    return vectors


def test_words_become_vectors_and_tags(tmp_path):
    vectors = make_glove(tmp_path)
    long = ["person/NOUN"] * 30
    words, tags, lengths = load_words(tmp_path).read([["person/NOUN", "walk/NOUN", "zigzag/NOUN", "red/SYM"], long])
    assert words.shape == (2, 22, WORDS)
    assert tags.shape == (2, 22, 15)
    assert lengths.tolist() == [6, 22]
    assert (tags.sum(-1) == 1).all()
    rows = {"walk": 0, "person": 1, "red": 2, "sos": 3, "eos": 4, "unk": 5}
    said = [
        ("sos", "OTHER"),
        ("person", "NOUN"),
        ("walk", "Act_VIP"),
        ("unk", "OTHER"),
        ("red", "OTHER"),
        ("eos", "OTHER"),
    ]
    for t, (word, tag) in enumerate([*said, ("unk", "OTHER")]):  # an unknown word loses its tag, padding is unknown
        assert np.array_equal(words[0, t], vectors[rows[word]])
        assert TAGS[int(tags[0, t].argmax())] == tag
    assert np.array_equal(words[1, 21], vectors[rows["eos"]])


def test_a_glove_folder_that_is_wrong(tmp_path):
    with pytest.raises(CoreError, match=r"has no our_vab_data\.npy"):
        load_words(tmp_path)
    make_glove(tmp_path, index={"walk": 99, "unk": 0})
    with pytest.raises(CoreError, match="do not belong together"):
        load_words(tmp_path)
    make_glove(tmp_path, words=("walk", "person"))  # nothing for the unknown
    with pytest.raises(CoreError, match="do not belong together"):
        load_words(tmp_path)
    (tmp_path / "our_vab_words.pkl").write_bytes(b"no pickle")
    with pytest.raises(CoreError, match=r"our_vab_words\.pkl"):
        load_words(tmp_path)


class Evil:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('run').write_text('x')",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_glove(tmp_path)
    (tmp_path / "our_vab_words.pkl").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(CoreError, match="eval") as caught:
        load_words(tmp_path)
    assert caught.value.code == "words_unsafe"
    assert not (tmp_path / "run").exists()
