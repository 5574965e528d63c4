"""Keys are known before anything runs, change with what decides a result and with nothing else, and tell why."""

import json

import pytest

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.provenance import MANIFEST, differences
from pmgs_lib.suite.status import parts_lookup

USES_ADD = "from toy.add import add"


@pytest.fixture
def chain(small):
    """scenes -> train -> report, and a run aside; `train` uses toy.add, nothing uses toy.other."""
    small.write_notebook("scenes", "seed: int = 0\ncount: int = 4", "print(seed)")
    small.write_notebook("train", "scenes: str = ''\nsteps: int = 20\nlr: float = 0.1", USES_ADD)
    small.write_notebook("aside", "model: str = 'fast'\ndevice: str = 'cpu'", "2")
    small.write_notebook("report", "runs: list[str] = []", "3")
    small.write_experiment(RUNS, **FIELDS)
    return small


RUNS = [
    {"id": "report", "parameters": {"runs": ["${runs.train}", "${runs.aside?}"]}, "after": ["scenes"]},
    {"id": "train", "parameters": {"scenes": "${runs.scenes}/artifacts"}, "profiles": {"full": {"steps": 300}}},
    {"id": "scenes", "parameters": {"count": "${arguments.count}"}},
    {"id": "aside"},
]
FIELDS = {
    "arguments": {"count": 5},
    "profiles": {"smoke": {"parameters": {"device": "cpu"}}, "full": {"keep_going": True}},
}


def changed_ids(before: Plan, after: Plan) -> set[str]:
    return {run.id for run in after.runs if before.run(run.id).key != run.key}


def causes(project, before: Plan, after: Plan, name: str) -> list[str]:
    old, new = parts_lookup(project, before), parts_lookup(project, after)
    return differences(before.run(name).parts, after.run(name).parts, lambda key: new(key) or old(key))


def test_runs_come_in_order_with_references_resolved(chain):
    plan = chain.plan()
    order = [run.id for run in plan.runs]
    assert order.index("scenes") < order.index("train") < order.index("report")
    assert plan.run("scenes").parameters == {"seed": 0, "count": 5}
    assert plan.run("train").parameters == {
        "scenes": f"runs/{plan.run('scenes').key}/artifacts",
        "steps": 20,
        "lr": 0.1,
    }
    assert plan.run("report").needs == {name: plan.run(name).key for name in ("scenes", "train", "aside")}
    assert Plan.from_json(plan.to_json()) == plan
    assert chain.plan() == plan
    assert not chain.runs.exists()


def test_a_profile_changes_parameters_of_its_runs(chain):
    smoke, full = chain.plan(), chain.plan(profile="full")
    assert full.run("train").parameters["steps"] == 300
    assert full.keep_going
    assert changed_ids(smoke, full) == {"train", "report"}


def touch_markdown(project):
    path = project.root / "notebooks" / "train.ipynb"
    content = json.loads(path.read_text())
    content["cells"][0]["source"] = "# other words"
    path.write_text(json.dumps(content))


CHANGES = {
    "nothing": (lambda p: None, set(), None),
    "text cell": (touch_markdown, set(), None),
    "default in use": (
        lambda p: p.write_notebook("train", "scenes: str = ''\nsteps: int = 30\nlr: float = 0.1", USES_ADD),
        {"train", "report"}, "parameter `steps`: 20 -> 30",
    ),
    "kind": (
        lambda p: p.write_notebook("aside", "model: str | None = 'fast'\ndevice: str = 'cpu'", "2"),
        {"aside", "report"}, 'kind of parameter `model`: "str" -> "str | None"',
    ),
    "code cell": (
        lambda p: p.write_notebook("scenes", "seed: int = 0\ncount: int = 4", "print(seed + 1)"),
        {"scenes", "train", "report"}, "code cells of notebooks/scenes.ipynb changed",
    ),
    "library file": (
        lambda p: p.write_module("toy/add.py", "def add(a, b):\n    return b + a\n"),
        {"train", "report"}, "library file toy/add.py changed",
    ),
    "library file of nobody": (lambda p: p.write_module("toy/other.py", "VALUE = 2"), set(), None),
    "package data": (
        lambda p: p.write_module("toy/table.json", "{}"), {"train", "report"}, "library file toy/table.json is new",
    ),
    "environment": (
        lambda p: (p.root / "constraints.txt").write_text("torch==2\n"),
        {"train", "report", "scenes", "aside"}, "environment: constraints.txt changed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_keys_change_with_what_decides_the_result(chain, change):
    act, expected, cause = CHANGES[change]
    before = chain.plan()
    act(chain)
    after = chain.plan()
    assert changed_ids(before, after) == expected
    for name in expected:
        assert any(cause in line for line in causes(chain, before, after, name)), name


def test_a_parameter_reruns_its_run_and_those_after_it(chain):
    before, after = chain.plan(), chain.plan({"count": 6})
    assert changed_ids(before, after) == {"scenes", "train", "report"}
    assert causes(chain, before, after, "scenes") == ["parameter `count`: 5 -> 6"]
    assert causes(chain, before, after, "train") == ["needed run `scenes` changed (parameter `count`: 5 -> 6)"]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (
            [{"id": "train", "parameters": {"stepss": 1}}],
            r"no parameter `stepss` in the notebook; did you mean `steps`\?",
        ),
        ([{"id": "train", "parameters": {"steps": "many"}}], "`steps` = 'many' .str., expected int"),
        ([{"id": "train", "parameters": {"scenes": "${runs.scene}"}}, {"id": "scenes"}], "did you mean `scenes`"),
        ([{"id": "train", "parameters": {"scenes": "${run.scenes}"}}], "is no reference"),
        ([{"id": "train", "parameters": {"scenes": "${env.HOME}"}}], "is no reference"),
        ([{"id": "train", "parameters": {"scenes": "${data.nothing}"}}], "data `nothing` is not known"),
        ([{"id": "train", "parameters": {"scenes": "${arguments.x}"}}], "argument `x` is not known"),
        ([{"id": "train", "after": ["scenes"]}, {"id": "scenes", "after": ["train"]}], "need each other: "),
        ([{"id": "train"}, {"id": "train"}], "listed twice"),
        ([{"id": "train", "profiles": {"smok": {}}}], "did you mean `smoke`"),
        ([{"id": "train", "notebook": "notebooks/absent.ipynb"}], "no such notebook"),
        ([{"id": "train", "parameter": {}}], r"runs\.0\.parameter: Extra inputs"),
        ([{"id": "a/b"}], r"runs\.0\.id"),
        ([], r"runs: "),
    ],
)
def test_mistakes_are_told_before_anything_runs(chain, runs, message):
    chain.write_experiment(runs)
    with pytest.raises(ParameterError, match=message) as fault:
        chain.plan()
    assert "\n" not in str(fault.value)
    assert not chain.runs.exists()


def test_what_a_needed_run_names_may_come_back_by_its_files(chain):
    """A checkpoint says which architecture it is of: the closure of its reader holds it, for that one and no other."""
    chain.write_module("toy/zoo.py", "MODELS = {'fast': 'toy.fast:Fast', 'slow': 'toy.slow:Slow'}")
    for name in ("fast", "slow"):
        chain.write_module(f"toy/{name}.py", "1")
    chain.write_notebook("train", "model: str = 'fast'", "import toy.zoo")
    chain.write_notebook("evaluate", "weights: str = ''", "from toy import zoo")
    chain.write_experiment([{"id": "train"}, {"id": "evaluate", "parameters": {"weights": "${runs.train}/x"}}])
    library = chain.plan().run("evaluate").parts["library"]
    assert "toy/fast.py" in library
    assert "toy/slow.py" not in library


def test_a_parameter_of_the_profile_that_no_notebook_has_is_a_mistake(chain):
    chain.write_experiment([{"id": "train"}, {"id": "aside"}], profiles={"smoke": {"parameters": {"devices": "cpu"}}})
    with pytest.raises(
        ParameterError, match=r"profile `smoke`: parameter `devices` is not known; did you mean `device`\?"
    ):
        chain.plan()


def test_another_kernel_is_refused(chain):
    chain.write_notebook("aside", "a: int = 1", "2", kernel="conda-env-mine")
    chain.write_experiment([{"id": "aside"}])
    with pytest.raises(ParameterError, match="kernel 'conda-env-mine', expected 'python3'"):
        chain.plan()


def test_arguments_must_be_known_and_given(chain):
    with pytest.raises(ParameterError, match="did you mean `count`"):
        chain.plan({"cuont": 1})
    chain.write_experiment([{"id": "scenes"}], arguments={"source": None})
    with pytest.raises(ParameterError, match="--set source="):
        chain.plan()


class TestData:
    """External data counts by its content, not by where it lies."""

    @pytest.fixture
    def capture(self, chain):
        runs = [
            {"id": "train", "parameters": {"scenes": "${data.capture}/x"}},
            {"id": "report", "parameters": {"runs": ["${runs.train?}"]}},
        ]
        for run in runs:
            run.setdefault("notebook", f"notebooks/{run['id']}.ipynb")
        chain.write_experiment(
            runs, data={"capture": {"path": "${env.CAPTURES}/fox", "optional": True, "hint": "get it"}}
        )
        (chain.root / "here" / "fox").mkdir(parents=True)
        (chain.root / "here" / "fox" / "a.txt").write_text("a")
        return chain

    def test_content_decides_and_the_place_does_not(self, capture, monkeypatch):
        monkeypatch.setenv("CAPTURES", str(capture.root / "here"))
        first = capture.plan()
        assert first.run("train").parameters["scenes"] == "here/fox/x"
        (capture.root / "here").rename(capture.root / "there")
        monkeypatch.setenv("CAPTURES", str(capture.root / "there"))
        assert capture.plan().run("train").key == first.run("train").key
        (capture.root / "there/fox/b.txt").write_text("b")
        second = capture.plan()
        assert causes(capture, first, second, "train") == ["data `capture` changed"]
        (capture.root / "there/fox" / MANIFEST).write_text("{}")
        third = capture.plan()
        (capture.root / "there/fox/a.txt").write_text("c")
        assert capture.plan().run("train").key == third.run("train").key  # the manifest speaks for the folder

    def test_missing_optional_data_leaves_its_runs_out_with_a_reason(self, capture, monkeypatch):
        monkeypatch.delenv("CAPTURES", raising=False)
        plan = capture.plan()
        assert plan.left_out == {"train": "data `capture` not found at ${env.CAPTURES}/fox; get it"}
        assert plan.run("report").parameters == {"runs": [""]}

    def test_other_missing_data_stops(self, chain):
        chain.write_experiment(
            [{"id": "train", "parameters": {"scenes": "${data.d}"}}], data={"d": {"path": "nowhere"}}
        )
        with pytest.raises(DataError, match="run `train`: data `d` not found at "):
            chain.plan()
