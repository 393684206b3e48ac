"""What the charts of a run show: plain data for interactive charts and for figures."""
