"""From a capture as read to one scene of a dataset: undistort, crop, scale, and say what was done."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import ChunkScene, decode_image, encode_jpeg
from pmgs_lib.data.importers.base import Capture, CaptureFrame
from pmgs_lib.data.lenses import Photograph, Window, largest_window, resample, undistortion_map
from pmgs_lib.data.manifests import CaptureManifest, ImportOptions
from pmgs_lib.errors import DataError

MIN_FRAMES = 2
STORED_AS_THEY_ARE = (b"\xff\xd8\xff", b"\x89PNG")  # first bytes of JPEG and PNG


def develop(capture: Capture, key: str, options: ImportOptions) -> tuple[ChunkScene, CaptureManifest]:
    """The scene of a capture and its manifest. Raises DataError when fewer than two frames are left."""
    where = f"capture {capture.source}"
    if len(capture.frames) < MIN_FRAMES:
        missing = ", ".join(list(capture.left_out)[:3])
        raise DataError(
            f"{where}: {len(capture.frames)} of {capture.listed} listed frames can be used, at least {MIN_FRAMES} are "
            f"needed (left out, first ones: {missing or 'none'}); put the pictures where the capture names them"
        )
    windows = _windows([frame.photograph for frame in capture.frames], options.center_principal_point, where)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (capture.source, *capture.further_sources)))
    images = []
    for frame in capture.frames:
        encoded = frame.path.read_bytes()
        digest.update(encoded)
        images.append(_developed(encoded, frame, windows[frame.photograph], options.jpeg_quality, where))
    cameras, factor = _scaled(_cameras(capture.frames, windows), options, where)
    scene = ChunkScene(
        key, cameras.to(torch.float32), images, _timestamps(capture.frames), capture.url or f"{capture.kind}:{key}"
    )
    near, far, hint = _hint(capture, scene, factor) if options.estimate_depth_range else (None, None, "not asked for")
    first = capture.frames[0].photograph
    return scene, CaptureManifest(
        key=key,
        kind=capture.kind,
        source=capture.source.name,
        listed=capture.listed,
        imported=len(images),
        left_out=capture.left_out,
        frames=tuple(frame.name for frame in capture.frames),
        source_size=(first.height, first.width),
        size=(windows[first].height, windows[first].width),
        undistorted=any(not photograph.lens.is_pinhole for photograph in windows),
        scale_factor=factor,
        near_hint=near,
        far_hint=far,
        hint=hint,
        digest=digest.hexdigest(),
        options=options,
        notes=capture.notes,
    )


def _windows(photographs: Sequence[Photograph], centered: bool, where: str) -> dict[Photograph, Window]:
    """For each lens the part of its undistorted picture that is kept: one size for all, without empty borders."""
    windows = {}
    for photograph in dict.fromkeys(photographs):
        border = [photograph.undistorted(side) for side in photograph.border()]
        center = (photograph.cx, photograph.cy) if centered else None
        windows[photograph] = largest_window(border, center, where)
    height = min(window.height for window in windows.values())
    width = min(window.width for window in windows.values())
    return {p: window.shrunk(height, width, whole_pixels=not centered) for p, window in windows.items()}


def _developed(encoded: bytes, frame: CaptureFrame, window: Window, quality: int, where: str) -> bytes:
    photograph = frame.photograph
    untouched = window == Window(0.0, 0.0, photograph.height, photograph.width) and photograph.lens.is_pinhole
    if untouched and encoded.startswith(STORED_AS_THEY_ARE):
        decode_image(encoded, f"{where}, frame {frame.name}")  # a damaged picture must not pass for a good one
        return encoded
    image = decode_image(encoded, f"{where}, frame {frame.name}")
    return encode_jpeg(resample(image, undistortion_map(photograph, window)), quality)


def _cameras(frames: Sequence[CaptureFrame], windows: dict[Photograph, Window]) -> Cameras:
    return Cameras(
        torch.stack([frame.world_from_camera for frame in frames]),
        torch.stack([_intrinsics(frame.photograph, windows[frame.photograph]) for frame in frames]),
    )


def _intrinsics(photograph: Photograph, window: Window) -> Float64[Tensor, "3 3"]:
    """Normalised intrinsics of a window of the undistorted picture."""
    return torch.tensor(
        [
            [photograph.fx / window.width, 0, (photograph.cx - window.left) / window.width],
            [0, photograph.fy / window.height, (photograph.cy - window.top) / window.height],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )


def _scaled(cameras: Cameras, options: ImportOptions, where: str) -> tuple[Cameras, float]:
    """Cameras with positions scaled as the options say, and the factor."""
    if options.scale == "none":
        return cameras, 1.0
    distances = torch.cdist(cameras.centers, cameras.centers)
    others = distances.masked_fill(torch.eye(len(distances), dtype=torch.bool), torch.inf)
    measured = (others.amin(dim=1).median() if options.scale == "spacing" else distances.max()).item()
    if measured <= 0:
        raise DataError(
            f"{where}: the camera {options.scale} is zero, so it cannot be scaled; import with scale='none'"
        )
    factor = options.scale_to / measured
    poses = cameras.world_from_camera.clone()
    poses[:, :3, 3] *= factor
    return Cameras(poses, cameras.intrinsics), factor


def _timestamps(frames: Sequence[CaptureFrame]) -> Int64[Tensor, " frame"]:
    return torch.tensor([n if frame.timestamp is None else frame.timestamp for n, frame in enumerate(frames)])


def _hint(capture: Capture, scene: ChunkScene, factor: float) -> tuple[float | None, float | None, str]:
    if capture.depth_hint is None:
        return _depth_hint(scene)
    near, far, reason = capture.depth_hint
    return near * factor, far * factor, reason


def _depth_hint(scene: ChunkScene) -> tuple[float | None, float | None, str]:
    # scikit-image is heavy, and only this needs it
    from pmgs_lib.data.depth_range import estimate_depth_range, matching_pairs

    pairs = matching_pairs(scene.cameras)
    needed = {frame for pair in pairs for frame in pair}
    images = {frame: decode_image(scene.images[frame]) for frame in needed}
    found = estimate_depth_range(images, scene.cameras, pairs)
    if found is None:
        return None, None, f"too few features agree between {len(pairs)} pairs of frames; choose near and far yourself"
    return found.near, found.far, f"{found.points} triangulated points from {found.pairs} pairs of frames, with margins"
