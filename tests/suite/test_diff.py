"""Numbers by name, and two runs side by side."""

import json

import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.metric_paths import find_metric, flat_metrics

SAVE = "from pmgs_lib.suite import current_run\nrun = current_run()"
METRICS = {
    "results": [
        {"method": "nearest", "control": True, "means": {"overall": {"psnr": 19.0}, "inside": {"psnr": 18.0}}},
        {
            "method": "v1.5 net",
            "control": False,
            "means": {"overall": {"psnr": 25.0}, "inside": {"psnr": 26.0, "x": 1}},
        },
    ],
    "loss": [3.0, 2.0],
    "psnr.last": 24.0,
}


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("psnr", "results.v1.5 net.means.overall.psnr", 25.0),
        ("overall.psnr", "results.v1.5 net.means.overall.psnr", 25.0),
        ("inside.psnr", "results.v1.5 net.means.inside.psnr", 26.0),
        ("v1.5 net.psnr", "results.v1.5 net.means.overall.psnr", 25.0),
        ("nearest.psnr", "results.nearest.means.overall.psnr", 19.0),
        ("results.nearest.means.inside.psnr", "results.nearest.means.inside.psnr", 18.0),
        ("x", "results.v1.5 net.means.inside.x", 1),
        ("loss.1", "loss.1", 2.0),
        ("psnr.last", "psnr.last", 24.0),
    ],
)
def test_a_number_is_found_by_the_steps_that_matter(name, path, value):
    assert find_metric(METRICS, name, "here") == (path, value)


def test_every_path_finds_its_own_number():
    for path, value in flat_metrics(METRICS).items():
        assert find_metric(METRICS, ".".join(path), "here") == (".".join(path), value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ssim", "here: `ssim`: no such metric, expected one of: results.nearest.method"),
        ("psnr.overall", "no such metric"),
        ("method", "`method`: 2 metrics fit, expected one: results.nearest.method, results.v1.5 net.method"),
        ("", "no such metric"),
    ],
)
def test_what_is_not_one_number_is_refused_with_the_choice(name, message):
    with pytest.raises(ParameterError) as fault:
        find_metric({**METRICS, "results": [{**entry, "control": False} for entry in METRICS["results"]]}, name, "here")
    assert message in str(fault.value)


@pytest.fixture
def scored(small):
    """`make` and two evaluations of it that differ in a parameter."""
    small.write_notebook("make", "seed: int = 0", SAVE)
    score = "run.save_metrics({'psnr': 20.0 + bonus, 'label': label, 'scenes': 3})"
    small.write_notebook("score", "bonus: float = 0.0\nlabel: str = ''\nmade: str = ''", SAVE, score)
    runs = [
        {"id": "make"},
        *(
            {
                "id": name,
                "notebook": "notebooks/score.ipynb",
                "parameters": {"label": name, "bonus": bonus, "made": "${runs.make}"},
            }
            for name, bonus in (("plain", 0.0), ("better", 0.25))
        ),
    ]
    small.write_experiment(runs)
    done = small.pmgs("run", "toy")
    assert done.returncode == 0, done.stderr
    return small, runs


def test_two_runs_side_by_side_and_the_chain_of_a_number(scored):
    small, runs = scored
    done = small.pmgs("diff", "plain", "better")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0].startswith("first plain runs/")
    assert lines[2:8] == [
        "made from",
        "parameter `bonus`: 0.0 -> 0.25",
        'parameter `label`: "plain" -> "better"',
        "made on",
        "the same versions, device and threads",
        "made: 2 of 3 metrics differ",
    ]
    assert set(lines[9:]) == {"label plain better", "psnr 20 20.25 +0.25"}
    keys = [small.plan().run(name).key for name in ("plain", "better")]
    assert small.pmgs("diff", *(key[:8] for key in keys)).stdout == done.stdout
    assert "made: 0 of 3 metrics differ" in small.pmgs("diff", "plain", "plain").stdout
    refused = small.pmgs("diff", "plain", "absent")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no run `absent`" in refused.stderr

    told = small.pmgs("why", "better:psnr").stdout
    assert told.startswith("better:psnr = 20.25\nmade 20")
    for link in (
        "notebooks/score.ipynb",
        "bonus=0.25",
        "data         none",
        "environment  constraints.txt",
        "\n    make  ",
    ):
        assert link in told
    assert "no such metric" in small.pmgs("why", "better:ssim").stderr

    runs[2]["parameters"]["bonus"] = 0.5
    small.write_experiment(runs)
    stale = small.pmgs("why", "better:psnr").stdout
    assert stale.startswith("better:psnr = 20.25\n")
    assert "stale by now, this number is of an earlier execution: parameter `bonus`: 0.25 -> 0.5\n" in stale
    code = json.loads((small.run_folder(keys[1]) / "run.json").read_text())["parts"]["notebook"]["code"]
    assert code[:12] in stale
