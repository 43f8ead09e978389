"""The commands of `vitanexus`, one module an area."""
