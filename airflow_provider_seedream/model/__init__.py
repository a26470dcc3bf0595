"""Facts of the API and plain values: the contract, submissions, images, instants, who acts, what a retry may
do.

A value that exists is a valid one. Imports the error tree and nothing else of ours.
"""
