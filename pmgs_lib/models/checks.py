"""What models that find depth by matching ask of their input, said in one line when it is not met."""

import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.views import Views


def check_context(name: str, context: Views, multiple: int) -> None:
    """Raise `ParameterError` for context views that a matching model cannot take.

    name: of the model, first word of the message. multiple: image sides must divide by it.
    """
    if len(context.batch_shape) != 1:
        raise ParameterError(
            f"{name}: images of shape {tuple(context.images.shape)} have batch shape {tuple(context.batch_shape)}; "
            "expected (batch,): stack scenes with Views.stack"
        )
    if context.count < 2:
        raise ParameterError(
            f"{name}: {context.count} context view; expected at least 2, since depth comes from matching"
        )
    if context.height % multiple or context.width % multiple:
        nearest = " x ".join(str(max(side // multiple, 1) * multiple) for side in (context.height, context.width))
        raise ParameterError(
            f"{name}: images of {context.height} x {context.width}; expected multiples of {multiple}: "
            f"crop or resize them, for example to {nearest}"
        )
    # Reading values stops a compiled graph; shapes are checked there all the same.
    if not torch.compiler.is_compiling() and not bool(((context.near > 0) & (context.near < context.far)).all()):
        ranges = ", ".join(f"{n:g}..{f:g}" for n, f in zip(context.near.tolist(), context.far.tolist(), strict=True))
        raise ParameterError(f"{name}: depth ranges {ranges}; expected 0 < near < far for every scene")
