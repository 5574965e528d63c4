"""What a hand on the picture or on a control does to the state: pure functions from a message to the next state."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pmgs_lib.errors import ParameterError
from pmgs_lib.ui.explorer.frames import at_target, nearest_target
from pmgs_lib.ui.explorer.stage import Stage
from pmgs_lib.ui.explorer.state import MODES, SPLITS, ExplorerState

TURN_DEG = 120.0  # for a drag across the whole picture
MOST_PITCH_DEG, MOST_CLOSER = 85.0, 2.5
NUMBERS = {  # control -> the values that it may have
    "yaw_deg": (-180.0, 180.0),
    "pitch_deg": (-MOST_PITCH_DEG, MOST_PITCH_DEG),
    "shift_right": (-2.0, 2.0),
    "shift_up": (-2.0, 2.0),
    "closer": (-MOST_CLOSER, MOST_CLOSER),
    "wipe": (0.0, 1.0),
    "opacity_from": (0.0, 1.0),
}


def state_after(stage: Stage, state: ExplorerState, change: Mapping[str, Any]) -> ExplorerState:
    """The state after one change, a message with a `kind`: orbit, pan, dolly, set, snap or home.

    Raises `ParameterError` for a change that there is no such thing as.
    """
    kind = change.get("kind")
    if kind not in _KINDS:
        raise ParameterError(f"explorer: no change is called {kind!r}, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind](stage, state, change)


def _orbit(_stage: Stage, state: ExplorerState, change: Mapping[str, Any]) -> ExplorerState:
    """dx, dy: how far the hand went, in widths of the picture; the scene turns with it."""
    yaw = state.yaw_deg - TURN_DEG * _number(change, "dx")
    pitch = state.pitch_deg + TURN_DEG * _number(change, "dy")
    yaw = (yaw + 180.0) % 360.0 - 180.0  # on round and round
    return replace(state, yaw_deg=yaw, pitch_deg=_within(pitch, NUMBERS["pitch_deg"]))


def _pan(stage: Stage, state: ExplorerState, change: Mapping[str, Any]) -> ExplorerState:
    """dx, dy: in widths of the picture; what is in focus stays under the hand."""
    horizontal = stage.camera(state).intrinsics[0, 0].item()
    # One width spans so many focus distances at the focus, fewer from closer by.
    span = math.exp(-state.closer) / horizontal
    right = state.shift_right - span * _number(change, "dx")
    up = state.shift_up + span * _number(change, "dy")
    return replace(state, shift_right=_within(right, NUMBERS["shift_right"]), shift_up=_within(up, NUMBERS["shift_up"]))


def _dolly(_stage: Stage, state: ExplorerState, change: Mapping[str, Any]) -> ExplorerState:
    """dz: change of the logarithm of the distance, positive towards the scene."""
    return replace(state, closer=_within(state.closer + _number(change, "dz"), NUMBERS["closer"]))


def _home(_stage: Stage, state: ExplorerState, _change: Mapping[str, Any]) -> ExplorerState:
    """Back to the anchor."""
    return replace(state, yaw_deg=0.0, pitch_deg=0.0, shift_right=0.0, shift_up=0.0, closer=0.0)


def _snap(stage: Stage, state: ExplorerState, change: Mapping[str, Any]) -> ExplorerState:
    """To a held-out camera: the nearest one, or that which is `step` further on."""
    count = stage.scene(state.scene).example.target.count
    step = int(_number(change, "step")) if "step" in change else 0
    return at_target(state, (nearest_target(stage, state) + step) % count)


def _set(stage: Stage, state: ExplorerState, change: Mapping[str, Any]) -> ExplorerState:
    """name, value: one field."""
    name, value = change.get("name"), change.get("value")
    if name in NUMBERS:
        return replace(state, **{name: _within(_number(change, "value"), NUMBERS[name])})
    if name == "time":  # a place on the path: the camera leaves the held-out view
        last = stage.scene(state.scene).example.context.count - 1
        return replace(state, target=None, time=_within(_number(change, "value"), (0.0, float(last))))
    if name == "target":
        count = stage.scene(state.scene).example.target.count
        return at_target(state, _one_of(name, value, range(count)))
    if name == "scale_to":
        return replace(state, scale_to=None if value is None else _number(change, "value"))
    if name == "scene":  # another scene has other cameras
        return _home(stage, replace(state, scene=_one_of(name, value, stage.examples), target=None, time=0.0), change)
    if name in ("left", "right"):
        kept = None if name == "right" and value is None else _one_of(name, value, stage.makers)
        return replace(state, **{name: kept})
    if name in ("mode", "split"):
        return replace(state, **{name: _one_of(name, value, MODES if name == "mode" else SPLITS)})
    known = [*NUMBERS, "time", "target", "scale_to", "scene", "left", "right", "mode", "split"]
    raise ParameterError(f"explorer: no control is called {name!r}, expected one of {', '.join(known)}")


_KINDS: dict[str, Callable[[Stage, ExplorerState, Mapping[str, Any]], ExplorerState]] = {
    "orbit": _orbit,
    "pan": _pan,
    "dolly": _dolly,
    "set": _set,
    "snap": _snap,
    "home": _home,
}


def _number(change: Mapping[str, Any], name: str) -> float:
    value = change.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ParameterError(f"explorer: {name} is {value!r}, expected a finite number")
    return float(value)


def _within(value: float, ends: tuple[float, float]) -> float:
    return min(max(value, ends[0]), ends[1])


def _one_of(name: str, value: Any, known: Any) -> Any:
    if value not in known:
        raise ParameterError(f"explorer: {name} is {value!r}, expected one of {', '.join(map(str, known))}")
    return value
