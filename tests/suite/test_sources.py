"""What runs need from outside, by name: found, valued, digested; missing things told all at once."""

import json

import pytest

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.models import zoo
from pmgs_lib.models.zoo import build_model
from pmgs_lib.suite import weight_sizes
from pmgs_lib.suite.experiment import read_experiment
from pmgs_lib.suite.sources import DataSource, Lack, lacking_table
from pmgs_lib.suite.weight_sizes import released_models

SMALL = "depthsplat-gs-small-re10k-256x256"
READS = ("weights: str = ''\nscenes: str = ''\nprotocol: str = ''", "print(weights, scenes, protocol)")
DATA = {
    "re10k": {"dataset": "pixelsplat-full"},
    "small": {"weights": SMALL},
    "mvsplat": {"weights": "mvsplat-re10k-256x256"},
    "start": {"weights": "unimatch-gmflow-things"},
    "vgg": {"weights": "vgg16"},
    "table1": {"protocol": "depthsplat-re10k-256"},
}


@pytest.fixture
def bare(small, monkeypatch, tmp_path):
    """A project on a machine that has nothing."""
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("PMGS_DATA", raising=False)
    monkeypatch.delenv("PMGS_INDEXES", raising=False)
    small.write_notebook("use", *READS)
    return small


def using(**parameters: str) -> dict:
    return {"id": "use", "parameters": parameters}


def place_everything(project, tmp_path) -> None:
    split = project.root / "datasets" / "re10k" / "test"
    split.mkdir(parents=True)
    (split / "index.json").write_text('{"a": "000000.torch"}')
    (split / "000000.torch").write_bytes(b"123")
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    names = ("depthsplat-gs-small-re10k-256x256-view2-cfeab6b1.pth", "evaluation_index_re10k.json")
    for name in names:
        (downloads / name).write_bytes(b"4567")


class TestMissing:
    def test_all_of_it_is_told_at_once_with_size_and_way(self, bare):
        runs = [using(weights="${data.small}", scenes="${data.re10k}", protocol="${data.table1}")]
        runs.append({"id": "again", "notebook": "notebooks/use.ipynb", "parameters": {"weights": "${data.mvsplat}"}})
        bare.write_experiment(runs, data=DATA)
        with pytest.raises(DataError) as caught:
            bare.plan()
        told = str(caught.value)
        assert told.startswith("toy, profile `smoke`: 4 things are missing, and nothing was started")
        for part in (
            "about 500 GB", "datasets/re10k/test/index.json",
            "view2-cfeab6b1.pth: about 153 MB", f"pmgs models {SMALL} --fetch",
            "evaluation_index_re10k.json", "pmgs data indexes",
            "mvsplat-re10k.ckpt: about 48 MB", "by hand from https://drive.google.com",
        ):  # fmt: skip
            assert part in told, part

    def test_the_command_ends_before_anything_runs(self, bare):
        bare.write_experiment([using(weights="${data.small}", scenes="${data.re10k}")], data=DATA)
        done = bare.pmgs("run", "experiments/toy.yaml")
        assert done.returncode == 2
        assert "2 things are missing, and nothing was started" in done.stderr
        assert not list(bare.root.glob("runs/*/run.json"))

    def test_one_missing_thing_is_one_line(self, bare):
        bare.write_experiment([using(weights="${data.start}")], data=DATA)
        with pytest.raises(
            DataError, match=r"run `use`: data `start`: weights gmflow-.* is not on this machine"
        ) as caught:
            bare.plan()
        assert "\n" not in str(caught.value)

    def test_a_need_beside_the_parameters_counts(self, bare):
        bare.write_experiment([using() | {"needs_data": ["vgg"]}], data=DATA)
        with pytest.raises(DataError, match=r"data `vgg`: weights vgg16-397923af.pth .*528 MB"):
            bare.plan()

    def test_optional_things_leave_their_runs_out(self, bare):
        data = {"small": {"weights": SMALL, "optional": True}}
        bare.write_experiment(
            [using(weights="${data.small}"), {"id": "free", "notebook": "notebooks/use.ipynb"}], data=data
        )
        plan = bare.plan()
        assert [run.id for run in plan.runs] == ["free"]
        assert "is not on this machine" in plan.left_out["use"]

    def test_one_step_for_several_things_stands_once(self):
        lacks = {name: Lack(f"index {name}", "5 MB", "fetch the indexes") for name in "ab"} | {"c": "not found; get it"}
        told = lacking_table("toy", lacks, {"a": ["r1"], "b": [f"r{i}" for i in range(6)], "c": ["r1"]})
        assert told.count("fetch the indexes") == 1
        assert "for r0, r1, r2, r3 and 2 more" in told


class TestThere:
    def test_values_and_keys(self, bare, tmp_path):
        place_everything(bare, tmp_path)
        runs = [using(weights="${data.small}", scenes="${data.re10k}", protocol="${data.table1}")]
        bare.write_experiment(runs, data=DATA)
        run = bare.plan().run("use")
        assert run.parameters["weights"] == SMALL
        assert run.parameters["protocol"] == "depthsplat-re10k-256"
        assert run.parameters["scenes"] == str(bare.root / "datasets" / "re10k")
        (bare.root / "datasets" / "re10k" / "test" / "000000.torch").write_bytes(b"1234")
        assert bare.plan().run("use").key != run.key

    def test_other_weights_are_another_key(self, bare, tmp_path):
        place_everything(bare, tmp_path)
        bare.write_experiment([using(weights="${data.small}")], data=DATA)
        before = bare.plan().run("use").key
        (tmp_path / "cache" / "downloads" / "depthsplat-gs-small-re10k-256x256-view2-cfeab6b1.pth").write_bytes(
            b"other"
        )
        assert bare.plan().run("use").key != before

    def test_an_index_file_is_looked_for_where_it_is_set(self, bare, tmp_path, monkeypatch):
        bare.write_experiment([using(protocol="${data.table1}")], data=DATA)
        (tmp_path / "indexes").mkdir()
        (tmp_path / "indexes" / "evaluation_index_re10k.json").write_text("{}")
        monkeypatch.setenv("PMGS_INDEXES", str(tmp_path / "indexes"))
        assert bare.plan().run("use").parameters["protocol"] == "depthsplat-re10k-256"

    def test_cuda_asks_for_a_gpu(self, bare):
        bare.write_notebook("use", "device: str = 'cpu'", "print(device)")
        bare.write_experiment(
            [{"id": "use"}, {"id": "on", "notebook": "notebooks/use.ipynb", "parameters": {"device": "cuda"}}]
        )
        plan = bare.plan()
        assert (plan.run("use").gpu, plan.run("on").gpu) == (0, 1)


class TestFaults:
    @pytest.mark.parametrize("source", [{}, {"path": "a", "weights": SMALL}, {"weights": ""}, {"sort": "x"}])
    def test_not_one_thing(self, bare, source):
        bare.write_experiment([using()], data={"a": source})
        with pytest.raises(ParameterError, match=r"toy\.yaml: data\.a"):
            read_experiment(bare.experiment_file("toy"))

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ({"dataset": "re11k"}, "'re11k' is not in the catalogue"),
            ({"weights": "depthsplat-tiny"}, "no released file of that name"),
            ({"weights": "nobody"}, "no released file of that name"),
            ({"protocol": "embedded-smoke"}, "is not published"),
        ],
    )
    def test_names_that_nobody_knows(self, bare, source, message):
        bare.write_experiment([using(weights="${data.a}")], data={"a": source})
        with pytest.raises(ParameterError, match=message):
            bare.plan()

    def test_a_source_survives_json(self):
        source = DataSource(weights=SMALL, optional=True)
        assert DataSource.model_validate(json.loads(source.model_dump_json())) == source


class TestSizes:
    """What is missing is told with its size, and for that no model is built."""

    def test_no_model_is_built_for_the_sizes_of_the_zoo(self, bare, monkeypatch):
        def refused(name, **overrides):
            raise AssertionError(f"{name} was built for its size")

        monkeypatch.setattr(zoo, "build_model", refused)
        names = released_models()
        lacks = [DataSource(weights=name).named.lack(bare.root) for name in names]
        assert len(names) >= 29
        assert all("MB" in lack.size and "M parameters" in lack.size for lack in lacks)

    def test_a_model_that_is_not_recorded_is_counted_without_storage(self, monkeypatch):
        built = []

        def kept(name):
            built.append(build_model(name))
            return built[-1]

        recorded = weight_sizes.recorded_counts()[SMALL]
        monkeypatch.setattr(zoo, "build_model", kept)
        monkeypatch.setattr(weight_sizes, "recorded_counts", dict)
        weight_sizes.parameter_count.cache_clear()
        try:
            count = weight_sizes.parameter_count(SMALL)
        finally:
            weight_sizes.parameter_count.cache_clear()
        assert all(weight.is_meta for weight in built[0].parameters())
        assert count == recorded

    @pytest.mark.parametrize("name", [SMALL, "depthsplat-depth-small-352x640", "mvsplat-re10k-256x256"])
    def test_recorded_counts_are_those_of_the_models(self, name):
        assert weight_sizes.recorded_counts()[name] == weight_sizes.counted(name)

    def test_every_released_model_is_recorded_and_no_other(self):
        assert sorted(weight_sizes.recorded_counts()) == sorted(released_models())

    @pytest.mark.prove
    def test_all_recorded_counts_are_those_of_the_models(self):
        assert weight_sizes.recorded_counts() == {name: weight_sizes.counted(name) for name in released_models()}
