"""An annotation project: a folder with the studies, who annotated what when, and in which order to go on."""
