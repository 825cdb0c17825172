"""What makes a run the run that it is: its settings, the content of its data, and the code that is not bnlab's."""
