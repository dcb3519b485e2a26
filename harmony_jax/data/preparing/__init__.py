"""Only for preparing a data set: downloaded folders into files of records."""
