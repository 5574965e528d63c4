"""Named configurations of GS-LRM."""

from pmgs_lib.models.gslrm.config import GslrmConfig

# The paper's for scenes: 16 heads of 64, colour with origin and moment of the ray, range 0 to 500, unit box.
GSLRM_PAPER = GslrmConfig()

# Its second stage, at 512 x 512: the same network, whose blocks would not fit into memory side by side in training.
GSLRM_PAPER_512 = GSLRM_PAPER.model_copy(update={"checkpoint_blocks": True})

# That of the unofficial code (Intern-Nexus/gs-lrm-unofficial): 64 heads of 16, moment and direction of the ray, range
# and scale of the world from the distance of cameras, the latter with its fault.
GSLRM_UNOFFICIAL = GslrmConfig(
    inputs="unofficial",
    head_width=16,
    pose_normalisation="unofficial",
    distance_range="baseline",
    checkpoint_blocks=True,
)

# To be trained from scratch on embedded scenes in minutes: 2.9 million parameters. The range is the scenes' own and
# starts at a tenth of it, since few steps would be spent on fetching Gaussians back from the middle of 0 to 500; small
# steps between cameras make large boxes, so Gaussians may be larger in them.
GSLRM_TINY = GslrmConfig(
    width=192,
    layers=6,
    head_width=32,
    normalise_queries=True,
    distance_range="views",
    distance_bias=-2.2,
    scale_max=2.0,
)
