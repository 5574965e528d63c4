"""Photographs without poses: which of them to use, and estimators of their cameras.

An estimator is handed to the importer (`PhotosImporter(estimator)`), so that one which stands on a higher floor, such
as VGGT's camera head, needs no import from here.
"""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "PhotoOptions": "pmgs_lib.data.photos.base",
    "PoseEstimate": "pmgs_lib.data.photos.base",
    "PoseEstimator": "pmgs_lib.data.photos.base",
    "ColmapOptions": "pmgs_lib.data.photos.colmap",
    "ColmapPoses": "pmgs_lib.data.photos.colmap",
    "prepare_photos": "pmgs_lib.data.photos.preparation",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
