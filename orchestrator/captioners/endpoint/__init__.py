"""Asking a chat endpoint over HTTP: connections, limits, replies, images. Settings are in `openai_endpoint`."""
