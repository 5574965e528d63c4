"""Pictures and depth of a saved reconstruction come in the formats asked for, and the manifest says what they lost."""

import numpy as np
import pytest
from PIL import Image

from pmgs_lib.errors import ParameterError
from pmgs_lib.export import parts
from pmgs_lib.export.depth import read_depth
from pmgs_lib.export.parts import SaveSettings
from pmgs_lib.export.saving import save_reconstruction


def test_pictures_and_depth_come_in_the_formats_asked_for(made, views, tmp_path, caplog):
    settings = SaveSettings(
        save=("inputs", "rendered", "raw-depth"), pictures="jpg", depth_as=("npy", "exr", "png"), steps_per_unit=20_000
    )
    manifest = save_reconstruction(tmp_path / "out", made, views([0.2, 0.6, 0.8]), settings=settings)
    names = [file["file"] for file in manifest["files"]]
    assert names[:6] == [f"{part}/{number:06d}.jpg" for part in ("inputs", "rendered") for number in range(3)]
    assert np.asarray(Image.open(tmp_path / "out/rendered/000001.jpg")).shape == (24, 32, 3)
    for number in range(3):
        exact = [read_depth(tmp_path / f"out/raw_depth/{number:06d}.{kind}") for kind in ("npy", "exr")]
        assert exact[0].equal(made.depth[number])
        assert exact[1].equal(made.depth[number])
        clipped = read_depth(tmp_path / f"out/raw_depth/{number:06d}.png")  # depth 4 lies beyond 65535 of 20000 steps
        assert clipped.unique().tolist() == pytest.approx([65_535 / 20_000])
    facts = [(file["clipped"], file.get("steps_per_unit")) for file in manifest["files"] if "clipped" in file]
    assert facts == 3 * [(0, None), (0, None), (24 * 32, 20_000.0)]
    assert caplog.text.count("768 of 768 pixels lie beyond 3.277 units") == 3


def test_depth_in_a_format_without_its_package_is_refused_before_anything_is_written(made, tmp_path, monkeypatch):
    monkeypatch.setattr(parts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"no raw-depth to save: its .exr needs the package OpenEXR; install it"):
        save_reconstruction(tmp_path / "out", made, settings=SaveSettings(save=("raw-depth",), depth_as=("exr",)))
    assert not (tmp_path / "out").exists()
