"""A scene whose reconstruction is known: a textured plane, and a model that is told its exact depth."""

import resource
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from pmgs_lib.cameras import Cameras
from pmgs_lib.evaluation.methods import unprojected_gaussians
from pmgs_lib.export.reconstruction import Reconstruction, reconstruct
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.base import Prediction
from pmgs_lib.rasterizers.base import RenderingSettings
from pmgs_lib.views import Views

HEIGHT, WIDTH, PLANE_Z = 24, 32, 4.0


class PlaneModel(nn.Module):
    """Unprojects the exact depth; `gain` is a weight, so that the result depends on what a model learns."""

    def __init__(self, settings: RenderingSettings, splats: bool, depth: bool) -> None:
        super().__init__()
        self.settings, self.splats, self.depth = settings, splats, depth
        self.gain = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(0.5)

    def forward(self, context: Views) -> Prediction:
        depth = self.dropout(context.depth * self.gain)
        scenes = [unprojected_gaussians(context[i]) for i in range(len(context.images))]
        gaussians = Gaussians(*(torch.stack(list(v)) for v in zip(*(vars(s).values() for s in scenes), strict=True)))
        return Prediction(gaussians if self.splats else None, depth if self.depth else None, self.settings)


def plane_views(positions, height=HEIGHT, width=WIDTH) -> Views:
    """Exact pictures and depth of the plane z = 4 from cameras at x = `positions`, looking straight ahead."""
    poses = torch.eye(4).repeat(len(positions), 1, 1)
    poses[:, 0, 3] = torch.tensor(positions)
    cameras = Cameras(poses, torch.tensor([[0.8, 0, 0.5], [0, 1.07, 0.5], [0, 0, 1]]).repeat(len(positions), 1, 1))
    depth = torch.full((len(positions), height, width), PLANE_Z)
    points = cameras.unproject(depth)
    waves = torch.tensor([[1.1, 0.4], [-0.5, 1.3], [0.8, -0.9]])
    images = 0.5 + 0.4 * torch.sin(2 * points[..., :2] @ waves.T).movedim(-1, 1)
    return Views(images, cameras, torch.tensor(1.0), torch.tensor(10.0), depth)


def plane_model(settings=None, *, splats=True, depth=True) -> PlaneModel:
    return PlaneModel(settings or RenderingSettings(), splats, depth)


@pytest.fixture
def views():
    return plane_views


@pytest.fixture
def model():
    return plane_model


@pytest.fixture
def made() -> Reconstruction:
    return reconstruct(plane_model(), plane_views([0.0, 0.4, 1.0]), name="plane")


@pytest.fixture
def depth_only() -> Reconstruction:
    return reconstruct(plane_model(splats=False), plane_views([0.0, 0.4, 1.0]), name="plane")


@pytest.fixture
def full_disk():
    """A factory of contexts in which no file grows beyond so many bytes: the system refuses, as a full disk does."""

    @contextmanager
    def limited(bytes_each: int):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_each, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
