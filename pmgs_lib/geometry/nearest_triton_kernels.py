"""Exact nearest neighbours on a GPU, in Triton: no compiler is needed on the user's machine.

Both clouds are sorted along a Morton curve. Consecutive reference points form leaves; leaves and nodes have tight
boxes, `FAN` of them under each node above, three levels in all. One program takes a packet of consecutive queries down
the tree: at each level the box nearest to the packet first, and none that cannot hold a point nearer than the packet's
worst best. Distances are direct differences in the dtype of the clouds.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

LEAF = 64  # reference points a leaf
PACKET = 32  # queries a program
FAN = 32  # boxes under a node
MORTON_BITS = 21  # bits of each axis in a Morton code of 63
BLOCK = 1024


def find_nearest(query: Tensor, reference: Tensor) -> Tensor:
    """Indices (query,) int64 of the reference point nearest to each query point; clouds (point, 3) on one device."""
    query, query_order = _sorted(query)
    reference, reference_order = _sorted(reference)
    leaves, nodes, tops, top_count = _boxes(reference)
    found = torch.empty(query.shape[1], dtype=torch.int64, device=query.device)
    _descend[(triton.cdiv(query.shape[1], PACKET),)](
        query, query_order, query.shape[1], reference, reference_order, reference.shape[1],
        leaves, leaves.shape[1], nodes, nodes.shape[1], tops, tops.shape[1], top_count, found,
        LEAF, PACKET, FAN, num_warps=1,
    )  # fmt: skip
    return found


def _sorted(points: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (3, point) along the Morton curve, and the place of each in the cloud it came from."""
    low, high = points.aminmax(dim=0)
    # The longest axis sets the cells: flat clouds are not stretched.
    cells = (2**MORTON_BITS - 1) / (high - low).max().clamp_min(torch.finfo(points.dtype).tiny * 2**30)
    codes = torch.empty(len(points), dtype=torch.int64, device=points.device)
    _morton[(triton.cdiv(len(points), BLOCK),)](points, low, cells, codes, len(points), BLOCK, MORTON_BITS)
    order = codes.argsort()
    return points[order].mT.contiguous(), order.int()


def _boxes(points: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Boxes (low and high of each axis: 6, box) of leaves, nodes and tops, padded to whole nodes with empty ones."""
    bounds = torch.cat([points, points])
    levels = []
    for width in (LEAF, FAN, FAN):
        count = bounds.shape[1]
        missing = -count % width
        if missing:
            bounds = torch.cat([bounds, bounds[:, -1:].expand(6, missing)], dim=1)
        grouped = bounds.unflatten(1, (-1, width))
        bounds = torch.cat([grouped[:3].amin(-1), grouped[3:].amax(-1)])
        levels.append(bounds)
    return *(_padded(level) for level in levels), levels[-1].shape[1]


def _padded(boxes: Tensor) -> Tensor:
    # An empty box is infinitely far from every packet.
    missing = -boxes.shape[1] % FAN
    return torch.cat([boxes, boxes.new_full((6, missing), torch.inf)], dim=1) if missing else boxes


@triton.jit
def _spread(bits):
    """Two zero bits behind each of the lowest 21."""
    bits = (bits | (bits << 32)) & 0x1F00000000FFFF
    bits = (bits | (bits << 16)) & 0x1F0000FF0000FF
    bits = (bits | (bits << 8)) & 0x100F00F00F00F00F
    bits = (bits | (bits << 4)) & 0x10C30C30C30C30C3
    return (bits | (bits << 2)) & 0x1249249249249249


@triton.jit
def _morton(points, low, cells, codes, count, BLOCK: tl.constexpr, BITS: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    scale = tl.load(cells)
    code = tl.zeros([BLOCK], dtype=tl.int64)
    for axis in tl.static_range(3):
        value = (tl.load(points + place * 3 + axis, mask=inside, other=0.0) - tl.load(low + axis)) * scale
        code = code | (_spread(tl.minimum(tl.maximum(value, 0.0), 2.0**BITS - 1).to(tl.int64)) << axis)
    tl.store(codes + place, code, mask=inside)


@triton.jit
def _gap(low, high, other_low, other_high):
    """Distance along one axis between two intervals."""
    return tl.maximum(tl.maximum(low - other_high, other_low - high), 0.0)


@triton.jit
def _distances(boxes, stride, place, low_x, low_y, low_z, high_x, high_y, high_z):
    """Squared distances from the packet's box, and from its centre, to the boxes at `place`."""
    box_low_x = tl.load(boxes + place)
    box_low_y = tl.load(boxes + stride + place)
    box_low_z = tl.load(boxes + 2 * stride + place)
    box_high_x = tl.load(boxes + 3 * stride + place)
    box_high_y = tl.load(boxes + 4 * stride + place)
    box_high_z = tl.load(boxes + 5 * stride + place)
    x = _gap(box_low_x, box_high_x, low_x, high_x)
    y = _gap(box_low_y, box_high_y, low_y, high_y)
    z = _gap(box_low_z, box_high_z, low_z, high_z)
    center_x, center_y, center_z = (low_x + high_x) / 2, (low_y + high_y) / 2, (low_z + high_z) / 2
    center_x = _gap(box_low_x, box_high_x, center_x, center_x)
    center_y = _gap(box_low_y, box_high_y, center_y, center_y)
    center_z = _gap(box_low_z, box_high_z, center_z, center_z)
    return x * x + y * y + z * z, center_x * center_x + center_y * center_y + center_z * center_z


@triton.jit
def _any(flags):
    return tl.max(flags.to(tl.int32), axis=0) > 0


@triton.jit
def _pick(is_open, near, slots):
    """The open box nearest to the packet's centre, and what stays open without it."""
    picked = tl.argmin(tl.where(is_open, near, float("inf")), axis=0)
    return picked, is_open & (slots != picked)


@triton.jit
def _may_hold_nearer(leaves, stride, leaf, x, y, z, best):
    """Whether the leaf's box is nearer to any query than the best found for that query."""
    gap_x = _gap(tl.load(leaves + leaf), tl.load(leaves + 3 * stride + leaf), x, x)
    gap_y = _gap(tl.load(leaves + stride + leaf), tl.load(leaves + 4 * stride + leaf), y, y)
    gap_z = _gap(tl.load(leaves + 2 * stride + leaf), tl.load(leaves + 5 * stride + leaf), z, z)
    return _any(gap_x * gap_x + gap_y * gap_y + gap_z * gap_z < best)


@triton.jit
def _search_leaf(reference, count, leaf, x, y, z, best, index, LEAF: tl.constexpr):
    """Best squared distances and places in the sorted cloud, after every point of a leaf met every query."""
    point = tl.minimum(leaf * LEAF + tl.arange(0, LEAF), count - 1)
    gap_x = tl.load(reference + point)[:, None] - x[None, :]
    gap_y = tl.load(reference + count + point)[:, None] - y[None, :]
    gap_z = tl.load(reference + 2 * count + point)[:, None] - z[None, :]
    distance = gap_x * gap_x + gap_y * gap_y + gap_z * gap_z
    nearest, row = tl.min(distance, axis=0, return_indices=True)
    closer = nearest < best
    place = tl.minimum(leaf * LEAF + row, count - 1)
    return tl.where(closer, nearest, best), tl.where(closer, place, index)


@triton.jit
def _descend(
    query, query_order, query_count, reference, reference_order, reference_count,
    leaves, leaf_stride, nodes, node_stride, tops, top_stride, top_count, found,
    LEAF: tl.constexpr, PACKET: tl.constexpr, FAN: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0) * PACKET + tl.arange(0, PACKET)
    at = tl.minimum(place, query_count - 1)
    x, y, z = tl.load(query + at), tl.load(query + query_count + at), tl.load(query + 2 * query_count + at)
    low_x, low_y, low_z = tl.min(x, axis=0), tl.min(y, axis=0), tl.min(z, axis=0)
    high_x, high_y, high_z = tl.max(x, axis=0), tl.max(y, axis=0), tl.max(z, axis=0)
    slots = tl.arange(0, FAN)
    best = tl.zeros_like(x) + float("inf")
    index = tl.zeros([PACKET], dtype=tl.int32)
    reach = tl.max(best, axis=0)
    for first in range(0, top_count, FAN):
        top_gap, top_near = _distances(tops, top_stride, first + slots, low_x, low_y, low_z, high_x, high_y, high_z)
        top_open = top_gap < reach
        while _any(top_open):
            top, top_open = _pick(top_open, top_near, slots)
            nodes_at = (first + top) * FAN + slots
            node_gap, node_near = _distances(nodes, node_stride, nodes_at, low_x, low_y, low_z, high_x, high_y, high_z)
            node_open = node_gap < reach
            while _any(node_open):
                node, node_open = _pick(node_open, node_near, slots)
                leaf_first = ((first + top) * FAN + node) * FAN
                leaves_at = leaf_first + slots
                leaf_gap, leaf_near = _distances(
                    leaves, leaf_stride, leaves_at, low_x, low_y, low_z, high_x, high_y, high_z
                )
                leaf_open = leaf_gap < reach
                while _any(leaf_open):
                    leaf, leaf_open = _pick(leaf_open, leaf_near, slots)
                    leaf = leaf_first + leaf
                    # The packet's box is loose: asking each query spares two leaves of three.
                    if _may_hold_nearer(leaves, leaf_stride, leaf, x, y, z, best):
                        best, index = _search_leaf(reference, reference_count, leaf, x, y, z, best, index, LEAF)
                        reach = tl.max(best, axis=0)
                        leaf_open = leaf_open & (leaf_gap < reach)
                node_open = node_open & (node_gap < reach)
            top_open = top_open & (top_gap < reach)
    nearest = tl.load(reference_order + index).to(tl.int64)
    tl.store(found + tl.load(query_order + at), nearest, mask=place < query_count)
