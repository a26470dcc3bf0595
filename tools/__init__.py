"""What the Makefile runs: scripts around a real Airflow. Not part of the package."""
