"""How the transformers back end turns visits into texts: loading, padding, decoding, and one file per prompt form."""
