"""The one training loop, on Lightning Fabric: any device, precision and number of processes, and exact resume.

A run lives in a folder. Killed at any moment and started again, it goes on from its last checkpoint and ends, on one
machine, build and number of threads, with the very weights of an undisturbed run: the order of rows and all random
numbers are functions of (seed, step), see `batches`, and everything else is in the checkpoint.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from placevec import files
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.provenance import digest_json
from placevec.train import checkpoint
from placevec.train.average import Average
from placevec.train.batches import Batches, step_seed
from placevec.train.checkpoint import Progress
from placevec.train.config import LoopConfig
from placevec.train.logs import CsvLog, TensorBoard
from placevec.train.objectives import Objective, Rated, Single
from placevec.train.rates import FACTOR, learning_rate, parameter_groups

Report = Callable[[int, int, Mapping[str, float]], None]
"""Called as (step, total, metrics) after each step, by the first process."""


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with; the weights are in the objective's module.

    Attributes:
        folder: of the run.
        steps: steps done.
        best_step: the step of the weights that were kept; the last one where nothing is validated.
        metrics: validation figures of those weights.
        initial: validation figures before the first step.
        stopped: "end" or "early".
        key: hash of settings and data.
    """

    folder: Path
    steps: int
    best_step: int
    metrics: dict[str, float]
    initial: dict[str, float]
    stopped: str
    key: str


def fit(
    objective: Objective,
    config: LoopConfig,
    folder: str | Path,
    *,
    progress: Report | None = None,
    restart: bool = False,
) -> TrainResult:
    """Train `objective` in `folder`, or go on with the run there; a finished run is answered from its checkpoint.

    At the end the objective's module holds the best weights on the CPU, in eval mode.

    Args:
        objective: what is trained; its module must have been made with a seed, for it is part of the run.
        config: how.
        folder: of the run: checkpoint.safetensors, train.csv, validation.csv.
        progress: called after each step.
        restart: forget what is in the folder.

    Raises:
        CheckpointError: the folder belongs to another run, is in use, or holds a damaged checkpoint.
        DataError: the loss is not finite.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
    """
    run = Path(folder)
    key = digest_json({"loop": config.identity(), "objective": dict(objective.identity())})
    fabric = _fabric(config)
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave)
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            run.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_only_user(run))
            for leftover in run.glob(f".*{files.PART}*"):
                files.remove(leftover)
            if restart:
                for name in (checkpoint.NAME, "train.csv", "validation.csv", "tensorboard"):
                    files.remove(run / name)
        fabric.barrier()
        known = checkpoint.read_progress(run)
        if known is not None and known.key != key:
            raise CheckpointError(
                f"{run} holds a run with other settings or data: use another folder, or --restart to discard it"
            )
        stack.enter_context(_deterministic())
        return _Run(objective, config, run, key, fabric, progress).go()


class _Run:
    """One call of `fit`."""

    def __init__(
        self, objective: Objective, config: LoopConfig, folder: Path, key: str, fabric: Any, report: Report | None
    ) -> None:
        self.objective, self.config, self.folder, self.fabric, self.report = objective, config, folder, fabric, report
        least = objective.least if isinstance(objective, Single) else 2
        self.batches = Batches(objective.count, config.batch_size, config.seed, fabric.world_size, least)
        self.total = config.epochs * self.batches.per_epoch
        self.progress = Progress(key)
        self.best: dict[str, Tensor] = {}
        self.average = Average(objective.module, config.ema) if config.ema else None
        self.logs: dict[str, list[Any]] = {}

    def go(self) -> TrainResult:
        own = self.objective.module
        rates = self.objective.rates() if isinstance(self.objective, Rated) else {}
        groups = parameter_groups(own, self.config.weight_decay, rates)
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        if (self.folder / checkpoint.NAME).exists():
            state = checkpoint.restore(self.folder, own, optimizer)
            self.progress, self.best = state.progress, state.best
            if self.average is not None:
                self.average.restore(state.average)
        if not self.progress.finished:
            module, wrapped = self.fabric.setup(own, optimizer)
            # AdamW made its state for the parameters where they were; setup may have moved those.
            _follow(optimizer)
            if self.average is not None:
                self.average.follow()
            self._open_logs()
            try:
                self._train(module, wrapped, optimizer)
            finally:
                for sink in self.logs.get("close", []):
                    sink.close()
        own.to("cpu")
        if self.best:
            own.load_state_dict(self.best)
        elif self.average is not None:
            self.average.put(self.average.values)
        if self.fabric.world_size > 1:
            # The running statistics of a batch normalisation are those of each process's own part.
            own.load_state_dict(self.fabric.broadcast(checkpoint.copy_of(own)))
        own.eval()
        at = self.progress
        return TrainResult(
            self.folder,
            at.step,
            at.best_step if self.best else at.step,
            dict(at.best),
            dict(at.initial),
            at.finished,
            at.key,
        )

    def _train(self, module: nn.Module, wrapped: Any, optimizer: torch.optim.Optimizer) -> None:
        config, at = self.config, self.progress
        if at.step == 0 and not at.initial:
            at.initial = self._figures()
        order, epoch = None, -1
        generator = torch.Generator()
        module.train()
        with _interruptible(self.fabric.world_size == 1) as interrupted:
            while not at.finished:
                if at.step // self.batches.per_epoch != epoch:
                    epoch = at.step // self.batches.per_epoch
                    order = self.batches.order(epoch)
                assert order is not None
                rows = self.batches.rows(order, at.step % self.batches.per_epoch, self.fabric.global_rank)
                rate = learning_rate(config, at.step, self.total)
                loss, norm = self._step(module, wrapped, rows, rate, generator)
                at.step += 1
                figures = {"epoch": epoch, "learning_rate": rate, "loss": loss, "gradient_norm": norm}
                if at.step % config.log_every == 0 or at.step == self.total:
                    self._log("train", figures)
                saved = self._end_of_epoch(module, epoch) if at.step % self.batches.per_epoch == 0 else False
                try:
                    if self.report is not None and self.fabric.is_global_zero:
                        self.report(at.step, self.total, {**figures, **at.best})
                except KeyboardInterrupt:
                    interrupted.set()
                if saved or at.step % config.checkpoint_every == 0 or interrupted.is_set():
                    self._save(optimizer)
                if interrupted.is_set():
                    raise KeyboardInterrupt

    def _step(
        self, module: nn.Module, wrapped: Any, rows: Any, rate: float, generator: torch.Generator
    ) -> tuple[float, float]:
        for group in wrapped.param_groups:
            group["lr"] = rate * group[FACTOR]
        seed = step_seed(self.config.seed, self.progress.step, self.fabric.global_rank)
        torch.manual_seed(seed)  # for dropout, which takes no generator
        generator.manual_seed(seed)
        batch = {name: value.to(self.fabric.device) for name, value in self.objective.batch(rows).items()}
        loss = module(batch, generator)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DataError(
                f"the loss is {value} at step {self.progress.step}: lower learning_rate (it is "
                f"{self.config.learning_rate}) and train again with --restart"
            )
        wrapped.zero_grad()
        self.fabric.backward(loss)
        norm = 0.0
        if self.config.clip_norm:
            clipped = self.fabric.clip_gradients(
                module, wrapped, max_norm=self.config.clip_norm, error_if_nonfinite=False
            )
            norm = float(clipped)
        wrapped.step()
        if self.average is not None:
            self.average.update(self.progress.step)
        return value, norm

    def _end_of_epoch(self, module: nn.Module, epoch: int) -> bool:
        """Validate where it is due; True if a checkpoint is due for it."""
        config, at = self.config, self.progress
        last = at.step >= self.total
        if self.objective.monitor and (last or (epoch + 1) % config.validate_every == 0):
            with contextlib.nullcontext() if self.average is None else self.average.shown():
                figures = self._figures()
                value = figures[self.objective.monitor]
                if not self.best or _better(value, at.best[self.objective.monitor], self.objective.mode):
                    at.best_step, at.best, at.since_best = at.step, figures, 0
                    self.best = checkpoint.copy_of(self.objective.module)
                else:
                    at.since_best += 1
            module.train()
            self._log("validation", {"epoch": epoch, **figures})
            if config.patience and at.since_best >= config.patience:
                at.finished = "early"
        if last:
            at.finished = "end"
        return True

    def _figures(self) -> dict[str, float]:
        if not self.objective.monitor:
            return {}
        self.objective.module.eval()
        with torch.no_grad():
            figures = {name: float(v) for name, v in self.objective.validate(self.fabric.device).items()}
        # The first process decides, so that all stop together.
        agreed: dict[str, float] = self.fabric.broadcast(figures) if self.fabric.world_size > 1 else figures
        return agreed

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        if self.fabric.is_global_zero:
            average = None if self.average is None else self.average.values
            checkpoint.write(self.folder, self.progress, self.objective.module, self.best, optimizer, average)
        self.fabric.barrier()

    def _open_logs(self) -> None:
        if not self.fabric.is_global_zero:
            return
        step = self.progress.step
        for name in ("train", "validation"):
            self.logs[name] = [CsvLog(self.folder / f"{name}.csv", step)]
        if self.config.tensorboard:
            board = TensorBoard(self.folder / "tensorboard", step)
            self.logs["close"] = [board]
            for name in ("train", "validation"):
                self.logs[name].append(_Prefixed(board, name))

    def _log(self, kind: str, figures: Mapping[str, Any]) -> None:
        for sink in self.logs.get(kind, []):
            sink.add(self.progress.step, figures)


@dataclass(frozen=True)
class _Prefixed:
    board: TensorBoard
    name: str

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        self.board.add(step, {f"{self.name}/{key}": value for key, value in values.items()})


def _better(value: float, best: float, mode: str) -> bool:
    return value < best if mode == "min" else value > best


def _follow(optimizer: torch.optim.Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if name != "step" and isinstance(value, Tensor):
                state[name] = value.to(parameter.device)


def _fabric(config: LoopConfig) -> Any:
    with warnings.catch_warnings():
        # On a machine with an unused GPU Fabric gives advice that the user has already decided on.
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        try:
            return Fabric(
                accelerator=config.accelerator,
                devices=config.devices,
                num_nodes=config.nodes,
                strategy=config.strategy,
                precision=config.precision,
            )
        except (
            ValueError,
            RuntimeError,
            ImportError,
            MisconfigurationException,
        ) as error:  # no such accelerator, or none in this machine
            told = str(error).splitlines()[0].rstrip(".!")
            raise UsageError(f"accelerator = {config.accelerator!r}: {told}: give cpu or auto") from None


def _leave() -> None:
    """Leave the group of processes: one that ends without it may be aborted by threads that still wait for others."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Ask torch for reproducible kernels, and put everything back after it."""
    before = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    state = torch.get_rng_state()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA's matrix library starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warn)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_rng_state(state)


@contextlib.contextmanager
def _interruptible(possible: bool) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event that is looked at between steps; the second one interrupts at once.

    Within a step the weights are between two states, and nothing sound could be saved. With several processes the
    signal reaches each at another step, so there it interrupts at once, and the last checkpoint counts.
    """
    event = threading.Event()
    if not possible or threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def first(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _only_user(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases when the process ends, however it does."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows has no such lock
        yield
        return
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CheckpointError(
                f"another process is training in {folder}: wait for it, or use another folder"
            ) from None
        yield
