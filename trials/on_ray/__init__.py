"""How are many trials run at once? Only the modules of this package import Ray.

Ray reads the variables below when it is imported, so they are set here.
"""

from __future__ import annotations

import os

from trials.files.home import provide_home

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial reports no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # a run resumes from its Optuna study, not from Tune
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without GPUs sees none
}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)
provide_home()
