"""From the peers' curves to what is compared: seconds to a quality, ratios, and the lines that are printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SHARES = (1.0, 0.99, 0.95, 0.9)
"""Of a peer's best NDCG@10: its very best can hang on one late, lucky point, a little less cannot."""
OURS = "ours"


@dataclass(frozen=True)
class Point:
    """One place on a curve."""

    seconds: float
    """Of training until here, judging excluded."""
    epochs: float
    ndcg: float
    """NDCG@10 on the validation prefixes, whole catalogue."""


@dataclass
class Result:
    """What one peer's process reported."""

    peer: str
    sessions: int
    """Training sessions in one epoch."""
    curve: list[Point] = field(default_factory=list)
    peak_mib: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    encoding: dict[str, float] = field(default_factory=dict)
    """What was timed -> customers per second."""
    checks: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def best(self) -> Point:
        """The earliest of the highest points."""
        return max(self.curve, key=lambda point: (point.ndcg, -point.seconds))

    @property
    def sessions_per_second(self) -> float:
        """Of the longest training that the curve holds."""
        last = self.curve[-1]
        return self.sessions * last.epochs / last.seconds

    def seconds_to(self, ndcg: float) -> float | None:
        """The fewest seconds of a measured point at or above `ndcg`; nothing is interpolated. None: never reached."""
        return min((point.seconds for point in self.curve if point.ndcg >= ndcg), default=None)

    def plain(self) -> dict[str, Any]:
        """All of it as JSON values."""
        more = {"sessions_per_second": self.sessions_per_second, "best": asdict(self.best)} if self.curve else {}
        return asdict(self) | more


def ratios(ours: Result, peer: Result) -> list[dict[str, float | None]]:
    """For each share of the peer's best: the NDCG@10, both times to it, and how many times faster ours is.

    `times_faster` is None where ours never gets there.
    """
    rows: list[dict[str, float | None]] = []
    for share in SHARES:
        ndcg = share * peer.best.ndcg
        theirs, mine = peer.seconds_to(ndcg), ours.seconds_to(ndcg)
        faster = theirs / mine if theirs is not None and mine is not None else None
        rows.append({"share": share, "ndcg": ndcg, "peer_seconds": theirs, "our_seconds": mine, "times_faster": faster})
    return rows


def lines(results: list[Result], target: float | None) -> list[str]:
    """The whole report, for people."""
    good = [result for result in results if result.error is None and result.curve]
    head = f"{'peer':26}{'sessions/s':>11}{'peak MiB':>10}{'best NDCG@10':>14}{'after s':>9}{'epochs':>8}"
    text = ["", head + (f"{f's to {target:g}':>13}" if target else "")]
    for r in good:
        row = f"{r.peer:26}{r.sessions_per_second:11,.0f}{r.peak_mib:10,.0f}{r.best.ndcg:14.4f}{r.best.seconds:9,.0f}"
        text.append(row + f"{r.best.epochs:8.2f}" + (f"{_seconds(r.seconds_to(target)):>13}" if target else ""))
    text += ["", "encoding, customers per second:"]
    text += [f"{r.peer:26}{name:34}{rate:12,.0f}" for r in good for name, rate in r.encoding.items()]
    text += ["", "checks:", *(f"{r.peer:26}{what}: {value:.3g}" for r in good for what, value in r.checks.items())]
    ours = next((result for result in good if result.peer == OURS), None)
    for peer in good if ours else []:
        if ours is None or peer is ours:
            continue
        text += ["", f"{peer.peer} against ours, seconds to a share of the peer's best NDCG@10:"]
        for row in ratios(ours, peer):
            faster = "never" if row["times_faster"] is None else f"{row['times_faster']:.1f} times faster"
            both = f"peer {_seconds(row['peer_seconds'])}, ours {_seconds(row['our_seconds'])}"
            text.append(f"  {row['share']:4.0%} ({row['ndcg']:.4f}): {both}: {faster}")
        text.append(f"  encoding: {ours.encoding['vectors'] / peer.encoding['vectors']:.1f} times faster")
    return text + [f"\n{result.peer} FAILED: {result.error}" for result in results if result.error]


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:,.1f} s"
