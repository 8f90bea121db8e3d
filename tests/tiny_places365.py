"""Small files in the layouts in which the networks of Places365 are published, for tests of what reads them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from placevec.nn.vision.resnet import ResNet, ResNetConfig

CLASSES = 365


def network(depth: int = 50, width: int = 4, classes: int = CLASSES, seed: int = 0) -> ResNet:
    """A residual network of few channels, its batch norms as after a training."""
    base = ResNetConfig.of_depth(depth, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ResNet(ResNetConfig(block=base.block, layers=base.layers, width=width, classes=classes))
        for name, value in net.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                value.copy_(torch.randn_like(value) * 0.2)
            elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
                value.copy_(torch.rand_like(value) + 0.5)
    return net.eval()


def checkpoint(net: ResNet, arch: str = "resnet50", *, counters: bool = True, **more: Any) -> dict[str, Any]:
    """What `train_placesCNN.py` saves: the names of a DataParallel; torch 0.2 had no counters of batch norms."""
    state = net.state_dict()
    kept = {name: value for name, value in state.items() if counters or not name.endswith("num_batches_tracked")}
    wrapped = {f"module.{name}": value.clone() for name, value in kept.items()}
    return {"epoch": 92, "arch": arch, "state_dict": wrapped, "best_prec1": 54.77, **more}


def write(path: Path, content: Any) -> Path:
    """The file as torch writes it today."""
    torch.save(content, path)
    return path


def write_python2(path: Path, content: Any) -> Path:
    """The file as Python 2.7 and torch 0.2 wrote it: no archive, texts as bytes, tensors on a GPU."""
    module = SimpleNamespace(Pickler=_Python2, dump=_dump, __name__="pickle")
    torch.save(content, path, pickle_module=module, _use_new_zipfile_serialization=False)
    return path


def write_lists(folder: Path, indoor: set[int]) -> tuple[Path, Path]:
    """The two lists that are published beside the networks, of made-up scenes."""
    names = [f"/{chr(97 + row % 26)}/scene_{row:03d}" for row in range(CLASSES)]
    categories = folder / "categories_places365.txt"
    categories.write_text("".join(f"{name} {row}\n" for row, name in enumerate(names)))
    inside = folder / "IO_places365.txt"
    inside.write_text("".join(f"{name} {1 if row in indoor else 2}\n" for row, name in enumerate(names)))
    return categories, inside


_Pickler: Any = pickle._Pickler  # the one in Python, whose parts can be replaced


class _Python2(_Pickler):
    """Writes `str` as Python 2 did its byte strings, and storages as those of a GPU."""

    dispatch: ClassVar[dict[Any, Any]] = dict(_Pickler.dispatch)

    def save_text(self, text: str) -> None:
        data = text.encode("latin1")
        assert len(data) < 256, "longer texts have another form"
        self.write(pickle.SHORT_BINSTRING + struct.pack("<B", len(data)) + data)
        self.memoize(text)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is torch.FloatStorage:
            self.write(pickle.GLOBAL + b"torch.cuda\nFloatStorage\n")
            self.memoize(obj)
            return
        super().save_global(obj, name)

    dispatch[str] = save_text
    dispatch[type] = save_global


def _dump(value: Any, file: Any, protocol: int) -> None:
    _Python2(file, protocol).dump(value)


def values(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that count for an answer."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
