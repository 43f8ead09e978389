"""Monte Carlo of the risk pool. Knows neither Ray nor I/O."""
