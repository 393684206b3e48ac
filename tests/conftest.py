"""One thread per process: beside other processes, more are several times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
