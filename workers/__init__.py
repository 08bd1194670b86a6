"""Deep image priors as a library of tensors: search space, networks, spectra, fitting, blind stopping.

Nothing here knows Ray, a store or a command line: every function works in a notebook with one CPU or GPU.
"""
