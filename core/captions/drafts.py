"""Several sentences for each of many motions at once: the likeliest, and what it becomes where another word is taken.

No chance is in it: the likeliest sentence is written first; then the likeliest words that it could have gone on with
instead, over all its places, each begin another sentence, which goes on greedily. So the drafts of a motion do not
depend on which others it is described with, and a report is the same however the work is split up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from core import prompts
from core.model.backbone import Cache
from core.model.motiongpt3 import MotionGPT3
from core.model.writing import MAX_NEW_TOKENS, REPETITION_PENALTY

FORKS = 3
"""Other words that are tried at most at one place of a sentence."""
KEEP = 0.75
"""Share of the rows still being written under which the finished ones are put aside."""


@dataclass(frozen=True)
class Draft:
    """A sentence, and the mean logarithm of its words' probabilities."""

    text: str
    likely: float


OnToken = Callable[[int], None]


@torch.inference_mode()
def write_drafts(
    model: MotionGPT3, codes: torch.Tensor, more: int, on_token: OnToken | None = None
) -> list[list[Draft]]:
    """For each motion the greedy sentence, then `more` others, the likelier fork first; some may read the same.

    Args:
        codes: (B, C) of the motions.
        on_token: called before each word; may raise to stop.
    """
    writer = _Writer(model, on_token)
    cache, hidden = writer.read(codes)
    rows = torch.arange(len(codes))
    greedy, forks = writer.go_on(*_copied(cache, hidden, rows), [[] for _ in rows], FORKS if more else 0)
    out = [[Draft(*writer.told(g))] for g in greedy]
    starts: list[tuple[int, list[int]]] = []
    for i, found in enumerate(forks):
        found.sort(key=lambda f: (-f[0], f[1], f[2]))
        starts += [(i, [*greedy[i][0][:place], token]) for _, place, token in found[:more]]
    if starts:
        owners = torch.tensor([i for i, _ in starts])
        others, _ = writer.go_on(*_copied(cache, hidden, owners), [s for _, s in starts], 0)
        for (i, _), written in zip(starts, others, strict=True):
            out[i].append(Draft(*writer.told(written)))
    return out


_Row = tuple[list[int], float]
"""Tokens with the end token where there is one, and the sum of their log-probabilities."""


def _copied(cache: Cache, hidden: torch.Tensor, rows: torch.Tensor) -> tuple[Cache, torch.Tensor]:
    """The chosen rows of what was read."""
    rows = rows.to(hidden.device)
    out = Cache(cache.capacity)
    out.length = cache.length
    for layer in cache.layers:
        kept = []
        for stored in layer:
            new = stored.new_empty(len(rows), *stored.shape[1:])
            new[:, :, : cache.length] = stored[rows, :, : cache.length]  # the rest is room for what is to come
            kept.append(new)
        out.layers.append((kept[0], kept[1]))
    out.modality = None if cache.modality is None else cache.modality[rows]
    return out, hidden[rows]


class _Writer:
    def __init__(self, model: MotionGPT3, on_token: OnToken | None) -> None:
        self.model, self.on_token = model, on_token

    def read(self, codes: torch.Tensor) -> tuple[Cache, torch.Tensor]:
        """Read the prompt with each motion: the cache and the last token's states (B, D)."""
        model = self.model
        ids = model.prompt(prompts.motion_to_text()).expand(len(codes), -1)
        modality = model.tokenizer.modality(ids)
        cache = Cache(ids.shape[1] + MAX_NEW_TOKENS)
        last = torch.zeros_like(modality, dtype=torch.bool)
        last[:, -1] = True
        return cache, model.backbone(model.embed(ids, codes[:, None]), modality, cache, want=last)[:, -1]

    def told(self, row: _Row) -> tuple[str, float]:
        tokens, total = row
        tk = self.model.tokenizer
        return tk.decode([t for t in tokens if t != tk.eos]), total / max(len(tokens), 1)

    def go_on(
        self, cache: Cache, hidden: torch.Tensor, starts: list[list[int]], forks: int
    ) -> tuple[list[_Row], list[list[tuple[float, int, int]]]]:
        """Write greedily to the end after the words that are given.

        Args:
            starts: first tokens of each row, which may be none.
            forks: how many other words to look for at each place.
        Returns:
            The rows, and for each its forks: (log-probability up to and with the other word, place, the other word).
        """
        net, tk, N = self.model.backbone, self.model.tokenizer, len(starts)
        V = self.model.cfg.backbone.text_vocab
        tokens: list[list[int]] = [[] for _ in range(N)]
        total = [0.0] * N
        found: list[list[tuple[float, int, int]]] = [[] for _ in range(N)]
        row_of = list(range(N))  # which row of the answer each row of the batch is
        ended = [False] * N
        written = torch.zeros(N, V, dtype=torch.bool, device=hidden.device)
        for step in range(MAX_NEW_TOKENS):
            if self.on_token is not None:
                self.on_token(step)
            raw = net.logits(hidden).float()  # (n, V)
            scores = torch.where(written, torch.where(raw > 0, raw / REPETITION_PENALTY, raw * REPETITION_PENALTY), raw)
            scores[:, [tk.som, tk.eom]] = -torch.inf
            best = scores.topk(1 + forks).indices
            chosen = best[:, 0].tolist()
            for n, row in enumerate(row_of):
                if step < len(starts[row]):
                    chosen[n] = starts[row][step]
            picked = torch.tensor(chosen, device=raw.device)
            likely = raw.log_softmax(-1)
            told = likely.gather(1, picked[:, None])[:, 0].tolist()
            others = likely.gather(1, best).tolist() if forks else []
            ids = best.tolist() if forks else []
            for n, row in enumerate(row_of):
                if ended[row]:
                    continue
                for k in range(1, 1 + forks):
                    found[row].append((total[row] + others[n][k], step, ids[n][k]))
                tokens[row].append(chosen[n])
                total[row] += told[n]
                ended[row] = chosen[n] == tk.eos
            going = [n for n, row in enumerate(row_of) if not ended[row]]
            if not going or step == MAX_NEW_TOKENS - 1:
                break
            written.scatter_(1, picked[:, None], True)
            if len(going) < KEEP * len(row_of):
                rows = torch.tensor(going, device=hidden.device)
                cache, picked = _copied(cache, picked, rows)
                written, row_of = written[rows], [row_of[n] for n in going]
            text = torch.zeros(len(picked), 1, dtype=torch.long, device=hidden.device)
            hidden = net(net.embed(picked[:, None]), text, cache)[:, -1]
        return list(zip(tokens, total, strict=True)), found
