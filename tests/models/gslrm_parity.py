"""Recorded cases of the unofficial GS-LRM and the walk over their stages, for its parity tests."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from mvsplat_parity import FACTOR, fill
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.models.gslrm.config import GslrmConfig
from pmgs_lib.models.gslrm.model import Gslrm
from pmgs_lib.models.gslrm.variants import GSLRM_UNOFFICIAL
from pmgs_lib.views import Views

# Recorded names in the order in which they are computed, and the output whose float32 noise bounds them with a factor:
# noise is recorded for outputs only, and a covariance is the square of a scale.
STAGES = {
    "ray_o": ("means", 1),
    "ray_d": ("means", 1),
    "tokenizer_input": ("means", 1),
    "tokens_embed": ("sh", 1),
    "tokens_block0": ("sh", 1),
    "tokens_out": ("sh", 1),
    "decoder_raw": ("sh", 1),
    "means": ("means", 1),
    "sh": ("sh", 1),
    "scales": ("scales", 1),
    "rotations_xyzw": ("rotations_xyzw", 1),
    "opacities": ("opacities", 1),
    "covariances_triu": ("scales", 2),
}
OUTPUTS = ("means", "scales", "rotations_xyzw", "sh", "opacities")
# The bound, whatever the noise.
LARGEST = 1e-5
SIZES = {
    "full_width_L3": {"width": 1024, "layers": 3},
    "small_sh1": {"width": 128, "layers": 4, "harmonics_degree": 1},
    "patch_crop": {"width": 64, "layers": 2},
}


def recorded_model(name: str, **overrides: object) -> Gslrm:
    """The network of a case with its recipe weights; recorded poses are normalised already."""
    fields = GSLRM_UNOFFICIAL.model_dump() | SIZES[name] | {"pose_normalisation": "none"} | overrides
    return fill(Gslrm(GslrmConfig.model_validate(fields)))


class Case:
    """One recorded run: inputs, stages, outputs and their float32 noise."""

    def __init__(self, folder: Path, name: str) -> None:
        self.spread = json.loads((folder / "float64_spread.json").read_text())[name]
        with np.load(folder / f"{name}.npz") as arrays:
            self.arrays = {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    def context(self) -> Views:
        get = self.arrays.__getitem__
        cameras = Cameras(get("in_extrinsics"), get("in_intrinsics"))
        return Views(get("in_image"), cameras, get("in_near")[:, 0], get("in_far")[:, 0])

    def difference(self, key: str, ours: Tensor) -> float:
        """Relative L2 difference of a stage."""
        theirs = self.arrays[key]
        assert ours.shape == theirs.shape, f"{key}: {tuple(ours.shape)} for {tuple(theirs.shape)}"
        return ((ours - theirs).norm() / theirs.norm()).item()

    def walk(self, stages: dict[str, Tensor]) -> dict[str, float]:
        """Difference of every stage that is recorded in units of what is allowed, in the order of computation."""
        excess = {}
        for key, (noise, times) in STAGES.items():
            if key in self.arrays:
                allowed = min(FACTOR * times * self.spread[noise]["rel_l2"], LARGEST)
                excess[key] = self.difference(key, stages[key]) / allowed
        return excess


def recorded_stages(model: Gslrm, context: Views) -> dict[str, Tensor]:
    """What the unofficial code computes on the way, under its recorded names and in its layout."""
    stages: dict[str, Tensor] = {}
    tapped = {
        "tokens_embed": model.tokenizer,
        "tokens_block0": model.attn_processor.blocks[0],
        "tokens_out": model.attn_processor,
        "decoder_raw": model.token_decoder,
    }
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: stages.update({name: out}))
        for name, module in tapped.items()
    ]
    hooks.append(model.tokenizer.register_forward_pre_hook(lambda _, args: stages.update(tokenizer_input=args[0])))
    gaussians = model(context).gaussians
    for hook in hooks:
        hook.remove()
    rays = model.rays(context, model.frame(context.cameras))
    row, column = torch.triu_indices(3, 3)
    return stages | {
        "ray_o": rays.origins[:, :, None],
        "ray_d": rays.directions.flatten(2, 3),
        "means": gaussians.means,
        "sh": gaussians.harmonics,
        "scales": gaussians.scales,
        "rotations_xyzw": gaussians.quaternions.roll(-1, dims=-1),
        "opacities": gaussians.opacities,
        "covariances_triu": gaussians.covariances()[..., row, column],
    }


def functional_weights(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights of the recorded gradients' functional, from the name of an output."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"input:small_sh1/w/{name}".encode())))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
