"""The modules a program may import: all loaded before it starts, because it can open no file."""

from __future__ import annotations

import importlib

MODULES = """
__future__ abc argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 calendar cmath cmd code codecs
codeop collections collections.abc colorsys concurrent.futures configparser contextlib contextvars copy copyreg csv
ctypes ctypes.util dataclasses datetime decimal difflib dis doctest email email.message email.mime.text enum errno
fcntl faulthandler fileinput fnmatch fractions functools gc getopt getpass gettext glob graphlib grp gzip hashlib heapq
hmac html html.entities html.parser http http.client imaplib importlib.abc importlib.machinery importlib.metadata
importlib.resources importlib.util inspect io ipaddress itertools json json.decoder json.encoder keyword linecache
locale logging logging.handlers lzma marshal math mimetypes mmap multiprocessing multiprocessing.dummy
multiprocessing.pool multiprocessing.shared_memory netrc numbers opcode operator optparse os os.path pathlib pdb pickle
pickletools pkgutil platform plistlib posixpath pprint profile pstats pty pwd pyexpat queue quopri random re reprlib
resource rlcompleter runpy sched secrets select selectors shelve shlex shutil signal smtplib socket socketserver sqlite3
ssl stat statistics string stringprep struct subprocess symtable sys sysconfig tarfile tempfile termios textwrap
threading time timeit token tokenize trace traceback tracemalloc tty types typing unicodedata unittest unittest.mock
urllib.error urllib.parse urllib.request uuid warnings wave weakref xml.dom.minidom xml.etree.ElementTree xml.sax zipfile
zlib zoneinfo
_strptime _pydecimal concurrent.futures.thread concurrent.futures.process encodings.ascii encodings.cp1252
encodings.hex_codec encodings.idna encodings.latin_1 encodings.punycode encodings.rot_13 encodings.unicode_escape
encodings.utf_16 encodings.utf_32 encodings.utf_8_sig multiprocessing.popen_fork multiprocessing.popen_spawn_posix
multiprocessing.synchronize multiprocessing.queues
""".split()


def load() -> list[str]:
    """Import every module of the list that this Python has; returns those it lacks."""
    missing = []
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    "".encode("idna").decode("idna")
    return missing
