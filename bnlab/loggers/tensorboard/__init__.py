"""The only package that imports TensorBoard. A run's tags are those of `bnlab.loggers.tags`.

One event file per run, in the run's own folder; one per arm of a sweep, in ``arms/<arm>/``; one for the sweep itself.
A setting never goes into a tag: TensorBoard groups charts by tag and overlays runs with equal tags. It uses
tensorboard's own writer and messages, which import without torch.
"""
