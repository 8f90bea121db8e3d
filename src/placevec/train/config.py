"""The settings of the training loop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from placevec.errors import UsageError


@dataclass(frozen=True)
class LoopConfig:
    """How the one training loop runs; what is learned is said by the objective."""

    epochs: int = 100  # passes over the training rows
    batch_size: int = 256  # rows of one step, over all processes
    learning_rate: float = 1e-3  # at its highest, after the warm-up
    weight_decay: float = 0.01  # of matrices and kernels; never of biases, norms or the temperature
    warmup: float = 0.05  # share of the steps in which the learning rate rises from 0
    final_rate: float = 0.01  # learning rate at the end of the cosine, as a share of the highest
    clip_norm: float = 1.0  # the gradient is shortened to this length; 0: never
    ema: float = 0.0  # decay of the moving average of the weights, which is validated and kept; 0: none is made
    validate_every: int = 1  # epochs between validations; the last epoch is validated always
    patience: int = 0  # stop after so many validations without a better one; 0: never
    seed: int = 0  # of initial weights, order of rows, augmentation and dropout
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"  # "cpu", "cuda", "mps" or "auto"
    devices: int = 1  # per machine
    nodes: int = 1  # machines, under torchrun or a cluster's launcher
    strategy: str = "auto"  # "ddp" for several devices
    checkpoint_every: int = 200  # steps; there is one after every validation as well
    log_every: int = 10  # steps between rows of train.csv
    tensorboard: bool = False  # write TensorBoard events beside the CSV files

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every", "devices", "nodes", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least 1")
        for name in ("weight_decay", "clip_norm", "patience", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)}: give 0 or more")
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate = {self.learning_rate}: give more than 0")
        if not (0 <= self.warmup < 1 and 0 <= self.final_rate <= 1):
            raise UsageError(f"warmup = {self.warmup}, final_rate = {self.final_rate}: give shares from 0 to 1")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema = {self.ema}: give a decay from 0 (no average) to below 1, such as 0.99")
        if self.precision not in ("32-true", "bf16-mixed"):
            raise UsageError(f"precision = {self.precision!r}: give 32-true or bf16-mixed")

    def identity(self) -> dict[str, Any]:
        """The settings on which the weights depend."""
        free = {"checkpoint_every", "log_every", "tensorboard"}
        if not self.ema:
            free.add("ema")  # runs from before there was an average go on
        return {name: value for name, value in asdict(self).items() if name not in free}
