"""Apache Airflow provider for ByteDance's Seedream V5 Lite, served by 3D AI Studio's REST API."""

__version__ = "0.2.0"
