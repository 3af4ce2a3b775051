"""Two demonstrations that need no download."""
