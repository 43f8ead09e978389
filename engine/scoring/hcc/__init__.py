"""CMS-HCC risk adjustment: diagnoses and demographics in; HCCs, risk scores and their explanation out."""
