"""A table of steps survives a kill at any byte and a full disk, and a resumed one equals an uninterrupted one."""

import pandas as pd
import pytest

from pmgs_lib.training.step_table import AppendedFile, StepTable

STEPS = 6


def values(step: int) -> dict[str, float]:
    """A second term appears at step 4, and step 3 was skipped."""
    if step == 3:
        return {"learning_rate": 0.1 / step, "skipped": 1}
    late = {"pointmap": 2.0**-step} if step >= 4 else {}
    return {"photometric": 1 / (3 * step), **late, "gradient_norm": 7.0 / step, "learning_rate": 0.1 / step}


def write(path, steps, first_step=0) -> bytes:
    table = StepTable(path, first_step)
    for step in steps:
        table.write(step, values(step))
    table.close()
    return path.read_bytes()


def test_every_digit_comes_back(tmp_path):
    write(tmp_path / "t.csv", range(1, STEPS + 1))
    frame = pd.read_csv(tmp_path / "t.csv")
    expected = pd.DataFrame([{"step": step, **values(step)} for step in range(1, STEPS + 1)])
    pd.testing.assert_frame_equal(frame[list(expected)], expected, check_exact=True)


def test_a_kill_at_any_byte_and_a_resume_at_any_step_before_give_the_same_file(tmp_path):
    whole = write(tmp_path / "whole.csv", range(1, STEPS + 1))
    path = tmp_path / "t.csv"
    for last in (1, 3, 4, STEPS):
        written = write(path, range(1, last + 1))
        start = written.rindex(b"\n", 0, -1) + 1
        for cut in (*range(start, len(written), 7), len(written) - 1):  # the last row, from nothing to nearly all of it
            for first_step in {0, last // 2, last - 1} - {last}:
                path.write_bytes(written[:cut])
                assert write(path, range(first_step + 1, STEPS + 1), first_step) == whole, (last, cut, first_step)
        path.write_bytes(written)
        assert write(path, range(last + 1, STEPS + 1), last) == whole


def test_noughts_behind_a_power_cut_are_cut_off(tmp_path):
    whole = write(tmp_path / "t.csv", range(1, STEPS + 1))
    (tmp_path / "t.csv").write_bytes(whole[: whole.index(b"\n5,") + 1] + b"\0" * 40)
    assert write(tmp_path / "t.csv", [5, 6], 4) == whole


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n1,2\n", b"loss,step\n1,2\n", b"step,loss", b"\0" * 20])
def test_what_is_no_table_begins_anew(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    table = StepTable(tmp_path / "t.csv", 3)
    assert (table.last_step, table.columns) == (0, [])
    table.write(4, {"loss": 1.0})
    assert (tmp_path / "t.csv").read_text() == "step,loss\n4,1.0\n"
    table.close()


def test_a_second_row_of_a_step_adds_to_the_first_also_after_a_resume(tmp_path):
    table = StepTable(tmp_path / "t.csv")
    table.write(1, {"loss": 1.0})
    table.write(2, {"loss": 0.5})
    table.write(2, {"psnr": 20.0})
    table.close()
    table = StepTable(tmp_path / "t.csv", 2)
    table.write(2, {"loss": 0.5, "ssim": 0.25})
    table.write(3, {"loss": 0.25})
    assert table.read("psnr") == {2: 20.0}
    assert table.read("lpips") == {}
    table.close()
    assert (tmp_path / "t.csv").read_text() == "step,loss,psnr,ssim\n1,1.0,,\n2,0.5,20.0,0.25\n3,0.25,,\n"


def test_a_full_disk_takes_no_row_that_was_there_and_leaves_no_half_row(tmp_path, full_disk):
    table = StepTable(tmp_path / "t.csv")
    for step in range(1, 4):
        table.write(step, {"loss": 1 / 3})
    for room in range(20):
        with full_disk(table._file.size + room), pytest.raises(OSError, match="too large"):
            table.write(4, {"loss": 2 / 3})
        with full_disk(table._file.size + room), pytest.raises(OSError, match="too large"):
            table.write(4, {"psnr": 2 / 3})  # the column that it brings may find room, but not its row
    table.write(3, {"count": 3})
    table.write(5, {"loss": 1.0})
    table.close()
    assert list(tmp_path.iterdir()) == [tmp_path / "t.csv"]
    frame = pd.read_csv(tmp_path / "t.csv").dropna(axis="columns", how="all")
    expected = pd.DataFrame({"step": [1, 2, 3, 5], "loss": [1 / 3, 1 / 3, 1 / 3, 1.0], "count": [None, None, 3, None]})
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, check_exact=True)


def test_appended_pieces_replace_what_stands_behind_their_start(tmp_path):
    file = AppendedFile(tmp_path / "deep" / "file")
    file.append(b"abcdef")
    file.append(b"XY", 2)
    file.append(b"!")
    assert (tmp_path / "deep" / "file").read_bytes() == b"abXY!"
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file"):
        file.append(b"late")
