"""Do cameras fit the pictures, and if not, how are the numbers meant?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.depth_range import DepthRange, depth_range_of, matched_depths
from pmgs_lib.data.inspection.base import Finding
from pmgs_lib.data.inspection.numbers import check_poses
from pmgs_lib.data.inspection.readings import OURS, MatchedPair, Reading, candidate_readings, explained
from pmgs_lib.data.matching import Features, find_features, match_features, scaled_size, triangulate
from pmgs_lib.errors import ParameterError

PLACES = 4  # along the capture, with three frames and three pairs each
LONGEST_GAP = 4  # frames; photographs taken one by one share little with the tenth next
LEAST_MATCHES, LEAST_PAIRS = 20, 3
EXPLAINS = 0.5  # share of matches; true cameras explain 0.7 and more, wrong ones under 0.35
TIE = 0.05  # readings closer than this are not told apart
LITTLE_PARALLAX_DEG = 0.3
POSES_TRIED, PAIRS_TRIED = 12, 3
CURES = {
    "camera-from-world": "poses map world to camera: invert them",
    "OpenGL axes": "poses have OpenGL axes (y up, looking along -z): read them with Cameras.from_opengl",
    "pixel intrinsics": "intrinsics are in {units}: read them with Cameras.from_pixels",
}


@dataclass(frozen=True)
class Diagnosis:
    """What the pictures say about camera numbers.

    shares: for each possible reading of the numbers the share of matches that it explains. reading: the one that the
    pictures show, None where they cannot tell or none fits; cameras: read like that. size: height and width of the
    reduced pictures. parallax_deg and residual_px: medians over the matches that the reading explains (pixels of the
    reduced pictures).
    """

    findings: tuple[Finding, ...]
    shares: Mapping[Reading, float]
    reading: Reading | None
    pairs: tuple[MatchedPair, ...]
    size: tuple[int, int]
    cameras: Cameras | None
    parallax_deg: float | None = None
    residual_px: float | None = None

    @property
    def matches(self) -> int:
        return sum(pair.pixels.shape[1] for pair in self.pairs)

    def depth_range(self) -> DepthRange | None:
        """Near and far z-depth that the matches show, with margins; None where too few tell."""
        if self.cameras is None:
            return None
        depths = [
            matched_depths(self.cameras[[pair.first, pair.second]], pair.pixels, self.size).flatten()
            for pair in self.pairs
        ]
        return depth_range_of(torch.cat(depths), len(depths))

    def __str__(self) -> str:
        if self.reading is None:
            said = "the pictures do not tell how the cameras are meant"
        else:
            said = f"{self.reading}: explains {self.shares[self.reading]:.0%} of the matches"
        told = f"{said} ({self.matches} matches in {len(self.pairs)} pairs of frames)"
        return "\n".join([told, *(f"  {finding.check}: {finding}" for finding in self.findings)])


def diagnose_cameras(
    poses: Float[Tensor, "frame rows 4"],
    intrinsics: Float[Tensor, "frame 3 3"],
    images: Sequence[UInt8[Tensor, "height width 3"]],
    skip: Sequence[int] = (),
    pairs: Sequence[MatchedPair] | None = None,
) -> Diagnosis:
    """How raw camera numbers are meant, by what the pictures show; the numbers need not be in any convention.

    poses: 3x4 or 4x4 matrices as they stand in a file. images: one of each frame, of one size. skip: frames that are
    not worth matching (blurred, duplicates). pairs: what `matched_pairs` found in these pictures before. The findings
    compare with the library's convention: world-from-camera, OpenCV axes, intrinsics as shares of the picture. Where
    two readings explain the pictures equally well, as for a camera that only moves sideways, the library's own gets
    the benefit of the doubt. Raises ParameterError for counts or sizes that do not belong together.
    """
    numbers, k = _as_matrices(poses, intrinsics, images)
    found = check_poses(numbers, k)
    size = scaled_size(images[0])
    if any(finding.check in ("not finite", "not a rotation") for finding in found):
        return Diagnosis(tuple(found), {}, None, (), size, None)
    pairs = matched_pairs(images, skip) if pairs is None else pairs
    if len(pairs) < LEAST_PAIRS:
        return Diagnosis(tuple(found), {}, None, tuple(pairs), size, None)
    full_size = (images[0].shape[0], images[0].shape[1])
    readings = {
        reading: reading.cameras(numbers, k, full_size) for reading in candidate_readings(numbers, k, full_size)
    }
    shares = {reading: explained(cameras, pairs, size) for reading, cameras in readings.items()}
    best = max(shares.values(), default=0.0)
    if best < EXPLAINS:
        found.append(_nothing_fits(readings, pairs, size, best))
        return Diagnosis(tuple(found), shares, None, tuple(pairs), size, None)
    # Candidates are ordered with the library's own reading first.
    reading = next(reading for reading, share in shares.items() if share >= best - TIE)
    found += _misread(reading)
    cameras = readings[reading]
    parallax, residual = _quality(cameras, pairs, size)
    if parallax < LITTLE_PARALLAX_DEG:
        text = f"rays to matched points meet at {parallax:.2f} degrees in the median: depth cannot be told from them"
        found.append(Finding("little parallax", text))
    return Diagnosis(tuple(found), shares, reading, tuple(pairs), size, cameras, parallax, residual)


def matched_pairs(images: Sequence[UInt8[Tensor, "height width 3"]], skip: Sequence[int] = ()) -> list[MatchedPair]:
    """Pairs of frames near each other in the list, at a few places along it, with enough matches to count."""
    usable = [frame for frame in range(len(images)) if frame not in set(skip)]
    gap = max(1, min(LONGEST_GAP, len(usable) // 6))
    last = max(0, len(usable) - 1 - 2 * gap)
    features: dict[int, Features] = {}
    pairs = {}
    for start in torch.linspace(0, last, PLACES).round().long().unique().tolist():
        three = [frame for place in (start, start + gap, start + 2 * gap) for frame in usable[place : place + 1]]
        for a, b in [(a, b) for n, a in enumerate(three) for b in three[n + 1 :]]:
            for frame in (a, b):
                if frame not in features:
                    features[frame] = find_features(images[frame])
            pixels = match_features(features[a], features[b])
            if pixels.shape[1] >= LEAST_MATCHES:
                pairs[a, b] = MatchedPair(a, b, pixels)
    return [pairs[key] for key in sorted(pairs)]


def _as_matrices(
    poses: Tensor, intrinsics: Tensor, images: Sequence[Tensor]
) -> tuple[Float64[Tensor, "frame 4 4"], Float64[Tensor, "frame 3 3"]]:
    counts = {len(poses), len(intrinsics), len(images)}
    if len(counts) != 1 or poses.shape[1] not in (3, 4) or 0 in counts:
        raise ParameterError(
            f"diagnose_cameras: {len(images)} pictures, poses of shape {tuple(poses.shape)}, intrinsics "
            f"{tuple(intrinsics.shape)}; expected (frame, 3 or 4, 4) and (frame, 3, 3) for at least one frame"
        )
    if len({tuple(image.shape) for image in images}) != 1:
        raise ParameterError("diagnose_cameras: pictures of several sizes, expected one; diagnose each size by itself")
    numbers = torch.eye(4, dtype=torch.float64).repeat(len(poses), 1, 1)
    numbers[:, :3] = poses[:, :3].double()
    return numbers, intrinsics.double()


def _misread(reading: Reading) -> list[Finding]:
    """How a reading differs from the library's. Mirrored axes have a finding of their own, by their numbers."""
    differs = {
        "camera-from-world": reading.direction != OURS.direction,
        "OpenGL axes": reading.axes == "OpenGL",
        "pixel intrinsics": reading.units != OURS.units,
    }
    return [Finding(check, CURES[check].format(units=reading.units)) for check, wrong in differs.items() if wrong]


def _nothing_fits(
    readings: Mapping[Reading, Cameras], pairs: Sequence[MatchedPair], size: tuple[int, int], best: float
) -> Finding:
    """Whether poses of other frames would fit: then the frames are mixed up rather than wrong."""
    told = f"the best reading of the cameras explains {best:.0%} of the matches between pictures"
    spread = sorted(pairs, key=lambda pair: -pair.pixels.shape[1])[:PAIRS_TRIED]
    for cameras in list(readings.values())[:1]:
        fitting = sum(_fits_elsewhere(cameras, pair, size) for pair in spread)
        if 2 * fitting > len(spread):
            return Finding(
                "frames mixed up",
                f"{told}, poses of other frames explain {fitting} of {len(spread)} pairs: pictures stand beside the "
                "wrong poses; match them by name again",
            )
    return Finding("poses do not fit", f"{told}: poses, lens or the choice of pictures is wrong; estimate poses anew")


def _fits_elsewhere(cameras: Cameras, pair: MatchedPair, size: tuple[int, int]) -> bool:
    frames = len(cameras.world_from_camera)
    tried = torch.linspace(0, frames - 1, min(frames, POSES_TRIED)).round().long().tolist()
    some = pair.pixels[:, :: max(1, pair.pixels.shape[1] // 60)]
    return any(explained(cameras, [MatchedPair(a, b, some)], size) > EXPLAINS for a in tried for b in tried if a != b)


def _quality(cameras: Cameras, pairs: Sequence[MatchedPair], size: tuple[int, int]) -> tuple[float, float]:
    """Median parallax in degrees and reprojection error in pixels over the matches that the cameras explain."""
    angles, errors = [], []
    for pair in pairs:
        found = triangulate(cameras[[pair.first, pair.second]], pair.pixels, size)
        angles.append(found.cosine.clamp(-1, 1).arccos().rad2deg()[found.agrees])
        errors.append(found.errors.amax(dim=0)[found.agrees])
    return torch.cat(angles).median().item(), torch.cat(errors).median().item()
