"""The tour of `make up`: the main job, shown step by step on a real API server."""
