"""Jobs on a running cluster: what is sent, how it is followed, and how it ended."""
