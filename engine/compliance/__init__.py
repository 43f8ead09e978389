"""What the law asks of whoever holds health data: here, the record of who looked at them."""
