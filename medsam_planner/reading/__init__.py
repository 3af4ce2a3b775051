"""Studies in which people read cases: what is shown to whom and when, and what they said."""
