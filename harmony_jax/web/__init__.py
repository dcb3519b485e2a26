"""The page in the browser: its routes, its server, and what the browser gets."""
