"""Poses by COLMAP's incremental structure from motion, through pycolmap, on the CPU.

Source: Schönberger and Frahm, "Structure-from-Motion Revisited", CVPR 2016. All photographs share one camera, whose
focal length and radial distortion are estimated with the poses.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from pmgs_lib.data.config import Config
from pmgs_lib.data.importers.base import DepthHint
from pmgs_lib.data.lenses import Lens, Photograph
from pmgs_lib.data.photos.base import PhotoSet, PosedPhoto, PoseEstimate, PoseEstimator
from pmgs_lib.errors import DataError, ParameterError

LEAST_REGISTERED = 2
LENS_NAMES = {"k": "k1"}  # COLMAP's name of a coefficient, where it is not ours


class ColmapOptions(Config):
    """How COLMAP runs.

    exhaustive_up_to: every pair of so many photographs is matched; beyond, and where they are in order, each with its
    `overlap` next ones and those at powers of two. features: most of a picture. threads: one gives the same cameras
    each time; more are faster, but COLMAP's order of work then varies, and the cameras by up to about a percent.
    camera_model: how much of the lens is estimated.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    exhaustive_up_to: Annotated[int, Field(ge=0)] = 80
    overlap: Annotated[int, Field(ge=1)] = 12
    features: Annotated[int, Field(ge=100)] = 8192
    camera_model: Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"] = "SIMPLE_RADIAL"


class ColmapPoses(PoseEstimator):
    """COLMAP with `ColmapOptions`. Of several models that do not join, the one with most photographs is taken."""

    def __init__(self, **options: Any) -> None:
        self.options = ColmapOptions.build(options, "ColmapPoses")

    @property
    def identity(self) -> Mapping[str, str | int | float | bool | None]:
        return {"poses": "colmap", "pycolmap": _pycolmap().__version__} | self.options.model_dump()

    def __call__(self, photos: PhotoSet, working: Path) -> PoseEstimate:
        pycolmap = _pycolmap()
        database = working / "database.db"
        with _quiet(pycolmap):
            pycolmap.set_random_seed(self.options.seed)
            self._match(pycolmap, database, photos)
            models = self._map(pycolmap, database, photos, working / "models")
        models = [model for model in models if model.num_reg_images() >= LEAST_REGISTERED]
        if not models:
            raise DataError(
                f"photographs {photos.folder.name}: COLMAP placed none of {len(photos.names)}; take more of them with "
                "more overlap from places apart, of things with texture, or use another estimator"
            )
        models.sort(key=lambda model: model.num_reg_images(), reverse=True)
        return _estimate(models, photos)

    def _match(self, pycolmap: Any, database: Path, photos: PhotoSet) -> None:
        options = self.options
        extraction = pycolmap.FeatureExtractionOptions(num_threads=options.threads, use_gpu=False)
        extraction.sift.max_num_features = options.features
        pycolmap.extract_features(
            database,
            photos.folder,
            list(photos.names),
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=pycolmap.ImageReaderOptions(camera_model=options.camera_model),
            extraction_options=extraction,
            device=pycolmap.Device.cpu,
        )
        matching = pycolmap.FeatureMatchingOptions(num_threads=options.threads, use_gpu=False)
        shared = {"matching_options": matching, "device": pycolmap.Device.cpu}
        if len(photos.names) <= options.exhaustive_up_to or not photos.ordered:
            pycolmap.match_exhaustive(database, **shared)
        else:
            pairing = pycolmap.SequentialPairingOptions(overlap=options.overlap, quadratic_overlap=True)
            pycolmap.match_sequential(database, pairing_options=pairing, **shared)

    def _map(self, pycolmap: Any, database: Path, photos: PhotoSet, models: Path) -> list[Any]:
        models.mkdir(parents=True)
        pipeline = pycolmap.IncrementalPipelineOptions(
            num_threads=self.options.threads, random_seed=self.options.seed, extract_colors=False
        )
        return list(pycolmap.incremental_mapping(database, photos.folder, models, options=pipeline).values())


def _pycolmap() -> Any:
    try:
        import pycolmap  # 135 MB, and only photographs without poses need it
    except ImportError as error:
        raise ParameterError(
            "ColmapPoses: pycolmap is not installed, expected it to find poses; `pip install pycolmap`, import a "
            "capture that has its poses, or hand another pose estimator to PhotosImporter"
        ) from error
    return pycolmap


@contextmanager
def _quiet(pycolmap: Any) -> Iterator[None]:
    """COLMAP writes pages of progress to stderr; warnings stay out, too: what they say is in the account of frames."""
    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = level


def _estimate(models: list[Any], photos: PhotoSet) -> PoseEstimate:
    largest = models[0]
    posed, depths = {}, []
    for image in largest.images.values():
        if not image.has_pose:
            continue
        camera_from_world = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        posed[image.name] = PosedPhoto(
            torch.from_numpy(np.linalg.inv(camera_from_world)), _photograph(largest.cameras[image.camera_id])
        )
        points = np.array([largest.points3D[p.point3D_id].xyz for p in image.points2D if p.has_point3D()])
        if len(points):
            depths.append((points @ camera_from_world[2, :3]) + camera_from_world[2, 3])
    elsewhere = {image.name for model in models[1:] for image in model.images.values() if image.has_pose}
    left_out = {
        name: "placed in another, smaller model that does not join the largest one"
        if name in elsewhere
        else "not registered: too few features match the other photographs"
        for name in photos.names
        if name not in posed
    }
    return PoseEstimate(posed, left_out, _depth_hint(depths, largest), _notes(models))


def _photograph(camera: Any) -> Photograph:
    """The lens of a COLMAP camera; its pixel centres lie at +0.5 as ours do."""
    names = [name.strip() for name in camera.params_info.split(",")]
    values = dict(zip(names, (float(value) for value in camera.params), strict=True))
    focal = values.pop("f", None)
    fx, fy = values.pop("fx", focal), values.pop("fy", focal)
    center = values.pop("cx"), values.pop("cy")
    lens = Lens(**{LENS_NAMES.get(name, name): value for name, value in values.items()})
    return Photograph(camera.height, camera.width, fx, fy, *center, lens)


def _depth_hint(depths: list[np.ndarray], model: Any) -> DepthHint | None:
    # scikit-image comes with it, and only here is it needed
    from pmgs_lib.data.depth_range import MARGINS, MIN_POINTS, PERCENTILES

    found = np.concatenate(depths) if depths else np.empty(0)
    found = found[found > 0]
    if len(found) < 2 * MIN_POINTS:
        return None
    near, far = (float(np.quantile(found, q)) for q in PERCENTILES)
    reason = f"{model.num_points3D()} points of COLMAP's model seen from {model.num_reg_images()} photographs"
    return DepthHint(near * MARGINS[0], far * MARGINS[1], f"{reason}, with margins")


def _notes(models: list[Any]) -> dict[str, Any]:
    largest = models[0]
    camera = next(iter(largest.cameras.values()))
    return {
        "models": [model.num_reg_images() for model in models],
        "points": largest.num_points3D(),
        "reprojection_error_px": round(largest.compute_mean_reprojection_error(), 4),
        "camera": {"model": camera.model.name, "params": [round(float(value), 6) for value in camera.params]},
    }
