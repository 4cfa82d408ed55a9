"""The model: its graph, what compile decided, its step, and how it is fed and run."""
