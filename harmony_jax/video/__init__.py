"""Video: clips read, harmonized without flicker, and written with all that came with them."""
