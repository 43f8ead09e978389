"""Health scoring: base risk, vital signs, behaviour, score and risk factors."""
