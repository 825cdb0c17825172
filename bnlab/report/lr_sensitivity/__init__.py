"""How much the learning rate matters in a sweep: the figures in words, as a drawing and as a chart of characters."""
