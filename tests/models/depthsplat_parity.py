"""Recipe weights, recorded cases and what the released code returns, shared by the parity tests."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from pmgs_lib.cameras import Cameras
from pmgs_lib.models import build_model
from pmgs_lib.models.depthsplat.variants import october_2024, released
from pmgs_lib.models.released_harmonics import released_harmonics_world
from pmgs_lib.views import Views

RANDOM_INITIALISATION = {
    "normal_",
    "uniform_",
    "trunc_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
}


def recipe(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Weights that the recorded runs used, from the name and shape of a parameter."""
    z = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, dtype=np.float32)
    if name.endswith(("pos_embed", "cls_token")):
        value = np.float32(0.5) * z
    elif len(shape) >= 2:
        value = z / np.float32(np.sqrt(np.prod(shape[1:])))
        if name.endswith("scratch.output_conv.4.weight"):
            value = value * np.float32(0.05)
    elif name.endswith(("weight", "gamma")):
        value = 1 + np.float32(0.02) * z
        if ".transformer.layers." in name:
            value = value * np.float32(0.2)
    else:
        value = np.float32(0.1) * z
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))


class Uninitialised(TorchFunctionMode):
    """Networks built in here start from zeros, since random weights take longer than the recipe does."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in RANDOM_INITIALISATION:
            return (args[0] if args else kwargs["tensor"]).data.zero_()
        return function(*args, **kwargs)


def recipe_model(config) -> torch.nn.Module:
    """A network with the recipe value in every parameter."""
    with Uninitialised():
        model = build_model(config)
    state = {key: recipe(key, tuple(value.shape)) for key, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    return model


def read(path: Path) -> dict:
    with gzip.open(path) as file:
        return json.load(file)


def config_of(recorded: dict):
    """Our configuration for the recorded one."""
    vit, scales, upsample = (recorded[key] for key in ("monodepth_vit_type", "num_scales", "upsample_factor"))
    if "offset_mode" not in recorded:
        config = released(vit, scales, upsample, depth_only=recorded["train_depth_only"])
    else:
        config = october_2024(
            vit,
            scales,
            upsample,
            feature_channels=recorded["feature_upsampler_channels"],
            regressor_channels=recorded["gaussian_regressor_channels"],
            wide_unet=recorded["color_large_unet"],
            offset_mode=recorded["offset_mode"],
            offset_factor=recorded["offset_factor"],
            confidence=recorded["confidence_activation"],
            harmonics_degree=recorded["gaussian_adapter.sh_degree"],
        )
        count = recorded["costvolume_nearest_n_views"]
        nearest = None if count is None else count - 1  # theirs includes the view itself
        config = type(config).model_validate(dict(config) | {"nearest_views": nearest})
    assert config.lowest == recorded["lowest_feature_resolution"]
    return config


class Case:
    """One recorded run: inputs, outputs, samples of intermediates and their float32 noise."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.facts = read(folder / f"{name}.json.gz")
        with np.load(folder / f"{name}.npz") as arrays:
            self.arrays = {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    def context(self) -> Views:
        get = self.arrays.__getitem__
        cameras = Cameras(get("in/extrinsics"), get("in/intrinsics"))
        return Views(get("in/image_u8").float() / 255, cameras, get("in/near"), get("in/far"))

    def tolerance(self, key: str) -> float:
        return max(20 * self.facts["fp32_vs_fp64"][key]["max_abs"], 1e-6)

    def excess(self, key: str, ours: torch.Tensor, theirs: torch.Tensor) -> float:
        """Largest difference in units of what is allowed: at most 1 is a pass."""
        assert ours.shape == theirs.shape, f"{key}: {tuple(ours.shape)} for {tuple(theirs.shape)}"
        return (ours - theirs).abs().max().item() / self.tolerance(key)

    def output_excess(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        """`excess` of every recorded output; depth is compared as its inverse."""
        excess = {"depths": self.excess("out/inverse_depths", 1 / outputs["depths"], 1 / self.arrays["out/depths"])}
        for name in outputs.keys() - {"depths"}:
            ours = outputs[name][:, self.arrays["out/gaussian_index"].long()]
            if name == "covariances":
                row, column = torch.triu_indices(3, 3)
                ours = ours[..., row, column]
            excess[name] = self.excess(f"out/{name}", ours, self.arrays[f"out/{name}"])
        return excess

    def sample_excess(self, key: str, ours: torch.Tensor) -> float:
        """The same for an intermediate that is recorded by a few values in C order."""
        theirs = self.arrays[f"mid/{key}"]
        flat = ours.detach().flatten()
        index = torch.arange(len(theirs)) * len(flat) // len(theirs)
        assert len(flat) == np.prod(self.facts["stats"][f"mid/{key}"]["shape"]), key
        return self.excess(f"mid/{key}", flat[index], theirs)


def released_outputs(model: torch.nn.Module, context: Views, tracer=None) -> dict[str, torch.Tensor]:
    """What the released encoder returns: intermediates first on the batch axis, harmonics as it rotates them."""
    estimate = model.depth_predictor(context)
    if tracer is not None:
        tracer.take_estimate(context, estimate)
    outputs = {"depths": torch.cat(estimate.depths)}
    if model.config.color is None:
        return outputs
    batch, views = context.images.shape[:2]
    adapter, frames = model.gaussian_adapter, model.color_frames(context, estimate)
    raw = model.raw_gaussians(frames, views).unflatten(0, (batch, views))
    local = [adapter(raw, depth, context) for depth in estimate.depths]
    if tracer is not None:
        tracer.take_gaussians(context, raw, local)
    world = [adapter.to_gaussians(x, context.cameras) for x in local]
    for name in ("means", "opacities"):
        outputs[name] = torch.cat([getattr(x, name) for x in world])
    outputs["covariances"] = torch.cat([x.covariances() for x in world])
    turned = [released_harmonics_world(x.harmonics, context.cameras.world_from_camera[..., :3, :3]) for x in local]
    outputs["harmonics"] = torch.cat([x.flatten(1, 2).mT for x in turned])
    confidence = adapter.confidence(raw, frames.match_probability.unflatten(0, (batch, views)))
    return outputs if confidence is None else outputs | {"confidences": confidence.flatten(1)}


def recorded_loss(case: Case, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The fixed scalar whose gradients were recorded."""
    total = torch.zeros(())
    for name in ("depths", "means", "covariances", "harmonics", "opacities"):
        seed = zlib.crc32(f"{case.name}/grad/{name}".encode())
        generator = np.random.Generator(np.random.PCG64(seed))
        weights = torch.from_numpy(generator.standard_normal(outputs[name].shape, dtype=np.float32))
        total = total + (100 if name == "covariances" else 1) * (outputs[name] * weights).mean()
    return total


def manifest_entries(manifest: dict) -> set[tuple[str, tuple[int, ...], str]]:
    """Names as we use them (relative to the encoder), shapes and dtypes of a released checkpoint."""
    return {(e["fill_name"], tuple(e["shape"]), f"torch.{e['dtype']}") for e in manifest["entries"]}
