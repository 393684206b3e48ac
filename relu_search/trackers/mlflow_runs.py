"""MLflow: a run for the search, and under it one for each trial."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relu_search.trackers.followed import SEARCH

for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the follower tries again, too
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(_name, _value)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow import MlflowClient  # noqa: E402  it reads the environment
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

if TYPE_CHECKING:
    from relu_search.trackers.followed import FollowedSearch

_STATUS = {
    "COMPLETE": "FINISHED",
    "budget spent": "FINISHED",
    "FAIL": "FAILED",
    "stopped": "FAILED",
}
_MOST_METRICS, _LONGEST = 1000, 6000  # metrics of a request, characters of a parameter


class MlflowRuns:
    """A `Tracker`.

    Args:
        client: of the server or the database.
        experiment: id.
        name: of the search.
    """

    def __init__(self, client: MlflowClient, experiment: str, name: str) -> None:
        self._client = client
        self._experiment = experiment
        self._name = name
        self._ids: dict[str, str] = {}

    def begin(self, key: str, parameters: dict[str, Any], earlier: str | None) -> str:
        if earlier is not None and self._has(earlier):
            self._client.update_run(earlier, status="RUNNING")
            self._ids[key] = earlier
            return earlier
        name = self._name if key == SEARCH else f"trial {key}"
        tags = {"search": self._name}
        if key != SEARCH:
            tags["mlflow.parentRunId"] = self._ids[SEARCH]
        if key not in self._ids:  # else it was begun, and did not take its parameters
            run = self._client.create_run(self._experiment, tags=tags, run_name=name)
            self._ids[key] = run.info.run_id
        params = [Param(n, str(v)[:_LONGEST]) for n, v in parameters.items() if v is not None]
        self._client.log_batch(self._ids[key], params=params)
        return self._ids[key]

    def _has(self, run: str) -> bool:
        """Whether the server has this run, and it is one of this search."""
        try:
            found = self._client.get_run(run)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        is_there = found.info.lifecycle_stage == "active"
        return is_there and found.data.tags.get("search") == self._name

    def epochs(self, key: str, metrics: list[dict[str, float]]) -> None:
        now = int(time.time() * 1000)
        values = [
            Metric(name, value, now, int(one["epoch"]))
            for one in metrics
            for name, value in one.items()
            if name != "epoch"
        ]
        for first in range(0, len(values), _MOST_METRICS):
            self._client.log_batch(self._ids[key], metrics=values[first : first + _MOST_METRICS])

    def files(self, key: str, files: list[Path]) -> None:
        for file in files:
            self._client.log_artifact(self._ids[key], str(file))

    def end(self, key: str, state: str, reason: str) -> None:
        tags = [RunTag("state", state), RunTag("reason", reason)]
        self._client.log_batch(self._ids[key], tags=tags)
        self._client.set_terminated(self._ids[key], _STATUS.get(state, "KILLED"))
        del self._ids[key]


def open_tracker(search: FollowedSearch, _folder: Path) -> MlflowRuns:
    """The runs of a search on the server of MLFLOW_TRACKING_URI.

    Without one they are in the database `mlflow.db` beside the run folder.
    """
    beside, place = search.path.parent, None
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        uri, place = f"sqlite:///{beside / 'mlflow.db'}", (beside / "mlflow-files").as_uri()
    client = MlflowClient(uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "relu-search")
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        known = client.create_experiment(name, artifact_location=place)
    else:
        known = experiment.experiment_id
    return MlflowRuns(client, known, search.name)
