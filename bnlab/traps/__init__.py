"""Traps: settings and networks that run, but measure something else than intended. They are found before training.

The table shows what ``bnlab train`` reports. A warning is for a legal setting that is probably a mistake: it is printed
once and written to the run's log.txt. ``accept=[<name>]`` says that the setting is intended, and silences the warning.
An error cannot work: exit status 2, and no folder is made. Errors without a name are raised by the layer or the config.

======================================================  =======  =========================  ==========================
what                                                    is       name                       cure
======================================================  =======  =========================  ==========================
one image per batch (or part, or last batch of an       error    (the layer), one_value     a larger train.batch_size
evaluation) with BatchNorm on (N, C)
InstanceNorm on (N, C), or on maps of 1x1               error    (the layer), one_value     norm=layer, norm=group
GroupNorm with one channel per group on (N, C)          error    (the layer), one_value     fewer groups
groups, or parts of a batch, that do not divide         error    (the layer, the config)    the nearest divisors
fewer than 8 values per statistic of the batch          warning  few_values                 a larger batch
a bias whose whole effect the norm removes              warning  bias_before_norm           subtracts_mean = True
weight decay, not said whether on norms too             warning  undecayed_norm             optim.decay_norm_and_bias
norm.momentum below 0.5                                 warning  small_momentum             PyTorch's 0.1 is 0.9 here
too few steps for norm.momentum                         warning  statistics_not_settled     a smaller norm.momentum
a layer that overwrites the output of another, with     warning  in_place                   not in place
diagnostics on
a layer that overwrites the images                      error    in_place                   not in place
dropout, then BatchNorm                                 warning  dropout_before_batch_norm  model.dropout=0
accumulation with statistics of the batch               warning  accumulation               train.accumulation=1
over 1 GiB of weights                                   warning  large_model                a smaller model.width
more weights than the machine has memory                error    large_model                a smaller model.width
an installed package's norm by a name of bnlab's        warning  hidden_name                norm=package.module:Class
a layer of your own with state that no state dict       error    state_outside_buffers      register_buffer
holds, on which its outputs depend
running statistics updated twice per step: by           warning  updated_twice              a norm for each place,
activation checkpointing, or a norm at two places                                           outside of checkpoints
a layer of your own that never updates what eval mode   warning  statistics_not_settled     an update in forward
reads and training does not
a running variance above its type's largest number      warning  running_overflow           float32
a layer of your own whose buffers keep the graph of     warning  graph_in_buffers           .detach()
the batch: the memory grows with every step
... so that the second training step fails              error    graph_in_buffers           .detach()
======================================================  =======  =========================  ==========================

``accept=[state_outside_buffers]`` trains such a layer all the same, with a warning that says what does not hold.

`find_traps_in` looks through any network of torch's modules, bnlab's or not. It also finds ``no_space`` (InstanceNorm1d
takes (N, C) for one sample), ``wrong_axis`` (InstanceNorm without weights, built for another number of channels than it
gets), ``no_running_statistics`` (eval mode depends on the batch) and ``large_offset`` (torch's GroupNorm loses digits
of a large mean where the channels are last in memory).
"""
