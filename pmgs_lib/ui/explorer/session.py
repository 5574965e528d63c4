"""`explore`: the one call that a notebook makes, and the explorer it gives."""

import base64
import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from pmgs_lib.errors import ParameterError, PmgsError, first_line
from pmgs_lib.models.sized import load_for_size
from pmgs_lib.suite.recorder import FOLDER_VARIABLE
from pmgs_lib.ui.explorer.frames import Frame, render_frame, target_psnr
from pmgs_lib.ui.explorer.gestures import NUMBERS, state_after
from pmgs_lib.ui.explorer.stage import Stage, SubjectMaker
from pmgs_lib.ui.explorer.state import MODES, SPLITS, ExplorerState
from pmgs_lib.ui.explorer.still import still_figure
from pmgs_lib.ui.explorer.subjects import as_subject, predicted_subject
from pmgs_lib.views import Example

logger = logging.getLogger(__name__)
STILL_DPI = 110


def explore(
    scenes: Example | Sequence[Example] | Mapping[str, Example],
    models: Mapping[str, nn.Module | str] | Sequence[str] = (),
    gaussians: Mapping[str, Any] | None = None,
    *,
    device: str = "auto",
    state: ExplorerState | None = None,
) -> "Explorer":
    """An explorer of one or more scenes: the last line of a cell shows it.

    scenes: examples without batch axis, each with at least one held-out view; a mapping may load them when they are
    asked for. models: by the name to show; a module, or a name or file for `load_for_size`. Each is run on the scene
    that is picked. gaussians: for a single scene, what is there already, by name: Gaussians, a `MethodOutput`, a
    `Prediction`, a `Reconstruction`, or a `Subject` where the usual `RenderingSettings` are not meant. With two or more
    names the first two are compared, models before Gaussians. device: "cpu", "cuda", or "auto"; a missing GPU is
    replaced by the CPU, and a line in the explorer says so. state: where to begin, such as the `state` of another
    explorer.

    Nothing that is drawn becomes part of the notebook but one still picture, in the output of the cell. Raises
    `ParameterError` for scenes and subjects that cannot be shown.
    """
    examples = _examples(scenes)
    makers = _makers(models, gaussians or {}, len(examples))
    stage = Stage(examples, makers, device)
    names = list(makers)
    begin = ExplorerState(scene=next(iter(examples)), left=names[0], right=names[1] if len(names) > 1 else None)
    return Explorer(stage, begin if state is None else state)


class Explorer:
    """A stage, the state it is in, and its widget."""

    def __init__(self, stage: Stage, state: ExplorerState) -> None:
        self.stage = stage
        self._widget: Any = None
        self.state = state

    @property
    def state(self) -> ExplorerState:
        """What is shown; a page shows what is set here. Raises `ParameterError` for what cannot be drawn."""
        return self._state

    @state.setter
    def state(self, state: ExplorerState) -> None:
        render_frame(self.stage, state, coarse=True)  # raises before anything has changed
        self._state = state
        if self._widget is not None:
            self._widget.tell()

    def frame(self, *, coarse: bool = False) -> Frame:
        """The picture of the present state."""
        return render_frame(self.stage, self.state, coarse=coarse)

    def answer(self, message: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """The answer to one request of a page, and its picture: there always is one, an error comes as text.

        message: `n`, the number of the request; `changes`, see `state_after`; `coarse`. A state that cannot be drawn is
        given up, so that the next request meets the one before.
        """
        reply: dict[str, Any] = {"n": message.get("n")}
        before, coarse = self._state, bool(message.get("coarse", False))
        try:
            for change in message.get("changes", ()):
                self._state = state_after(self.stage, self._state, change)
            frame = self.frame(coarse=coarse)
            reply |= {"frame": frame.facts(), "values": asdict(self._state)}
            reply |= {} if coarse else {"controls": self.controls()}
        except PmgsError as error:
            self._state = before
            return reply | {"error": str(error)}, []
        except Exception as error:  # a page without an answer would wait for ever; it shows this one
            self._state = before
            logger.exception("explorer: request %s failed", message.get("n"))
            return reply | {"error": f"{type(error).__name__}: {first_line(error)}"}, []
        return reply, [frame.data]

    def psnr(self, name: str) -> list[float]:
        """PSNR in dB of what is shown as `name`, under the present cuts, in every held-out view of the scene."""
        count = self.stage.scene(self.state.scene).example.target.count
        return [target_psnr(self.stage, self.state, name, target) for target in range(count)]

    def controls(self) -> dict[str, Any]:
        """What a page needs to know to draw the controls: names to choose from, and ends of the sliders."""
        scene = self.stage.scene(self.state.scene)
        certain = any(self.stage.subject(self.state.scene, n).certainty is not None for n in self.state.subjects)
        return {
            "scenes": list(self.stage.examples),
            "subjects": list(self.stage.makers),
            "modes": [mode for mode in MODES if certain or mode != "match probability"],
            "splits": list(SPLITS),
            "ranges": {**NUMBERS, "time": (0.0, float(scene.example.context.count - 1))},
            "scales": self.stage.scale_range(self.state.scene, self.state.subjects),
            "targets": scene.example.target.count,
            "size": scene.size,
            "note": self.stage.note,
        }

    def still(self) -> Figure:
        """The present state as a figure with title, scale and scores, for a page without a kernel."""
        frame = self.frame()
        return still_figure(frame, self.state, Image.open(io.BytesIO(frame.data)))

    @property
    def widget(self) -> Any:
        """The live widget, made when it is first asked for."""
        if self._widget is None:
            from pmgs_lib.ui.explorer.widget import ExplorerWidget  # a run without a browser never loads it

            self._widget = ExplorerWidget(self)
        return self._widget

    def __repr__(self) -> str:
        state, frame = self.state, self.frame()
        scores = ", ".join(f"{name} {value:.2f} dB" for name, value in frame.psnr.items())
        return f"Explorer of {state.scene}: {scores} at held-out view {frame.target}; {state.mode}, {self.stage.device}"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The still picture, and the widget with it except in a run, where nobody is there to touch it."""
        stream = io.BytesIO()
        self.still().savefig(stream, format="png", dpi=STILL_DPI, metadata={"Software": None})
        bundle: dict[str, Any] = {}
        if FOLDER_VARIABLE not in os.environ:
            bundle |= self.widget._repr_mimebundle_()[0]
        png = base64.b64encode(stream.getvalue()).decode()
        return bundle | {"text/plain": repr(self), "image/png": png}, {}


def _examples(scenes: Example | Sequence[Example] | Mapping[str, Example]) -> Mapping[str, Example]:
    if isinstance(scenes, Mapping):
        examples = scenes
    else:
        listed = [scenes] if isinstance(scenes, Example) else list(scenes)
        examples = {str(example.key): example for example in listed}
        if len(examples) < len(listed):
            raise ParameterError(
                f"explore: {len(listed)} scenes have {len(examples)} different keys, expected one each; "
                "give a mapping with names of your own"
            )
    if not examples:
        raise ParameterError("explore: there is no scene, expected at least one example")
    return examples


def _makers(
    models: Mapping[str, nn.Module | str] | Sequence[str], gaussians: Mapping[str, Any], scenes: int
) -> dict[str, SubjectMaker]:
    if gaussians and scenes > 1:
        raise ParameterError(
            f"explore: {', '.join(gaussians)} belong to one scene, but {scenes} were given; "
            "give that one, or models to run on each"
        )
    named = models if isinstance(models, Mapping) else {name: name for name in models}
    twice = sorted(set(named) & set(gaussians))
    if twice or not (named or gaussians):
        raise ParameterError(
            f"explore: {'the name ' + twice[0] + ' is given twice' if twice else 'there is nothing to show'}, expected "
            "models or Gaussians by names that differ"
        )
    ready = {name: as_subject(name, source) for name, source in gaussians.items()}
    made: dict[str, SubjectMaker] = {name: _model_maker(name, model) for name, model in named.items()}
    return made | {name: (lambda _, subject=subject: subject) for name, subject in ready.items()}


def _model_maker(name: str, model: nn.Module | str) -> SubjectMaker:
    def make(example: Example) -> Any:
        # Loaded for the device that the scene is on, each time it is shown anew: weights of large models are not kept.
        device = example.context.images.device
        network = model
        if isinstance(model, str):
            network = load_for_size(model, example.context.height, example.context.width, device=device)
        return predicted_subject(name, network, example)

    return make
