"""examples/cluster: what can be checked of it without a cluster."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "cluster"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ON_DIGITS = """search=(
    --data digits --backbone plain-8 --width 4 --train-limit 100 --epochs 2
    --trials "$TRIALS"
)
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
APPTAINER = """#!/bin/bash
[[ "$1 $2 $3 $5" == "exec --nv --bind image.sif" && -d $4 ]] || exit 9
PATH=$IN_IMAGE/bin:$PATH exec "${@:6}"
"""
SCONTROL = """#!/bin/bash
[[ "$1 $2" == "show hostnames" ]] && tr , '\\n' <<<"$3"
"""


def test_the_slurm_script_is_bash():
    subprocess.run(["bash", "-n", EXAMPLES / "slurm.sbatch"], check=True)


def test_the_cluster_for_ray_up_fits_rays_schema():
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = yaml.safe_load((EXAMPLES / "ray-cluster.yaml").read_text())
    validate_config(prepare_config(cluster))
    worker = cluster["available_node_types"]["gpu_worker"]
    assert worker["min_workers"] >= 1  # else a search is refused before the cluster can grow


def test_the_pods_of_the_rayjob_agree_and_are_not_root():
    _, script, job = yaml.safe_load_all((EXAMPLES / "kuberay.yaml").read_text())
    subprocess.run(["bash", "-n"], input=script["data"]["search.sh"], text=True, check=True)
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    pods = [cluster["headGroupSpec"]["template"]["spec"], group["template"]["spec"]]
    pods.append(job["spec"]["submitterPodTemplate"]["spec"])
    (head,), (worker,), (submitter,) = (pod["containers"] for pod in pods)
    assert head["image"] == worker["image"] == submitter["image"]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["shareProcessNamespace"]  # the pod's process 1 collects ended workers
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"].keys() == {"requests", "limits"}
    for pod in pods[:2]:
        assert {"name": "shared", "mountPath": "/shared"} in pod["containers"][0]["volumeMounts"]
        assert "shared" in [volume["name"] for volume in pod["volumes"]]
    trials = 4 * group["replicas"] * int(worker["resources"]["limits"]["nvidia.com/gpu"])
    assert f"--gpus-per-trial 0.25 --concurrent {trials}" in script["data"]["search.sh"]


def instructions():
    """(word, rest) of every instruction of the Dockerfile, without comments."""
    text = re.sub(r"(?m)^#.*\n", "", (EXAMPLES / "Dockerfile").read_text()).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_the_image_copies_what_exists_and_all_that_the_package_is_made_of():
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    names = {name for some in copied for name in some}
    assert all((ROOT / name).exists() for name in names)
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = {*wheel["packages"], project["readme"], *project["license-files"], "pyproject.toml"}
    assert names == needed


def test_the_image_runs_as_the_user_of_the_pods_with_a_home_and_an_init():
    lines = instructions()
    steps = dict(lines)
    (user,) = [rest for word, rest in lines if word == "USER"]
    _, _, job = yaml.safe_load_all((EXAMPLES / "kuberay.yaml").read_text())
    security = job["spec"]["submitterPodTemplate"]["spec"]["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert int(user.split(":")[0]) > 0
    made = next(rest for word, rest in lines if word == "RUN" and "useradd" in rest).split()
    assert made[made.index("--uid") + 1] == user.split(":")[0]
    assert "--create-home" in made
    assert f"HOME=/home/{made[-1]}" in steps["ENV"].split()
    assert lines.index(("USER", user)) < lines.index(("WORKDIR", f"/home/{made[-1]}"))
    entry = json.loads(steps["ENTRYPOINT"])
    installed = next(rest for word, rest in lines if "apt-get install" in rest).split()
    assert entry == ["tini", "-s", "--"]
    assert {"tini", "wget"} <= {*installed}
    assert json.loads(steps["CMD"])[0] in PROJECT["project"]["scripts"]


def test_the_image_has_the_versions_of_the_other_files():
    defaults = dict(rest.split("=") for word, rest in instructions() if word == "ARG")
    _, _, job = yaml.safe_load_all((EXAMPLES / "kuberay.yaml").read_text())
    for_ray_up = yaml.safe_load((EXAMPLES / "ray-cluster.yaml").read_text())["docker"]["image"]
    ray = defaults["RAY"]
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray
    assert for_ray_up.startswith(f"rayproject/ray:{ray}-py{defaults['PYTHON'].replace('.', '')}")
    required = {r.name: r for r in map(Requirement, PROJECT["project"]["dependencies"])}
    assert ray in required["ray"].specifier
    assert defaults["PYTHON"] in SpecifierSet(PROJECT["project"]["requires-python"])
    assert defaults["TORCH"] == "cpu"
    run = " ".join(rest for word, rest in instructions() if word == "RUN")
    assert "https://download.pytorch.org/whl/${TORCH}" in run
    extras = re.search(r"/opt/relu-search\[(.*?)\]", run)[1].split(",")
    assert {*extras} <= PROJECT["project"]["optional-dependencies"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["a virtual environment", "an image"])
def test_the_slurm_script_runs_a_search_on_two_nodes_and_goes_on(inside, tmp_path):
    """The whole script but for the search's options, with both Ray nodes on this machine."""
    if not (Path(sys.prefix) / "bin/activate").exists():
        pytest.skip("needs a virtual environment to activate")
    script = (EXAMPLES / "slurm.sbatch").read_text()
    start = script.index("search=(\n")
    end = script.index(")\n", script.index("--cpus-per-trial", start)) + 2
    (tmp_path / "job").write_text(script[:start] + ON_DIGITS + script[end:])
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("apptainer", APPTAINER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "USER": "relu",
        **(
            {"IMAGE": "image.sif", "IN_IMAGE": sys.prefix}
            if inside == "an image"
            else {"VENV": sys.prefix}
        ),
        "RUN": str(tmp_path / "run"),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "localhost,127.0.0.1",
        "SLURM_CPUS_PER_TASK": "1",
    }
    for job, trials in ((os.getpid(), 3), (os.getpid() + 1, 4)):
        ended = subprocess.run(
            ["bash", tmp_path / "job"],
            env={**environment, "SLURM_JOB_ID": str(job), "TRIALS": str(trials)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        shutil.rmtree(f"/tmp/relu-{job}", ignore_errors=True)
        assert ended.returncode == 0, ended.stdout
        assert "Ray: 2 of 2 nodes" in ended.stdout
        with (tmp_path / "run/trials.csv").open(newline="") as file:
            trained = [(row["placement"], row["seed"]) for row in csv.DictReader(file)]
        assert len(trained) == len(set(trained)) == trials
