"""What the tests of PM-Loss's options share: clouds with all the evidence that an option may ask for."""

import torch

from pmgs_lib import Cameras
from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.geometry.similarity import Similarity
from pmgs_lib.losses import PointmapLoss, PointmapLossSettings

DOUBLE = {"dtype": torch.float64}

# One of each, and the combinations that meet inside.
OPTION_SETS = [
    {},
    {"detach_alignment": True},
    {"per_view": True},
    {"confidence_rule": "weights"},
    {"confidence_rule": "above", "confidence_limit": 0.4},
    {"confidence_rule": "top", "confidence_limit": 0.6},
    {"nearest_share": 0.7},
    {"nearest_share": 0.7, "per_view": True, "confidence_rule": "weights"},
    {"penalty": "absolute"},
    {"penalty": "huber", "penalty_scale": 0.2},
    {"penalty": "geman_mcclure", "penalty_scale": 0.5, "confidence_rule": "weights"},
    {"two_sided": True},
    {"two_sided": True, "per_view": True, "normalization": "spread"},
    {"two_sided": True, "confidence_rule": "above", "confidence_limit": 0.4, "penalty": "absolute"},
    {"normalization": "spread"},
    {"normalization": "pointmap", "confidence_rule": "weights"},
    {"normalization": "pointmap", "per_view": True},
    {"normalization": "depth"},
    {"normalization": "depth", "two_sided": True, "nearest_share": 0.8},
    {"compare": "depth"},
    {"compare": "depth", "normalization": "depth", "per_view": True},
    {"compare": "depth", "penalty": "huber", "penalty_scale": 0.1, "confidence_rule": "weights"},
]


def name_of(options: dict) -> str:
    return "-".join(str(value) for value in options.values()) or "released"


def clouds(batch, views, height, width, rng, noise=0.3):
    """Centres and pointmaps (batch, view, h, w, 3) a few units before the cameras of `cameras_of`."""
    shape = (batch, views, height, width, 3)
    pointmap = torch.randn(shape, generator=rng, **DOUBLE) + torch.tensor([0, 0, 6.0], **DOUBLE)
    return pointmap + noise * torch.randn(shape, generator=rng, **DOUBLE), pointmap


def cameras_of(batch, views, rng):
    """Cameras near the origin that look along z, each a little turned."""
    poses = torch.eye(4, **DOUBLE).repeat(batch, views, 1, 1)
    turn = torch.cat([torch.ones(batch, views, 1), 0.1 * torch.randn(batch, views, 3, generator=rng)], -1)
    poses[..., :3, :3] = quaternion_to_matrix(turn.double())
    poses[..., :3, 3] = 0.3 * torch.randn(batch, views, 3, generator=rng, **DOUBLE)
    intrinsics = torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1.0]], **DOUBLE)
    return Cameras(poses, intrinsics.expand(batch, views, 3, 3))


def evidence_for(options, pointmap, rng):
    """Confidence, cameras and step where the options ask for them."""
    settings, evidence = PointmapLossSettings(**options), {}
    if settings.confidence_rule != "none":
        evidence["confidence"] = torch.rand(pointmap.shape[:-1], generator=rng, **DOUBLE) + 0.05
    if settings.needs_cameras:
        evidence["cameras"] = cameras_of(*pointmap.shape[:2], rng)
    if settings.sampled_points is not None:
        evidence["step"] = 3
    return evidence


def select(evidence, items):
    """Evidence of some items of the batch."""
    return {name: value if name == "step" else value[items] for name, value in evidence.items()}


def gradient_of(options, means, pointmap, **evidence):
    means = means.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(PointmapLoss(**options)(means, pointmap, **evidence), means)
    return gradient


def random_similarity(rng):
    rotation = quaternion_to_matrix(torch.randn(4, generator=rng, **DOUBLE))
    return Similarity(
        torch.rand((), generator=rng, **DOUBLE) + 0.5, rotation, torch.randn(3, generator=rng, **DOUBLE) * 5
    )


def moved(similarity, cloud):
    return similarity.apply(cloud.flatten(0, -2)).reshape(cloud.shape)


def hopeless_cloud(count, rng):
    """Points of one view, of no use in one of many ways, or nearly so."""
    points, pick = torch.randn(count, 3, generator=rng, **DOUBLE), torch.randint(0, count, (), generator=rng).item()
    kind = torch.randint(0, 14, (), generator=rng).item()
    if kind == 0:
        points[:] = points[0]
    elif kind == 1:
        points[:, 2] = 0
    elif kind == 2:
        points[:, 1:] = 2 * points[:, :1]
    elif kind == 3:
        points[pick, 1] = float("nan")
    elif kind == 4:
        points[pick] = float("inf") * (1 - 2 * (pick % 2))
    elif kind == 5:
        points[:] = 0
    elif kind == 6:
        points *= 10.0 ** torch.randint(-45, 38, (), generator=rng)
    elif kind == 7:
        points = points * 1e-7 + 100
    elif kind == 8:
        points = points.sign()
    elif kind == 9:
        points[pick] *= 1e9
    return points
