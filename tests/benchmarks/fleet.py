"""A fleet of CI jobs by simulation: requests and bytes to the Package Manager and the bucket, and what is full first.

python -m tests.benchmarks.fleet [--jobs-per-hour N] …; without options it prints the table of docker/README.md.

Discrete events, one hour: jobs begin at random (exponential gaps), each with an empty disk, and install the packages of
one of the company's lock files; packages are shared among lock files as popular ones are (Zipf). A file that nobody has
uploaded yet comes from the Package Manager, and is in the bucket after the upload. The figures of one proxy, the CPU of
a request and of a byte among them, are this suite's own; those of the servers are what an administrator says they can.
"""

from __future__ import annotations

import argparse
import heapq
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

BEGIN, END = "<!-- fleet:begin -->", "<!-- fleet:end -->"
PAGE_OF_IT = next(
    path for path in sorted((Path(__file__).resolve().parents[2] / "docker").glob("*.md")) if BEGIN in path.read_text()
)
HOUR = 3600.0  # seconds
METADATA = 20_000.0  # bytes
PAGE = 15_000.0  # bytes, compressed
GB = 1e9


@dataclass(frozen=True)
class Plan:
    """A company, and what its servers can."""

    jobs_per_hour: int = 10_000
    lock_files: int = 300
    packages_per_lock: int = 60
    packages: int = 4_000  # that any lock file names
    megabytes_per_file: float = 1.6  # the mean of wheels; a few large ones have most of it
    largest_megabytes: float = 200.0
    changed_lock_files: int = 60  # in this hour, each with some files that nobody has yet
    changed_share: float = 0.1  # of its packages
    is_bucket_warm: bool = True
    has_bucket: bool = True
    replicas: int = 0  # behind a Service, with warm disks; 0: each job has its own proxy
    bucket_latency: float = 0.015  # seconds to the first byte
    bucket_rate: float = 80e6  # bytes/s of one connection
    upstream_latency: float = 0.04
    upstream_rate: float = 40e6
    upstream_requests: float = 300.0  # a second that the Package Manager can
    upstream_bandwidth: float = 1.25e9  # bytes/s out of it: 10 Gbit/s
    bucket_requests: float = 5_500.0  # GETs a second and prefix; a hash spreads over many
    bucket_bandwidth: float = 12.5e9
    page_cpu: float = 0.004  # seconds of a proxy's CPU for a page: asked, rewritten, kept
    blob_cpu: float = 0.0015  # for a file or its metadata, from the bucket
    byte_cpu: float = 1 / 400e6  # and for each byte: hashed, written, sent
    pages_for: float = 60.0  # cache_pages_for: how long a replica needs not ask again
    recheck: float = 600.0  # cache_recheck


@dataclass
class Load:
    """Requests and bytes at one server, by the second in which they begin."""

    requests: int = 0
    bytes: float = 0.0
    by_second: dict[int, list[float]] = field(default_factory=dict)

    def add(self, at: float, size: float) -> None:
        self.requests += 1
        self.bytes += size
        second = self.by_second.setdefault(int(at), [0.0, 0.0])
        second[0] += 1
        second[1] += size

    def peak(self, which: int) -> float:
        """The 99th percentile of the seconds of the hour: requests (0) or bytes (1)."""
        return quantile([second[which] for second in self.by_second.values()], 0.99)


@dataclass
class Outcome:
    """What the hour was."""

    plan: Plan
    upstream: Load = field(default_factory=Load)
    upstream_files: Load = field(default_factory=Load)
    bucket: Load = field(default_factory=Load)
    uploads: Load = field(default_factory=Load)
    cpu: float = 0.0  # seconds of all proxies
    hits: dict[int, list[int]] = field(default_factory=dict)  # by the minute: from the bucket or a disk, and all
    seconds: list[float] = field(default_factory=list)  # of each file that was on no disk

    def hit_ratio(self, first: int, last: int) -> float:
        """Of the files of some minutes."""
        found = [self.hits[minute] for minute in range(first, last) if minute in self.hits]
        return sum(hit for hit, _ in found) / max(1, sum(every for _, every in found))

    def use(self) -> dict[str, float]:
        """How much of what each server can is used, at the 99th percentile of seconds."""
        plan = self.plan
        used = {
            "Package Manager: requests": self.upstream.peak(0) / plan.upstream_requests,
            "Package Manager: bandwidth": self.upstream.peak(1) / plan.upstream_bandwidth,
        }
        if plan.has_bucket:
            used["bucket: requests"] = self.bucket.peak(0) / plan.bucket_requests
            used["bucket: bandwidth"] = self.bucket.peak(1) / plan.bucket_bandwidth
        if plan.replicas:
            used["replicas: CPU"] = self.cpu / HOUR / plan.replicas
        return used


class Simulation:
    """One hour of a plan; the same seed makes the same hour."""

    def __init__(self, plan: Plan, seed: int = 1) -> None:
        self._plan = plan
        self._random = random.Random(seed)
        self._sizes = self._file_sizes(plan.packages + int(plan.changed_lock_files * plan.packages_per_lock))
        self._locks = [self._lock() for _ in range(plan.lock_files)]
        # When each file, and with a negative key each package's metadata, was there.
        self._bucket = dict.fromkeys(range(-plan.packages, plan.packages), 0.0) if plan.is_bucket_warm else {}
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._counted, self._new = 0, plan.packages
        self._disks: list[dict[int, float]] = [{} for _ in range(plan.replicas)]
        self._pages: list[dict[int, float]] = [{} for _ in range(plan.replicas)]
        self.outcome = Outcome(plan)

    def _file_sizes(self, count: int) -> list[float]:
        """Log-normal with the plan's mean: half of the files are small, a few are most of the bytes."""
        spread = 1.8
        middle = self._plan.megabytes_per_file / 2.718 ** (spread**2 / 2)
        most = self._plan.largest_megabytes
        return [min(most, self._random.lognormvariate(0, spread) * middle) * 1e6 for _ in range(count)]

    def _lock(self) -> list[int]:
        """Packages of a lock file: popular ones are in most of them."""
        chosen: dict[int, None] = {}
        while len(chosen) < self._plan.packages_per_lock:
            chosen[min(self._plan.packages - 1, int(self._random.paretovariate(0.6)) - 1)] = None
        return list(chosen)

    def run(self) -> Outcome:
        """The hour: jobs begin, ask for pages and files, lock files change."""
        for number, at in enumerate(self._arrivals(self._plan.jobs_per_hour)):
            self._at(at, self._job, number)
        for number in range(self._plan.changed_lock_files):
            self._at(self._random.uniform(0, HOUR), self._change, number)
        while self._events:
            at, _, event, arguments = heapq.heappop(self._events)
            event(at, *arguments)
        return self.outcome

    def _at(self, at: float, event: Callable[..., None], *arguments: object) -> None:
        self._counted += 1
        heapq.heappush(self._events, (at, self._counted, event, arguments))

    def _arrivals(self, count: int) -> Iterator[float]:
        at = 0.0
        while (at := at + self._random.expovariate(count / HOUR)) < HOUR:
            yield at

    def _change(self, _at: float, number: int) -> None:
        """A lock file names some packages that nobody has yet."""
        lock = self._locks[number % len(self._locks)]
        for place in range(int(len(lock) * self._plan.changed_share)):
            lock[place], self._new = self._new, self._new + 1

    def _job(self, at: float, number: int) -> None:
        """Pages, then each package's metadata, then its file, 16 at a time as uv does."""
        plan, replica = self._plan, number % self._plan.replicas if self._plan.replicas else None
        for place, package in enumerate(self._random.choice(self._locks)):
            begins = at + 0.2 * (place // 16)
            self._at(begins, self._page, package, replica)
            self._at(begins + plan.upstream_latency, self._file, METADATA, -package - 1, replica)
            self._at(begins + 0.1, self._file, self._sizes[package], package, replica)

    def _page(self, at: float, package: int, replica: int | None) -> None:
        self.outcome.cpu += self._plan.page_cpu
        if replica is not None:
            pages = self._pages[replica]
            if at - pages.get(package, float("-inf")) < self._plan.pages_for:
                return
            pages[package] = at
        self.outcome.upstream.add(at, PAGE)

    def _file(self, at: float, size: float, key: int, replica: int | None) -> None:
        """A file, or with a negative key a package's metadata: from a replica's disk, the bucket, or the upstream."""
        plan, outcome = self._plan, self.outcome
        minute = outcome.hits.setdefault(int(at // 60), [0, 0])
        minute[1] += 1
        outcome.cpu += plan.blob_cpu + size * plan.byte_cpu
        if replica is not None and self._disks[replica].get(key, float("inf")) <= at:
            minute[0] += 1
            return
        is_there = self._bucket.get(key, float("inf")) <= at
        if plan.has_bucket:
            outcome.bucket.add(at, size if is_there else 0.0)
        if plan.has_bucket and is_there:
            minute[0] += 1
            ended = at + plan.bucket_latency + size / plan.bucket_rate
        else:
            outcome.upstream.add(at, size)
            outcome.upstream_files.add(at, size)
            ended = at + plan.bucket_latency * plan.has_bucket + plan.upstream_latency + size / plan.upstream_rate
            if plan.has_bucket:
                outcome.uploads.add(ended, size)
                outcome.bucket.add(ended, 0.0)  # HEAD
                self._bucket.setdefault(key, ended + plan.bucket_latency + size / plan.bucket_rate)
        if replica is not None:
            self._disks[replica][key] = min(self._disks[replica].get(key, float("inf")), ended)
        outcome.seconds.append(ended - at)


SCENES = {
    "no bucket": Plan(has_bucket=False),
    "bucket, first hour": Plan(is_bucket_warm=False),
    "bucket, warm": Plan(),
    "bucket, warm, a new lock file in every project": Plan(changed_lock_files=300, changed_share=0.5),
    "8 replicas and the bucket": Plan(replicas=8),
}


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of them is."""
    ordered = sorted(values) or [0.0]
    return ordered[int(share * (len(ordered) - 1))]


def table(plans: dict[str, Plan]) -> str:
    """One row for each hour."""
    titles = (
        "| 10 000 jobs an hour | Package Manager: requests/s | files from it | bucket: GET and HEAD/s | bytes from it "
        "| uploaded | hits | a file takes, median and 99 % | proxies' CPU | fullest |"
    )
    lines = [titles, "| --- " * 10 + "|"]
    for name, plan in plans.items():
        found = Simulation(plan).run()
        fullest, share = max(found.use().items(), key=lambda one: one[1])
        lines.append(
            f"| {name} | {found.upstream.requests / HOUR:.0f} (peak {found.upstream.peak(0):.0f}) "
            f"| {found.upstream_files.requests:,}, {found.upstream_files.bytes / GB:,.0f} GB "
            f"| {found.bucket.requests / HOUR:.0f} (peak {found.bucket.peak(0):.0f}) "
            f"| {found.bucket.bytes / GB:,.0f} GB | {found.uploads.bytes / GB:,.1f} GB "
            f"| {found.hit_ratio(0, 1):.0%} in the first minute, {found.hit_ratio(5, 60):.1%} later "
            f"| {quantile(found.seconds, 0.5) * 1000:.0f} ms, {quantile(found.seconds, 0.99) * 1000:.0f} ms "
            f"| {found.cpu / HOUR:.1f} cores | {fullest}, {share:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet", description=__doc__)
    for name, value in vars(Plan()).items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=None)
    parser.add_argument("--write-table", action="store_true", help="write the table into the page on a fleet")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    write = given.pop("write_table")
    made = table({name: replace(plan, **given) for name, plan in SCENES.items()})
    print(made)
    if write:
        written = f"{BEGIN}\n{made}\n{END}"
        text = PAGE_OF_IT.read_text(encoding="utf-8")
        PAGE_OF_IT.write_text(re.sub(f"{BEGIN}.*{END}", written, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
