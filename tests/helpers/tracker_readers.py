"""What the trackers show of a search, by their own readers, and what its tables say."""

from __future__ import annotations

import numpy as np
from helpers.wandb_files import runs_of

METRICS = ("val_loss", "val_accuracy", "train_loss", "train_accuracy", "seconds")


def rounded(value):
    """A number as float32: TensorBoard keeps no more digits."""
    return float(np.float32(value))


def by_tables(run):
    """Number -> (state, placement, metric -> [(epoch, value)]) of every trial."""
    epochs = run.read_epochs()
    return {
        row["trial"]: (
            row["state"],
            row["placement"],
            {
                name: [
                    (epoch, rounded(value))
                    for epoch, value in zip(rows["epoch"], rows[name], strict=True)
                ]
                for rows in [epochs[epochs["trial"] == row["trial"]]]
                for name in METRICS
            },
        )
        for _, row in run.read_trials().iterrows()
    }


def by_tensorboard(run):
    """As `by_tables`, and of the run of the search (state, backbone, file names)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def text(found, tag):
        return found.Tensors(tag)[-1].tensor_proto.string_val[0].decode()

    def parameter(found, name):
        rows = [line.split(" | ") for line in text(found, "parameters").splitlines()]
        [value] = [row[1].removesuffix(" |") for row in rows if row[0] == f"| {name}"]
        return value

    folder = run.path / "trackers" / "tensorboard"
    search = EventAccumulator(str(folder / "search")).Reload()
    trials = {}
    for path in sorted(folder.glob("trial-*")):
        found = EventAccumulator(str(path)).Reload()
        assert found.SummaryMetadata("_hparams_/session_start_info") is not None
        trials[int(path.name[6:])] = (
            text(found, "state").partition(":")[0],
            parameter(found, "placement"),
            {name: [(p.step, rounded(p.value)) for p in found.Scalars(name)] for name in METRICS},
        )
    files = {tag for tag in search.Tags()["tensors"] if "." in tag}
    return trials, (text(search, "state"), parameter(search, "backbone"), files)


def by_mlflow(run):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.path.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("relu-search")
    runs = client.search_runs([experiment.experiment_id])
    names = {one.info.run_name: one for one in runs}
    assert len(names) == len(runs)
    search = names.pop(run.read_config()[1]["study"])
    assert search.info.status == "FINISHED"
    trials = {}
    for name, found in names.items():
        state = found.data.tags["state"]
        statuses = {"COMPLETE": "FINISHED", "FAIL": "FAILED", "PRUNED": "KILLED"}
        assert found.info.status == statuses[state]
        assert found.data.tags["mlflow.parentRunId"] == search.info.run_id
        trials[int(name.removeprefix("trial "))] = (
            state,
            found.data.params["placement"],
            {
                metric: sorted(
                    (one.step, rounded(one.value))
                    for one in client.get_metric_history(found.info.run_id, metric)
                )
                for metric in METRICS
            },
        )
    files = {file.path for file in client.list_artifacts(search.info.run_id)}
    return trials, (search.data.tags["state"], search.data.params["backbone"], files)


def by_wandb(run):
    study = run.read_config()[1]["study"]
    runs = {
        key.removeprefix(f"{study}-"): parts
        for key, parts in runs_of(run.path / "trackers").items()
    }
    assert {part["group"] for parts in runs.values() for part in parts} == {study}
    search = runs.pop("search")[-1]
    trials = {}
    for key, parts in runs.items():
        state = parts[-1]["summary"]["state"]
        assert parts[-1]["exit"] == int(state == "FAIL")
        trials[int(key)] = (
            state,
            parts[-1]["config"]["placement"],
            {
                name: [(s, rounded(v[name])) for part in parts for s, v in part["history"].items()]
                for name in METRICS
            },
        )
    return trials, (
        search["summary"]["state"],
        search["config"]["backbone"],
        set(search["artifacts"]),
    )


READERS = {"tensorboard": by_tensorboard, "mlflow": by_mlflow, "wandb": by_wandb}
