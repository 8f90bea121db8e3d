"""Training states on disk: one safetensors file, with the scalars as JSON in its metadata. No pickle.

Tensors are called ``model/NAME``, ``best/NAME``, ``average/NAME`` and ``optimizer/STATE/NAME``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from placevec import files
from placevec.errors import CheckpointError
from placevec.provenance import Space

NAME = "checkpoint.safetensors"
VERSION = 1


@dataclass
class Progress:
    """Where a run stands: everything besides tensors that it needs to go on.

    Attributes:
        key: hash of the settings and the data.
        step: steps done.
        best_step: the step of the best weights; -1 while there are none.
        best: the validation figures of the best weights.
        since_best: validations since then.
        finished: "" while it runs, then "end" or "early" (stopped by patience).
        initial: the validation figures before the first step.
    """

    key: str
    step: int = 0
    best_step: int = -1
    best: dict[str, float] = field(default_factory=dict)
    since_best: int = 0
    finished: str = ""
    initial: dict[str, float] = field(default_factory=dict)


def write(
    folder: Path,
    progress: Progress,
    module: nn.Module,
    best: Mapping[str, Tensor],
    optimizer: Optimizer,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the state of a run to `folder`, whole or not at all; `average` of the weights where there is one."""
    from safetensors.torch import save_file

    tensors = {f"model/{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    tensors |= {f"average/{name}": value for name, value in (average or {}).items()}
    for name, parameter in module.named_parameters():
        for state, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{state}/{name}"] = value
    # Copies, because safetensors refuses tensors that share memory.
    plain = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    about = json.dumps({"version": VERSION, **asdict(progress)}, sort_keys=True)
    with files.whole(folder / NAME) as part, files.disk_errors(folder / NAME), files.usual_mode(part):
        save_file(plain, part, metadata={"placevec": about})


def read_progress(folder: Path) -> Progress | None:
    """The scalars of the state in `folder`, or None where there is none.

    Raises:
        CheckpointError: the file is damaged or not one of ours.
    """
    if not (folder / NAME).exists():
        return None
    return _open(folder)[0]


@dataclass(frozen=True, eq=False)
class State:
    """What a checkpoint holds besides the weights of the module and the state of the optimiser."""

    progress: Progress  # where the run stands
    best: dict[str, Tensor]  # the best weights so far; empty while there are none
    average: dict[str, Tensor]  # the moving average of the weights; empty where none is made


def restore(folder: Path, module: nn.Module, optimizer: Optimizer | None) -> State:
    """Load the state in `folder` into `module` and `optimizer`; the answer is the rest of it.

    Raises:
        CheckpointError: the file is damaged, or belongs to another network.
    """
    progress, tensors = _open(folder)
    path = folder / NAME
    state = _under("model/", tensors)
    _check_fit(path, state, module)
    module.load_state_dict(state)
    best = _under("best/", tensors)
    if best:
        _check_fit(path, best, module)
    if optimizer is not None:
        own = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        for name, value in _under("optimizer/", tensors).items():
            kind, _, parameter = name.partition("/")
            if parameter not in own:
                raise CheckpointError(
                    f"{path}: optimiser state of {parameter!r}, which is not in the network: --restart"
                )
            # AdamW keeps its counter of steps on the CPU, its moments beside the parameter.
            device = value.device if kind == "step" else own[parameter].device
            optimizer.state[own[parameter]][kind] = value.to(device)
    return State(progress, best, _under("average/", tensors))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _open(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    path = folder / NAME
    again = "remove it, or train again with --restart"
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            metadata: dict[str, str] = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
        about: dict[str, Any] = json.loads(metadata["placevec"])
        if about.pop("version") != VERSION:
            raise CheckpointError(f"{path} was written by another version of placevec: {again}")
        known = {item.name for item in fields(Progress)}
        if set(about) != known:
            raise CheckpointError(f"{path} is not a training state of placevec: {again}")
        return Progress(**about), tensors
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged or not a training state ({reason}): {again}") from error


def _check_fit(path: Path, state: Mapping[str, Tensor], module: nn.Module) -> None:
    own = module.state_dict()
    if set(own) != set(state):
        odd = sorted(set(own) ^ set(state))[0]
        raise CheckpointError(
            f"{path} belongs to another network (it differs in {odd!r}): use another folder or --restart"
        )
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: {name} is {tuple(value.shape)}, the network has {tuple(own[name].shape)}: use another folder "
                "or --restart"
            )


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    """The weights of `module` as they are now, on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()}


def digest_of(module: nn.Module, *, parameters: bool = True) -> str:
    """sha256 (hex) of the names and weights of `module`, or of what in it is not trained alone.

    Two runs of one recipe can end with other weights (another machine, another build), and then their vectors do not
    compare: so a Space takes its identity from here, and a run that is resumed or asked for again keeps its Space.
    """
    total = hashlib.sha256()
    stands = module.state_dict() if parameters else dict(module.named_buffers())
    for name, value in sorted(stands.items()):
        plain = value.detach().cpu().contiguous().numpy()
        total.update(f"{name}{plain.dtype.str}{plain.shape}".encode())
        total.update(plain.tobytes())
    return total.hexdigest()


def minted_space(module: nn.Module, dims: int, note: str) -> Space:
    """The Space that a training mints, named by the weights it ended with: a resumed run ends in the same one."""
    return replace(Space.mint(dims, note=note), id=f"trained:{digest_of(module)[:32]}")
