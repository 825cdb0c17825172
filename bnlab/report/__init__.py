"""Reports on runs: figures, tables, and the sentences beside them."""
