"""How the library's types show themselves in a notebook: a picture or table for people, a short text for comparing.

Types are known by module and name, so that nothing is imported for what a notebook does not use. Types with views of
their own (the tables of `pmgs_lib.suite`) need nothing from here.
"""

import io
import sys
from collections.abc import Callable
from typing import Any

from pmgs_lib.errors import ParameterError
from pmgs_lib.ui import displays_results as results
from pmgs_lib.ui import displays_scenes as scenes
from pmgs_lib.ui.displays_parts import attempt, quiet_note

View = Callable[[Any], str]

# A type: its text and its HTML. Keys of a dict are no part of a notebook's code closure: naming a type here does not
# make every notebook depend on its module.
VIEWS_OF_TYPES: dict[str, tuple[View, View]] = {
    "pmgs_lib.cameras.Cameras": (scenes.cameras_text, scenes.cameras_html),
    "pmgs_lib.gaussians.Gaussians": (scenes.gaussians_text, scenes.gaussians_html),
    "pmgs_lib.views.Views": (scenes.views_text, scenes.views_html),
    "pmgs_lib.views.Example": (scenes.example_text, scenes.example_html),
    "pmgs_lib.models.base.Prediction": (scenes.prediction_text, scenes.prediction_html),
    "pmgs_lib.rasterizers.base.Rendering": (scenes.rendering_text, scenes.rendering_html),
    "pmgs_lib.evaluation.methods.MethodOutput": (scenes.output_text, scenes.output_html),
    "pmgs_lib.evaluation.results.EvaluationResult": (results.evaluation_text, results.evaluation_html),
    "pmgs_lib.evaluation.statistics.PairedTest": (results.paired_text, results.paired_html),
    "pmgs_lib.evaluation.statistics.Interval": (results.interval_text, results.interval_html),
    "pmgs_lib.export.certification.Certificate": (results.certificate_text, results.certificate_html),
    "pmgs_lib.suite.records.RunRecord": (results.record_text, results.record_html),
}


def text_view(value: Any) -> str:
    """What a notebook shows of `value` as text: no addresses, no times; why it cannot be shown where it cannot."""
    return attempt(lambda: _views_of(value)[0](value), lambda why: f"{type(value).__name__}: cannot be shown ({why})")


def html_view(value: Any) -> str:
    """What a notebook shows of `value` as HTML, at most about 100 kB, without scripts or anything to load."""
    return attempt(lambda: _views_of(value)[1](value), quiet_note(f"{type(value).__name__}: cannot be shown"))


def _views_of(value: Any) -> tuple[View, View]:
    """Those of its type or of the nearest type that it inherits from."""
    for kind in type(value).__mro__:
        name = f"{kind.__module__}.{kind.__name__}"
        if name in VIEWS_OF_TYPES:
            return VIEWS_OF_TYPES[name]
    known = ", ".join(name.rpartition(".")[2] for name in VIEWS_OF_TYPES)
    raise ParameterError(f"{type(value).__name__} has no rich view, expected one of {known}; look at its fields")


def register_displays(shell: Any = None) -> bool:
    """Teach a running IPython (or `shell`) these views and matplotlib's figures; False where there is no IPython.

    Figures of this library are made without pyplot, which alone would teach IPython to show them.
    """
    shell = _running_shell() if shell is None else shell
    if shell is None:
        return False
    formatters = shell.display_formatter.formatters
    for module, _, name in (kind.rpartition(".") for kind in VIEWS_OF_TYPES):
        formatters["text/plain"].for_type_by_name(module, name, _print_text)
        formatters["text/html"].for_type_by_name(module, name, html_view)
    formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _figure_png)
    return True


def load_ipython_extension(shell: Any) -> None:
    """For `%load_ext pmgs_lib.ui.displays`."""
    register_displays(shell)


def _running_shell() -> Any:
    ipython = sys.modules.get("IPython")  # not imported here: outside a notebook nobody needs it
    return None if ipython is None else ipython.get_ipython()


def _print_text(value: Any, printer: Any, _cycle: bool) -> None:
    printer.text(text_view(value))


def _figure_png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()
