"""Kafka: topics, codec, reader, producer."""
