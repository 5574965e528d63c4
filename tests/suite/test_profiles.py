"""How clusters are used, as far as that shows without one: options, what Snakemake plans, what Kubernetes would get."""

import importlib.util
import json
import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.executors import KUBERNETES, LOCAL, SLURM, Resources, cancel_leftovers, engine_arguments
from pmgs_lib.suite.jobs import Call, Job, write_call
from pmgs_lib.suite.project import Project

ROOT = Path(__file__).parents[2]
PROFILES = {path.name: path / "config.yaml" for path in (ROOT / "experiments" / "profiles").iterdir()}
JOBS = (
    Job("aaaa", "make", "make", "notebooks/a.ipynb", "plan.json", (), 1, 0, 20),
    Job("bbbb", "train", "train", "notebooks/b.ipynb", "plan.json", ("aaaa",), 2, 1, 90),
)


@pytest.mark.parametrize("name", PROFILES)
def test_every_key_of_a_profile_is_an_option_of_snakemake_or_its_plugin(name):
    from snakemake.cli import get_argument_parser

    options = get_argument_parser()._option_string_actions
    settings = yaml.safe_load(PROFILES[name].read_text())
    assert [key for key in settings if f"--{key}" not in options] == []
    assert settings["executor"] == name
    assert not {"retries", "restart-times"} & settings.keys()  # only the run contract knows what is worth a retry


def test_executors_and_profiles_belong_together():
    assert set(PROFILES) == {SLURM, KUBERNETES}


def call_of(executor: str, **resources) -> Call:
    wanted = Resources(executor, **resources)
    return Call("toy (smoke)", executor, JOBS, 2, capacity=wanted.capacity([]))


def test_what_the_engine_asks_of_snakemake(tmp_path):
    project = Project(ROOT)
    local = engine_arguments(project, call_of(LOCAL, cores=3), tmp_path)
    assert local == ["--cores", "3", "--resources", "gpu=1"]
    slurm = " ".join(engine_arguments(project, call_of(SLURM, jobs=5, gpus=2), tmp_path))
    assert "--executor slurm --resources gpu=2 --jobs 5 " in slurm
    assert f"--slurm-logdir {tmp_path}/slurm" in slurm
    with pytest.raises(ParameterError, match=r"profiles/slurm/config\.yaml: not found, expected how slurm is used"):
        engine_arguments(Project(tmp_path), call_of(SLURM), tmp_path)


def test_nothing_is_cancelled_where_no_slurm_call_was(tmp_path, monkeypatch):
    assert cancel_leftovers(tmp_path / "absent.log") == []
    log = tmp_path / "snakemake.log"
    log.write_text("Building DAG of jobs...\n")
    assert cancel_leftovers(log) == []
    log.write_text("SLURM run ID: pmgs_1234\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cancel_leftovers(log) == []  # the call was another machine's: this one has no Slurm


def dry_run(folder: Path, executor: str) -> str:
    project = Project(folder)
    (folder / "experiments").symlink_to(ROOT / "experiments")
    workspace = folder / "runs" / ".graph" / "call"
    workspace.mkdir(parents=True)
    call = call_of(executor)
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "experiments" / "Snakefile"), "--directory",
        str(workspace), *engine_arguments(project, call, workspace), "--cores", "8",
        "--dry-run", "--nolock", "--nocolor",
        "--config", f"call={write_call(project, call)}", f"root={folder}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("executor", [SLURM, KUBERNETES])
def test_snakemake_plans_the_graph_with_threads_gpus_and_time(executor, tmp_path):
    if executor == KUBERNETES and importlib.util.find_spec("snakemake_storage_plugin_fs") is None:
        pytest.skip("snakemake-storage-plugin-fs, which the Kubernetes executor wants, is not installed")
    out = dry_run(tmp_path, executor)
    first, second = (out[out.index(f"wildcards: key={key}") :].split("\n\n")[0] for key in ("aaaa", "bbbb"))
    assert out.index("wildcards: key=aaaa") < out.index("wildcards: key=bbbb")
    assert "gpu=0, runtime=20" in first
    assert "gpu=1, runtime=90" in second
    if executor == SLURM:
        assert "threads: 2" in second
        assert "slurm_partition=main" in second


def test_kubernetes_would_get_a_job_that_its_api_accepts(monkeypatch):
    """The plugin's own manifest of a GPU run under our profile, read back through the client's model of the API."""
    from kubernetes.client import ApiClient
    from snakemake_executor_plugin_kubernetes import Executor, parse_persistent_volumes

    profile = yaml.safe_load(PROFILES[KUBERNETES].read_text())
    sent = []
    plugin = object.__new__(Executor)
    settings = {
        "namespace": profile["kubernetes-namespace"], "container_image": profile["container-image"],
        "persistent_volumes": parse_persistent_volumes(profile["kubernetes-persistent-volumes"]), "privileged": False,
        "secret_envvars": {}, "k8s_cpu_scalar": 0.95, "k8s_service_account_name": None, "run_namespace": "n",
        "logger": logging.getLogger("plugin"), "format_job_exec": lambda job: "python -m snakemake ...",
        "report_job_submission": lambda info: None, "_kubernetes_retry": lambda call: call(),
        "batchapi": SimpleNamespace(create_namespaced_job=lambda namespace, body: sent.append((namespace, body))),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setattr(plugin, name, value, raising=False)
    resources = {"_cores": 2, "gpu": 1, "runtime": 90, **profile["default-resources"]}
    plugin.run_job(SimpleNamespace(resources=resources, jobid=1, attempt=1, is_containerized=False))
    (namespace, body), client = sent[0], ApiClient()
    manifest = client.sanitize_for_serialization(body)
    response = SimpleNamespace(data=json.dumps(manifest))
    assert client.sanitize_for_serialization(client.deserialize(response, "V1Job")) == manifest
    pod = manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert namespace == "pmgs"
    assert container["image"] == profile["container-image"]
    assert {"name": "pmgs", "mountPath": "/pmgs"} in container["volumeMounts"]
    assert {"name": "pmgs", "persistentVolumeClaim": {"claimName": "pmgs"}} in pod["volumes"]
    assert container["resources"]["requests"] == {"cpu": "1900m", "memory": "16000M", "nvidia.com/gpu": "1"}
    assert pod["restartPolicy"] == "Never"


def test_plugins_are_the_pinned_ones():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    for name in ("snakemake", "snakemake-executor-plugin-slurm", "snakemake-executor-plugin-kubernetes"):
        assert version(name) == pinned[name]
