"""The formulas as pure functions of tensors, and the modules that hold what they learn or remember."""
