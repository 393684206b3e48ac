"""Where a list of trainings runs: on Ray, or one after another in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.data.splits import Splits, TrainingData
from trials.running.exchange import check_exchange
from trials.running.resources import Resources, plan_resources
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList, run_in_process
from trials.training.recipe import Precision


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What runs the trainings of a confirmation or a reproduction.

    Attributes:
        resources: what each training gets and how many run at once.
        address, exchange: of Ray, as in a search.
        in_process: no Ray: one after another in this process, on the GPU if there is one.
        verbose: show Ray's own messages.
    """

    resources: Resources = field(default_factory=Resources)
    address: str | None = None
    exchange: str | None = None
    in_process: bool = False
    verbose: bool = False

    @classmethod
    def of(cls, config: ResolvedConfig) -> Compute:
        """Where a search ran."""
        return cls(resources=config.resources, address=config.address, exchange=config.exchange)

    def run(
        self,
        batch: TrialList,
        data: TrainingData | Splits,
        *,
        precision: Precision,
        files: TrialFiles,
        name: str,
        runner: Callable[..., TrialResult] = run_trial,
    ) -> None:
        """Run the batch; with Ray a Ctrl-C ends it early and quietly.

        Args:
            name: of the run, for its own folder in the exchange.

        Raises:
            InputError: resources or an address that Ray cannot give.
            StorageError: weights, checkpoints or tables cannot be written.
            RunStoppedError: all trials fail the same way, or Ray itself fails.
        """
        files.make_folders()
        if self.in_process:
            device = local_device()
            check_precision(precision, has_gpu=device == "cuda")
            run_in_process(batch, data, device=device, files=files, runner=runner)
            return
        from trials.on_ray.session import ray_session
        from trials.on_ray.tune_runs import run_trials

        check_exchange(self.exchange)
        files = files.through(self.exchange, name)

        with contextlib.ExitStack() as stack:
            cluster = stack.enter_context(ray_session(address=self.address, verbose=self.verbose))
            per_trial, _ = plan_resources(self.resources, cluster)
            check_precision(precision, has_gpu=bool(per_trial["gpu"]))
            run_trials(
                batch,
                data,
                stopping=None,
                resources=self.resources,
                files=files,
                runner=runner,
                verbose=self.verbose,
            )


def local_device() -> str:
    """`cuda` if this process sees a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_precision(precision: Precision, *, has_gpu: bool) -> None:
    if precision == "bf16" and not has_gpu:
        raise InputError("precision bf16 needs a GPU per trial; use fp32, or --gpus-per-trial")
