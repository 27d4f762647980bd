"""Loads many partitions at once, each in a process: first the references, then the documents.

A document takes its reference section when it is first folded, so every reference must be stored before.
Concurrency: `parallelism` processes; each is ended when this one dies. Failure: a worker's error, or its
death, ends the load with that error; whatever was flushed stays, and the next load goes on from there.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from signal import SIG_IGN, SIGINT, signal
from threading import Thread

from foldline_projector.rebuild.loader import LoadSettings, load_partition
from foldline_projector.stores.port import TopicPartition

REPORT_SECONDS = 0.2

Reports = SimpleQueue[tuple[str, int]]
_reports: Reports
_stopping: Event


class WorkerDied(Exception):
    """A process that loaded a partition is gone."""


def load(
    settings: LoadSettings,
    targets: Mapping[TopicPartition, int],
    parallelism: int,
    report: Callable[[str, int], None],
    tick: Callable[[], None],
) -> None:
    """Loads every partition up to its target.

    `report` is told offsets that were reached; `tick` is called several times a second. Whatever
    either of them raises ends the load in good order. Raises WorkerDied.
    """
    context = get_context("spawn")
    reports: Reports = context.SimpleQueue()
    stopping = context.Event()
    with ProcessPoolExecutor(
        parallelism, mp_context=context, initializer=_begin, initargs=(reports, stopping)
    ) as pool:
        try:
            for phase in _phases(settings, targets):
                jobs = {pool.submit(_load, settings, at, targets[at]) for at in phase}
                _await(jobs, reports, report, tick)
        except BaseException:
            stopping.set()
            raise


def _phases(
    settings: LoadSettings, targets: Mapping[TopicPartition, int]
) -> Iterable[list[TopicPartition]]:
    """References first; the longest partitions of a phase first, so that none is left over at its end."""
    primary = settings.projection.read_model.topics[0]
    longest = sorted(targets, key=lambda at: (-targets[at], at))
    yield [at for at in longest if at.topic != primary]
    yield [at for at in longest if at.topic == primary]


def _await(
    jobs: set[Future[None]],
    reports: Reports,
    report: Callable[[str, int], None],
    tick: Callable[[], None],
) -> None:
    while jobs:
        done, jobs = wait(jobs, REPORT_SECONDS, FIRST_EXCEPTION)
        while not reports.empty():
            report(*reports.get())
        for job in done:
            try:
                job.result()
            except BrokenProcessPool as error:
                raise WorkerDied("a process that loaded a partition was killed") from error
        tick()


def _begin(reports: Reports, stopping: Event) -> None:
    """Runs once in each process. Ctrl-C is the parent's to hear, it tells the others."""
    global _reports, _stopping
    _reports, _stopping = reports, stopping
    signal(SIGINT, SIG_IGN)
    Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _load(settings: LoadSettings, at: TopicPartition, target: int) -> None:
    load_partition(settings, at, target, _report)


def _report(partition: str, offset: int) -> bool:
    _reports.put((partition, offset))
    return not _stopping.is_set()
