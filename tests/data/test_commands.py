"""The data verbs of the command line, end to end on small things."""

from pmgs_lib.cli import main


def test_scenes_are_made_exported_and_inspected(tmp_path, capsys):
    folder = tmp_path / "data"
    size = ["--frames", "3", "--height", "32", "--width", "56"]
    assert main(["scenes", str(folder), "--seed", "5", "--count", "1", *size]) == 0
    said = capsys.readouterr().out
    key = said.split()[-1]
    assert "1 scenes of 3 frames" in said
    assert main(["inspect", str(folder), key]) == 0
    assert "3 frames of 32x56" in capsys.readouterr().out


def test_a_capture_is_imported_and_accounted_for(tmp_path, capsys):
    from pmgs_lib.data import make_scene
    from pmgs_lib.export.nerfstudio import write_nerfstudio

    scene = make_scene(4, frames=3, height=48, width=80)
    write_nerfstudio(tmp_path / "capture", scene.images, scene.cameras, distortion=(0.05, 0.0, 0.0, 0.0))
    assert main(["import", str(tmp_path / "capture"), "--output", str(tmp_path / "data")]) == 0
    assert "scene capture, 3 photographs listed = 3 imported + 0 left out" in capsys.readouterr().out


def test_a_wrong_path_is_one_line(tmp_path, capsys):
    assert main(["import", str(tmp_path / "nowhere"), "--output", str(tmp_path / "data")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "there is no such file or folder" in said
    assert not (tmp_path / "data").exists()
