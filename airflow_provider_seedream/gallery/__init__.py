"""The page "Seedream" in Airflow's user interface, and the pictures above an approval's buttons.

Imported by DAG files for ``approval_markdown``, so nothing of the web server is imported here.
"""

from airflow_provider_seedream.gallery.approval import approval_markdown

__all__ = ["approval_markdown"]
