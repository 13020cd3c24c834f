# Writes numbered records into one file that all nodes write to at the same time, each record to storage
# before it is acknowledged on standard output. The lock goes through DLM, so that no record can be written
# while a node that fell silent is not fenced. Arguments: FILE INDEX NODES
import fcntl
import os
import sys
import time
import zlib

SIZE = 64
path, index, nodes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DSYNC, 0o600)
number = 0
while True:
    text = b"%d %d" % (index, number)
    record = (b"%08x " % zlib.crc32(text) + text).ljust(SIZE - 1, b".") + b"\n"
    fcntl.lockf(file, fcntl.LOCK_EX)
    os.pwrite(file, record, (number * nodes + index) * SIZE)
    fcntl.lockf(file, fcntl.LOCK_UN)
    print(number, flush=True)
    number += 1
    time.sleep(0.2)
