"""A model measured on a data set, beside the published numbers: tables, pictures, a report."""
