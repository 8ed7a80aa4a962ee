#!/usr/bin/env bash
# What has to be measured on an accelerator, in at most ten minutes: benchmarks/gpu.sh [FOLDER] [paper|smoke]
# Exactness with reduced products off and on, batched decompositions, the law's own config, and Figures 6 and 14 of
# Xu et al. with both activations and one seed. The table is FOLDER/gpu.md. The same command goes on where time ran out.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/gpu}
profile=${2:-paper}
python=${PYTHON:-python}
minutes=${MINUTES:-10}
# The runs end 30 seconds early: a checkpoint takes up to ten, and the table is still to be written.
end=$((SECONDS + 60 * minutes - 30))
# The smoke form shows that everything runs, on any machine: one variant of each config.
if [ "$profile" = smoke ]; then
  size=smoke law=smoke of_law=--config.name=case1_L3 of_6=--config.name=silu_s_big angles=--config.sweep.net.angle=0.0,90.0
else
  size=whole law=cpu of_law="" of_6="" angles=""
fi

within() {
  local left=$((end - SECONDS))
  [ "$left" -gt 0 ] || { echo "no time left for: $*"; return 0; }
  timeout --signal=TERM --kill-after=20 "$left" "$@" || echo "exit code $? of: $*"
}

run() {
  local name=$1 config=$2
  shift 2
  within "$python" -m experiments.main --config="configs/$config" --workdir="$folder/$name" "$@"
}

# Without its packages it says what to install, and nothing else would run either.
"$python" -m experiments.main --list > /dev/null || exit 2
mkdir -p "$folder"
[ -e "$folder/measured.json" ] || within "$python" -m benchmarks.gpu measure "$folder" --size "$size"
run parsimony "dln_parsimony.py:$law" $of_law
run figure_6 "fashion_mnist_low_rank.py:$profile" --config.num_seeds=1 $of_6
both="({'name': 'silu', 'net.activation': 'silu'}, {'name': 'gelu', 'net.activation': 'gelu'})"
run figure_14 "fashion_mnist_angle.py:$profile" --config.num_seeds=1 $angles "--config.variants=$both"
"$python" -m benchmarks.gpu table "$folder"
