"""What the diagnostics of a run recorded inside its network, read, judged and drawn."""
