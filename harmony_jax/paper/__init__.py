"""The tables of the paper: trained row by row, and printed with ours under the published ones."""
