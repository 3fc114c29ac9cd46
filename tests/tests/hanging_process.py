# Ends a deaf child by a guardian, whose command line follows, while a process hangs that nobody can look into:
# it executes a program, and for that closes a file of a file system that does not answer.
import ctypes, os, struct, subprocess, sys, tempfile

place = tempfile.mkdtemp()
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"hanging", place.encode(), b"fuse", 0, options.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
if os.fork() == 0:
    # It is closed when another program is executed.
    file = os.open(place + "/file", os.O_RDONLY)
    os.execv("/bin/sleep", ["sleep", "60"])


def attributes(node):
    mode = 0o40755 if node == 1 else 0o100644
    return struct.pack("=6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


while True:
    request = os.read(device, 1 << 17)
    _, operation, unique, node = struct.unpack_from("=IIQQ", request)
    if operation == 26:  # the first of all
        answer = struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 12, 9, 4096, 1, 0, 0, *[0] * 8)
    elif operation == 1:  # a name
        answer = struct.pack("=4Q2I", 2, 0, 9, 9, 0, 0) + attributes(2)
    elif operation == 3:
        answer = struct.pack("=Q2I", 9, 0, 0) + attributes(node)
    elif operation == 14:  # open
        answer = struct.pack("=Q2I", 1, 0, 0)
    elif operation == 25:  # close
        break
    else:
        os.write(device, struct.pack("=IiQ", 16, -38, unique))
        continue
    os.write(device, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)

deaf = "trap '' TERM; echo up; while :; do sleep 100; done"
child = subprocess.Popen(["sh", "-c", deaf], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
guard.stdin.write(f"t 1 {child.pid}\n".encode())
guard.stdin.close()
print(f"ended_by={-child.wait(60)}", flush=True)
# Now all others can look again, too.
os.close(device)
print(f"has_left={guard.wait(60) is not None}", flush=True)
