"""What do the finished trials say? Tables in, tables and sentences out; nothing is drawn."""
