"""Money: premiums of cohorts. Exact decimals; a member's health score never reaches an individual's premium."""
