"""Views of records: the terminal, TensorBoard, CSV, MLflow, W&B, Trackio. They may be deleted and made again from metrics.jsonl,
which is the truth.

The last three are extras: each module that imports one of them is imported by `opening` alone.
"""
