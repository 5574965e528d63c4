"""VGGT without its five gigabytes: a reduced model with random weights in a file of the released layout, on loopback.

For the smoke suite and tests: everything from the download to the pointmap is the real code; only what the weights know
is missing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors.torch import save_file

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.pointmaps.vggt.config import REDUCED
from pmgs_lib.pointmaps.vggt.model import Vggt

REDUCED_NAME = "vggt-reduced.safetensors"
TRACK_ROWS = {"track_head.tracker.fmap_norm.weight": (128,), "track_head.tracker.query_ref_token": (1, 2, 388)}
# Drawn from a narrow normal distribution the points would all lie near the origin.
LAST_LAYER_SPREAD = 0.5


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests are told by whoever makes them."""


def write_reduced_weights(path: Path, seed: int = 0) -> Path:
    """A file with all names of the released one at the reduced size, random weights; same seed, same bytes."""
    config = REDUCED.model_copy(update={"heads": ("point", "depth", "camera")})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Vggt(config)
        state = model.state_dict() | {name: torch.randn(shape) for name, shape in TRACK_ROWS.items()}
        state["aggregator.patch_embed.mask_token"] = torch.zeros(1, config.width)
        for head in ("point_head", "depth_head"):
            last = state[f"{head}.scratch.output_conv2.2.weight"]
            state[f"{head}.scratch.output_conv2.2.weight"] = torch.randn(last.shape) * LAST_LAYER_SPREAD
    with replaced_atomically(path) as sibling:
        save_file({name: value.contiguous() for name, value in state.items()}, sibling)
    return path


@contextmanager
def reduced_weights_server(folder: str | Path, seed: int = 0) -> Iterator[str]:
    """Serve a reduced model's weights on this machine alone; yields their address for `VggtPointmap(weights=...)`."""
    folder = Path(folder)
    write_reduced_weights(folder / REDUCED_NAME, seed)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{REDUCED_NAME}"
    finally:
        server.shutdown()
        server.server_close()
