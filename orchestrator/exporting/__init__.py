"""A finished student as a folder for others: weights, description, snippet, ONNX files, model card.

Knows nothing of training or of MLflow; `use_student.py` is copied into every folder and knows nothing of this package.
"""
