"""Triton kernels of the plane sweep: project, sample, multiply with the reference and average, in one pass.

Imported where a CUDA tensor is swept, and nowhere else: Triton is absent on other machines. `sweep.py` launches them.
One program takes a block of pixels of one frame and a group of its candidates. Sums are float32 whatever the features
are. Features are laid out (frame, pixel, channel), costs (frame, pixel, candidate).
"""

import triton
import triton.language as tl

# Points that come this close to (or behind) the other camera are projected as if they were at this depth; the same
# number as in the plain version.
MIN_DEPTH = tl.constexpr(1e-3)


@triton.jit
def landing_place(maps, x, y, depth, rows, columns):
    """Position in another view, in its pixels, of pixels (x, y) at a depth; far outside is cut, to stay an integer."""
    z = (tl.load(maps + 6) * x + tl.load(maps + 7) * y + tl.load(maps + 8)) * depth + tl.load(maps + 11)
    inverse = 1 / tl.maximum(z, MIN_DEPTH)
    u = ((tl.load(maps + 0) * x + tl.load(maps + 1) * y + tl.load(maps + 2)) * depth + tl.load(maps + 9)) * inverse
    v = ((tl.load(maps + 3) * x + tl.load(maps + 4) * y + tl.load(maps + 5)) * depth + tl.load(maps + 10)) * inverse
    return tl.minimum(tl.maximum(u, -2.0), columns + 1.0), tl.minimum(tl.maximum(v, -2.0), rows + 1.0)


@triton.jit
def bilinear_corner(u, v, right: tl.constexpr, lower: tl.constexpr, rows, columns):
    """Pixel number, weight and presence of one of the four corners around a position; zero outside the image."""
    left, top = tl.floor(u), tl.floor(v)
    weight_x = u - left if right else left + 1 - u
    weight_y = v - top if lower else top + 1 - v
    x, y = left.to(tl.int32) + right, top.to(tl.int32) + lower
    present = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    return y * columns + x, weight_x * weight_y, present


@triton.jit
def plane_sweep(
    features,
    neighbours,
    maps,
    inverse_depth,
    cost,
    rows,
    columns,
    neighbour_count,
    candidates,
    frame_stride,
    candidate_stride,
    pixel_stride,
    scale,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP: tl.constexpr,
):
    """cost[frame, pixel, candidate] = scale * sum over neighbours of <feature, neighbour's feature where it lands>."""
    frame = tl.program_id(1).to(tl.int64)
    pixels = rows * columns
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, WIDTH)
    real = (pixel < pixels)[:, None] & (channel < CHANNELS)[None, :]
    own = features + (frame * pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    reference = tl.load(own, mask=real, other=0.0).to(tl.float32)
    x, y = (pixel % columns).to(tl.float32), (pixel // columns).to(tl.float32)
    first = tl.program_id(2) * GROUP
    for candidate in range(first, tl.minimum(first + GROUP, candidates)):
        place = inverse_depth + frame * frame_stride + candidate * candidate_stride + pixel * pixel_stride
        depth = 1 / tl.load(place, mask=pixel < pixels, other=1.0)
        sampled = tl.zeros([BLOCK, WIDTH], dtype=tl.float32)
        for number in range(neighbour_count):
            entry = frame * neighbour_count + number
            other = features + tl.load(neighbours + entry) * pixels * CHANNELS
            u, v = landing_place(maps + entry * 12, x, y, depth, rows, columns)
            for corner in tl.static_range(4):
                index, weight, present = bilinear_corner(u, v, corner % 2, corner // 2, rows, columns)
                there = other + index[:, None] * CHANNELS + channel[None, :]
                value = tl.load(there, mask=real & present[:, None], other=0.0).to(tl.float32)
                sampled += weight[:, None] * value
        agreement = tl.sum(reference * sampled, axis=1) * scale
        tl.store(cost + (frame * pixels + pixel) * candidates + candidate, agreement, mask=pixel < pixels)


@triton.jit
def plane_sweep_gradient(
    features,
    neighbours,
    maps,
    inverse_depth,
    grad_cost,
    grad_features,
    rows,
    columns,
    neighbour_count,
    candidates,
    frame_stride,
    candidate_stride,
    pixel_stride,
    scale,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Adds to `grad_features` (float32) what `plane_sweep` passes back; the order of additions is not fixed."""
    frame = tl.program_id(1).to(tl.int64)
    pixels = rows * columns
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, WIDTH)
    real = (pixel < pixels)[:, None] & (channel < CHANNELS)[None, :]
    own = (frame * pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    reference = tl.load(features + own, mask=real, other=0.0).to(tl.float32)
    passed_to_own = tl.zeros([BLOCK, WIDTH], dtype=tl.float32)
    x, y = (pixel % columns).to(tl.float32), (pixel // columns).to(tl.float32)
    first = tl.program_id(2) * GROUP
    for candidate in range(first, tl.minimum(first + GROUP, candidates)):
        place = inverse_depth + frame * frame_stride + candidate * candidate_stride + pixel * pixel_stride
        depth = 1 / tl.load(place, mask=pixel < pixels, other=1.0)
        position = (frame * pixels + pixel) * candidates + candidate
        grad = tl.load(grad_cost + position, mask=pixel < pixels, other=0.0) * scale
        for number in range(neighbour_count):
            entry = frame * neighbour_count + number
            start = tl.load(neighbours + entry) * pixels * CHANNELS
            u, v = landing_place(maps + entry * 12, x, y, depth, rows, columns)
            for corner in tl.static_range(4):
                index, weight, present = bilinear_corner(u, v, corner % 2, corner // 2, rows, columns)
                there = start + index[:, None] * CHANNELS + channel[None, :]
                share = (grad * weight)[:, None]
                mask = real & present[:, None]
                passed_to_own += share * tl.load(features + there, mask=mask, other=0.0).to(tl.float32)
                tl.atomic_add(grad_features + there, share * reference, mask=mask, sem="relaxed")
    tl.atomic_add(grad_features + own, passed_to_own, mask=real, sem="relaxed")
