"""A pointmap from exact depth, disturbed as that of a model would be: noise, and a frame and scale of its own."""

import hashlib
import math

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.geometry.similarity import Similarity
from pmgs_lib.pointmaps.base import Evidence, Identity, Pointmap, PointmapSource
from pmgs_lib.views import Views

# Noise may not turn a surface behind the camera: depth keeps at least this share.
LEAST_DEPTH_SHARE = 0.05


class DepthPointmap(PointmapSource):
    """World points of the exact depth, times (1 + noise N(0, 1)) along each ray, under one random similarity a scene.

    noise: standard deviation as a share of the depth. largest_scale: the scale is log-uniform between its inverse and
    it (1 keeps the scale). largest_shift: bound of each coordinate of the translation, in scaled world units. The
    rotation is uniform. The random numbers depend on `seed` and on the depth and cameras of the scene, not on its
    place in a batch nor on the device. Raises `ParameterError` for views without depth.

    >>> DepthPointmap(noise=0.05, seed=3).seed
    3
    """

    evidence: tuple[Evidence, ...] = ("depth", "cameras")

    def __init__(
        self, noise: float = 0.02, seed: int = 0, largest_scale: float = 2.0, largest_shift: float = 1.0
    ) -> None:
        if not (0 <= noise < math.inf and 1 <= largest_scale < math.inf and 0 <= largest_shift < math.inf):
            raise ParameterError(
                f"DepthPointmap: noise {noise}, largest_scale {largest_scale}, largest_shift {largest_shift}, "
                "expected noise and shift of at least 0 and a largest scale of at least 1"
            )
        self.noise, self.seed = noise, seed
        self.largest_scale, self.largest_shift = largest_scale, largest_shift

    @property
    def identity(self) -> Identity:
        return {
            "source": "depth",
            "noise": self.noise,
            "seed": self.seed,
            "largest_scale": self.largest_scale,
            "largest_shift": self.largest_shift,
        }

    def pointmap(self, context: Views, key: str | tuple[str, ...]) -> Pointmap:
        if context.depth is None:
            raise ParameterError(
                f"DepthPointmap: {key or 'the scene'} has no known depth, expected it in Views.depth: "
                "use an embedded scene, or a source that predicts depth"
            )
        depths = context.depth.reshape(-1, *context.depth.shape[-3:])
        poses = context.cameras.world_from_camera.reshape(*depths.shape[:2], 4, 4)
        intrinsics = context.cameras.intrinsics.reshape(*depths.shape[:2], 3, 3)
        scenes = [
            self._scene(depth, Cameras(*camera)) for depth, *camera in zip(depths, poses, intrinsics, strict=True)
        ]
        return Pointmap(torch.stack(scenes).reshape(*context.depth.shape, 3))

    def _scene(self, depth: Float[Tensor, "view h w"], cameras: Cameras) -> Float[Tensor, "view h w 3"]:
        generator = torch.Generator().manual_seed(self._scene_seed(depth, cameras))
        factor = 1 + self.noise * torch.randn(depth.shape, generator=generator).to(depth)
        points_world = cameras.unproject(depth * factor.clamp_min(LEAST_DEPTH_SHARE))
        return self._similarity(generator, depth).apply(points_world.flatten(0, 2)).reshape(points_world.shape)

    def _similarity(self, generator: torch.Generator, like: Tensor) -> Similarity:
        uniform = torch.rand(4, generator=generator, dtype=torch.float64) * 2 - 1
        quaternion = torch.randn(4, generator=generator, dtype=torch.float64)
        return Similarity(
            (self.largest_scale ** uniform[0]).to(like),
            quaternion_to_matrix(quaternion).to(like),
            (self.largest_shift * uniform[1:]).to(like),
        )

    def _scene_seed(self, depth: Tensor, cameras: Cameras) -> int:
        digest = hashlib.blake2b(str(self.seed).encode(), digest_size=8)
        for values in (depth, cameras.world_from_camera, cameras.intrinsics):
            digest.update(values.detach().cpu().contiguous().numpy().tobytes())
        # The generator takes a signed 64-bit number.
        return int.from_bytes(digest.digest(), "big") >> 1
