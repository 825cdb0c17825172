"""Many runs by one command.

The way of ``bnlab sweep norm=batch,none seed=0,1``, from its words to its results:

1. grid: words with several values -> one config per run. sweep_files: ``sweep=NAME`` stands for the words of a file.
2. plan: run ids -> which runs have a result, which are missing, and how they are trained. checked_programs: once each.
3. cohorts: runs that differ in numbers only are trained together; cohorts that were cut off are resumed as they were.
4. execute: the table of run_states says which cohorts are next. parts: cohorts -> files, one for each worker.
5. launcher_words: ``hydra/launcher=NAME`` -> a backend. backends: local, slurm, ray, hydra, this_process.
6. backend.submit(parts): a worker starts, reads its part and trains it, as `bnlab train` trains one run.
7. parts_folder: workers write progress, the sweep reads it and shows it between two calls of backend.watch.
8. A part has ended: the runs' folders say which runs have a result; the others move in the table, and back to 4.
9. No run is left that may be trained: read the results from the runs' folders.
A search (search, searching, run_pool) takes the same way from 5 on, with one run per part, chosen by Optuna:
search_words and samplers say how, optuna_study keeps the trials, trials reads their outcomes from the runs' folders.
"""
