"""Recipe weights, recorded cases and the walk over recorded stages of MVSplat, for its parity tests."""

import gzip
import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.models.mvsplat.model import MvSplat
from pmgs_lib.models.pixel_gaussians import world_gaussians
from pmgs_lib.models.released_harmonics import released_harmonics_world
from pmgs_lib.views import Views

# Recorded names in the order in which they are computed, and the output whose float32 noise bounds them with a factor:
# noise is recorded for outputs only, and a covariance is the square of a scale.
STAGES = {
    "cnn_features": ("trans_features", 1),
    "trans_features": ("trans_features", 1),
    "raw_correlation_in": ("trans_features", 1),
    "depth_logits": ("disparities", 1),
    "disparities": ("disparities", 1),
    "raw_gaussians": ("harmonics", 1),
    "opacities": ("opacities", 1),
    "means": ("means", 1),
    "scales": ("scales", 1),
    "rotations_xyzw_camera": ("harmonics", 1),
    "covariances_triu": ("scales", 2),
    "harmonics": ("harmonics", 1),
}
# Allowed difference in units of the recorded noise.
FACTOR = 10


def recipe(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights that the recorded runs used, from the name and shape of a parameter."""
    value = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, dtype=np.float32)
    if len(shape) >= 2:
        value = value / np.float32(np.sqrt(np.prod(shape[1:])))
    else:
        value = np.float32(0.02) * value + np.float32(name.endswith(("weight", "gamma")))
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter its recipe value."""
    model.load_state_dict({key: recipe(key, tuple(value.shape)) for key, value in model.state_dict().items()})
    return model


def read_manifest(path: Path) -> dict:
    return json.loads(gzip.decompress(path.read_bytes()))


class Case:
    """One recorded run: inputs, stages, outputs and their float32 noise."""

    def __init__(self, folder: Path, name: str) -> None:
        self.spread = json.loads((folder / "float64_spread.json").read_text())[name]
        self.arrays: dict[str, Tensor] = {}
        # Of some arrays only every `step`-th Gaussian or the first channels are recorded.
        self.parts: dict[str, tuple[int, int | None]] = {}
        with np.load(folder / f"{name}.npz") as arrays:
            for key in arrays.files:
                plain, step, last = re.fullmatch(r"(.+?)(?:_every(\d+)|_ch0to(\d+))?", key).groups()
                self.arrays[plain] = torch.from_numpy(arrays[key])
                self.parts[plain] = int(step or 1), None if last is None else int(last) + 1
        self.arrays["disparities"] = 1 / self.arrays["depths"][..., 0, 0]
        self.parts["disparities"] = 1, None

    def context(self) -> Views:
        get = self.arrays.__getitem__
        cameras = Cameras(get("in_extrinsics"), get("in_intrinsics"))
        return Views(get("in_image"), cameras, get("in_near")[:, 0], get("in_far")[:, 0])

    def excess(self, key: str, ours: Tensor) -> float:
        """Relative L2 difference in units of what is allowed: at most 1 is a pass."""
        theirs = self.arrays[key]
        step, channels = self.parts[key]
        if step > 1:
            ours = ours[:, :, ::step] if key == "raw_gaussians" else ours[:, ::step]
        if channels:
            ours = ours[:, :, :channels]
        assert ours.shape == theirs.shape, f"{key}: {tuple(ours.shape)} for {tuple(theirs.shape)}"
        noise, times = STAGES[key]
        allowed = FACTOR * times * self.spread[noise]["rel_l2"]
        return ((ours - theirs).norm() / theirs.norm()).item() / allowed

    def walk(self, stages: dict[str, Tensor]) -> dict[str, float]:
        """`excess` of every stage that is recorded, in the order of computation."""
        return {key: self.excess(key, stages[key]) for key in STAGES if key in self.arrays}


@torch.no_grad()
def released_stages(model: MvSplat, context: Views) -> dict[str, Tensor]:
    """What the released code computes on the way, under its recorded names and in its layout."""
    stages: dict[str, Tensor] = {}
    views, candidates = context.images.shape[:2], model.config.candidates
    predictor = model.depth_predictor
    hooks = [
        model.backbone.register_forward_hook(
            lambda _, __, out: stages.update(cnn_features=out.cnn.unflatten(0, views), trans_features=out.matching)
        ),
        predictor.corr_refine_net.register_forward_pre_hook(
            lambda _, args: stages.update(raw_correlation_in=args[0][:, :candidates])
        ),
        predictor.depth_head_lowres.register_forward_hook(lambda _, __, out: stages.update(depth_logits=out)),
    ]
    estimate = model.estimate(context)
    for hook in hooks:
        hook.remove()
    local = model.camera_gaussians(context, estimate)
    world = world_gaussians(local, context.cameras, model.config.released_harmonics)
    turned = released_harmonics_world(local.harmonics, context.cameras.world_from_camera[..., :3, :3])
    row, column = torch.triu_indices(3, 3)
    return stages | {
        "disparities": 1 / estimate.depth.flatten(-2),
        "raw_gaussians": estimate.raw.flatten(-2).mT,
        "opacities": world.opacities,
        "means": world.means,
        "scales": world.scales,
        "rotations_xyzw_camera": local.quaternions.flatten(1, 2)[..., [1, 2, 3, 0]],
        "covariances_triu": world.covariances()[..., row, column],
        "harmonics": turned.flatten(1, 2).mT,
    }
