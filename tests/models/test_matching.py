"""Matching parts against recorded functions of the released code, and the laws they obey."""

import numpy as np
import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.models.matching.cost_volume import (
    coarse_candidates,
    fine_candidates,
    matching_cost,
    sweep_grid,
    warp_features,
)
from pmgs_lib.models.matching.transformer import (
    AttentionLayer,
    MultiViewTransformer,
    bias_for_neighbours,
    nearest_views,
    position_code,
    shift_bias,
)
from pmgs_lib.models.matching.unet import CrossViewUNet


@pytest.fixture
def units(parity) -> dict[str, torch.Tensor]:
    with np.load(parity / "depthsplat" / "units_main.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


# --- transformer ------------------------------------------------------------------------------------------------------


def test_position_code_equals_the_recorded_one(units):
    torch.testing.assert_close(position_code(32, 6, 8), units["pos/h6_w8_c32"][0], atol=1e-6, rtol=0)


def test_shift_mask_equals_the_recorded_one(units):
    ours = shift_bias(8, 12)
    recorded = units["mask/h8_w12_splits2"].float()
    torch.testing.assert_close(ours, recorded if recorded.min() < -1 else -100.0 * recorded.abs(), atol=0, rtol=0)


def attended(units, neighbours: int, shift: tuple[int, int], scrambled: bool) -> torch.Tensor:
    """Message of view 0 with the recorded queries, keys and values, led through a layer whose projections pick them."""
    query, key, value = (units[f"attn/{name}"] for name in "qkv")
    batch, _, width = query.shape
    layer = AttentionLayer(2 * width).requires_grad_(False)
    pick_first = torch.eye(2 * width) * (torch.arange(2 * width) < width)
    pick_second = torch.eye(2 * width).roll(width, dims=1) * (torch.arange(2 * width) >= width)
    layer.q_proj.weight.copy_(pick_first * 2**0.5)  # the scale is that of the doubled width
    layer.k_proj.weight.copy_(pick_first)
    layer.v_proj.weight.copy_(pick_second)
    layer.merge.weight.copy_(torch.eye(2 * width))
    source = torch.cat([query, torch.zeros_like(query)], dim=-1)[:, None].expand(-1, 1 + neighbours, -1, -1)
    others = torch.cat([key, value], dim=-1)[:, :neighbours]
    target = torch.cat([torch.zeros(batch, 1, *others.shape[2:]), others], dim=1)
    index = torch.arange(1, neighbours + 1).expand(batch, 1 + neighbours, -1)
    bias = bias_for_neighbours(shift_bias(4, 8), neighbours, scrambled) if shift != (0, 0) else None
    messages = []
    layer.norm1.register_forward_pre_hook(lambda _, args: messages.append(args[0]))
    layer(source.unflatten(2, (4, 8)), target.unflatten(2, (4, 8)), index, shift, bias)
    return messages[0][:, 0, :, :, :width].flatten(1, 2)


def test_windowed_attention_equals_the_recorded_one(units):
    plain = attended(units, 3, (0, 0), scrambled=True)
    torch.testing.assert_close(plain, units["attn/out_noshift_m3"], atol=1e-5, rtol=0)
    single = attended(units, 1, (1, 2), scrambled=False)
    torch.testing.assert_close(single, units["attn/out_shift_m1"], atol=1e-5, rtol=0)


def test_released_mask_is_scrambled_for_several_neighbours_and_ours_is_not(units):
    released = attended(units, 3, (1, 2), scrambled=True)
    torch.testing.assert_close(released, units["attn/out_shift_m3"], atol=1e-5, rtol=0)
    mended = attended(units, 3, (1, 2), scrambled=False)
    assert (mended - released).abs().max() > 1e-2
    torch.testing.assert_close(
        bias_for_neighbours(shift_bias(4, 8), 1, True), bias_for_neighbours(shift_bias(4, 8), 1, False)
    )


def test_mended_transformer_does_not_care_about_the_order_of_neighbours(rng):
    features = torch.randn(1, 4, 16, 8, 8, generator=rng)
    orders = (
        torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[None],
        torch.tensor([[3, 1, 2], [3, 2, 0], [1, 3, 0], [2, 0, 1]])[None],
    )
    mended = MultiViewTransformer(16, 2, 2, scrambled_mask=False)
    torch.testing.assert_close(mended(features, orders[0]), mended(features, orders[1]), atol=1e-5, rtol=0)


def test_neighbours_are_the_nearest_others():
    centers = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0], [8, 0, 0]])[None]
    assert nearest_views(centers, 2, 3).tolist() == [[[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]]
    assert nearest_views(centers[:, :3], 2, 3).tolist() == [[[1, 2], [0, 2], [0, 1]]]
    assert nearest_views(centers[:, :2], 2, 3).tolist() == [[[1], [0]]]
    assert nearest_views(centers, None, 3).tolist()[0][2] == [0, 1, 3, 4]


def test_a_view_with_a_coincident_neighbour_is_never_matched_with_itself():
    chosen = nearest_views(torch.zeros(2, 5, 3), 2, 3)
    own = torch.arange(5)[:, None]
    assert (chosen != own).all()
    assert (chosen[..., 0] != chosen[..., 1]).all()


# --- plane sweep ------------------------------------------------------------------------------------------------------


def test_warp_equals_the_recorded_one(units):
    intrinsics = units["warp/K_pixels"]
    pose = units["warp/pose"]
    matrix = intrinsics @ pose[:, :3, :3] @ torch.linalg.inv(intrinsics)
    grid = sweep_grid(matrix, intrinsics @ pose[:, :3, 3:], units["warp/depth"])
    torch.testing.assert_close(warp_features(units["warp/feature"], grid), units["warp/out"], atol=2e-5, rtol=0)


def test_candidates_cover_the_range_and_stay_inside():
    near, far = torch.tensor([0.5, 1.0]), torch.tensor([100.0, 10.0])
    coarse = coarse_candidates(near, far, 128)
    torch.testing.assert_close(coarse[:, 0], 1 / far)
    torch.testing.assert_close(coarse[:, -1], 1 / near)
    interval = (1 / near - 1 / far) / 127 / 2
    center = torch.tensor([1.0, 0.5])[:, None, None].expand(-1, 2, 3)
    fine = fine_candidates(center, near, far, interval, 32)
    torch.testing.assert_close(fine[:, 16], center)  # as many steps below as the released code takes
    torch.testing.assert_close(fine.diff(dim=1), interval[:, None, None, None].expand(-1, 31, 2, 3), atol=1e-6, rtol=0)
    edge = fine_candidates(1 / near[:, None, None], near, far, interval, 32)
    assert (edge <= 1 / near[:, None, None, None]).all()


@pytest.mark.parametrize("released", [False, True])
def test_matching_cost_finds_the_true_depth_unless_focal_lengths_are_confused(released):
    """A textured plane seen by cameras of different focal length: the true candidate must win where ours projects."""
    depth, rows, columns = 4.0, 24, 32
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, 1, 0, 3] = 0.5
    intrinsics = torch.tensor([[1.0, 0, 0.5], [0, 1.3, 0.5], [0, 0, 1]]).repeat(1, 2, 1, 1)
    intrinsics[0, 1, :2, :2] *= 0.8
    cameras = Cameras(poses, intrinsics)
    # The sweep counts whole pixels, so the picture is sampled at whole pixels as well.
    y, x = torch.meshgrid(torch.arange(rows) * 1.0, torch.arange(columns) * 1.0, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    rays = pixels @ torch.linalg.inv(cameras.pixel_intrinsics(rows, columns)).mT[:, :, None]
    points = rays * depth + poses[:, :, None, None, :3, 3]
    waves = torch.tensor([[2.0, 1, 0], [-1, 3, 0], [3, -2, 0], [1, 1.5, 0], [4, 0.3, 0], [0.2, 5, 0]])
    features = torch.cat([(points @ waves.mT).sin(), (points @ waves.mT).cos()], dim=-1).movedim(-1, 2)
    candidates = 1 / torch.tensor([2.0, 2.7, 3.3, 4.0, 5.5, 9.0])
    inverse_depth = candidates.expand(1, 2, -1)[..., None, None]
    cost = matching_cost(features, cameras, inverse_depth, torch.tensor([[[1], [0]]]), released)
    found = (cost[0, 0, :, 4:20, 8:24].argmax(0) == 3).float().mean()
    assert found < 0.5 if released else found > 0.95, found


# --- U-Net ------------------------------------------------------------------------------------------------------------


def test_unet_starts_at_zero_and_mixes_views_once_trained(rng):
    unet = CrossViewUNet(32, (1, 1, 1), head_width=16)
    x = torch.randn(4, 32, 8, 8, generator=rng)
    assert unet(x, 2).abs().max() == 0
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    changed = x.clone()
    changed[1] += 1
    difference = (unet(x, 2) - unet(changed, 2)).abs().amax((1, 2, 3))
    assert (difference[:2] > 1e-5).all()
    assert (difference[2:] == 0).all()


def test_recomputed_attention_has_the_same_gradients(rng):
    x = torch.randn(4, 32, 8, 8, generator=rng)
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(3)
        unet = CrossViewUNet(32, (1, 2), head_width=16, checkpointed=checkpointed)
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter.add_(0.05)
        unet(x, 2).square().sum().backward()
        gradients.append([parameter.grad for parameter in unet.parameters()])
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right)
