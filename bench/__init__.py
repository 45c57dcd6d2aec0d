"""The measured claims: one module a question, results kept in results/. Ratios of one run, since machines differ and are noisy."""
