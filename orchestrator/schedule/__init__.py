"""Fits in order: what is wanted next, decided without Ray, and the loop that carries it out."""
