"""Client libraries that others wrote, against our agents."""
