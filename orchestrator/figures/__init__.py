"""Numbers from rows: comparisons, sparsity, transfer, studies."""
