"""People: an app for Android and iOS that asks a server whose public key is pinned."""
