"""Laws of VGGT and its sources, on a tiny model with random weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scenes import TINY, random_views
from torch.testing import assert_close
from vggt_parity import FOLDER, load, recorded_model, relative

from pmgs_lib.errors import ParameterError
from pmgs_lib.pointmaps.base import Pointmap, at_full_size
from pmgs_lib.pointmaps.vggt.blocks import rotate, rotation_table
from pmgs_lib.pointmaps.vggt.camera_head import CameraEstimate
from pmgs_lib.pointmaps.vggt.config import PUBLISHED, DenseConfig, VggtConfig
from pmgs_lib.pointmaps.vggt.dense_head import position_code
from pmgs_lib.pointmaps.vggt.model import Vggt
from pmgs_lib.pointmaps.vggt.source import resized_images, unprojected

ALL = ("point", "depth", "camera")


def tiny(**changes) -> Vggt:
    """Random weights, with tokens and layer scales large enough for every part to matter."""
    model = Vggt(TINY.model_copy(update={"heads": ALL} | changes))
    for name, parameter in model.named_parameters():
        if name.endswith(("token", "tokens", "gamma")):
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval().requires_grad_(False)


@pytest.fixture
def images(rng):
    return torch.rand(2, 3, 3, 28, 42, generator=rng)


def test_a_batch_is_its_scenes_one_by_one(images):
    model = tiny()
    together = model(images)
    for item in range(2):
        alone = model(images[item : item + 1])
        for name in ("points", "points_confidence", "depth", "depth_confidence"):
            assert_close(getattr(alone, name)[0], getattr(together, name)[item], rtol=1e-4, atol=1e-5)
        assert_close(alone.cameras.camera_from_world[0], together.cameras.camera_from_world[item], rtol=1e-4, atol=1e-5)


def test_frames_after_the_first_may_change_places_but_the_first_defines_the_world(images):
    model = tiny()
    plain = model(images).points
    assert_close(model(images[:, [0, 2, 1]]).points[:, [0, 2, 1]], plain, rtol=1e-4, atol=1e-5)
    assert relative(model(images[:, [1, 0, 2]]).points[:, [1, 0, 2]], plain) > 1e-3


def test_every_view_sees_every_other(images):
    model = tiny()
    changed = images.clone()
    changed[:, 2] = 1 - changed[:, 2]
    moved = (model(changed).points - model(images).points).abs().amax((-3, -2, -1))
    assert (moved > 1e-6).all()


def test_frames_go_through_the_dense_heads_in_turns_with_the_same_result(images):
    torch.manual_seed(1)
    plain = tiny()
    turns = tiny(dense=DenseConfig(**TINY.dense.model_dump() | {"frames_at_once": 2}))
    turns.load_state_dict(plain.state_dict())
    assert_close(turns(images).points, plain(images).points, rtol=1e-5, atol=1e-6)


def test_heads_are_built_on_request_only(images):
    model = tiny(heads=("depth",))
    prediction = model(images)
    assert [name for name, _ in model.named_children()] == ["aggregator", "depth_head"]
    assert prediction.points is None
    assert prediction.cameras is None
    assert prediction.depth.shape == (2, 3, 28, 42)
    assert (prediction.depth > 0).all()
    assert (prediction.depth_confidence > 1).all()


def test_tables_are_kept_per_size_and_forgotten_with_the_weights(images):
    model = tiny()
    first = model(images).points
    tables = model.tables(3, 28, 42)
    assert model.tables(3, 28, 42) is tables
    assert model.tables(2, 28, 42) is not tables
    state = model.state_dict()
    state["aggregator.patch_embed.pos_embed"] = torch.randn_like(state["aggregator.patch_embed.pos_embed"])
    model.load_state_dict(state)
    assert relative(model(images).points, first) > 1e-3
    kept = model.tables(3, 28, 42)
    assert model.double().tables(3, 28, 42) is not kept
    # Weights in training change behind a table's back: none is kept then.
    learning = tiny().requires_grad_(True)
    assert learning.tables(3, 28, 42) is not learning.tables(3, 28, 42)
    learning(images).points.sum().backward()
    assert learning.aggregator.patch_embed.pos_embed.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(28, 41), (27, 42), (0, 14)])
def test_sizes_that_are_no_multiples_of_the_patch_are_refused(size):
    with pytest.raises(ParameterError, match=rf"images of {size[0]} x {size[1]} pixels.*multiples of 14"):
        tiny().tables(2, *size)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": ()}, "at least one of point"),
        ({"heads": ("point", "point")}, "none twice"),
        ({"pairs": 3}, "expected numbers below that"),
        ({"attention_heads": 5}, "multiple of 4"),
        ({"widht": 3}, "Extra inputs"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        VggtConfig(**TINY.model_dump() | changes)


def test_rotation_depends_on_the_difference_of_places_only(rng):
    """What makes RoPE: turned queries and keys multiply to a function of the distance in rows and columns."""
    rows, columns, channels = 5, 6, 16
    table = rotation_table(rows, columns, 2, channels, torch.device("cpu"))
    assert table.shape == (2, 2 + rows * columns, channels)
    assert_close(table[:, :2], torch.stack([torch.ones(2, channels), torch.zeros(2, channels)]))
    query, key = (torch.randn(channels, generator=rng).expand(1, table.shape[1], 1, -1) for _ in range(2))
    turned = [rotate(x, table)[0, 2:, 0].reshape(rows, columns, channels) for x in (query, key)]
    for down, right in ((0, 0), (1, 0), (0, 1), (2, 3)):
        products = (turned[0][: rows - down, : columns - right] * turned[1][down:, right:]).sum(-1)
        assert_close(products, products[:1, :1].expand_as(products), rtol=1e-4, atol=1e-4)
    assert_close(turned[0].norm(dim=-1), query[0, 2:, 0].norm(dim=-1).reshape(rows, columns))


def test_position_codes_are_odd_and_even_about_the_centre():
    by_column, by_row = position_code(16, 5, 8, 1.6, torch.device("cpu"))
    assert by_column.shape == (8, 8)
    assert by_row.shape == (8, 5)
    for code in (by_column, by_row):
        assert_close(code[:4], -code[:4].flip(-1))
        assert_close(code[4:], code[4:].flip(-1))
        assert_close(code[:4].square() + code[4:].square(), torch.full_like(code[:4], 0.01))


def test_unprojected_points_fall_back_onto_their_integer_pixels(rng):
    batch, frames, height, width = 2, 3, 6, 8
    views = random_views(batch, rng=rng, views=frames, height=height, width=width)
    tangents = torch.rand(batch, frames, 2, generator=rng) + 0.2
    cameras = CameraEstimate(views.cameras.camera_from_world[..., :3, :], tangents)
    points = unprojected(views.depth, cameras)
    in_camera = torch.einsum("bfij,bfhwj->bfhwi", cameras.camera_from_world[..., :3], points)
    in_camera = in_camera + cameras.camera_from_world[..., None, None, :, 3]
    assert_close(in_camera[..., 2], views.depth, rtol=1e-4, atol=1e-4)
    for axis, count in ((0, width), (1, height)):
        focal = count / 2 / tangents[..., axis]
        pixels = in_camera[..., axis] / in_camera[..., 2] * focal[..., None, None] + count / 2
        line = torch.arange(count).float()
        assert_close(pixels, (line if axis == 0 else line[:, None]).expand_as(pixels), rtol=1e-4, atol=1e-3)


def test_a_field_of_view_of_zero_gives_finite_points(rng):
    cameras = CameraEstimate(torch.eye(4)[None, None, :3], torch.zeros(1, 1, 2))
    depth = torch.rand(1, 1, 4, 5, generator=rng) + 1
    assert torch.equal(unprojected(depth, cameras)[..., :2], torch.zeros(1, 1, 4, 5, 2))


@pytest.mark.parametrize(("size", "smaller"), [((256, 448), (252, 448)), ((28, 42), (28, 42)), ((29, 41), (28, 28))])
def test_images_shrink_to_multiples_of_the_patch_and_points_come_back(size, smaller, rng):
    images = torch.rand(1, 2, 3, *size, generator=rng)
    small = resized_images(images, 14)
    assert small.shape[-2:] == smaller
    points = torch.rand(1, 2, *smaller, 3, generator=rng)
    full = at_full_size(Pointmap(points, points[..., 0]), *size)
    rows, columns = (
        torch.arange(n) * m // n for n, m in zip(size, smaller, strict=True)
    )  # every point is one of the given ones, that of floor(i * small / large)
    assert torch.equal(full.points, points[:, :, rows][:, :, :, columns])
    assert torch.equal(full.confidence, full.points[..., 0])


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(ParameterError, match="kitchen has images of 13 x 50 pixels, expected at least 14 x 14"):
        resized_images(torch.zeros(1, 1, 3, 13, 50), 14, "kitchen")


def test_bf16_computes_where_autocast_would(images):
    model = tiny().set_precision("bf16")
    seen = {}

    def watch(name, module):
        module.register_forward_hook(lambda _, args, out: seen.update({name: (args[0].dtype, out.dtype)}))

    block = model.aggregator.global_blocks[1]
    named = {"qkv": block.attn.qkv, "q_norm": block.attn.q_norm, "norm1": block.norm1, "fc2": block.mlp.fc2}
    for name, module in {**named, "block": block, "head": model.point_head.norm}.items():
        watch(name, module)
    prediction = model(images)
    half, full = torch.bfloat16, torch.float32
    assert seen == {
        "norm1": (full, full),
        "qkv": (full, half),
        "q_norm": (full, full),
        "fc2": (half, half),
        "block": (full, full),
        "head": (full, full),
    }
    assert {p.dtype for p in model.point_head.parameters()} == {full}
    assert prediction.points.dtype == full
    back = model.set_precision("float32")
    assert {p.dtype for p in back.parameters()} == {full}


def test_the_bf16_pointmap_is_near_the_float32_one():
    """Measured on the recordings in relative L2: points 0.5 to 0.8 % (published size 0.5 %), depth 0.2 %."""
    recorded = load(FOLDER / "small_2x70x98.npz")
    model = recorded_model().set_precision("bf16")
    prediction = model(recorded["in_images"])
    assert 1e-4 < relative(prediction.points, recorded["world_points"]) < 0.015
    assert relative(prediction.depth[..., None], recorded["depth"]) < 0.005


COMPILED = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from scenes import TINY
from pmgs_lib.pointmaps.vggt.model import Vggt
model = Vggt(TINY.model_copy(update={"heads": ("point", "depth", "camera")})).eval().requires_grad_(False)
images = torch.rand(1, 2, 3, 28, 42)
plain = model(images)
# One graph without a break: what CUDA graphs need.
model._run = torch.compile(model.run, backend="eager", fullgraph=True, dynamic=False)
for name in ("points", "depth_confidence"):
    print(torch.allclose(getattr(model(images), name), getattr(plain, name), rtol=1e-4, atol=1e-5))
"""


def test_the_network_compiles_as_one_graph():
    here = Path(__file__).parent
    command = [sys.executable, "-c", COMPILED, str(here)]
    done = subprocess.run(command, cwd=here.parents[1], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_published_size():
    assert PUBLISHED.heads == ("point",)
    with torch.device("meta"):
        model = Vggt(PUBLISHED)
    assert sum(p.numel() for p in model.parameters()) == 909_112_320 - 1024 + 32_654_628
