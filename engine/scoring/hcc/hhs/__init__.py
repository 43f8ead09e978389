"""HHS-HCC: risk scores of individual and small group cover, by age model and metal level."""
