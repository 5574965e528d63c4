"""The recorded runs of the released VGGT: weights by recipe, and a walk through the stages of the network."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from pmgs_lib.pointmaps.vggt.config import PUBLISHED, REDUCED
from pmgs_lib.pointmaps.vggt.model import Vggt

FOLDER = Path(__file__).parents[1] / "parity" / "vggt"
ALL_HEADS = ("point", "depth", "camera")
# The rounding floor of the recordings is 1e-6; this is what the project promises.
LIMIT = 1e-5


def recipe(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The recorded weights of a parameter, from its name alone."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    values = generator.standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        values /= np.sqrt(np.prod(shape[1:]), dtype=np.float32)
    elif name.endswith(("weight", "gamma")):
        values = 1 + np.float32(0.02) * values
    else:
        values *= np.float32(0.02)
    return torch.from_numpy(values)


def recorded_model(size: str = "reduced") -> Vggt:
    """All heads with the weights of the recordings, frozen."""
    config = {"reduced": REDUCED, "published": PUBLISHED}[size].model_copy(update={"heads": ALL_HEADS})
    with torch.device("meta"):
        model = Vggt(config)
    state = {name: recipe(name, tuple(value.shape)) for name, value in model.state_dict().items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def load(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def manifest(name: str) -> dict:
    return json.loads((FOLDER / f"manifest_{name}.json").read_text())


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2 difference; shapes must agree."""
    assert actual.shape == expected.shape
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


class Walk:
    """Keeps what passes through the recorded stages of a model, in the order of execution."""

    def __init__(self, model: Vggt) -> None:
        self.stages: dict[str, torch.Tensor] = {}
        aggregator, scratch = model.aggregator, model.point_head.scratch
        last = f"global{len(aggregator.global_blocks) - 1}_out"
        places = {
            "dino_tokens": aggregator.patch_embed,
            "frame0_out": aggregator.frame_blocks[0],
            "global0_out": aggregator.global_blocks[0],
            last: aggregator.global_blocks[-1],
            "dpt_point_refine4": scratch.refinenet4,
            "dpt_point_refine1": scratch.refinenet1,
            "dpt_point_prehead": scratch.output_conv1,
        }
        for name, module in places.items():
            module.register_forward_hook(lambda _, __, output, name=name: self.stages.update({name: output}))

    def differences(self, recorded: dict[str, torch.Tensor]) -> dict[str, float]:
        """Relative difference at each recorded stage, first stage first."""
        made = self.stages | {"dpt_point_refine1_ch0to7": self.stages["dpt_point_refine1"][:, :8]}
        return {name: relative(value, recorded[name]) for name, value in made.items() if name in recorded}
