"""The page "Seedream" in Airflow's user interface, and the pictures above the buttons of an approval.

Here are the routes, the reading of XComs and of storage, and the texts for approvals. Every route is a GET
with a permission check. DAG files import ``approval_markdown``, ``contact_sheets`` and ``chosen_rows`` from
here, so the web server is not imported here.
"""

from airflow_provider_seedream.gallery.approval import approval_markdown
from airflow_provider_seedream.gallery.contact_sheets import chosen_rows, contact_sheets

__all__ = ["approval_markdown", "chosen_rows", "contact_sheets"]
