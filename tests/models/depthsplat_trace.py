"""The walk over recorded intermediates: every one that our networks make, compared in the order of its making."""

from contextlib import ExitStack

import torch
from depthsplat_parity import Case

from pmgs_lib.models.depthsplat.depth_network import DepthEstimate
from pmgs_lib.models.pixel_gaussians import CameraGaussians
from pmgs_lib.views import Views

# Not compared: the features of each neighbour at each candidate. We never hold them all; cost_volume is made of them.
UNTRACED = ("warped_",)
SCALES, BLOCKS, DEPTHS = range(2), range(6), range(3)


def recorded_order() -> list[str]:
    """Names of all recorded intermediates in the order in which the released code makes them."""
    names = ["cnn_half", "cnn_mid", "cnn_low", "tr_in"]
    names += [f"tr_layer{block}{half}" for block in BLOCKS for half in ("_self", "")]
    names += [f"mv_{scale}" for scale in SCALES] + ["dino_input"]
    names += [f"{name}_{tap}" for name in ("dino_tokens", "mono_inter") for tap in range(4)]
    names += [f"mono_{scale}" for scale in SCALES] + ["nn_matrix"]
    sweep = ("warp_pose", "warp_K", "warp_depth", "warped", "cost_volume")
    regression = ("regressor_in", "regressor_out", "regressor_residual", "depth_logits", "match_prob")
    names += [f"{name}_{scale}" for scale in SCALES for name in (*sweep, *regression)]
    names += ["invdepth_lowres_last", "upsampler_residual"] + [f"depth_pred_{number}" for number in DEPTHS]
    names += ["color_features", "gaussian_regressor_in", "gaussian_regressor_out", "gaussian_head_in"]
    return [*names, "gaussian_head_out", "ray_xy", "sh_raw_params", "scales_cam", "rotations_cam_xyzw"]


class Tracer:
    """Collects intermediates under their recorded names: by hooks on modules, and from what `released_outputs` sees."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self._stack = ExitStack()
        self._model = model
        predictor = model.depth_predictor
        self._out(predictor.backbone, lambda out: {"cnn_half": out.half, "cnn_mid": out.mid, "cnn_low": out.low})
        layers = predictor.transformer.layers
        self._in(layers[0], lambda args: {"tr_in": args[0].flatten(0, 1).movedim(-1, 1)})
        for number, layer in enumerate(layers):
            self._out(layer.self_attn, lambda out, n=number: {f"tr_layer{n}_self": out})
            self._out(layer, lambda out, n=number: {f"tr_layer{n}": out})
        self._in(predictor.transformer, lambda args: {"neighbours": args[1]})
        self._in(predictor.pretrained, lambda args: {"dino_input": args[0]})
        taps = lambda out: {f"dino_tokens_{i}": x.flatten(2).mT for i, x in enumerate(out)}  # noqa: E731
        self._out(predictor.pretrained, taps)
        for scale in range(len(predictor.regressor)):
            self._trace_scale(predictor, scale)
        self._out(predictor.upsampler, lambda out: {"upsampler_residual": out})
        if hasattr(model, "gaussian_head"):
            self._out(model.feature_upsampler, lambda out: {"color_features": out})
            for name in ("gaussian_regressor", "gaussian_head"):
                self._in(getattr(model, name), lambda args, n=name: {f"{n}_in": args[0]})
                self._out(getattr(model, name), lambda out, n=name: {f"{n}_out": out})

    def _trace_scale(self, predictor: torch.nn.Module, scale: int) -> None:
        candidates = predictor.config.candidates >> 2 * scale
        self._in(
            predictor.regressor[scale],
            lambda args: {f"regressor_in_{scale}": args[0], f"cost_volume_{scale}": args[0][:, :candidates]},
        )
        self._out(predictor.regressor[scale], lambda out: {f"regressor_out_{scale}": out})
        self._out(predictor.regressor_residual[scale], lambda out: {f"regressor_residual_{scale}": out})
        logits = lambda out: {f"depth_logits_{scale}": out, f"match_prob_{scale}": out.softmax(1)}  # noqa: E731
        self._out(predictor.depth_head[scale], logits)

    def _out(self, module: torch.nn.Module, pick) -> None:
        handle = module.register_forward_hook(lambda _, __, out: self.values.update(pick(out)))
        self._stack.callback(handle.remove)

    def _in(self, module: torch.nn.Module, pick) -> None:
        handle = module.register_forward_pre_hook(lambda _, args: self.values.update(pick(args)))
        self._stack.callback(handle.remove)

    def remove(self) -> None:
        self._stack.close()

    def take_estimate(self, context: Views, estimate: DepthEstimate) -> None:
        """Features and depths by scale, and what the sweep was given: neighbours, poses, intrinsics, depths."""
        features, predictor = estimate.features, self._model.depth_predictor
        self.values |= {f"mono_inter_{i}": tap for i, tap in enumerate(estimate.taps)}
        self.values |= {f"depth_pred_{i}": depth for i, depth in enumerate(estimate.depths)}
        self.values["invdepth_lowres_last"] = features["inverse_depth"]
        self.values[f"match_prob_{predictor.config.scales - 1}"] = estimate.match_probability
        neighbours = self.values.pop("neighbours")
        own = torch.arange(context.count).expand(len(neighbours), -1)[..., None]
        self.values["nn_matrix"] = torch.cat([own, neighbours], dim=-1).float()
        scene = torch.arange(len(neighbours))[:, None, None]
        other_from_own = context.cameras[scene, neighbours].camera_from_world
        other_from_own = other_from_own @ context.cameras.world_from_camera[:, :, None]
        inverse = None
        for scale in range(predictor.config.scales):
            self.values[f"mv_{scale}"] = features[f"matching{scale}"]
            self.values[f"mono_{scale}"] = features[f"monocular{scale}"]
            size = tuple(features[f"matching{scale}"].shape[-2:])
            intrinsics = context.cameras.pixel_intrinsics(*size)[:, :, None].expand(*neighbours.shape, 3, 3)
            candidates = predictor.candidates(scale, context, size, inverse).expand(-1, -1, *size)
            inverse = (self.values[f"match_prob_{scale}"] * candidates).sum(1)
            self.values[f"warp_pose_{scale}"], self.values[f"warp_K_{scale}"] = other_from_own, intrinsics
            self.values[f"warp_depth_{scale}"] = (1 / candidates).repeat_interleave(neighbours.shape[-1], dim=0)

    def take_gaussians(self, context: Views, raw: torch.Tensor, local: list[CameraGaussians]) -> None:
        """Raw parameters as the released adapter gets them, and scales and rotations in camera axes."""
        adapter, sets = self._model.gaussian_adapter, len(local)
        tokens = raw.flatten(-2).mT
        sides = torch.tensor([context.width, context.height])
        y, x = torch.meshgrid(torch.arange(context.height), torch.arange(context.width), indexing="ij")
        centers = torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5
        xy = (centers + adapter.offsets(tokens[..., adapter.rows["offset"]])) / sides
        self.values["ray_xy"] = xy.repeat(sets, 1, 1, 1)
        self.values["sh_raw_params"] = tokens[..., adapter.rows["scale"].start :].repeat(sets, 1, 1, 1)
        self.values["scales_cam"] = torch.cat([x.scales.flatten(1, 2) for x in local])
        xyzw = [x.quaternions.flatten(1, 2).roll(-1, dims=-1) for x in local]
        self.values["rotations_cam_xyzw"] = torch.cat(xyzw)

    def excess(self, case: Case) -> dict[str, float]:
        """Difference of every recorded intermediate in units of what is allowed, in recorded order."""
        recorded = [name for name in recorded_order() if f"mid/{name}" in case.arrays]
        unknown = {key for key in case.arrays if key.startswith("mid/")} - {f"mid/{name}" for name in recorded}
        assert not unknown, f"{case.name}: no place in the order for {sorted(unknown)}"
        compared = [name for name in recorded if not name.startswith(UNTRACED)]
        return {name: case.sample_excess(name, self.values[name]) for name in compared}

    def report(self, case: Case) -> str:
        """The first recorded intermediate beyond tolerance, then the others."""
        excess = self.excess(case)
        beyond = [name for name, value in excess.items() if not value <= 1]
        if not beyond:
            return f"{case.name}: all {len(excess)} intermediates agree"
        others = ", ".join(f"{name} {excess[name]:.3g}" for name in beyond[1:])
        first, before = beyond[0], list(excess).index(beyond[0])
        return (
            f"{case.name}: first to differ is {first} ({excess[first]:.3g} x tolerance), "
            f"after {before} that agree; then {others or 'nothing'}"
        )
