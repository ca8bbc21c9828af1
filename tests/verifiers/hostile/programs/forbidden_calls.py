# expect: contained
"""Makes system calls with a history: io_uring, personality, userfaultfd, keyctl, bpf, perf, modules, kexec, handles, ..."""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def allowed(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return result >= 0 or ctypes.get_errno() not in (1, 38)

calls = {"io_uring_setup": 425, "io_uring_enter": 426, "personality": 135, "userfaultfd": 323, "keyctl": 250, "add_key": 248,
         "request_key": 249, "bpf": 321, "perf_event_open": 298, "init_module": 175, "finit_module": 313, "kexec_load": 246,
         "open_by_handle_at": 304, "name_to_handle_at": 303, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
         "pidfd_getfd": 438, "quotactl": 179, "acct": 163, "swapon": 167, "reboot": 169, "syslog": 103, "lookup_dcookie": 212,
         "fanotify_init": 300, "mq_open": 240, "shmget": 29, "msgget": 68, "semget": 64, "memfd_secret": 447, "iopl": 172,
         "ioperm": 173, "modify_ldt": 154, "vmsplice": 278, "move_pages": 279, "migrate_pages": 256, "clock_settime": 227}
open_calls = [name for name, number in calls.items() if allowed(number, 0, 0, 0, 0, 0, 0)]
print("BREACH", open_calls) if open_calls else print("contained")
