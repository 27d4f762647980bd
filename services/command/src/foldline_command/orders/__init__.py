"""Orders: the write side of the domain that ships with the product."""
