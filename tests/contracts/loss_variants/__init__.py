"""Settings of each family of losses that the contract suite runs besides the defaults: one file, one VARIANTS list."""
