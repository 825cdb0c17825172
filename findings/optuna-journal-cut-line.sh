#!/usr/bin/env bash
# Optuna 5.0.0: a journal file whose last line was cut off (a full disk, a power failure) can be read, but the first write
# afterwards makes it unreadable for ever: the new record is appended to the half line. bnlab cuts the half line off
# before it opens the file. Fails if Optuna does otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import json
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study() -> optuna.Study:
    storage = JournalStorage(JournalFileBackend("trials.journal"))
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


def tell(value: float) -> None:
    one = study()
    one.tell(one.ask(), value)


tell(1.0)
journal = Path("trials.journal")
whole = journal.read_bytes()
last = whole.splitlines(keepends=True)[-1]

journal.write_bytes(whole[: len(whole) - len(last) // 2])
print("trials after the cut:", len(study().trials), "- it can still be read")
for attempt in ("the first write", "reading it afterwards"):
    try:
        tell(2.0) if attempt == "the first write" else study().trials
    except json.JSONDecodeError as error:
        print(f"{attempt}: JSONDecodeError: {error}")
    else:
        raise SystemExit(f"{attempt} works now: bnlab need not cut the half line off any more.")

journal.write_bytes(whole[: len(whole) - len(last)])
tell(2.0)
print("with the half line cut off:", [trial.state.name for trial in study().trials])
EOF
