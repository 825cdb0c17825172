"""Networks. They take build_norm(num_channels), never name a norm, and name their layers by role."""
