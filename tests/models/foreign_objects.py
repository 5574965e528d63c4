"""What training checkpoints carry besides weights: objects of a module that is there when they are written, then gone.

Whatever of that module is called or constructed while a file is read is noted in `executed`.
"""

import collections
import enum
import pathlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

MODULE = "not_installed_here"


@contextmanager
def foreign_module(executed: list[str]) -> Iterator[types.ModuleType]:
    module = types.ModuleType(MODULE)

    class Noting:
        def __init__(self, *arguments: Any) -> None:
            executed.append(f"{type(self).__name__}{arguments}")

        def __setstate__(self, state: Any) -> None:
            executed.append(f"{type(self).__name__} state")

        def method(self) -> None:
            executed.append("method")

    def acting(*arguments: Any) -> str:
        executed.append(f"acting{arguments}")
        return "acted"

    class Attributes(dict):
        pass

    class Names(list):
        pass

    class Reduced(Noting):
        def __reduce__(self) -> tuple:
            return acting, ("an argument",)

    class Slotted:
        __slots__ = ("width",)

    class Mode(enum.Enum):
        TRAIN = "train"

    Settings = collections.namedtuple("Settings", "near far")
    for thing in (Noting, acting, Attributes, Names, Reduced, Slotted, Mode, Settings):
        thing.__module__, thing.__qualname__ = MODULE, thing.__name__
        setattr(module, thing.__name__, thing)
    sys.modules[MODULE] = module
    try:
        yield module
    finally:
        del sys.modules[MODULE]


def training_checkpoint(state: dict[str, torch.Tensor], module: types.ModuleType) -> dict[str, Any]:
    """Everything that Lightning writes into a checkpoint, and hyper-parameters of every awkward kind."""
    noting, slotted = module.Noting("width", 3), module.Slotted()
    noting.width, slotted.width = 64, 3
    attributes = module.Attributes(near=0.5)
    attributes.hidden = noting
    return {
        "epoch": 3,
        "global_step": 100_001,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "", "dirpath": pathlib.Path("runs")}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(3)}}, "param_groups": []}],
        "lr_schedulers": [{"T_max": 10, "anneal": module.acting, "bound": noting.method}],
        "hparams_name": "cfg",
        "hyper_parameters": attributes,
        "further": [
            noting,
            slotted,
            module.Names(["a", "b"]),
            module.Mode.TRAIN,
            module.Settings(1.0, 100.0),
            module.Reduced(),
            module.Reduced,
            collections.defaultdict(list, {"a": [1]}),
            np.float64(2.5),
            np.arange(3),
            slice(1, 2),
        ],
    }
