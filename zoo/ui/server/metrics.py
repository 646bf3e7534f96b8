"""What the hub does, counted for Prometheus: requests, waiting, steps, memory, disk, errors; nothing of any visitor."""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from zoo.engine.watcher import Watcher, outcome
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.engine.job import Job

disable_created_metrics()  # a second series for each, which says when it began
ERRORS = Counter("patchwork_errors", "Errors told to visitors: by class, fault for those of this program", ["kind"], registry=None)
"""Counted where an error becomes a sentence, in runs.sentence."""
WAITS = (0.05, 0.25, 1, 5, 15, 60, 300, 1800)
ROWS = (1, 2, 4, 8, 16, 32, 64)
MEASURED_EVERY = 60.0
"""Seconds for which the bytes on disk are believed: counting them asks for every file."""


def count_error(error: Exception) -> None:
    """Note an error that is told to a visitor."""
    ERRORS.labels(type(error).__name__ if isinstance(error, ZooError) else "fault").inc()


class Metrics(Watcher):
    """The numbers of one hub, since it started; labels are words of this program, never a visitor's."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.registry = hub, CollectorRegistry()

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"patchwork_{name}", words, labels, registry=self.registry)

        self.requests = counter("requests", "Requests that are over, by tab or endpoint", "kind", "lane", "outcome")
        self.pictures = counter("pictures", "Pictures and clips that were finished", "kind")
        self.steps = counter("steps", "Steps that pictures have come further; its rate is steps a second")
        self.compute = counter("compute_seconds", "Seconds of cores, or of the device, spent on computing")
        self.bytes = counter("downloaded_bytes", "Bytes of weights that were downloaded")
        self.downloads = counter("downloads", "Downloads that are over", "outcome")
        self.waits = Histogram(
            "patchwork_wait_seconds", "Seconds that a request waited for its place", ["lane"], buckets=WAITS, registry=self.registry
        )
        self.rows = Histogram(
            "patchwork_pass_rows", "Rows of passes that requests may share, which they do on a GPU", buckets=ROWS, registry=self.registry
        )
        self._disk: dict[str, int] = {}
        self._measured_at, self._measuring = -MEASURED_EVERY, threading.Lock()
        self.registry.register(ERRORS)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    @classmethod
    def of(cls, hub: Hub) -> Metrics:
        """Those of a hub, which count from the first time that they are asked for."""
        found = next((one for one in hub.engine.watchers if isinstance(one, cls)), None)
        if found is None:
            hub.engine.watchers.append(found := cls(hub))
        return found

    def text(self) -> bytes:
        """All numbers as Prometheus reads them. It may look at every file: not for the event loop."""
        return generate_latest(self.registry)

    # ---- told by the engine

    def begun(self, job: Job) -> None:
        """A job has found a place."""
        if job.parent is None:
            self.waits.labels(job.lane).observe(job.waited)

    def ended(self, job: Job, error: BaseException | None) -> None:
        """A job has ended."""
        if job.parent is None:
            self.requests.labels(job.kind, job.lane, outcome(job, error)).inc()
        if job.request and outcome(job, error) == "done":
            self.pictures.labels(job.kind).inc(len(job.request.seeds))

    def refused(self, job: Job, error: Exception) -> None:  # noqa: ARG002
        """A job was not taken."""
        if job.parent is None:
            self.requests.labels(job.kind, job.lane, "refused").inc()

    def computed(self, seconds: float, rows: int) -> None:
        """A turn is over."""
        self.compute.inc(seconds)
        if rows:
            self.rows.observe(rows)

    def stepped(self, pictures: int) -> None:
        """Pictures have come a step further."""
        self.steps.inc(pictures)

    def arrived(self, size: int) -> None:
        """Bytes were downloaded."""
        self.bytes.inc(size)

    def downloaded(self, models: Sequence[str], size: int, seconds: float, error: BaseException | None) -> None:  # noqa: ARG002
        """A download is over."""
        stopped = type(error).__name__ in ("CancelledError", "GeneratorExit")
        self.downloads.labels("done" if error is None else "cancelled" if stopped else "failed").inc()

    # ---- looked up when somebody asks

    def describe(self) -> list[Metric]:
        """Nothing: a registry asks for it in the place of the numbers, when it is told of them."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What is so now."""
        jobs, models = self.hub.engine.jobs(), self.hub.models
        lanes = ("run", "quick", "download")
        waiting, running = (Tally(job.lane for job in jobs if job.started is begun) for begun in (False, True))
        yield _gauge("queue_length", "Requests that wait for a place", "lane", {lane: waiting[lane] for lane in lanes})
        yield _gauge("running", "Requests that have a place", "lane", {lane: running[lane] for lane in lanes})
        memory = {"weights": models.taken() - models.work, "work": models.work, "budget": models.budget}
        yield _gauge("memory_bytes", "Memory that weights and what runs take of the budget, by reckoning", "of", memory)
        yield _gauge("disk_bytes", "What is on disk, a minute ago at most", "of", self._on_disk())
        limits = {"results": self.hub.results.retention.budget}
        if self.hub.store.budget.most is not None:
            limits["models"] = self.hub.store.budget.most
        yield _gauge("disk_limit_bytes", "What may be", "of", limits)

    def _on_disk(self) -> dict[str, int]:
        """Bytes of results and models; who asks while they are counted gets those of before."""
        if time.monotonic() - self._measured_at > MEASURED_EVERY and self._measuring.acquire(blocking=False):
            try:
                results, models = self.hub.results.retention.usage().bytes, self.hub.store.budget.taken
                self._disk = {"results": results, "models": models}
                self._measured_at = time.monotonic()
            finally:
                self._measuring.release()
        return self._disk


def _gauge(name: str, words: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(f"patchwork_{name}", words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
