#!/usr/bin/env bash
# TensorBoard 2.21.0: of several runs with a Custom Scalars layout, parts with the same title are joined, except where the part
# is not in the first run's layout: then the charts of a third run are added to a copy that is thrown away, and are not shown.
# bnlab makes one layout for a folder of several sweeps (bnlab/loggers/tensorboard/joint_layout.py). Fails if TensorBoard does
# otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tensorboard==2.21.0
cd "$folder"
cat > layouts.py <<'EOF2'
import json
import time
import urllib.request

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.program import TensorBoard
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto


def event_with(layout):
    tensor, about = make_tensor_proto(layout.SerializeToString()), metadata.create_summary_metadata()
    value = Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=about)
    return Event(step=0, summary=Summary(value=[value]))


for run, part, chart in [("a", "one", "a's"), ("b", "two", "b's"), ("c", "one", "c's"), ("d", "two", "d's")]:
    content = layout_pb2.MultilineChartContent(tag=["loss"])
    category = layout_pb2.Category(title=part, chart=[layout_pb2.Chart(title=chart, multiline=content)])
    writer = EventFileWriter(f"logs/{run}")
    writer.add_event(event_with(layout_pb2.Layout(category=[category])))
    writer.close()

board = TensorBoard()
board.configure(argv=["", "--logdir", "logs", "--port", "0"])
address = board.launch()
time.sleep(5)
with urllib.request.urlopen(f"{address}data/plugin/custom_scalars/layout") as answer:
    parts = {part["title"]: [chart["title"] for chart in part["chart"]] for part in json.load(answer)["category"]}
for title, charts in parts.items():
    print(f"part {title} has the charts:", *charts)
if parts != {"one": ["a's", "c's"], "two": ["b's"]}:
    raise SystemExit("TensorBoard does otherwise now.")
print("the chart of run d is lost")
EOF2
"$folder/env/bin/python" layouts.py 2> log || { cat log >&2; exit 1; }
