#!/usr/bin/env bash
# MLflow 3.17.2, in SQLite, the store that it recommends without a server: a metric that is infinite comes back as
# 1.797e308, the largest number, while one that is not a number comes back as it is. A loss that overflowed looks like one
# that is large but finite, and `math.isfinite` is true of it. bnlab's own records tell them apart. Fails if MLflow does
# otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2
cd "$folder"
export MLFLOW_DISABLE_TELEMETRY=true
"$folder/env/bin/python" - <<'EOF'
import logging
import math

logging.disable(logging.INFO)
from mlflow import MlflowClient

client = MlflowClient("sqlite:///mlflow.db")
run = client.create_run(client.create_experiment("e")).info.run_id
for step, value in enumerate((math.inf, -math.inf, math.nan)):
    client.log_metric(run, "loss", value, step=step)
found = {metric.step: metric.value for metric in client.get_metric_history(run, "loss")}
for step, value in enumerate((math.inf, -math.inf, math.nan)):
    print(f"logged {value}, found {found[step]}")
if any(math.isinf(value) for value in found.values()):
    raise SystemExit("infinity comes back as infinity now.")
assert math.isfinite(found[0])
assert math.isnan(found[2])
EOF
