"""The operators that users name: arguments, checks, defer and resume, XCom.

No engine lives here: paying is in ``ledger``, waiting in ``tasks``, landing in ``landing``, tables in
``batch``.
"""
