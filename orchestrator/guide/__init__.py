"""What a user asks before and between runs: which kinds there are, what a setting means, what lies in a folder.

Holds nothing itself. Everything is read from the settings' classes and from manifests, so that it cannot grow stale.
"""
