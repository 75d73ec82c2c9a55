"""What `dode.distill` follows: what it is asked for, the teacher's run, batch after batch, and the cache of it all."""
