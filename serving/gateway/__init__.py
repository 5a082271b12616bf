"""The HTTP gateway: an encounter comes in, a suggestion goes out (stage 7). Never imports torch."""
