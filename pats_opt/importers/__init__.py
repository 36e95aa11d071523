"""Importers of request logs and of classic benchmark formats."""
