"""Free orbit inside a notebook, without a network: Gaussians, cameras with their pictures, and point clouds."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.suite.recorder import FOLDER_VARIABLE
from pmgs_lib.ui import style
from pmgs_lib.ui.viewer_picture import draw_picture, starting_camera
from pmgs_lib.ui.viewer_scene import PointCloud, Scene3D, build_page, camera_set, every_nth, thinned, viser_splats
from pmgs_lib.views import Views

ASPECT = 16 / 9  # width over height of the picture
LAB_VARIABLE = "JPY_SESSION_NAME"  # Jupyter's server leaves it with every kernel that somebody opened
HELP = "Drag to turn, drag with the right button to shift, scroll to come nearer; the button in the corner lists the "
HELP += "parts, each with an eye that shows and hides it. Where nothing follows, the notebook is not trusted."


class ViewSettings(BaseModel):
    """How much a 3D view may hold. most_splats, most_points: of the Gaussians, and of each cloud. height_px: of both
    picture and viewer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    most_splats: int = Field(default=60_000, ge=1)
    most_points: int = Field(default=30_000, ge=1)
    height_px: int = Field(default=420, ge=16, le=4000)


@dataclass(frozen=True)
class View3D:
    """A 3D view that shows itself at the end of a notebook's cell; `view_3d` makes it.

    picture: PNG of the view that the viewer starts with. embed: whether the viewer itself is shown, too.
    """

    scene: Scene3D
    picture: bytes
    embed: bool
    height_px: int

    @cached_property
    def page(self) -> str:
        """The viewer as one HTML page that needs no server and no network; made once, when it is asked for."""
        return build_page(self.scene)

    def save_page(self, path: str | os.PathLike[str]) -> None:
        """Write the viewer as a file that opens in any browser with WebGL 2."""
        with replaced_atomically(path) as sibling:
            sibling.write_text(self.page, encoding="utf-8")

    def caption(self) -> str:
        """What is shown of what there is, what the viewer cannot show, and what it weighs, in plain text."""
        left_out = "The viewer itself is left out in batch runs: run this cell in JupyterLab, or pass embed=True."
        parts = [f"{summary(self.scene)}."]
        if not self.embed:
            return " ".join([*parts, left_out])
        if self.scene.gaussians is not None:
            parts += _differences(self.scene.gaussians, self.scene)
        parts.append(f"{HELP} Adds {len(self.page.encode()) / 1e6:.1f} MB to a saved notebook.")
        return " ".join(parts)

    def _ipython_display_(self) -> None:
        """The picture, then the caption with the viewer: a page that drops the frame still has the picture."""
        from IPython.display import Image, display

        display(Image(self.picture, height=self.height_px))
        caption = self.caption()
        shown = f'<div style="font-size:12px">{escape(caption)}</div>'
        if self.embed:
            shown += f'<iframe srcdoc="{escape(self.page)}" title="3D viewer" width="100%" height="{self.height_px}" '
            shown += 'style="border:1px solid #ddd;display:block"></iframe>'
        display({"text/plain": caption, "text/html": f"<div>{shown}</div>"}, raw=True)


def view_3d(
    gaussians: Gaussians | None = None,
    cameras: Cameras | Views | Mapping[str, Cameras | Views] | None = None,
    points: Mapping[str, Float[Tensor, "_ 3"]] | None = None,
    *,
    colors: Mapping[str, Float[Tensor, "_ 3"]] | None = None,
    hidden: Collection[str] = (),
    embed: bool | None = None,
    settings: ViewSettings | None = None,
) -> View3D:
    """Gaussians of one scene, cameras as frusta, and clouds of world points, to turn by hand in a notebook.

    cameras: of batch shape (camera,), views with their pictures, or several of them by name. points: clouds by name,
    e.g. a pointmap; `colors` gives RGB in [0, 1] for each, else each has a colour of its own. hidden: names of clouds
    and cameras, or "gaussians", that are there but not shown at first. embed: put in the viewer (a megabyte and more)
    besides the picture; None does so where somebody opened the notebook, and not in batch runs. More than
    `settings.most_splats` Gaussians are thinned (see `thinned`), which the caption says; points that are not finite are
    left out and counted as such. Raises `ParameterError` for nothing to show, a batch of scenes and unknown names.
    """
    settings = settings or ViewSettings()
    named = cameras if isinstance(cameras, Mapping) else {} if cameras is None else {"cameras": cameras}
    clouds = dict(points or {})
    _check(gaussians, named, clouds, colors or {}, hidden)
    if gaussians is not None:
        gaussians = Gaussians(**{name: value.detach() for name, value in vars(gaussians).items()})
    sets = {name: camera_set(each, color) for (name, each), color in zip(named.items(), _cycle(1), strict=False)}
    inside = [cloud.detach().cpu().reshape(-1, 3).float() for cloud in clouds.values()]
    inside += [] if gaussians is None else [gaussians.means.detach().cpu().float()]
    where = torch.cat(inside) if inside else torch.cat([each.cameras.centers for each in sets.values()])
    start, focus_m = starting_camera(where, [each.cameras for each in sets.values()], ASPECT)
    scene = Scene3D(
        gaussians=None if gaussians is None else thinned(gaussians, settings.most_splats),
        total=0 if gaussians is None else gaussians.count,
        clouds=_clouds(clouds, colors or {}, settings.most_points),
        cameras=sets,
        hidden=frozenset(hidden),
        start=start,
        focus_m=focus_m,
        height_px=settings.height_px,
    )
    picture = draw_picture(scene, gaussians, settings.height_px, round(ASPECT * settings.height_px))
    return View3D(scene, picture, someone_looks() if embed is None else embed, settings.height_px)


def someone_looks() -> bool:
    """Whether a Jupyter server started this kernel for somebody, and no runner executes the notebook."""
    return LAB_VARIABLE in os.environ and FOLDER_VARIABLE not in os.environ


def summary(scene: Scene3D) -> str:
    """The parts with their counts: shown of all."""
    parts = [] if scene.gaussians is None else [f"Gaussians: {_count(scene.gaussians.count, scene.total)}"]
    parts += [f"{name}: {_count(len(cloud.points), cloud.total)} points" for name, cloud in scene.clouds.items()]
    parts += [f"{name}: {len(each.cameras.world_from_camera)} cameras" for name, each in scene.cameras.items()]
    hidden = f"; hidden at first: {', '.join(sorted(scene.hidden))}" if scene.hidden else ""
    return "; ".join(parts) + hidden


def _differences(gaussians: Gaussians, scene: Scene3D) -> list[str]:
    """What viser draws otherwise than the library does, a sentence each."""
    told = []
    if gaussians.degree > 0:
        told.append(f"Harmonics of degree {gaussians.degree}: viser draws one colour, here as seen from the start.")
    if gaussians.count < scene.total:
        told.append("Those that stay are enlarged to cover for those left out.")
    blurred = viser_splats(gaussians, scene.start, scene.height_px).blurred
    if blurred:
        told.append(f"{blurred:,} small ones are blurred to the half pixel below which viser draws nothing.")
    return told


def _count(shown: int, total: int) -> str:
    return f"all {total:,}" if shown == total else f"{shown:,} of {total:,}"


def _cycle(start: int) -> Sequence[str]:
    return (style.CYCLE[start:] + style.CYCLE[:start]) * 8


def _clouds(clouds: Mapping[str, Tensor], colors: Mapping[str, Tensor], most: int) -> dict[str, PointCloud]:
    made = {}
    for (name, cloud), own in zip(clouds.items(), _cycle(2), strict=False):
        flat = cloud.detach().cpu().float()
        kept = every_nth(flat, most)
        plain = torch.tensor(list(bytes.fromhex(own.removeprefix("#")))) / 255
        shades = colors[name].detach().cpu().float()[kept] if name in colors else plain.expand(len(kept), 3)
        made[name] = PointCloud(flat[kept], shades, len(flat))
    return made


def _check(
    gaussians: Gaussians | None,
    cameras: Mapping[str, Cameras | Views],
    clouds: Mapping[str, Tensor],
    colors: Mapping[str, Tensor],
    hidden: Collection[str],
) -> None:
    names = [*([] if gaussians is None else ["gaussians"]), *clouds, *cameras]
    if not names or (gaussians is not None and not gaussians.count and len(names) == 1):
        raise ParameterError("view_3d: nothing to show, expected Gaussians, cameras or points; give one of them")
    if gaussians is not None and gaussians.batch_shape:
        raise ParameterError(
            f"view_3d: Gaussians of {tuple(gaussians.batch_shape)} scenes, expected one; pass gaussians[0]"
        )
    odd = [name for name in names if names.count(name) > 1 or not name or "/" in name]
    unknown = [name for name in hidden if name not in names] + [name for name in colors if name not in clouds]
    if odd or unknown:
        raise ParameterError(
            f"view_3d: names {', '.join(map(repr, [*odd, *unknown]))}, expected different ones without a slash "
            f"for the parts, and in `hidden` and `colors` only such as are there; parts: {', '.join(names)}"
        )
    for name, each in cameras.items():
        given = each if isinstance(each, Cameras) else each.cameras
        if len(given.batch_shape) != 1 or not len(given.world_from_camera):
            raise ParameterError(
                f"view_3d: {name} has cameras of shape {tuple(given.batch_shape)}, expected (camera,), one or more; "
                "pass those of one scene"
            )
    for name, shades in colors.items():
        if shades.shape != clouds[name].shape:
            raise ParameterError(
                f"view_3d: {name} has {tuple(clouds[name].shape)} points and {tuple(shades.shape)} colours, expected "
                "one RGB colour in [0, 1] a point; flatten both alike"
            )
