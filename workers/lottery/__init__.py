"""Lottery image priors (arXiv 2410.24187): sparse subnetworks of untrained networks, found, kept and moved.

A *ticket* is a mask over the convolution weights of a network together with the seed of the weights that it is trained
from.
"""
