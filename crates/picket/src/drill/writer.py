# Writes numbered records into one file that all nodes write to at the same time, each record to storage
# before it is acknowledged on standard output. Arguments: FILE INDEX NODES VICTIM
#
# The node that will fail, VICTIM, also holds a lock of the file system's own (DLM) on another file, and the
# others wait for it: they say "waiting", and "free" once they have it. A node may well go on writing under
# locks that it holds itself, but that one passes on only when the failed node is known to be fenced.
import fcntl
import os
import sys
import threading
import time
import zlib

SIZE = 64
path, index, nodes, victim = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
held = path + ".lock"


def say(word):
    os.write(1, b"%s\n" % word)


def wait_for_lock():
    while not os.path.exists(held) or os.stat(held).st_size == 0:
        time.sleep(0.2)
    lock = os.open(held, os.O_RDWR)
    say(b"waiting")
    fcntl.flock(lock, fcntl.LOCK_SH)
    say(b"free")


if index == victim:
    lock = os.open(held, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, b"held\n")
    os.fsync(lock)
else:
    threading.Thread(target=wait_for_lock, daemon=True).start()

file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DSYNC, 0o600)
number = 0
while True:
    text = b"%d %d" % (index, number)
    record = (b"%08x " % zlib.crc32(text) + text).ljust(SIZE - 1, b".") + b"\n"
    fcntl.lockf(file, fcntl.LOCK_EX)
    os.pwrite(file, record, (number * nodes + index) * SIZE)
    fcntl.lockf(file, fcntl.LOCK_UN)
    say(b"%d" % number)
    number += 1
    time.sleep(0.2)
