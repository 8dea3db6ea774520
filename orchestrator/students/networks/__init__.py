"""The students as networks: images to (logits [N, C], feature [N, d]), with the attribute `feature_dim`."""
