"""Three demonstrations that need no download."""
