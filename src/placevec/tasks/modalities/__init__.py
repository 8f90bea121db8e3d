"""Modalities: kinds of data about the cells of an area, a file each."""
