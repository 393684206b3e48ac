"""examples/cluster: what can be checked of it without a cluster."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples" / "cluster"
ON_DIGITS = """search=(
    --data digits --backbone plain-8 --width 4 --train-limit 100 --epochs 2
    --trials "$TRIALS"
)
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
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
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"].keys() == {"requests", "limits"}
    for pod in pods[:2]:
        assert {"name": "shared", "mountPath": "/shared"} in pod["containers"][0]["volumeMounts"]
        assert "shared" in [volume["name"] for volume in pod["volumes"]]
    trials = 4 * group["replicas"] * int(worker["resources"]["limits"]["nvidia.com/gpu"])
    assert f"--gpus-per-trial 0.25 --concurrent {trials}" in script["data"]["search.sh"]


@pytest.mark.slow
def test_the_slurm_script_runs_a_search_on_two_nodes_and_goes_on(tmp_path):
    """The whole script but for the search's options, with both Ray nodes on this machine."""
    if not (Path(sys.prefix) / "bin/activate").exists():
        pytest.skip("needs a virtual environment to activate")
    script = (EXAMPLES / "slurm.sbatch").read_text()
    start = script.index("search=(\n")
    end = script.index(")\n", script.index("--cpus-per-trial", start)) + 2
    (tmp_path / "job").write_text(script[:start] + ON_DIGITS + script[end:])
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "USER": "relu",
        "VENV": sys.prefix,
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
