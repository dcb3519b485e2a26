"""Composites made of photos in training: an object is recoloured, the photo is the target."""
