"""What a check of a scene says."""

from dataclasses import dataclass

# What the checks are called, and those that make a scene useless until they are cured.
UNSOUND = {
    "not finite": "a pose or camera matrix with NaN or infinite numbers",
    "not a rotation": "a pose whose axes are not at right angles",
    "scaled rotation": "a rotation that was multiplied by a number",
    "mirrored": "a pose with determinant -1",
    "camera-from-world": "poses that map the other way",
    "OpenGL axes": "poses whose camera looks along -z with y up",
    "pixel intrinsics": "camera matrices in pixels where the library has shares of the picture",
    "frames mixed up": "pictures beside the poses of other pictures",
    "poses do not fit": "no reading of the numbers explains what the pictures show",
}
DOUBTFUL = {
    "few frames": "little choice of context and target",
    "wide": "an opening angle that released code leaves out",
    "off-centre": "a principal point away from the middle",
    "far away": "a camera far from the origin",
    "still": "neighbours without a baseline",
    "jump": "a step much longer than the others",
    "out of order": "frames that are not in the order of the walk",
    "little parallax": "matches without depth",
    "blurred": "frames far less sharp than their neighbours",
    "duplicate": "frames that are there twice",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd: the name of the check (of UNSOUND or DOUBTFUL), in words, and which frames."""

    check: str
    text: str
    frames: tuple[int, ...] = ()

    @property
    def unsound(self) -> bool:
        """Whether numbers made from the scene mean nothing until this is cured."""
        return self.check in UNSOUND

    def __str__(self) -> str:
        return self.text


def named_frames(frames: list[int]) -> str:
    """Frames in words: all of a few, the first ones of many."""
    shown = ", ".join(map(str, frames[:6]))
    return f"frame{'s' if len(frames) > 1 else ''} {shown}" + (
        f" and {len(frames) - 6} more" if len(frames) > 6 else ""
    )
