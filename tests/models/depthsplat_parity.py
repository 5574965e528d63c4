"""Recipe weights, recorded cases and the walk over recorded intermediates, shared by the parity tests."""

import gzip
import json
import zlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.models.depthsplat.variants import released
from pmgs_lib.models.released_harmonics import released_harmonics_world
from pmgs_lib.views import Views


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


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter its recipe value."""
    model.load_state_dict({key: recipe(key, tuple(value.shape)) for key, value in model.state_dict().items()})
    return model


def read(path: Path) -> dict:
    with gzip.open(path) as file:
        return json.load(file)


def config_of(recorded: dict):
    """Our configuration for the recorded one."""
    config = released(
        recorded["monodepth_vit_type"],
        recorded["num_scales"],
        recorded["upsample_factor"],
        depth_only=recorded["train_depth_only"],
    )
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


class Tracer:
    """Collects intermediates under their recorded names, by hooks on the modules that make them."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self._stack = ExitStack()
        predictor = model.depth_predictor
        self._out(predictor.backbone, lambda out: {"cnn_half": out.half, "cnn_mid": out.mid, "cnn_low": out.low})
        for number, layer in enumerate(predictor.transformer.layers):
            self._out(layer.self_attn, lambda out, n=number: {f"tr_layer{n}_self": out})
            self._out(layer, lambda out, n=number: {f"tr_layer{n}": out})
        self._out(predictor.transformer, lambda out: {"mv_0": out})
        self._in(predictor.pretrained, lambda args: {"dino_input": args[0]})
        taps = lambda out: {f"dino_tokens_{i}": x.flatten(2).mT for i, x in enumerate(out)}  # noqa: E731
        self._out(predictor.pretrained, taps)
        self._in(predictor.upsampler, lambda args: {f"mono_inter_{i}": x for i, x in enumerate(args[0])})
        for scale in range(len(predictor.regressor)):
            self._in(predictor.regressor[scale], lambda args, s=scale: {f"regressor_in_{s}": args[0]})
            self._out(predictor.regressor[scale], lambda out, s=scale: {f"regressor_out_{s}": out})
            self._out(predictor.regressor_residual[scale], lambda out, s=scale: {f"regressor_residual_{s}": out})
            self._out(predictor.depth_head[scale], lambda out, s=scale: {f"depth_logits_{s}": out})
        self._in(predictor.upsampler, lambda args: {"invdepth_lowres_last": args[1]["inverse_depth"]})
        self._out(predictor.upsampler, lambda out: {"upsampler_residual": out})
        if hasattr(model, "gaussian_head"):
            self._out(model.feature_upsampler, lambda out: {"color_features": out})
            for name in ("gaussian_regressor", "gaussian_head"):
                self._in(getattr(model, name), lambda args, n=name: {f"{n}_in": args[0]})
                self._out(getattr(model, name), lambda out, n=name: {f"{n}_out": out})

    def _out(self, module, pick) -> None:
        handle = module.register_forward_hook(lambda _, __, out: self.values.update(pick(out)))
        self._stack.callback(handle.remove)

    def _in(self, module, pick) -> None:
        handle = module.register_forward_pre_hook(lambda _, args: self.values.update(pick(args)))
        self._stack.callback(handle.remove)

    def report(self, case: Case) -> str:
        """Recorded intermediates beyond tolerance, in execution order as far as we make them."""
        lines = [f"{key}: {case.sample_excess(key, value):.3g} x tolerance" for key, value in self.values.items()]
        return "\n".join(lines)


def released_outputs(model: torch.nn.Module, context: Views) -> dict[str, torch.Tensor]:
    """What the released encoder returns: intermediates first on the batch axis, harmonics as it rotates them."""
    estimate = model.depth_predictor(context)
    outputs = {"depths": torch.cat(estimate.depths)}
    if model.config.color is None:
        return outputs
    rotation = context.cameras.world_from_camera[..., :3, :3]
    local = model.camera_gaussians(context, estimate)
    world = [model.gaussian_adapter.to_gaussians(x, context.cameras) for x in local]
    for name in ("means", "opacities"):
        outputs[name] = torch.cat([getattr(x, name) for x in world])
    outputs["covariances"] = torch.cat([x.covariances() for x in world])
    turned = [released_harmonics_world(x.harmonics, rotation) for x in local]
    outputs["harmonics"] = torch.cat([x.flatten(1, 2).mT for x in turned])
    return outputs


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
