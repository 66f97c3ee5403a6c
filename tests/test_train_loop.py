"""The training loop: a stopped run equals an unstopped one, bad steps are dropped, the best checkpoint stays."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
import torch.nn as nn

from core.errors import CoreError
from core.train.checkpoints import Best, find_checkpoint, random_state, set_random_state
from core.train.loop import Interrupted, Loop, mixed_precision, use_precision


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.2), nn.GELU(), nn.Linear(16, 2))


def training(folder, steps, *, model=None, on_step=None, validate=None, **options) -> Loop:
    """A regression whose data, noise and dropout come from numpy's, torch's and an own generator."""
    model = model or small()
    own = np.random.default_rng(3)

    def step_fn(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        if on_step is not None:
            on_step(step)
        x = torch.from_numpy(own.normal(size=(32, 6)).astype(np.float32))
        target = torch.stack([x.sum(1), x[:, 0] * x[:, 1]], 1)
        out = model(x + 0.1 * torch.randn_like(x) + 0.01 * float(np.random.normal()))
        return (out - target).square().mean(), {"own": float(x.mean())}

    def still() -> dict[str, float]:
        return {"drawn": float(torch.rand(()))} | (validate() if validate is not None else {})

    options = {"lr": 3e-3, "matrix_lr": 3e-3, "every": 10, "warm_up": 5, "seed": 1, "generators": [own]} | options
    loop = Loop(model, folder, steps, step_fn, still, **options)
    return loop


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def untimed(folder) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)]


def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path):
    whole = training(tmp_path / "whole", 40)
    whole.run()
    for number in (signal.SIGTERM, signal.SIGINT):
        folder = tmp_path / f"cut{number}"

        def stop(step: int, number=number) -> None:
            if step == 23:  # between two checkpoints
                os.kill(os.getpid(), number)

        with pytest.raises(Interrupted, match=r"last\.pt"):
            training(folder, 40, on_step=stop).run()
        assert len(rows(folder)) == 2
        again = training(folder, 40)
        assert again.step == 24
        again.run()
        assert untimed(folder) == untimed(tmp_path / "whole")
        for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_signal_at_any_moment_of_a_step_is_heard(tmp_path, monkeypatch):
    from core.train import loop as module

    told = []
    real = module.average

    def late(*args):
        if not told:
            told.append(os.kill(os.getpid(), signal.SIGTERM))  # after the step's figures were put together
        return real(*args)

    monkeypatch.setattr(module, "average", late)
    loop = training(tmp_path, 10)
    with pytest.raises(Interrupted):
        loop.run()
    assert loop.step == 2


def test_going_on_from_a_kept_checkpoint_makes_the_same_steps_again(tmp_path):
    training(tmp_path, 40, keep=20).run()
    before = untimed(tmp_path)
    assert (tmp_path / "step_000020.pt").exists()
    loop = training(tmp_path, 40, resume=tmp_path / "step_000020.pt")
    assert loop.step == 20
    loop.run()
    assert untimed(tmp_path) == before  # and none of them twice
    elsewhere = training(tmp_path / "elsewhere", 40, resume=tmp_path)
    assert elsewhere.step == 40


def test_the_best_checkpoint_is_what_is_left(tmp_path):
    scores = iter([3.0, 1.0, float("nan"), 2.0])
    rule = Best("lowest error", lambda found: found["error"])
    kept = {}

    def validate() -> dict[str, float]:
        kept[loop.step] = [p.detach().clone() for p in loop.model.parameters()]  # averaged weights
        return {"error": next(scores)}

    loop = training(tmp_path, 40, validate=validate, best=rule)
    loop.run()
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (best["step"], best["rule"], best["value"]) == (20, "lowest error", 1.0)
    assert all(torch.equal(a, b) for a, b in zip(loop.model.parameters(), kept[20], strict=True))
    assert [row.get("best") for row in rows(tmp_path)] == ["lowest error", "lowest error", None, None]
    assert Best("most", lambda f: 0.0, higher=True).beats(2.0, 1.0)


def test_steps_that_are_not_finite_are_dropped_and_counted(tmp_path):
    model = small()

    def on_step(step: int) -> None:
        model[0].bias.data[0] = float("nan") if step in (3, 7) else 0.0

    training(tmp_path, 10, model=model, on_step=on_step).run()
    (row,) = rows(tmp_path)
    assert row["dropped"] == 2
    assert np.isfinite(row["loss"])
    assert all(torch.isfinite(p).all() for p in model[3].parameters())


def test_a_training_that_only_gives_nonsense_ends(tmp_path):
    model = small()
    model[3].bias.data[0] = float("nan")
    with pytest.raises(CoreError, match="100 steps in a row"):
        training(tmp_path, 400, model=model, every=400).run()


def test_validation_takes_nothing_from_the_training(tmp_path):
    """What a validation draws is the same each time, and the steps do not depend on how often there is one."""
    losses = []
    for every in (5, 20):
        training(tmp_path / str(every), 20, every=every).run()
        losses.append(np.mean([row["loss"] for row in rows(tmp_path / str(every))]))
        assert len({row["val_drawn"] for row in rows(tmp_path / str(every))}) == 1
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_frozen_part_has_no_dropout(tmp_path):
    model = small()
    model.append(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).requires_grad_(False))
    modes = []
    training(tmp_path, 2, model=model, on_step=lambda _: modes.append([m.training for m in model])).run()
    assert modes[0] == [True, True, True, True, False]


def test_wrong_checkpoints_are_named(tmp_path):
    with pytest.raises(CoreError, match=r"no checkpoint '.*last\.pt'"):
        find_checkpoint(tmp_path)
    training(tmp_path, 2).run()
    other = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 2))
    with pytest.raises(CoreError, match=r"last\.pt' belongs to another training"):
        training(tmp_path, 2, model=other)
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:500])
    with pytest.raises(CoreError, match=r"last\.pt' is not a whole checkpoint"):
        training(tmp_path, 2)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "last.pt")
    with pytest.raises(CoreError, match="is no checkpoint of a training"):
        training(tmp_path, 2)


def test_chance_is_put_back():
    own = np.random.default_rng(0)
    own.integers(100)
    state = random_state([own])
    drawn = (torch.rand(3).tolist(), np.random.rand(3).tolist(), own.normal(size=3).tolist())
    set_random_state(state, [own])
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), own.normal(size=3).tolist()) == drawn


def test_precision_of_products():
    product = {}
    for name in ("bf16", "fp32"):
        use_precision(name)
        with mixed_precision(torch.device("cpu")):
            product[name] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    use_precision("bf16")
    assert product == {"bf16": torch.bfloat16, "fp32": torch.float32}
    with pytest.raises(CoreError, match="bf16 or fp32"):
        use_precision("fp64")
