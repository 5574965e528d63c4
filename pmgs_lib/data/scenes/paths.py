"""Camera paths through an embedded scene: smooth walks in free space, and the rules that a view must keep."""

import math
from dataclasses import dataclass

import numpy as np

from pmgs_lib.data.scenes.layout import Layout, primitive_bounds
from pmgs_lib.data.scenes.light_kernels import Scene
from pmgs_lib.data.scenes.ray_kernels import DOME, trace_depth

# A view is refused when something is nearer than this (metres), ...
NEAREST_DEPTH = 0.6
# ... when one primitive covers more than this share of it, or when fewer of its pixels lie at a depth edge.
LARGEST_SHARE = 0.45
EDGE_SHARE = 0.005
# A depth edge: inverse depth, which is linear on a plane, bends by more than this share of itself at a pixel.
EDGE_RATIO = 0.05
# Paths are checked on views of half the native size, a little stricter for what a finer view finds between the pixels.
NATIVE_HEIGHT, NATIVE_WIDTH = 256, 448
CHECK_MARGIN = 0.04

CLEARANCE = 0.5  # metres between the camera and anything
LARGEST_TURN = math.radians(2.2)  # a frame
OVERLAP_GAP, LEAST_OVERLAP = 12, 0.45  # share of a frame that the frame 12 later must still see


@dataclass(frozen=True)
class Path:
    """Poses (frame 4 4, world_from_camera) and normalised focal lengths of one camera walk."""

    world_from_camera: np.ndarray
    focal: float  # in image widths

    def intrinsics(self, height: int, width: int) -> np.ndarray:
        """Normalised intrinsics (3 3) of a picture with square pixels and its principal point in the middle."""
        return np.array([[self.focal, 0, 0.5], [0, self.focal * width / height, 0.5], [0, 0, 1]])


def depth_edges(depth: np.ndarray, ratio: float = EDGE_RATIO) -> np.ndarray:
    """Mask (h w) of the pixels of a z-depth map (h w) that lie at a depth discontinuity."""
    inverse = 1.0 / np.asarray(depth, dtype=np.float64)
    bend = np.zeros_like(inverse)
    bend[:, 1:-1] = np.abs(inverse[:, :-2] - 2 * inverse[:, 1:-1] + inverse[:, 2:])
    bend[1:-1] = np.maximum(bend[1:-1], np.abs(inverse[:-2] - 2 * inverse[1:-1] + inverse[2:]))
    return bend > ratio * inverse


def draw_path(layout: Layout, scene: Scene, rng: np.random.Generator, frames: int) -> Path | None:
    """A walk of `frames` frames that keeps its distance from everything, or None when this draw found none."""
    step = rng.uniform(0.06, 0.14)
    centers = _walk(layout, scene, rng, step * max(frames - 1, 1), frames)
    if centers is None:
        return None
    poses = _look(centers, _gaze(layout, centers, rng), rng)
    if turns(poses).max(initial=0.0) > LARGEST_TURN:
        return None
    return Path(poses, 0.5 / math.tan(math.radians(rng.uniform(56.0, 64.0)) / 2))


def _walk(layout: Layout, scene: Scene, rng: np.random.Generator, length: float, frames: int) -> np.ndarray | None:
    """Camera centres (frame 3), evenly spaced on a smooth curve through random free points."""
    low, high = np.array(layout.walk[:2]), np.array(layout.walk[2:])
    boxes = primitive_bounds(scene)
    eye = rng.uniform(1.3, 1.65)
    points, heading, laid = [rng.uniform(low, high)], rng.uniform(0, 2 * math.pi), 0.0
    while laid < length + 1.0 or len(points) < 4:
        for _ in range(20):
            turn, stride = rng.uniform(-0.9, 0.9), rng.uniform(0.8, 1.4)
            candidate = points[-1] + stride * np.array([math.cos(heading + turn), math.sin(heading + turn)])
            inside = np.all(candidate > low) and np.all(candidate < high)
            if inside and clearance(np.array([[*candidate, eye]]), boxes)[0] > CLEARANCE:
                break
            heading += rng.uniform(-0.5, 0.5)
        else:
            return None
        points.append(candidate)
        heading, laid = heading + turn, laid + stride
    flat = _spline(np.array(points), length, frames)
    sway = 0.04 * np.sin(np.linspace(0, 1, frames) * rng.uniform(2, 5) + rng.uniform(0, 6))
    centers = np.column_stack([flat, eye + sway])
    return centers if clearance(centers, boxes).min() > CLEARANCE else None


def clearance(points: np.ndarray, boxes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Distance (point) from points (point 3) to the nearest bounding box of a primitive."""
    lower, upper = boxes
    outside = np.maximum(np.maximum(lower - points[:, None], points[:, None] - upper), 0.0)
    return np.linalg.norm(outside, axis=-1).min(axis=1)


def _spline(points: np.ndarray, length: float, frames: int) -> np.ndarray:
    """Positions (frame 2), evenly spaced over `length` metres of the Catmull-Rom curve through points (point 2)."""
    t = np.linspace(0, 1, 64, endpoint=False)[:, None]
    ends = [2 * points[0] - points[1], *points, 2 * points[-1] - points[-2]]
    pieces = []
    for a, b, c, d in zip(ends[:-3], ends[1:-2], ends[2:-1], ends[3:], strict=True):
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    curve = np.concatenate(pieces)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    places = np.linspace(0, length, frames)
    return np.column_stack([np.interp(places, along, curve[:, axis]) for axis in range(2)])


def _gaze(layout: Layout, centers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (frame 3) that the camera looks at: from one target of the scene over to the next, every 18 frames."""
    targets = np.array(layout.targets)
    frames, chosen = len(centers), []
    for frame in range(0, frames + 18, 18):
        distance = np.linalg.norm(targets[:, :2] - centers[min(frame, frames - 1), :2], axis=1)
        fitting = np.flatnonzero((distance > 2.2) & (distance < 12.0))
        near = fitting if len(fitting) else np.arange(len(targets))
        if chosen:  # a target close to the last one, seen from here, keeps the turn mild
            eye = centers[min(frame, frames - 1)]
            angle = [_angle(targets[i] - eye, chosen[-1] - eye) for i in near]
            near = near[np.argsort(angle)[: max(2, len(near) // 4)]]
        chosen.append(targets[near[int(rng.integers(len(near)))]])
    place = np.arange(frames) / 18
    first = place.astype(int)
    blend = (place - first)[:, None]
    blend = blend * blend * (3 - 2 * blend)
    chosen = np.array(chosen)
    return chosen[first] * (1 - blend) + chosen[first + 1] * blend


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return math.acos(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))


def _look(centers: np.ndarray, gaze: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poses (frame 4 4, OpenCV axes) at centres that look at points, nearly upright."""
    roll = math.radians(rng.uniform(0, 1.2)) * np.sin(np.linspace(0, 1, len(centers)) * 3 + rng.uniform(0, 6))
    poses = np.tile(np.eye(4), (len(centers), 1, 1))
    for pose, center, point, angle in zip(poses, centers, gaze, roll, strict=True):
        forward = (point - center) / np.linalg.norm(point - center)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        c, s = math.cos(angle), math.sin(angle)
        pose[:3, :3] = np.column_stack([c * right + s * down, c * down - s * right, forward])
        pose[:3, 3] = center
    return poses


def turns(poses: np.ndarray) -> np.ndarray:
    """Angles (frame - 1) between neighbouring poses."""
    relative = np.einsum("fij,fij->f", poses[1:, :3, :3], poses[:-1, :3, :3])
    return np.arccos(np.clip((relative - 1) / 2, -1, 1))


def image_camera(pose: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """A camera (3 4) as the kernels want it: image position (x, y, 1) to world direction, and the centre."""
    return np.column_stack([pose[:3, :3] @ np.linalg.inv(intrinsics), pose[:3, 3]])


def trace_view(
    scene: Scene, pose: np.ndarray, intrinsics: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact z-depth and the primitive seen (both h w) at the pixel centres of a view."""
    depth, primitives = np.empty((height, width)), np.empty((height, width), dtype=np.int64)
    trace_depth(scene.geometry, image_camera(pose, intrinsics), depth, primitives)
    return depth, primitives


def view_fault(depth: np.ndarray, primitives: np.ndarray, margin: float = 0.0) -> str | None:
    """Why a view (z-depth and primitives, h w) is refused, or None when it keeps all rules.

    margin: how much stricter than the rules to be, as a share of each limit. The share of depth edges is counted as at
    the native width, since edges are lines and halve with each doubling of the resolution.
    """
    if depth.min() < NEAREST_DEPTH * (1 + margin):
        return f"something is {depth.min():.2f} m away, allowed {NEAREST_DEPTH} m"
    largest = np.bincount(primitives[primitives != DOME], minlength=1).max() / primitives.size
    if largest > LARGEST_SHARE * (1 - margin):
        return f"one primitive covers {largest:.0%}, allowed {LARGEST_SHARE:.0%}"
    edges = depth_edges(depth).mean() * depth.shape[1] / NATIVE_WIDTH
    if edges < EDGE_SHARE * (1 + 3 * margin):
        return f"{edges:.2%} of the pixels lie at a depth edge, expected {EDGE_SHARE:.1%}"
    return None


def path_fault(scene: Scene, path: Path) -> str | None:
    """Why a walk is refused: the first bad view, or frames that lose sight of what earlier ones saw."""
    size = (NATIVE_HEIGHT // 2, NATIVE_WIDTH // 2)
    intrinsics = path.intrinsics(*size)
    depths = []
    for number, pose in enumerate(path.world_from_camera):
        depth, primitives = trace_view(scene, pose, intrinsics, *size)
        fault = view_fault(depth, primitives, CHECK_MARGIN)
        if fault:
            return f"frame {number}: {fault}"
        depths.append(depth)
    gap = min(OVERLAP_GAP, len(depths) - 1)
    for start in range(0, len(depths) - gap, 3):
        for a, b in ((start, start + gap), (start + gap, start)):
            seen = overlap(depths[a], depths[b], path.world_from_camera[[a, b]], intrinsics)
            if seen < LEAST_OVERLAP:
                return f"frame {b} sees {seen:.0%} of frame {a}, expected {LEAST_OVERLAP:.0%}"
    return None


def overlap(depth: np.ndarray, other: np.ndarray, poses: np.ndarray, intrinsics: np.ndarray) -> float:
    """Share of the pixels of one view (z-depth h w, pose 0) whose surface another view (z-depth h w, pose 1) sees."""
    height, width = depth.shape
    y, x = (np.mgrid[:height:2, :width:2] + 0.5).reshape(2, -1)
    rays = image_camera(poses[0], intrinsics)[:, :3] @ np.stack([x / width, y / height, np.ones_like(x)])
    points = poses[0][:3, 3:] + rays * depth[::2, ::2].reshape(-1)
    camera = poses[1][:3, :3].T @ (points - poses[1][:3, 3:])
    z = np.maximum(camera[2], 1e-6)
    image = (intrinsics @ (camera / z))[:2]
    inside = (camera[2] > 0) & np.all((image >= 0) & (image < 1), axis=0)
    column, row = (
        (np.clip(image[0], 0, 0.9999) * width).astype(int),
        (np.clip(image[1], 0, 0.9999) * height).astype(int),
    )
    return float((inside & (np.abs(other[row, column] / z - 1) < EDGE_RATIO)).mean())
