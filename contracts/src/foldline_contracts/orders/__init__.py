"""The domain that ships with the product: orders and their customers."""
