"""From the warehouse and back: a query gives the requests, each row is paid once ever, and the results go
into a table by key.

It needs a connection `warehouse` with the tables `catalogue` and `catalogue_images`; an error shows how to
create the second.
"""

from airflow.sdk import DAG

from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.tables import ResultsTable, SqlTable

with DAG(
    "example_seedream_warehouse",
    description="A query gives the requests, and a table of the database gets the results, by key",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    SeedreamBatchOperator(
        task_id="catalogue",
        requests=SqlTable(sql="SELECT sku, product FROM catalogue ORDER BY sku", conn_id="warehouse"),
        template="a {{ product }} on a plain table, morning light",
        results_table=ResultsTable(table="catalogue_images", conn_id="warehouse", key="sku"),
        results="warehouse-{{ dag_run.run_after | ts_nodash }}",
        reuse="content",
        max_credits=500,
        deferrable=True,
    )
