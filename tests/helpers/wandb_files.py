"""Reads the files that W&B writes offline, by the messages of its own protocol."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

_HEADER, _BLOCK = 7, 1 << 15  # bytes; of the log format of LevelDB


def records(file: Path):
    """All records of a file, in order."""
    data, at, parts = file.read_bytes(), _HEADER, b""
    while at < len(data):
        if _BLOCK - at % _BLOCK < _HEADER:
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def _values(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def run_of(file: Path):
    """What a file says: id, group, job type, config, history (step -> values), summary, exit."""
    found = {"history": {}, "summary": {}, "artifacts": [], "exit": None}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found |= {"id": run.run_id, "group": run.run_group, "job": run.job_type}
            found["config"] = _values(run.config.update)
        elif kind == "history":
            found["history"][record.history.step.num] = _values(record.history.item)
        elif kind == "summary":
            found["summary"] |= _values(record.summary.update)
        elif kind == "artifact":
            found["artifacts"] += [entry.path for entry in record.artifact.manifest.contents]
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def runs_of(folder: Path):
    """The runs of a folder by id; several files of a run in the order of time."""
    runs: dict[str, list] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        run = run_of(file)
        runs.setdefault(run["id"], []).append(run)
    return runs
