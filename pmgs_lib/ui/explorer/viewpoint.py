"""Where the explorer's camera stands: an anchor camera and a step away from it, orbiting the point in focus."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.geometry.trajectories import interpolate_intrinsics, interpolate_poses
from pmgs_lib.ui.explorer.state import ExplorerState


def camera_on_path(context: Cameras, time: float) -> Cameras:
    """The camera (no batch axis) on the path through all context cameras; camera i is passed at time i, exactly."""
    last = len(context.world_from_camera) - 1
    place = min(max(time, 0.0), float(last))
    if place.is_integer():
        return context[int(place)]
    times = context.world_from_camera.new_tensor([place])
    poses = interpolate_poses(context.world_from_camera, times)
    return Cameras(poses, interpolate_intrinsics(context.intrinsics, times))[0]


def step_away(anchor: Cameras, focus: float, state: ExplorerState) -> Cameras:
    """The anchor camera moved as the state says; `focus` is the distance of the orbit's centre, in world units."""
    if state.at_anchor:
        return anchor
    pose = anchor.world_from_camera
    turn = _turn(state.yaw_deg, state.pitch_deg).to(pose)
    back = [focus * state.shift_right, -focus * state.shift_up, -focus * math.exp(-state.closer)]
    relative = torch.eye(4, dtype=pose.dtype, device=pose.device)
    relative[:3, :3] = turn
    relative[:3, 3] = pose.new_tensor([0.0, 0.0, focus]) + turn @ pose.new_tensor(back)
    return Cameras(pose @ relative, anchor.intrinsics)


def _turn(yaw_deg: float, pitch_deg: float) -> Float[Tensor, "3 3"]:
    """About the anchor's vertical axis, then about the turned horizontal one: the horizon never tilts."""
    # With y down and z ahead, the positive turns about y and x would carry the camera to the left and down.
    yaw, pitch = math.radians(-yaw_deg), math.radians(-pitch_deg)
    about_y = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    about_x = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    return torch.tensor(about_y, dtype=torch.float64) @ torch.tensor(about_x, dtype=torch.float64)
