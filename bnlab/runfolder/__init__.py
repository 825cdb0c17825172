"""The folders under runs/: the only room that knows their file names.

::

    runs/<sweep or "single">/<run id>/
        config.yaml       every value, resolved
        manifest.json     status, command, versions, hardware, times, and the config again, quick to read
        metrics.jsonl     the truth: one record a line, no wall-clock fact
        timings.jsonl     what the clock said
        summary.json      final figures
        log.txt           messages, and the traceback of a failure
        checkpoint.pt     tensors and plain values; the final weights
        events.out.tfevents.*    the TensorBoard view, which can be rebuilt
        figures/          what `bnlab show` drew; taken away when the run is trained anew

    runs/<sweep>/
        sweep.json        what was asked for, and the runs in order
        arms/<arm>/events.out.tfevents.*    means over seeds, for TensorBoard; written by loggers/tensorboard

    runs/comparisons/     what `bnlab compare` drew; no runs

Whole files are written beside their place and moved there, so that a reader never sees half of one. A lock says
that a process is alive; it is freed when that process dies, however it dies.
"""
