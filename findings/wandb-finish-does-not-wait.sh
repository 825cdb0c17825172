#!/usr/bin/env bash
# wandb 0.31.0, offline: run.finish() returns before the run is in its file, which holds 7 bytes then, its head. The rest
# follows a moment later: `wandb sync` right behind finish() can send an empty run. wandb.teardown() waits; bnlab export
# calls it before it names the files. In 16 runs it shows several times. Fails if W&B does otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check wandb==0.31.0
cd "$folder"
export WANDB_ERROR_REPORTING=false
"$folder/env/bin/python" - <<'EOF'
import time
from pathlib import Path

import wandb

early = after_teardown = 0
for number in range(16):
    folder = Path(f"run{number}")
    folder.mkdir()
    run = wandb.init(project="p", dir=str(folder), mode="offline", settings=wandb.Settings(silent=True, console="off"))
    for step in range(3):
        run.log({"loss": 1.0}, step=step)
    run.finish()
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    at_finish = file.stat().st_size
    if number % 2:
        wandb.teardown()
        at_teardown = file.stat().st_size
    time.sleep(0.5)
    whole = file.stat().st_size
    early += at_finish < whole
    after_teardown += bool(number % 2) and at_teardown < whole
print(f"of 16 runs, {early} were not in their file when finish() returned; after teardown(), {after_teardown} of 8")
if after_teardown:
    raise SystemExit("teardown() does not wait any more.")
if not early:
    raise SystemExit("finish() waits now: bnlab export need not call teardown().")
EOF
