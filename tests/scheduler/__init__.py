"""The guarantees under a real scheduler, triggerer and LocalExecutor: what only living and dying processes
can show.
"""
