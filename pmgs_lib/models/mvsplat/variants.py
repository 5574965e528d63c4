"""Named configurations of MVSplat: the released ones, exactly."""

from pmgs_lib.models.mvsplat.config import MvSplatConfig
from pmgs_lib.models.released_rendering import RELEASED_RENDERING

RE10K_256X256 = MvSplatConfig(
    harmonics_degree=4,  # its renderer ignores the last band
    scrambled_window_mask=True,
    reference_intrinsics=True,
    unit_rays=True,
    released_harmonics=True,
    rendering=RELEASED_RENDERING,
)
# Trained on other data with the same settings.
ACID_256X256 = RE10K_256X256
