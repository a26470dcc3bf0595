"""The adapter of downloads: connections that send a link as text."""

from airflow_provider_seedream.hooks.link_text import AsWritten
from airflow_provider_seedream.hooks.transport import Transport


class ExactTargets(Transport):
    """As :class:`Transport`, but it requests the link as its exact text, since a rewritten link no longer
    fits its signature.

    ::

        session = session_through(ExactTargets)
    """

    mixins = (AsWritten, *Transport.mixins)
