#!/usr/bin/env bash
# Trackio 0.43.0: projects whose names differ in a point, a space or a slash only are one project: the runs of my.sweep
# stand in mysweep too, and deleting one deletes the other. No word is said. bnlab writes a line for a point. Fails if
# Trackio does otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check trackio==0.43.0
cd "$folder"
export TRACKIO_DIR="$folder/trackio" HF_HUB_OFFLINE=1
"$folder/env/bin/python" - <<'EOF'
import contextlib
import io

import trackio

with contextlib.redirect_stdout(io.StringIO()):
    for project, run in (("lr-0.1", "first"), ("lr-01", "second")):
        trackio.init(project=project, name=run, embed=False, auto_log_cpu=False, auto_log_gpu=False)
        trackio.log({"loss": 1.0})
        trackio.finish()
found = {project: sorted(run.name for run in trackio.Api().runs(project)) for project in ("lr-0.1", "lr-01")}
print("one run was logged to lr-0.1, another one to lr-01:", found)
if found["lr-0.1"] == ["first"]:
    raise SystemExit("the two projects are kept apart now: bnlab need not change a point in a project's name.")
EOF
