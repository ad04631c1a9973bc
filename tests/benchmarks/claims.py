"""What a claim is, when it holds, and the table of all of them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.ground import Ground

NOISE = 0.1  # by how much of the target a shared machine may miss it
ATTEMPTS = 3


class Verdict(enum.Enum):
    MET = "met"
    CLOSE = "close"
    MISSED = "missed"


@dataclass(frozen=True)
class Figure:
    """What was measured, in the claim's unit, and what else was seen on the way."""

    value: float
    seen: str = ""


@dataclass(frozen=True)
class Claim:
    """One sentence, and what its figure has to be: at least the target, or less than it."""

    name: str
    text: str
    target: float
    unit: str
    measure: Callable[[Ground], Figure]
    at_least: bool = False

    def verdict(self, figure: Figure) -> Verdict:
        over = (self.target - figure.value if self.at_least else figure.value - self.target) / self.target
        if over < 0 or (self.at_least and over == 0):
            return Verdict.MET
        return Verdict.CLOSE if over <= NOISE else Verdict.MISSED

    def best_of(self, figures: Sequence[Figure]) -> Figure:
        return (max if self.at_least else min)(figures, key=lambda figure: figure.value)

    @property
    def bound(self) -> str:
        return f"{'≥' if self.at_least else '<'} {self.target:g}{_spaced(self.unit)}"


@dataclass(frozen=True)
class Result:
    claim: Claim
    figure: Figure

    @property
    def verdict(self) -> Verdict:
        return self.claim.verdict(self.figure)

    @property
    def shown(self) -> str:
        return f"{self.figure.value:.3g}{_spaced(self.claim.unit)}"


def result_of(claim: Claim, ground: Ground) -> Result:
    """Measure a claim, and again while it is not met: other work on the machine only ever makes a figure worse."""
    figures: list[Figure] = []
    for _ in range(ATTEMPTS):
        figures.append(claim.measure(ground))
        if claim.verdict(figures[-1]) is Verdict.MET:
            break
    return Result(claim, claim.best_of(figures))


def table(results: Sequence[Result]) -> str:
    """One line a claim: what, how much, what it has to be, whether it is, and what else was seen."""
    rows = [("claim", "figure", "target", "", "seen on the way")]
    rows += [(r.claim.text, r.shown, r.claim.bound, r.verdict.value, r.figure.seen) for r in results]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""
