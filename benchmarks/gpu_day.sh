#!/usr/bin/env bash
# The first minutes on a GPU: tests, speed, and a small reproduction, the most valuable first.
#
#   OUT=results bash benchmarks/gpu_day.sh                        # 9 minutes on a GPU; cifar10
#   OUT=results IMAGES=parquet:DIR bash benchmarks/gpu_day.sh     # colour images of your own
#   OUT=results bash benchmarks/gpu_day.sh --device cpu --quick   # a check without a GPU; digits
#
# It runs in a plain checkout and needs torch, torchvision, numpy, pandas, pyarrow, scipy,
# scikit-learn and pytest; neither Ray nor Optuna. SECONDS_IN_ALL (540) limits the whole.
# Every part has its own limit and writes what it has found after every row, so a run that is cut
# off has results too. benchmarks/README.md says how to bring them into the page. The exit code is 1
# if the images cannot be read or a part fails; a part that its limit cuts off is no failure.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-out/gpu_day}
case " $* " in *" --quick "*) default=digits ;; *) default=cifar10 ;; esac
IMAGES=${IMAGES:-$default}
total=${SECONDS_IN_ALL:-540}
python=${PYTHON:-python3}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

"$python" - "$IMAGES" <<'CHECK' || exit 1
import sys
from search_spaces import InputError
from trials import load_data
for limits in ({"train_limit": 64, "validation_images": 64}, {}):  # a few images, else all
    try:
        load_data(sys.argv[1], **limits)
        break
    except InputError as error:
        reason = f"gpu_day: {error}; IMAGES names the data set"
else:
    sys.exit(reason)
CHECK

failed=
left() { echo $((total - SECONDS)); }

part() { # part NAME SECONDS COMMAND...
    local name=$1 limit=$2
    shift 2
    ((limit > $(left))) && limit=$(left)
    ((limit < 5)) && { echo "$name: no time left" | tee "$OUT/$name.txt"; return; }
    echo "== $name, at most $limit s"
    timeout "$limit" "$@" 2>&1 | tee "$OUT/$name.txt"
    local code=${PIPESTATUS[0]}
    ((code == 0 || code == 124)) || failed+=" $name"
    echo "== $name: exit code $code, $SECONDS s in all" | tee -a "$OUT/$name.txt"
}

speed() { # speed NAME SECONDS SECTION...; the options of this script follow
    local name=$1 limit=$2
    shift 2
    part "$name" "$limit" "$python" -m benchmarks.gpu_speed "$@" "${options[@]}" \
        --seconds $((limit - 15)) --data "$IMAGES" --json "$OUT/$name.json"
}

options=("$@")
nvidia-smi -L 2>/dev/null
part tests 90 "$python" -m pytest -q -n0 -p no:cacheprovider -p no:logging -m cuda \
    tests/trials/{fast,training,running,data}
speed speed $((total * 55 / 100)) long candidates floor deterministic steps compiled processes
speed table1 "$(left)" table1
[[ -z $failed ]] || { echo "gpu_day: failed:$failed" >&2; exit 1; }
