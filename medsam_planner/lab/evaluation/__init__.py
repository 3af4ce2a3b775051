"""How good weights are: structures of real cases, asked for as a person would, scored against a reader's masks."""
