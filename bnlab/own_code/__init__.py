"""The code of a user's own class, which belongs to what a run is."""
