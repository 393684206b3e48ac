"""One thread per process: beside other processes, more are several times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
# For deterministic training on a GPU; torch reads it once in a process.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
