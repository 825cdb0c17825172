"""What teaches: `bnlab explain` computes a norm's lesson as numbers, then draws it in the terminal or as a figure."""
