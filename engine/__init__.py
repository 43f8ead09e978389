"""The core of VitaNexus: domain, scoring, storage and streams. Knows neither Ray nor HTTP."""
