"""What is looked at: dashboards, alerts and the page of metrics, all made from the list of metrics."""
