"""What a solver and an online policy are, and the registry that names them all."""
