#!/usr/bin/env bash
# TensorBoard 2.21.0: on the Custom Scalars page, charts of plain curves stand in the order of the layout, but charts with a
# band (margin charts) from the last to the first, and behind the others. The page inserts the n-th chart before the n-th
# child of its element, while each chart has two children there: one for each kind of chart, of which one stays empty.
# bnlab writes charts with bands in reverse (bnlab/loggers/tensorboard/layouts.py). Needs Chromium. Fails if TensorBoard does
# otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tensorboard==2.21.0 playwright==1.65.2
cd "$folder"
cat > order.py <<'EOF2'
import shutil
import time

from playwright.sync_api import sync_playwright
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


NAMES = ["first", "second", "third"]
plain = [layout_pb2.Chart(title=n, multiline=layout_pb2.MultilineChartContent(tag=["loss"])) for n in NAMES]
series = layout_pb2.MarginChartContent.Series(value="loss", lower="loss", upper="loss")
bands = [layout_pb2.Chart(title=n, margin=layout_pb2.MarginChartContent(series=[series])) for n in NAMES]
layout = layout_pb2.Layout(
    category=[layout_pb2.Category(title="plain", chart=plain), layout_pb2.Category(title="bands", chart=bands)]
)
writer = EventFileWriter("logs")
writer.add_event(event_with(layout))
for step in range(3):
    writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag="loss", simple_value=step)])))
writer.close()

board = TensorBoard()
board.configure(argv=["", "--logdir", "logs", "--port", "0"])
address = board.launch()
time.sleep(5)
with sync_playwright() as driver:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    page = driver.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()
    page.goto(f"{address}#custom_scalars")
    page.wait_for_selector("tf-custom-scalar-margin-chart-card")
    time.sleep(2)
    shown = {}
    for kind in ("multi-line", "margin"):
        shown[kind] = page.locator(f"tf-custom-scalar-{kind}-chart-card .heading-label").all_inner_texts()
        print(f"{kind} charts, from left to right:", *shown[kind])
if shown != {"multi-line": NAMES, "margin": NAMES[::-1]}:
    raise SystemExit("TensorBoard does otherwise now: bnlab need not write charts with bands in reverse.")
EOF2
"$folder/env/bin/python" order.py 2> log || { cat log >&2; exit 1; }
