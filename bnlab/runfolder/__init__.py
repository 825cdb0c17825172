"""The folders under runs/. No other room knows their file names.

::

    runs/<sweep or "single">/<run id>/
        config.yaml       every value, resolved
        manifest.json     status, command, versions, hardware, times, and the config again, quick to read
        metrics.jsonl     the results: one record a line, no wall-clock times
        timings.jsonl     wall-clock times
        summary.json      final figures
        log.txt           messages, and the traceback of a failure
        checkpoint.pt     tensors and plain values; the final weights
        events.out.tfevents.*    the TensorBoard view, which can be rebuilt
        metrics.csv, wandb/      what the loggers of these names leave
        cohort_state.pt   the training state of a finished run, while its cohort is trained along
        figures/          the figures of `bnlab show`; removed when the run is trained again

    runs/<sweep>/
        sweep.json        the overrides, and the runs in order
        arms/<arm>/events.out.tfevents.*    means over seeds, for TensorBoard; written by loggers/tensorboard

    runs/mlflow.db        the runs in MLflow, of whatever sweep; written by loggers/mlflow_store

    runs/comparisons/     the figures of `bnlab compare`; no runs

Whole files are written under another name and then renamed, so that a reader never sees half a file. A lock shows that
a process trains the run; it is freed when that process ends, even by a kill.
"""
