"""Many runs by one command.

The way of ``bnlab sweep norm=batch,none seed=0,1``, from its words to its results:

1. sweep_files puts the words of a file in place of ``sweep=NAME``; launcher_words takes the words about the launcher
   apart; grid makes one config of each combination of the values that are left.
2. plan: run id -> config, as a `Sweep`. The runs' folders say which runs have a result; the others are missing.
3. cohorts: runs of one program, which differ in numbers only, are trained together where that is faster, at most 8 in a
   cohort. Any other run is a cohort by itself. Cohorts of an earlier call that left checkpoints are resumed as they
   were. checked_programs: the first run of each program is checked before anything is trained.
4. execute chooses the cohorts of the next batch: all with a run that is waiting. Those with a run that may have killed
   its worker come last, one at a time. It cuts them into parts (a cohort of several runs, or a few single runs), and
   chooses the backend: the one that ``hydra/launcher=NAME`` names; else this process, for one part or ``--jobs 1``, as
   long as no worker has died; else worker processes of this machine (local).
5. dispatcher writes each part into a file in the sweep's folder (parts_folder), hands the files to the backend, and
   looks for progress and for parts that have ended, four times a second where others train them. run_states: the table
   of what each run does.
6. backends: local, slurm, ray, hydra and this_process do no more than have each file trained by a worker.
7. worker trains the cohorts of a part one after another, as `bnlab train` trains one run, and appends lines of progress
   to a file of its own. Files beside the part ask it to begin no further run, or to stop with a checkpoint.
8. When a part has ended, the dispatcher reads the runs' folders. A run with a result is done. A run that failed waits
   again if it may be retried. A run that was in training when its worker died waits again, until the third death; on
   this machine, the death of one worker ends all, so that all runs in training are suspected. A run that had not begun
   waits again, once. When all parts of the batch have ended: back to 4, until no run is waiting, or something stops the
   sweep: a failure with ``--on-error stop``, or an obstacle to every run. A run that another process trains is waited
   for.
9. The results are read from the runs' folders.

Ctrl-C, once steps are made, and SIGTERM, to the sweep or to a worker, let training end with a checkpoint first. Before
that, and at a second Ctrl-C, the workers end at once; their runs resume from the last checkpoint, if they wrote any.

A search (search_plan, search_execution) has the same dispatcher, backends and workers. It submits the run of each trial
as a part of its own, as soon as Optuna has chosen it. sweeper_words and samplers say how trials are chosen,
optuna_study keeps them, trials reads their outcomes from the runs' folders.
"""
