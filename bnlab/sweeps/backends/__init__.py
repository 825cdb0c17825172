"""Where the parts of a sweep are trained: in processes of this machine, or as the jobs of a cluster."""
