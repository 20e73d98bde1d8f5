"""Processes that stay, and run one check after the other together: starting them takes seconds."""

from __future__ import annotations

import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import distributed, multiprocessing

# A machine may be busy, or asleep for a minute; a check takes seconds.
SECONDS = 300

Check = Callable[..., None]


class Group:
    """``size`` processes on gloo, started when the first check is run.

    A check is a function of a module, with arguments that can be pickled. It runs in all of them at
    once, and has failed when it has in one. The processes of a failed check may wait for each other
    for ever, so new ones run the next. They meet in files in ``folder``.
    """

    def __init__(self, size: int, folder: Path) -> None:
        self.size = size
        self._processes: list[Any] = []
        self._connections: list[Connection] = []
        self._folder = folder

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def run(self, check: Check, *arguments: Any) -> None:
        """Raise AssertionError with what the first process that failed has to say."""
        self._start()
        for connection in self._connections:
            connection.send((check, arguments))
        waiting = {connection: rank for rank, connection in enumerate(self._connections)}
        while waiting:
            ready = wait(list(waiting), timeout=SECONDS)
            if not ready:
                self._stop(kill=True)
                raise AssertionError(f"ranks {sorted(waiting.values())} say nothing")
            for connection in [known for known in waiting if known in ready]:
                rank = waiting.pop(connection)
                try:
                    failure = connection.recv()
                except EOFError:
                    failure = "the process ended"
                if failure is not None:
                    self._stop(kill=True)
                    raise AssertionError(f"rank {rank} of {self.size}: {failure}")

    def _start(self) -> None:
        if self._processes:
            return
        # One process imports, which takes seconds, and forks for each of them.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch.distributed.tensor", __name__])
        meeting = Path(tempfile.mkdtemp(dir=self._folder)) / "meeting"
        for rank in range(self.size):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, self.size, str(meeting), there), daemon=True
            )
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)

    def _stop(self, kill: bool = False) -> None:
        for process, connection in zip(self._processes, self._connections, strict=True):
            if kill:
                process.kill()
            connection.close()
        for process in self._processes:
            process.join(SECONDS)
        self._processes, self._connections = [], []


def _serve(rank: int, size: int, meeting: str, connection: Connection) -> None:
    """One process: runs what it is sent until nobody is there any more."""
    torch.set_num_threads(1)
    # As for every test: memory that nobody writes holds what no expectation does.
    torch.use_deterministic_algorithms(True)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=SECONDS),
    )
    while True:
        try:
            check, arguments = connection.recv()
        except EOFError:
            break
        except (ImportError, AttributeError, pickle.UnpicklingError):
            connection.send(traceback.format_exc())
            continue
        try:
            check(*arguments)
        except BaseException:
            connection.send(traceback.format_exc())
        else:
            connection.send(None)
    distributed.destroy_process_group()
