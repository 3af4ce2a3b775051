"""Studies with readers: agreement, and comparison of reading modes over readers and cases."""
