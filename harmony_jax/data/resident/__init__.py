"""Training samples that stay decoded in memory: where they lie, and how they are augmented."""
