"""Which files are photographs or videos, and the order in which a person counts them."""

import re

PICTURES = (".jpg", ".jpeg", ".png")
UNREAD = (".heic", ".heif", ".dng", ".cr2", ".nef", ".arw")  # photographs that Pillow does not open
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
