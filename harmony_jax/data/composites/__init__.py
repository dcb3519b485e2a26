"""Composites made of photos, while training: the photo is the real one, its object recoloured."""
