"""Values of the field: members, events, claims, metrics. No input or output."""
