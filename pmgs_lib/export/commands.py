"""The rendering verb as the command line calls it; options are the fields of its request."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import nn

from pmgs_lib.data.chunks import ChunkScene
from pmgs_lib.data.scene_source import open_scenes, pick_scene
from pmgs_lib.errors import ParameterError, first_line
from pmgs_lib.export.parts import SaveSettings, VideoKind
from pmgs_lib.export.reconstruction import reconstruct
from pmgs_lib.export.saving import save_reconstruction
from pmgs_lib.models import MODELS, load_checkpoint
from pmgs_lib.models.acceleration import accelerate
from pmgs_lib.models.base import ModelConfig

FAST_VIEWS = 4  # views that the fast setting holds at full size


def _frames(given: Any) -> Any:
    """Frame numbers; texts may be ranges such as `3-9`, ends included."""
    if not isinstance(given, list | tuple):
        return given
    numbers: list[Any] = []
    for entry in given:
        first, dash, last = str(entry).partition("-")
        numbers += range(int(first), int(last) + 1) if dash and (first + last).isdigit() else [entry]
    return tuple(numbers)


Frames = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_frames)]


class RenderRequest(SaveSettings):
    """What `pmgs render` makes of which frames of which scene."""

    output: str = Field(description="folder for the files and their manifest.json")
    context: Frames = Field(description="frames that the model sees, such as 0,10")
    targets: Frames = Field((), description="frames to render, such as 1-9; none named: all between the context frames")
    scene: str | None = Field(None, description="key of the scene; not needed where there is only one")
    split: Literal["train", "test"] = Field("test", description="which part of the scenes")
    size: str | None = Field(None, pattern=r"^\d+x\d+$", description="height x width, such as 256x448; default: the "
                             "scene's own, cropped to what the model takes")  # fmt: skip
    near: float | None = Field(None, gt=0, description="least depth in world units; default: what the import found")
    far: float | None = Field(None, gt=0, description="greatest depth in world units")
    against: str | None = Field(None, description="a second model, whose pictures stand beside in the video")
    video: VideoKind = Field("interpolate", description="path of the video's cameras")
    device: str = Field("auto", description="cpu, cuda ...; auto takes a GPU if there is one")
    config: str | None = Field(None, description="zoo name that says what a weights file holds, if its name does not")
    fast: bool = Field(False, description="half precision, few views at a time: less memory for large pictures")
    overwrite: bool = Field(False, description="write over what an earlier call left in the folder")


def render(model: str, scenes: str, /, *, request: RenderRequest) -> str:
    """Gaussians, depth, novel views and a video of one scene.

    MODEL is a name of the zoo or a file of weights; SCENES is a folder of chunk files or a capture (transforms.json).
    """
    with tempfile.TemporaryDirectory() as workspace:
        limits = {"near": request.near, "far": request.far}
        dataset = open_scenes(scenes, imported_to=workspace, split=request.split, **limits)
        scene = dataset.scene(pick_scene(dataset, request.scene))
        (network, size), targets = _network(model, request, scene), _targets(request)
        context = dataset.views(scene, request.context, *size)
        target = dataset.views(scene, targets, *size) if targets else None
    networks = {Path(model).name: network} | _second_network(request, scene, size, Path(model).name)
    if request.fast:  # not compiled: for one scene that would take longer than it saves
        networks = {name: accelerate(each, compile=False, views_at_once=FAST_VIEWS) for name, each in networks.items()}
    made = [reconstruct(each, context, name=name) for name, each in networks.items()]
    settings = SaveSettings(**{name: getattr(request, name) for name in SaveSettings.model_fields})
    manifest = save_reconstruction(
        request.output,
        made,
        target,
        settings=settings,
        context_frames=request.context,
        target_frames=targets,
        overwrite=request.overwrite,
    )
    return _summary(request.output, scene.key, manifest)


def _network(model: str, request: RenderRequest, scene: ChunkScene) -> tuple[nn.Module, tuple[int, int]]:
    """The network, and the height and width it works at; a model of the zoo as released for pictures that large."""
    device = _device(request.device)
    if model in MODELS and request.config is None:
        size = _size(request.size, scene, MODELS[model].config)
        return load_checkpoint(model, config=MODELS[model].config_for(*size), device=device), size
    network = load_checkpoint(model, config=request.config, device=device)
    return network, _size(request.size, scene, network.config)


def _second_network(
    request: RenderRequest, scene: ChunkScene, size: tuple[int, int], first: str
) -> dict[str, nn.Module]:
    """The model to compare with, under its name; nothing where none was asked for."""
    if request.against is None:
        return {}
    name = Path(request.against).name
    if name == first or request.video == "none":
        raise ParameterError(
            f"against {request.against!r}: shown in the video beside {first!r}, expected a model of another name and a "
            "video; name both"
        )
    alike = request.model_copy(update={"size": f"{size[0]}x{size[1]}", "config": None})
    return {name: _network(request.against, alike, scene)[0]}


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as fault:
        raise ParameterError(f"device {name!r}: cannot be used ({first_line(fault)}); take cpu, or auto") from None
    return name


def _size(given: str | None, scene: ChunkScene, config: ModelConfig) -> tuple[int, int]:
    """Height and width of the pictures."""
    if given is not None:
        height, width = map(int, given.split("x"))
        return height, width
    multiple = getattr(config, "multiple", 1)
    height, width = (max(side // multiple, 1) * multiple for side in scene.image_size())
    return height, width


def _targets(request: RenderRequest) -> tuple[int, ...]:
    between = range(min(request.context, default=0) + 1, max(request.context, default=0))
    return request.targets or tuple(frame for frame in between if frame not in request.context)


def _summary(output: str, key: str, manifest: dict[str, Any]) -> str:
    """One line: what was made, where, how good, how long."""
    made = f"{manifest['gaussians']:,} Gaussians" if manifest["gaussians"] else "depth"
    views = f"{len(manifest['context_frames'])} views of {manifest['height']}x{manifest['width']}"
    parts = Counter(file["part"] for file in manifest["files"])
    written = [f"{count} {part}" if count > 1 else part for part, count in parts.items()]
    quality = [file["psnr"] for file in manifest["files"] if file.get("psnr") is not None]
    mean = f"; {sum(quality) / len(quality):.2f} dB at {len(quality)} targets" if quality else ""
    shown = [name for file in manifest["files"] for name in file.get("shows", ())[1:]]
    beside = f"; beside {', '.join(shown)} in the video" if shown else ""
    clipped = sum(file.get("clipped", 0) for file in manifest["files"])
    lost = f"; {clipped:,} depths beyond the scale were clipped" if clipped else ""
    proofs = [f"; {file['file']} {file['certified']}" for file in manifest["files"] if "certified" in file]
    left_out = [f"{part} ({reason})" for part, reason in manifest["left_out"].items() if reason != "not asked for"]
    rest = f"; left out {', '.join(left_out)}" if left_out else ""
    return (
        f"{output}: {key}, {views} to {made} in {manifest['seconds']:.2f} s on {manifest['device']}{mean}; "
        f"wrote {', '.join(written)} and manifest.json{beside}{lost}{''.join(proofs)}{rest}"
    )
