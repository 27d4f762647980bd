"""Customers: who places orders."""
