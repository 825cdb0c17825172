"""Stacked runs: R runs of one architecture whose tensors are stacked, so that one operation serves all of them."""
