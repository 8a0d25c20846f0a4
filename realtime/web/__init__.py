"""HTTP and WebSocket routes of the application, and its dashboard."""
