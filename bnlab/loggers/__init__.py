"""Views of records: the terminal, TensorBoard, CSV, MLflow, W&B, Trackio.

They may be deleted and made again from metrics.jsonl, which is the truth. The last three are extras: `guarded` alone
imports the modules that need them.
"""
