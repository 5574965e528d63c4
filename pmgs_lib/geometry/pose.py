"""Rigid poses, quaternions and intrinsics on plain tensors, for any batch shape and floating dtype.

Conventions: poses are 4x4 `target_from_source` matrices acting on column vectors; quaternions are wxyz; the library's
camera axes are OpenCV's (x right, y down, z forward), OpenGL's have y up and z backward.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def inverse_pose(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverse of a rigid pose by transposing its rotation (exact for orthonormal rotations)."""
    rotation = pose[..., :3, :3].mT
    translation = -rotation @ pose[..., :3, 3:]
    return torch.cat([torch.cat([rotation, translation], dim=-1), pose[..., 3:, :]], dim=-2)


def transform_points(
    target_from_source: Float[Tensor, "*#batch 4 4"], points: Float[Tensor, "*#batch point 3"]
) -> Float[Tensor, "*_ point 3"]:
    """Points of the source frame expressed in the target frame."""
    return points @ target_from_source[..., :3, :3].mT + target_from_source[..., None, :3, 3]


def rotate_vectors(
    target_from_source: Float[Tensor, "*#batch 4 4"], vectors: Float[Tensor, "*#batch point 3"]
) -> Float[Tensor, "*_ point 3"]:
    """Directions of the source frame expressed in the target frame; the translation plays no part."""
    return vectors @ target_from_source[..., :3, :3].mT


def opencv_from_opengl(world_from_camera: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The same camera with OpenCV axes, given with OpenGL axes: y and z axes of the camera change sign."""
    return world_from_camera * world_from_camera.new_tensor([1.0, -1.0, -1.0, 1.0])


def opengl_from_opencv(world_from_camera: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The same camera with OpenGL axes, given with OpenCV axes (the flip is its own inverse)."""
    return opencv_from_opengl(world_from_camera)


def wxyz_from_xyzw(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Scalar part moved from the end to the front."""
    return quaternion.roll(1, dims=-1)


def xyzw_from_wxyz(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Scalar part moved from the front to the end."""
    return quaternion.roll(-1, dims=-1)


def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a wxyz quaternion of any non-zero length."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit wxyz quaternion of a rotation matrix, with a non-negative scalar part.

    Four formulas exist, each unstable where its own component is near zero; the one with the largest component is taken
    (Shepperd, "Quaternion from rotation matrix", 1978).
    """
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    skew = torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], dim=-1)
    # Row k holds 4 * q_k * (w, x, y, z): the outer product of the quaternion with itself.
    outer = m.new_zeros(*m.shape[:-2], 4, 4)
    outer[..., 0, 0] = 1 + trace
    outer[..., 0, 1:] = skew
    outer[..., 1:, 0] = skew
    identity = torch.eye(3, dtype=m.dtype, device=m.device)
    outer[..., 1:, 1:] = m + m.mT + identity * (1 - trace)[..., None, None]
    best = torch.diagonal(outer, dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(outer, best[..., None, None], dim=-2)[..., 0, :]
    quaternion = torch.nn.functional.normalize(row, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_multiply(left: Float[Tensor, "*#batch 4"], right: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*_ 4"]:
    """Hamilton product of wxyz quaternions: the rotation `right` followed by the rotation `left`."""
    w1, x1, y1, z1 = left.unbind(-1)
    w2, x2, y2, z2 = right.unbind(-1)
    return torch.stack(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ],
        dim=-1,
    )


def pixel_intrinsics(normalized: Float[Tensor, "*batch 3 3"], height: int, width: int) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics in pixels of a `height` x `width` image; pixel centres lie at +0.5."""
    return normalized * normalized.new_tensor([width, height, 1.0])[:, None]


def normalized_intrinsics(pixel: Float[Tensor, "*batch 3 3"], height: int, width: int) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics divided by the image size: first row by width, second by height."""
    return pixel / pixel.new_tensor([width, height, 1.0])[:, None]
