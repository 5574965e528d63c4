"""The zoo's entry of the DepthSplat that ships with the library."""

from pmgs_lib.models.depthsplat.variants import TINY as CONFIG
from pmgs_lib.models.zoo_entry import ModelEntry

TINY = ModelEntry(
    config=CONFIG,
    weights="embedded",
    near=0.5,
    far=40.0,
    image_size=(128, 224),
    context_views=(2, 2),
    training_data="embedded scenes",
    protocol="embedded-smoke",
    released="with this library",
    licence="Apache-2.0",
    source="the JSON card beside the weights",
)
