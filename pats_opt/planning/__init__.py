"""`plan`: fleets, caches and policies on a load, and the cheapest that meets an objective."""
