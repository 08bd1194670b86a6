"""Drawings as inline SVG, made by hand: a page that fetches nothing has no plotting library either."""
