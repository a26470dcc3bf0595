"""The adapter of downloads: connections that send a link as text."""

from airflow_provider_seedream.hooks.link_text import AsWritten
from airflow_provider_seedream.hooks.transport import Transport


class ExactTargets(Transport):
    """As :class:`Transport`, but what it asks for is the link as text."""

    mixins = (AsWritten, *Transport.mixins)
