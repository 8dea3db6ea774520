"""One file per figure that we claim, each printing a ratio against a named peer in the same run."""
