"""Gaussians and cameras to pictures: one call, `rasterize`, over interchangeable backends."""

from pmgs_lib._lazy import lazy_names

# Name of a backend -> its class, imported when it is first asked for.
BACKENDS = {
    "gsplat": "pmgs_lib.rasterizers.gsplat:GsplatRasterizer",
    "cpu": "pmgs_lib.rasterizers.cpu:CpuRasterizer",
    "reference": "pmgs_lib.rasterizers.reference:ReferenceRasterizer",
}

NAMES = {
    "Rendering": "pmgs_lib.rasterizers.base",
    "RenderingSettings": "pmgs_lib.rasterizers.base",
    "Rasterizer": "pmgs_lib.rasterizers.base",
    "rasterize": "pmgs_lib.rasterizers.dispatch",
    "render_with_settings": "pmgs_lib.rasterizers.dispatch",
    "choose_backend": "pmgs_lib.rasterizers.dispatch",
    "build_rasterizer": "pmgs_lib.rasterizers.dispatch",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
