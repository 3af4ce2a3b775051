"""A study being segmented: the session, what it yields, and why its surfaces lie where they do."""
