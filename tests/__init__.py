"""The tests; a package, so that `tests/airflow` never stands in the way of `airflow` itself."""
