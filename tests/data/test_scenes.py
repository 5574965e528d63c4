"""The embedded scenes: the same everywhere, exact depth, views worth learning from."""

import functools
import json
import time

import numpy as np
import pytest
import torch

from pmgs_lib.data import ChunkFolder, decode_image, make_scene, make_scenes
from pmgs_lib.data.scenes.embedded import (
    FAR,
    NEAR,
    SCENES_PER_SEED,
    STYLES,
    RenderedScene,
    _compose,
    scene_key,
    scene_seed,
)
from pmgs_lib.data.scenes.geometry import Material, SceneBuilder
from pmgs_lib.data.scenes.layout import primitive_bounds
from pmgs_lib.data.scenes.paths import (
    CLEARANCE,
    EDGE_SHARE,
    LARGEST_SHARE,
    LARGEST_TURN,
    LEAST_OVERLAP,
    NEAREST_DEPTH,
    OVERLAP_GAP,
    clearance,
    depth_edges,
    overlap,
    trace_view,
    turns,
    view_fault,
)
from pmgs_lib.data.scenes.ray_kernels import find_free, trace_depth
from pmgs_lib.data.scenes.textures import PHOTOS, TEXTURES, _photo, texture_atlas
from pmgs_lib.errors import DataError, ParameterError

SEEDS = (2_000_006, 2_000_007, 3_000_010, 3_000_011)
HEIGHT, WIDTH = 128, 224


@functools.cache
def rendered(seed: int, height: int = HEIGHT, width: int = WIDTH) -> RenderedScene:
    return make_scene(seed, frames=14, height=height, width=width)


composed = functools.cache(_compose)


def float_images(scene: RenderedScene) -> torch.Tensor:
    return scene.images.permute(0, 3, 1, 2).float() / 255


def test_same_seed_gives_the_same_bytes_and_other_seeds_do_not():
    first, again = rendered(SEEDS[0]), make_scene(SEEDS[0], frames=14, height=HEIGHT, width=WIDTH)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.depth, again.depth)
    assert torch.equal(first.cameras.world_from_camera, again.cameras.world_from_camera)
    other = rendered(SEEDS[2])
    assert not torch.equal(first.cameras.world_from_camera, other.cameras.world_from_camera)
    assert (first.images.float() - other.images.float()).abs().mean() > 10


def test_seeds_of_different_sets_never_meet():
    seeds = [scene_seed(seed, index) for seed in range(4) for index in (0, 1, 17, SCENES_PER_SEED - 1)]
    assert len(set(seeds)) == len(seeds)
    assert scene_seed(3, 17) == 3_000_017
    assert scene_key(123) == "street_000123"
    assert scene_key(scene_seed(3, 18)) == "indoor_3000018"
    for seed, index in ((-1, 0), (0, -1), (0, SCENES_PER_SEED)):
        with pytest.raises(ParameterError, match="another seed"):
            scene_seed(seed, index)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_scene_does_not_depend_on_the_resolution(seed):
    fine, coarse = (make_scene(seed, frames=2, height=h, width=w) for h, w in ((96, 168), (32, 56)))
    assert torch.equal(fine.cameras.world_from_camera, coarse.cameras.world_from_camera)
    torch.testing.assert_close(fine.cameras.intrinsics, coarse.cameras.intrinsics)
    # Every third pixel centre of the fine picture is one of the coarse picture.
    same = (fine.depth[:, 1::3, 1::3] - coarse.depth).abs() < 1e-4 * coarse.depth
    assert same.float().mean() > 0.995  # rounding moves a ray over a silhouette here and there
    small = torch.nn.functional.avg_pool2d(float_images(fine), 3)
    assert (small - float_images(coarse)).abs().mean() < 0.03


@pytest.mark.parametrize("seed", SEEDS)
def test_every_view_keeps_the_rules(seed):
    scene, path = composed(seed, 14)
    intrinsics = path.intrinsics(256, 448)
    depths = []
    for pose in path.world_from_camera:
        depth, primitives = trace_view(scene, pose, intrinsics, 256, 448)
        depths.append(depth)
        assert view_fault(depth, primitives) is None
        assert depth.min() >= NEAREST_DEPTH
        assert np.bincount(primitives[primitives >= 0]).max() <= LARGEST_SHARE * primitives.size
        assert depth_edges(depth).mean() >= EDGE_SHARE
    pair = path.world_from_camera[[0, OVERLAP_GAP]]
    assert overlap(depths[0], depths[OVERLAP_GAP], pair, intrinsics) >= LEAST_OVERLAP


@pytest.mark.parametrize("seed", SEEDS)
def test_camera_walks_smoothly_in_free_space(seed):
    scene, path = composed(seed, 14)
    centers = path.world_from_camera[:, :3, 3]
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    assert steps.min() > 0.04
    assert steps.max() < 0.16
    assert turns(path.world_from_camera).max() <= LARGEST_TURN
    assert clearance(centers, primitive_bounds(scene)).min() >= CLEARANCE
    free = np.empty(len(centers))
    find_free(scene.geometry, centers, free)
    assert free.all()
    cameras = rendered(seed).cameras.validate(scene_key(seed))
    fx, fy = cameras.intrinsics[:, 0, 0] * WIDTH, cameras.intrinsics[:, 1, 1] * HEIGHT
    torch.testing.assert_close(fx, fy)
    assert 55 < 2 * np.rad2deg(np.arctan(0.5 / float(cameras.intrinsics[0, 0, 0]))) < 65
    assert (cameras.world_from_camera[:, 2, 1] < -0.8).all()  # image y points down, world z up


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_and_colour_agree_between_frames(seed):
    """A surface point seen by two frames has the depth the other frame says, and the same colour: all is matt."""
    scene, a, b = rendered(seed), 0, 6
    points = scene.cameras[a].unproject(scene.depth[a]).reshape(-1, 3)
    pixels, depth = scene.cameras[b].project(points, HEIGHT, WIDTH)
    inner = ((pixels > 1) & (pixels < torch.tensor([WIDTH - 1, HEIGHT - 1]))).all(dim=-1) & (depth > 0)
    assert inner.float().mean() > 0.4
    grid = (pixels[inner] / torch.tensor([WIDTH, HEIGHT]) * 2 - 1)[None, None]
    images = float_images(scene)
    # Inverse depth is linear on a plane, so this is exact away from edges.
    inverse = torch.nn.functional.grid_sample(1 / scene.depth[b][None, None], grid, align_corners=False).flatten()
    seen = (inverse * depth[inner] - 1).abs() < 2e-3
    assert seen.float().mean() > 0.6
    colors = torch.nn.functional.grid_sample(images[b][None], grid, align_corners=False)[0, :, 0]
    difference = (colors - images[a].flatten(1)[:, inner]).abs().mean(dim=0)
    assert difference[seen].median() < 0.025
    assert difference[seen].mean() < 0.04


@pytest.mark.parametrize("seed", SEEDS)
def test_pictures_are_textured_and_natural(seed):
    scene = rendered(seed)
    assert (scene.depth > NEAR).all()
    assert (scene.depth < FAR).all()
    images = float_images(scene)
    assert 0.3 < images.mean() < 0.6
    assert ((images > 0.995).all(dim=1).float().mean()) < 0.08  # burnt out
    assert ((images < 0.005).all(dim=1).float().mean()) < 0.04  # drowned
    saturation = (images.amax(dim=1) - images.amin(dim=1)).mean()
    assert 0.03 < saturation < 0.30
    patches = images.mean(dim=1).unfold(1, 8, 8).unfold(2, 8, 8).std(dim=(-2, -1))
    assert (patches < 0.004).float().mean() < 0.06  # flat patches of 8x8 pixels, for stereo to fail on


def test_both_styles_alternate():
    assert [scene_key(seed).split("_")[0] for seed in range(4)] == ["indoor", "street", "indoor", "street"]
    assert len(STYLES) == 2
    assert rendered(SEEDS[0]).key == "indoor_2000006"
    assert rendered(SEEDS[1]).key == "street_2000007"


def test_rules_refuse_bad_views():
    ramp = np.linspace(2.0, 6.0, 448)[None].repeat(256, 0)
    bars = np.where(np.arange(448) // 8 % 2, 2.0, 4.0)[None].repeat(256, 0)
    many = np.arange(448)[None].repeat(256, 0) // 64
    assert view_fault(bars, many) is None
    assert "away" in view_fault(np.where(many == 3, 0.5, bars), many)
    assert "covers" in view_fault(bars, np.where(many < 4, 0, many))
    assert "depth edge" in view_fault(ramp, many)
    plane = 1 / np.linspace(0.02, 1.2, 448)[None].repeat(256, 0)  # a floor up to its horizon is no edge
    assert not depth_edges(plane).any()


def brute_force_depth(shapes, origin, direction):
    """Smallest t of one ray by dense marching over every shape's inside test."""
    t = np.linspace(0, 9, 45_001)
    points = origin + t[:, None] * direction
    inside = np.zeros(len(t), dtype=bool)
    for shape in shapes:
        inside |= shape(points)
    return t[np.argmax(inside)] if inside.any() else None


def test_rays_meet_primitives_where_their_equations_say():
    builder, stone = SceneBuilder(np.random.default_rng(0)), Material("stone")
    builder.box((3, -1, -1), (4, 1, 1), stone, yaw=0.6)
    builder.ellipsoid((5, 2.5, 0.5), (0.8, 0.5, 1.1), stone)
    builder.frustum((4, -2.5, -1), (4.3, -2.2, 1.2), (0.7, 0.3), stone)
    geometry, _ = builder.build()

    def box(p):
        c, s = np.cos(0.6), np.sin(0.6)
        q = p - [3.5, 0, 0]
        local = np.stack([c * q[:, 0] + s * q[:, 1], -s * q[:, 0] + c * q[:, 1], q[:, 2]], axis=1)
        return (np.abs(local) <= [0.5, 1, 1]).all(axis=1)

    def ellipsoid(p):
        return (((p - [5, 2.5, 0.5]) / [0.8, 0.5, 1.1]) ** 2).sum(axis=1) <= 1

    def frustum(p):
        bottom, axis = np.array([4, -2.5, -1.0]), np.array([0.3, 0.3, 2.2])
        share = (p - bottom) @ axis / (axis @ axis)
        radial = np.linalg.norm(p - bottom - share[:, None] * axis, axis=1)
        return (share >= 0) & (share <= 1) & (radial <= 0.7 - 0.4 * share)

    camera = np.array([[0.0, 0, 1, 0], [-2.4, 0, 1.2, 0], [0, -1.6, 0.8, 0]])
    depth, primitives = np.empty((7, 11)), np.empty((7, 11), dtype=np.int64)
    trace_depth(geometry, camera, depth, primitives)
    assert set(np.unique(primitives)) == {-1, 0, 1, 2}
    for row in range(7):
        for column in range(11):
            direction = camera[:, :3] @ [(column + 0.5) / 11, (row + 0.5) / 7, 1]
            expected = brute_force_depth((box, ellipsoid, frustum), np.zeros(3), direction)
            if expected is None:
                assert primitives[row, column] == -1
                assert np.linalg.norm(direction) * depth[row, column] == pytest.approx(30.0)
            else:
                assert depth[row, column] == pytest.approx(expected, abs=2e-4)


def test_photos_come_from_the_installed_package():
    assert set(PHOTOS) <= set(TEXTURES)
    atlas = texture_atlas(("chelsea", "plaster"))
    assert atlas.shape == (2, sum(4**level for level in range(10)), 3)
    assert atlas[:, -1].min() > 30  # the last level is the mean colour


def test_a_missing_photo_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("pmgs_lib.data.scenes.textures.files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"photo chelsea\.png .* install scikit-image"):
        _photo("chelsea.png")


def test_scenes_come_back_from_their_chunks(tmp_path):
    keys = make_scenes(5, count=3, folder=tmp_path, split="train", frames=2, height=64, width=112, scenes_per_chunk=2)
    assert keys == [scene_key(scene_seed(5, index)) for index in range(3)]
    index = json.loads((tmp_path / "train" / "index.json").read_text())
    assert index == dict(zip(keys, ("000000.torch", "000000.torch", "000001.torch"), strict=True))
    stored, scene = ChunkFolder(tmp_path, "train").scene(keys[1]), make_scene(5_000_001, frames=2, height=64, width=112)
    assert torch.equal(stored.depth, scene.depth)
    torch.testing.assert_close(stored.cameras.world_from_camera, scene.cameras.world_from_camera)
    for encoded, image in zip(stored.images, scene.images, strict=True):
        assert (decode_image(encoded).float() - image.float()).abs().mean() < 2.5
    with pytest.raises(DataError, match="already holds a dataset"):
        make_scenes(6, count=1, folder=tmp_path, split="train", frames=2, height=64, width=112)


def test_worker_processes_write_the_same_files(tmp_path):
    written = []
    for workers in (0, 1):
        make_scenes(77, count=2, folder=tmp_path / str(workers), frames=2, height=32, width=56, workers=workers)
        written.append([path.read_bytes() for path in sorted((tmp_path / str(workers)).rglob("*.torch"))])
    assert written[0]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"frames": 0}, {"frames": 1000}, {"height": 4}, {"width": 9000}, {"height": 64, "width": 448}],
)
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(ParameterError, match="make_scene: seed"):
        make_scene(**{"seed": 1, "frames": 2, "height": 64, "width": 112, **wrong})
    with pytest.raises(ParameterError, match="at least 1 scene"):
        make_scenes(1, count=0, folder="nowhere")


def test_single_frame_and_portrait_work():
    scene = make_scene(12, frames=1, height=112, width=64)
    assert scene.images.shape == (1, 112, 64, 3)
    scene.cameras.validate(scene.key)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(40))
def test_rules_hold_on_many_seeds(seed):
    test_every_view_keeps_the_rules(9_000_000 + seed)


@pytest.mark.prove
def test_ten_scenes_of_twenty_frames_take_a_minute(tmp_path):
    make_scenes(7, count=2, folder=tmp_path / "warm", frames=1, height=64, width=112)
    start = time.perf_counter()
    make_scenes(8, count=10, folder=tmp_path / "timed")
    seconds = time.perf_counter() - start
    assert seconds <= 60, f"10 scenes of 20 frames took {seconds:.0f} s, allowed 60 s on 2 idle cores"
