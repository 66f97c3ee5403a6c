"""What was compared, by how much it differed, and whether that is within bounds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from core.parity.archive import Absent, Archive
from core.parity.fixtures import Fixtures

RELATIVE = 2e-5
"""Bound of every float32 output: largest difference against largest expected value. Different summation orders of the
same arithmetic stay an order of magnitude below it."""


@dataclass
class Comparison:
    """One recorded value against ours. `error` is in `unit`: "relative", "absolute" or "of N" (how many differ)."""

    name: str
    error: float
    bound: float
    unit: str = "relative"

    @property
    def holds(self) -> bool:
        return self.error <= self.bound  # false for NaN


@dataclass
class Outcome:
    """One group of fixtures."""

    name: str
    comparisons: list[Comparison] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    broke: str = ""
    seconds: float = 0.0

    @property
    def status(self) -> str:
        if self.broke or not all(c.holds for c in self.comparisons):
            return "FAILED"
        return "ok" if self.comparisons else "absent"

    @property
    def worst(self) -> Comparison | None:
        """What to show: the first that fails; else the error that comes nearest to its bound, differences first."""
        failing = [c for c in self.comparisons if not c.holds]
        if failing:
            return failing[0]
        for unit in ("relative", "absolute"):
            same = [c for c in self.comparisons if c.unit == unit]
            if same:
                return max(same, key=lambda c: c.error / c.bound if c.bound else c.error)
        return max(self.comparisons, key=lambda c: c.error, default=None)

    def to_dict(self) -> dict[str, object]:
        values = [c.__dict__ | {"holds": c.holds, "error": float(c.error)} for c in self.comparisons]
        return {"group": self.name, "status": self.status, "values": values, "absent": self.absent,
                "broke": self.broke, "seconds": round(self.seconds, 3)}  # fmt: skip


class Recorder:
    """Collects the comparisons of one group. A value that was not recorded is noted as absent and passed over."""

    def __init__(self, outcome: Outcome, archive: Archive) -> None:
        self.outcome, self.archive = outcome, archive

    @contextlib.contextmanager
    def optional(self) -> Iterator[None]:
        """A part of a group that may lack its inputs."""
        try:
            yield
        except Absent as missing:
            self.outcome.absent.append(str(missing))

    def add(self, name: str, error: float, bound: float, unit: str = "relative") -> None:
        self.outcome.comparisons.append(Comparison(name, float(error), bound, unit))

    def close(
        self,
        key: str,
        got: torch.Tensor | np.ndarray,
        *,
        where: torch.Tensor | np.ndarray | None = None,
        bound: float = RELATIVE,
        absolute: bool = False,
        label: str = "",
    ) -> None:
        """Compare with the recorded array of that key.

        Args:
            where: bool, of the leading axes: compare there only.
            absolute: the bound is of the difference itself.
            label: what to call it, where one key serves several comparisons.
        """
        with self.optional():
            expected = self.archive.raw(key)
            self.near(label or key, got, expected, where=where, bound=bound, absolute=absolute)

    def near(
        self,
        name: str,
        got: torch.Tensor | np.ndarray,
        expected: torch.Tensor | np.ndarray,
        *,
        where: torch.Tensor | np.ndarray | None = None,
        bound: float = RELATIVE,
        absolute: bool = False,
    ) -> None:
        """As `close`, with the expected value given."""
        g, e = _float64(got), _float64(expected)
        if g.shape != e.shape:
            raise ValueError(f"{name}: ours is {g.shape}, the recorded one {e.shape}")
        if where is not None:
            at = np.asarray(where.cpu() if isinstance(where, torch.Tensor) else where, bool)
            g, e = g[at], e[at]
        if not g.size:
            return
        difference = np.abs(g - e).max()
        largest = np.abs(e).max()
        if not absolute and largest > 0:
            difference /= largest
        self.add(name, difference, bound, "absolute" if absolute else "relative")

    def same(self, name: str, got: Sequence[object] | np.ndarray, expected: Sequence[object] | np.ndarray) -> None:
        """Compare item by item: ids, texts. The error is how many differ."""
        g, e = list(got), list(expected)
        wrong = sum(a != b for a, b in zip(g, e, strict=False)) + abs(len(g) - len(e))
        self.add(name, wrong, 0, f"of {max(len(g), len(e))}")

    def same_rows(self, name: str, got: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> None:
        """Compare rows of tokens of any lengths."""
        wrong = total = 0
        for g, e in zip(got, expected, strict=True):
            wrong += sum(a != b for a, b in zip(g, e, strict=False)) + abs(len(g) - len(e))
            total += max(len(g), len(e))
        self.add(name, wrong, 0, f"of {total}")


def _float64(values: torch.Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, np.float64)


Check = Callable[[Fixtures, Recorder], None]


def run_group(name: str, check: Check, fixtures: Fixtures, archive: Archive) -> Outcome:
    """Run one group. Whatever its arrays make go wrong is this group's failure, not the run's end."""
    outcome = Outcome(name)
    started = time.perf_counter()
    try:
        with torch.no_grad():
            check(fixtures, Recorder(outcome, archive))
    except Absent as missing:
        outcome.absent.append(str(missing))
    except Exception as error:
        outcome.broke = f"{type(error).__name__}: {error}".splitlines()[0]
    outcome.seconds = time.perf_counter() - started
    return outcome
