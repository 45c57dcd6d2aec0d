"""The measurements behind the claims: one module per question, with the results in results/. They are ratios of one run where possible,
because machines differ and are noisy.
"""
