"""How the released MVSplat and DepthSplat render: one renderer, that of pixelSplat's code."""

from pmgs_lib.rasterizers.base import RenderingSettings

# It divides the world by near, culls at 0.2 after that, and ignores an off-centre principal point.
RELEASED_RENDERING = RenderingSettings(near_plane_factor=0.2, centered_principal_point=True, max_degree=3)
