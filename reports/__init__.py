"""Everything that people or programs read: the plan, the recommendation, the account of the settings, and what a preview says."""
