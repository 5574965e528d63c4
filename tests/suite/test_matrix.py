"""A run entry with a matrix: a run a combination, references to the run of the same values, keys of each alone."""

import json

import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.status import status_table, why_cell, why_run

SEEDS = {"seed": [0, 1]}
GRID = {"seed": [0, 1], "weight": [0.0, 0.005]}
TRAIN = {"id": "train", "matrix": GRID, "parameters": {"seed": "${matrix.seed}", "weight": "${matrix.weight}"}}
EVALUATE = {"id": "evaluate", "matrix": GRID, "parameters": {"weights": "${runs.train}/model"}}


@pytest.fixture
def grid(small):
    """train (seed, weight) -> evaluate -> compare of two lists."""
    small.write_notebook("train", "seed: int = 0\nweight: float = 0.0\nname: str = ''")
    small.write_notebook("evaluate", "weights: str = ''\nlabel: str = ''")
    small.write_notebook("compare", "plain: list[str] = []\nother: list[str] = []")
    return small


def write(project, *runs, **fields):
    project.write_experiment([dict(run) for run in runs], **fields)


def compare(**parameters) -> dict:
    return {"id": "compare", "parameters": parameters}


def folders(plan, *ids) -> list[str]:
    return [f"runs/{plan.run(name).key}" for name in ids]


def test_one_run_for_each_combination_with_its_values(grid):
    write(grid, TRAIN)
    plan = grid.plan()
    assert [run.id for run in plan.runs] == [
        "train@seed=0,weight=0.0",
        "train@seed=0,weight=0.005",
        "train@seed=1,weight=0.0",
        "train@seed=1,weight=0.005",
    ]
    assert plan.run("train@seed=1,weight=0.005").parameters == {"seed": 1, "weight": 0.005, "name": ""}
    assert len({run.key for run in plan.runs}) == 4


def test_a_reference_means_the_run_of_the_same_values(grid):
    write(
        grid, EVALUATE, TRAIN, compare(plain="${runs.evaluate[weight=0.0]}", other="${runs.evaluate[ weight=0.005 ]}")
    )
    plan = grid.plan()
    for values in ("seed=0,weight=0.0", "seed=1,weight=0.005"):
        run = plan.run(f"evaluate@{values}")
        assert run.parameters["weights"] == f"runs/{plan.run(f'train@{values}').key}/model"
        assert run.needs == {f"train@{values}": plan.run(f"train@{values}").key}
    assert plan.run("compare").parameters == {
        "plain": folders(plan, "evaluate@seed=0,weight=0.0", "evaluate@seed=1,weight=0.0"),
        "other": folders(plan, "evaluate@seed=0,weight=0.005", "evaluate@seed=1,weight=0.005"),
    }
    order = [run.id for run in plan.runs]
    assert order.index("train@seed=1,weight=0.0") < order.index("evaluate@seed=1,weight=0.0") < order.index("compare")


def test_lists_are_spliced_and_text_around_goes_to_each(grid):
    write(grid, TRAIN, compare(plain=["first", "${runs.train[*]}/a"], other="x-${runs.train[seed=1,weight=0.0]}"))
    plan = grid.plan()
    every = folders(plan, *(run.id for run in plan.runs if run.id.startswith("train")))
    assert len(every) == 4
    assert plan.run("compare").parameters["plain"] == ["first", *(f"{folder}/a" for folder in every)]
    assert plan.run("compare").parameters["other"] == [f"x-runs/{plan.run('train@seed=1,weight=0.0').key}"]
    assert len(plan.run("compare").needs) == 4


def test_a_single_run_is_named_by_its_id(grid):
    write(grid, TRAIN, {"id": "evaluate", "parameters": {"weights": "${runs.train@seed=1,weight=0.005}/model"}})
    plan = grid.plan()
    assert plan.run("evaluate").parameters["weights"] == f"runs/{plan.run('train@seed=1,weight=0.005').key}/model"
    write(grid, TRAIN, {"id": "evaluate", "parameters": {"weights": "${runs.train@seed=7,weight=0.0}"}})
    with pytest.raises(ParameterError, match=r"`train@seed=7,weight=0\.0` is not known; did you mean `train@seed="):
        grid.plan()


def test_a_run_may_vary_more_than_what_it_needs(grid):
    train = {"id": "train", "matrix": SEEDS, "parameters": {"seed": "${matrix.seed}", "name": "arm ${matrix.seed}"}}
    label = {"weights": "${runs.train}", "label": "${matrix.label}"}
    write(grid, train, {"id": "evaluate", "matrix": SEEDS | {"label": ["a", "b"]}, "parameters": label})
    plan = grid.plan()
    assert plan.run("train@seed=1").parameters["name"] == "arm 1"
    assert len(plan.runs) == 6
    for label in "ab":
        assert plan.run(f"evaluate@label={label},seed=1").needs == {"train@seed=1": plan.run("train@seed=1").key}


def test_values_keep_their_kinds(small):
    small.write_notebook("train", "flag: bool = False\nname: str = ''\nrate: float = 0.0")
    matrix = {"flag": [True, False], "name": ["fast"], "rate": [1e-5, "1e-4"]}
    write(small, {"id": "train", "matrix": matrix, "parameters": {name: f"${{matrix.{name}}}" for name in matrix}})
    runs = {run.id: run.parameters for run in small.plan().runs}
    assert runs["train@flag=true,name=fast,rate=1e-05"] == {"flag": True, "name": "fast", "rate": 1e-5}
    assert runs["train@flag=false,name=fast,rate=1e-4"] == {"flag": False, "name": "fast", "rate": 1e-4}


def test_after_means_the_runs_that_agree(grid):
    wait = {"id": "wait", "notebook": "notebooks/compare.ipynb", "after": ["train"]}
    own = {"id": "evaluate", "matrix": SEEDS, "parameters": {"label": "${matrix.seed}x"}, "after": ["train?"]}
    write(grid, TRAIN, wait, own)
    plan = grid.plan()
    assert len(plan.run("wait").needs) == 4
    assert set(plan.run("evaluate@seed=1").needs) == {"train@seed=1,weight=0.0", "train@seed=1,weight=0.005"}


def test_another_seed_leaves_the_first_ones_as_they_are(grid):
    lists = compare(plain="${runs.evaluate[*]}")
    write(grid, TRAIN, EVALUATE, lists)
    before = grid.plan()
    more = {"seed": [0, 1, 2], "weight": [0.0, 0.005]}
    write(grid, TRAIN | {"matrix": more}, EVALUATE | {"matrix": more}, lists)
    after = grid.plan()
    assert len(after.runs) == 13
    changed = {run.id for run in before.runs if after.run(run.id).key != run.key}
    assert changed == {"compare"}


def test_a_run_of_a_matrix_has_the_key_of_the_same_run_without_one(grid):
    write(grid, {"id": "train", "parameters": {"seed": 1, "weight": 0.005}})
    alone = grid.plan().run("train").key
    write(grid, TRAIN)
    assert grid.plan().run("train@seed=1,weight=0.005").key == alone


def test_profiles_may_use_the_values_and_choose_the_runs(grid):
    train = {"id": "train", "matrix": SEEDS, "profiles": {"full": {"seed": "${matrix.seed}"}}, "only": ["full"]}
    write(grid, train, {"id": "compare"}, profiles={"smoke": {}, "full": {}})
    assert [run.id for run in grid.plan().runs] == ["compare"]
    assert grid.plan(profile="full").run("train@seed=1").parameters["seed"] == 1


def test_missing_data_leaves_out_each_run_and_what_needs_it(grid):
    train = TRAIN | {"matrix": GRID, "parameters": TRAIN["parameters"] | {"name": "${data.capture}"}}
    data = {"capture": {"path": "nowhere", "optional": True, "hint": "get it"}}
    write(grid, train, EVALUATE, compare(plain="${runs.evaluate[*]?}"), data=data)
    plan = grid.plan()
    assert len(plan.left_out) == 8
    assert plan.left_out["evaluate@seed=0,weight=0.0"].startswith("needs run `train@seed=0,weight=0.0`, which was left")
    assert plan.run("compare").parameters["plain"] == [""] * 4
    assert "train@seed=1,weight=0.0 left out" in " ".join(status_table(grid, plan).split())


def test_a_page_may_carry_the_values(grid):
    train = {
        "id": "train",
        "matrix": SEEDS,
        "parameters": {"seed": "${matrix.seed}"},
        "page": "runs/t${matrix.seed}.html",
    }
    write(grid, train)
    assert [run.page for run in grid.plan().runs] == ["runs/t0.html", "runs/t1.html"]


def seeds_of(**changes) -> dict:
    return {"id": "train", "matrix": SEEDS, "parameters": {"seed": "${matrix.seed}"}} | changes


def needing(text: str, **changes) -> list[dict]:
    return [seeds_of(), {"id": "evaluate", "parameters": {"weights": text}} | changes]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([seeds_of(matrix={"seed": []})], r"runs\.0\.matrix\.seed: Tuple should have at least 1 item"),
        ([seeds_of(matrix={"seed": [1, "1"]})], r"run `train`: matrix: seed=1 is listed twice, .*; remove one"),
        ([seeds_of(matrix={"seed": ["a/b"]})], r"runs\.0\.matrix\.seed\.0"),
        ([seeds_of(matrix={"seed": [None]})], r"runs\.0\.matrix\.seed\.0"),
        ([seeds_of(matrix={"seed": 3})], r"runs\.0\.matrix\.seed"),
        ([seeds_of(matrix={**SEEDS, "extra": [1]})], r"run `train`: matrix: `extra` changes nothing, .*matrix.extra"),
        (
            [seeds_of(parameters={"seed": "${matrix.sed}"})],
            r"`train@seed=0`: .*sed} is not known, its matrix has: seed",
        ),
        ([{"id": "train", "parameters": {"seed": "${matrix.seed}"}}], r"`train`: .*seed} is not known, .*has: none"),
        ([seeds_of(parameters={"seed": "${matrix.seed}", "weight": "x"})], r"`train@seed=0`: parameter `weight` = 'x'"),
        ([seeds_of(page="runs/t.html")], r"run `train`: 2 runs have the page runs/t.html, expected one each"),
        (needing("${runs.train}"), r"means several runs, `seed` is not in .* list them with \$\{runs.train\[\*\]\}"),
        (needing("${runs.train[*]}"), r"parameter `weights` = \[.*\(list\), expected str"),
        (needing("${runs.train[seed=7]}"), r"'seed=7' chooses no run, expected \* or NAME=VALUE of seed = 0, 1"),
        (needing("${runs.train[sed=0]}"), r"'sed=0' chooses no run"),
        (needing("${runs.train[]}"), r"'' chooses no run"),
        (needing("${runs.trian[*]}"), r"`trian` is no run with a matrix"),
        (needing("${runs.train[*]}${runs.train[*]}"), r"names 2 lists of runs, expected one"),
        (
            needing("${runs.trian}"),
            r"run `evaluate` needs run `trian` is not known; known: train@seed=0, train@seed=1, ",
        ),
        (
            needing("${runs.train}", matrix={"seed": [1, 2]}),
            r"`evaluate@seed=2`: .* has no run of seed=2, only of 0, 1",
        ),
        (
            needing("x${matrix.seed}", matrix={"seed": [2]}, after=["train"]),
            r"`evaluate@seed=2`: after: no run of `train` has its values",
        ),
        ([seeds_of(), seeds_of()], "listed twice"),
        ([{"id": "train@seed=0"}], r"runs\.0\.id"),
    ],
)
def test_the_first_mistake_is_told(grid, runs, message):
    write(grid, *runs)
    with pytest.raises(ParameterError, match=message) as fault:
        grid.plan()
    assert "\n" not in str(fault.value)
    assert not grid.runs.exists()


def test_a_matrix_runs_and_tells_where_its_numbers_come_from(small):
    save = "from pmgs_lib.suite import current_run\nrun = current_run()"
    small.write_notebook("train", "seed: int = 0", save, "run.save_metrics({'score': 10 * seed})")
    read = "scores = [json.loads((run.resolve(f) / 'metrics.json').read_text())['score'] for f in plain]"
    small.write_notebook(
        "compare", "plain: list[str] = []", save, "import json", read, "run.save_metrics({'all': scores})"
    )
    write(small, seeds_of(), compare(plain="${runs.train[*]}"))
    done = small.pmgs("run", "toy")
    assert done.returncode == 0, done.stderr
    plan = small.plan()
    metrics = json.loads((small.run_folder(plan.run("compare").key) / "metrics.json").read_text())
    assert metrics["all"] == [0, 10]
    assert "train@seed=1 done" in " ".join(status_table(small, plan).split())
    assert why_cell(small, plan, "train@seed=1:score").startswith("train@seed=1:score = 10")
    write(small, seeds_of(matrix={"seed": [0, 1, 2]}), compare(plain="${runs.train[*]}"))
    wider = small.plan()
    assert "train@seed=2: missing" in why_run(small, wider, "train@seed=2")
    assert "train@seed=0: done" in why_run(small, wider, "train@seed=0")
    assert small.pmgs("why", "train@seed=1").returncode == 0
