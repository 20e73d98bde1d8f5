"""Train and score many runs, several at a time; what is finished is never done again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from benchmarks.common.errors import UsageError
from benchmarks.topology import losses
from benchmarks.topology.collapse import collapse, count_pixels
from benchmarks.topology.configuration import Configuration, RunKey
from benchmarks.topology.datasets import DataSet
from benchmarks.topology.postprocessing import stored
from benchmarks.topology.records import VALIDATION, gather, is_finished, write_run
from benchmarks.topology.scoring import Score, mean_of, score_image
from benchmarks.topology.training import TrainingError, class_probabilities, time_of_a_step, train

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]
try:
    import psutil
except ImportError:  # on Unix it asks for the module `resource`, which not every Python has
    psutil = None

CHECKPOINT = "checkpoint.pt"
PATIENCE = 10  # seconds: a worker whose parent was killed ends within an iteration


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs, small enough to send."""

    read: Callable[[], DataSet]
    configuration: Configuration
    out: Path  # the data set's output folder
    device: str = "cpu"
    threads: int = 1


@dataclass
class Worker:
    """What one worker process keeps from run to run."""

    job: Job
    data: DataSet
    advances: Queue[int]
    stopping: Event
    parent: int

    def check_wanted(self) -> None:
        """Go no further once the parent says so (TrainingError) or is gone (the process ends)."""
        if os.getppid() != self.parent:
            os._exit(1)  # nobody would collect the results
        if self.stopping.is_set():
            raise TrainingError("interrupted")


_worker: Worker | None = None  # of this process, if it is a worker


def run_all(job: Job, keys: Sequence[RunKey], workers: int, one_process: bool) -> list[str]:
    """Do every run that is not finished yet; returns a line for each one that failed.

    In ``workers`` processes at a time, or one after the other in this one. Progress goes to
    stderr: a bar over all iterations, with the time that is left, and a line per finished run.
    Raises UsageError if another process works in the same folder.
    """
    with only_one(job.out / ".lock"):
        gather(job.out)
        todo = [key for key in keys if not is_finished(job.out, key)]
        print(
            f"{job.out.name}: {len(keys)} runs, {len(keys) - len(todo)} of them finished before",
            file=sys.stderr,
        )
        return _run_pool(job, todo, workers, one_process) if todo else []


def _run_pool(job: Job, todo: Sequence[RunKey], workers: int, one_process: bool) -> list[str]:
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    advances: Queue[int] = context.Queue()
    stopping = context.Event()
    failures: list[str] = []
    pool: Executor
    if one_process:  # in a thread, so that the bar moves on meanwhile
        arguments = (job, advances, stopping, os.getppid())
        pool = ThreadPoolExecutor(1, initializer=_prepare, initargs=arguments)
    else:
        arguments = (job, advances, stopping, os.getpid())
        count = min(workers, len(todo))
        pool = ProcessPoolExecutor(count, context, initializer=_start_worker, initargs=arguments)
    threads = torch.get_num_threads()  # which a run in this process sets
    bar = tqdm(
        total=len(todo) * job.configuration.iterations,
        unit="it",
        smoothing=0,
        mininterval=0.5 if sys.stderr.isatty() else 60,
        desc=job.out.name,
    )
    with bar, pool:
        try:
            pending = {pool.submit(_run, key): key for key in todo}
            while pending:
                done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                while not advances.empty():
                    bar.update(advances.get())
                for future in done:
                    key = pending.pop(future)
                    problem = _problem(future)
                    if problem:
                        failures.append(f"{key.identifier}: {problem}")
                    else:
                        gather(job.out)
                    bar.write(f"{key.identifier}: {problem or future.result()}", file=sys.stderr)
        except BaseException:  # Ctrl-C: no further run, and those under way end at once
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(threads)
    return failures


def _problem(future: Future[str]) -> str | None:
    try:
        future.result()
    except TrainingError as error:
        return str(error)
    except BrokenProcessPool:
        return "its process, or one beside it, was killed (out of memory?); run again to go on"
    except Exception as error:  # one run that fails must not take the others with it
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _start_worker(job: Job, advances: Queue[int], stopping: Event, parent: int) -> None:
    """Runs once in every worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells when to stop
    _prepare(job, advances, stopping, parent)


def _prepare(job: Job, advances: Queue[int], stopping: Event, parent: int) -> None:
    global _worker
    torch.set_num_threads(job.threads)
    _worker = Worker(job, job.read(), advances, stopping, parent)


def _run(key: RunKey) -> str:
    """One run, in a worker process: train, segment, score, and write all of it."""
    if _worker is None:
        raise RuntimeError("a run outside of a worker process")
    worker = _worker
    worker.check_wanted()
    job, data = worker.job, worker.data
    folder = job.out / "runs" / key.identifier
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(job.device)
    start = time.perf_counter()
    with only_one(folder / ".lock"):
        loss = losses.build_loss(
            key.loss,
            data.classes,
            data.spatial_dimensions,
            key.mode,
            key.kernel_size[0] if len(key.kernel_size) == 1 else key.kernel_size,
        )

        def advance(iterations: int) -> None:
            worker.check_wanted()
            worker.advances.put(iterations)

        progress = train(
            loss, data, job.configuration, key.seed, device, folder / CHECKPOINT, advance
        )
        predictions, probabilities, truth = {}, {}, {}
        scores: dict[str, list[Score]] = {split: [] for split in data.tests}
        for split, samples in {VALIDATION: data.val, **data.tests}.items():
            for sample in samples:
                name = f"{split}/{sample.name}"
                of_classes = class_probabilities(
                    progress.network, sample.image, job.configuration, device
                )
                predictions[name] = of_classes.argmax(0).astype(np.uint8)
                if data.classes == 2:
                    probabilities[name] = stored(of_classes[1])
                if split in scores:
                    truth[name] = sample.truth
                    scores[split] += score_image(
                        sample.name, predictions[name], sample.truth, job.configuration
                    )
        pixels = count_pixels(predictions, truth, data.classes)
        facts = {
            "seconds": progress.seconds,
            "seconds_of": progress.seconds_of,
            "peak_mebibytes": _peak_mebibytes(device),
            "pixels": pixels,
        }
        write_run(folder, key, facts, predictions, scores, progress.curve, probabilities)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    first = scores[job.configuration.tests[0]]
    measured = ", ".join(
        f"{name} {mean_of(first, name):.4g}" for name in job.configuration.measures
    )
    collapsed = [f"{what} on {split}" for split, of in pixels.items() if (what := collapse(*of))]
    failed = f"COLLAPSED, found {', '.join(collapsed)}: " if collapsed else ""
    step = time_of_a_step(progress.seconds_of, progress.iteration)
    return f"{failed}{measured} after {time.perf_counter() - start:.0f} s ({step})"


def _peak_mebibytes(device: torch.device) -> float | None:
    """The most memory so far: of the GPU, or of this process with data and libraries.

    None where nothing tells it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is not None:
        unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, kibibytes elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    if psutil is None:
        return None
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)  # of Windows alone
    return None if peak is None else float(peak) / 2**20


@contextmanager
def only_one(file: Path) -> Iterator[None]:
    """Hold the file's lock; the system gives it back even if this process is killed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(file).acquire(timeout=PATIENCE)
    except Timeout:
        raise UsageError(
            f"{file.parent}: another process is at work here; give another --out"
        ) from None
    with held:
        yield
