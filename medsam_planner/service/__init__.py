"""What a client of the workbench drives: state, sessions, settings, results and slices; free of Gradio."""
