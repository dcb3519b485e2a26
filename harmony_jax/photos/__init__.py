"""Photos of any size and format, harmonized by a change of colour."""
