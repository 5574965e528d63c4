"""Other cameras from the same pictures: a crop is a picture with a longer lens, or with its axis off the middle."""

from dataclasses import fields

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.resize import Fit, resize_intrinsics
from pmgs_lib.errors import ParameterError
from pmgs_lib.views import Views


def cropped(views: Views, top: int, left: int, height: int, width: int) -> Views:
    """The same window of every picture, in pixels, with the intrinsics and the depth that belong to it."""
    if not (0 <= top <= views.height - height and 0 <= left <= views.width - width and height > 0 and width > 0):
        raise ParameterError(
            f"cropped: a window of {height} x {width} at row {top}, column {left} does not lie in pictures of "
            f"{views.height} x {views.width}: choose a smaller one or larger pictures"
        )
    window = Fit(views.height, views.width, top, left, height, width)
    rows, columns = slice(top, top + height), slice(left, left + width)
    return Views(
        images=views.images[..., rows, columns],
        cameras=Cameras(views.cameras.world_from_camera, resize_intrinsics(views.cameras.intrinsics, window)),
        near=views.near,
        far=views.far,
        depth=None if views.depth is None else views.depth[..., rows, columns],
    )


def interleaved(first: Views, second: Views) -> Views:
    """Views 0, 2, 4 ... of the first and 1, 3, 5 ... of the second, which show the same frames of one scene."""
    if first.images.shape != second.images.shape:
        raise ParameterError(
            f"interleaved: images of shape {tuple(first.images.shape)} and {tuple(second.images.shape)}; expected the "
            "same frames at one size"
        )
    odd = (torch.arange(first.count, device=first.images.device) % 2 == 1)[:, None, None]
    depth_known = first.depth is not None and second.depth is not None
    return Views(
        images=torch.where(odd[..., None], second.images, first.images),
        cameras=Cameras(
            *(
                torch.where(odd, getattr(second.cameras, f.name), getattr(first.cameras, f.name))
                for f in fields(Cameras)
            )
        ),
        near=first.near,
        far=first.far,
        depth=torch.where(odd, second.depth, first.depth) if depth_known else None,
    )
