"""Views of records: the terminal and TensorBoard. They may be deleted and rebuilt; metrics.jsonl is the truth."""
