"""VLM distillation orchestrator: from images to captions, students, sweeps and an MLflow comparison."""

__version__ = "0.1.0"
