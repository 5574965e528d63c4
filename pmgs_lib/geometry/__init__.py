"""Geometry on plain tensors: poses and paths, spherical harmonics, similarity alignment, nearest neighbours."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "inverse_pose": "pmgs_lib.geometry.pose",
    "transform_points": "pmgs_lib.geometry.pose",
    "quaternion_to_matrix": "pmgs_lib.geometry.pose",
    "matrix_to_quaternion": "pmgs_lib.geometry.pose",
    "interpolate_poses": "pmgs_lib.geometry.trajectories",
    "interpolate_intrinsics": "pmgs_lib.geometry.trajectories",
    "stabilize_poses": "pmgs_lib.geometry.trajectories",
    "wobble": "pmgs_lib.geometry.trajectories",
    "spin": "pmgs_lib.geometry.trajectories",
    "harmonics_basis": "pmgs_lib.geometry.harmonics",
    "evaluate_harmonics": "pmgs_lib.geometry.harmonics",
    "rotate_harmonics": "pmgs_lib.geometry.harmonics",
    "Similarity": "pmgs_lib.geometry.similarity",
    "similarity_transform": "pmgs_lib.geometry.similarity",
    "NearestNeighbors": "pmgs_lib.geometry.nearest",
    "nearest_neighbors": "pmgs_lib.geometry.nearest",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
