"""What people look at: figures in one style, rich views of the library's types, and the explorer."""

from pmgs_lib._lazy import lazy_names
from pmgs_lib.ui.displays import register_displays

NAMES = {
    "explore": "pmgs_lib.ui.explorer.session",
    "plot_views": "pmgs_lib.ui.plots",
    "plot_prediction": "pmgs_lib.ui.plots",
    "plot_comparison": "pmgs_lib.ui.plots",
    "plot_metrics": "pmgs_lib.ui.plots",
    "plot_loss_curve": "pmgs_lib.ui.plots",
    "plot_depths": "pmgs_lib.ui.depth_plots",
    "plot_errors_by_views": "pmgs_lib.ui.depth_plots",
    "plot_point_clouds": "pmgs_lib.ui.cloud_plots",
    "plot_health": "pmgs_lib.ui.health_plots",
    "plot_alignment": "pmgs_lib.ui.health_plots",
    "plot_edge_maps": "pmgs_lib.ui.edge_plots",
    "plot_pixel_rows": "pmgs_lib.ui.edge_plots",
    "PixelRow": "pmgs_lib.ui.edge_plots",
    "plot_descents": "pmgs_lib.ui.edge_plots",
    "plot_changes": "pmgs_lib.ui.ablation_plots",
    "plot_epipolar_lines": "pmgs_lib.ui.scene_plots",
    "plot_readings": "pmgs_lib.ui.scene_plots",
    "plot_walk": "pmgs_lib.ui.scene_plots",
    "plot_growth": "pmgs_lib.ui.timing_plots",
    "plot_seed_means": "pmgs_lib.ui.statistics_plots",
    "plot_paired_differences": "pmgs_lib.ui.statistics_plots",
    "view_3d": "pmgs_lib.ui.viewer",
    "View3D": "pmgs_lib.ui.viewer",
    "ViewSettings": "pmgs_lib.ui.viewer",
}

register_displays()  # does nothing outside IPython

__getattr__, __dir__ = lazy_names(__name__, NAMES)
__all__ = ["register_displays"]
