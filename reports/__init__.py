"""What people and programs read: the plan, the recommendation, what becomes of each setting, and the preview."""
