"""Counts what the API answers, over all of its processes, as Prometheus text.

prometheus_client is imported inside functions: on import it reads from the environment where processes add up.
"""

from __future__ import annotations

from datetime import datetime

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper limits in seconds."""


class Requests:
    """The metrics of one process."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._answers = Counter("nightrail_requests_total", "Answers.", ("page", "status"))
        self._seconds = Histogram("nightrail_request_seconds", "Seconds to an answer.", ("page",), buckets=BUCKETS)
        self._away = Counter("nightrail_away_total", "Answers that were given while the store was away.")
        self._kept = Counter("nightrail_kept_total", "Answers that were ready in this process's memory.")
        self._publication = Gauge(
            "nightrail_publication", "Number of the live publication.", multiprocess_mode="mostrecent"
        )
        self._at = Gauge("nightrail_published_at_seconds", "Its time, Unix seconds.", multiprocess_mode="mostrecent")
        self._of: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, page: str, status: int, seconds: float) -> None:
        """Count an answer; `page` is one of few words, never what a caller sent."""
        found = self._of.get((page, status))
        if found is None:
            found = self._answers.labels(page, str(status)), self._seconds.labels(page)
            self._of[page, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def kept(self) -> None:
        """Count an answer from memory."""
        self._kept.inc()

    def away(self) -> None:
        """Count an answer without the store."""
        self._away.inc()

    def live(self, publication: int, published_at: datetime) -> None:
        """Note the live publication."""
        self._publication.set(publication)
        self._at.set(published_at.timestamp())


def metrics_of_all() -> bytes:
    """All processes' metrics as Prometheus text."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
