"""Only for preparing data sets: downloaded folders as records, composites of photos as files."""
