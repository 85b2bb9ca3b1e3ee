"""images.py: a dom0 and guests for real Xen in QEMU, from Debian's packages alone.

Nothing is installed on this machine: packages are downloaded and unpacked below build/xen, and made into initramfs: dom0's;
a guest's that has all in it (domu.cpio), also as a head (head.cpio); and one (boot.cpio) that goes on with an image as its
root (root.ext4). The machine is Debian 12 itself, so its own libc, bash and ip are copied. What was made is kept; it is made
anew when this file or the program changes, or for another program."""
import contextlib, fcntl, gzip, lzma, os, re, shutil, struct, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TALK, BLOCKS = (os.path.join(ROOT, "tests", "xen", f) for f in ("talk.c", "blocks.c"))
CLUSTER = os.path.join(ROOT, "deploy", "examples", "cluster")
XV = "4.17"
PACKAGES = """busybox-static coreutils kmod libkmod2 libext2fs2 libfdt1 liblzma5 libnl-3-200 libnl-route-3-200 libsmartcols1 libssl3 libuuid1
libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1 libxenmisc4.17 libxenstore4
libxentoolcore1 libxentoollog1 libyajl2 libzstd1 mount socat util-linux zlib1g xen-hypervisor-4.17-amd64 xen-utils-4.17 xen-utils-common
xenstore-utils""".split()
DOM0_MODULES = """xen-netback xen-blkback xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs bridge tun veth virtio_net
virtio_pci virtio_blk crc32c_generic ext4 9p 9pnet_virtio loop dm-mod dm-log dm-mirror nbd nf_tables sch_netem inet_diag tcp_diag""".split()
# What libxl's block script runs and busybox hasn't got, or not as it wants it.
BLOCK_PROGRAMS = {"/usr/bin/flock": "/usr/bin/flock", "/usr/bin/stat": "/usr/bin/stat", "/sbin/losetup": "/usr/sbin/losetup"}

ROOT_MIB = 8
HEAD_MODULES = """xen-netfront crc32c_generic nf_conntrack nf_tables nft_ct nft_chain_nat nft_masq nft_nat""".split()
HEAD_PROGRAMS = "/usr/sbin/nft /usr/bin/socat /usr/lib/openssh/sftp-server".split()

DOMU_INIT = r"""#!/bin/sh
# Words of the command line: ip4=10.0.0.5/24  gw=10.0.0.1  burn=1 (a busy loop); of talk.c, several by commas: serve=PORT
# talk=IP:PORT:MS  sink=PORT  bulk=IP:PORT; of blocks.c: writes=xvda:20. Of a head (/cluster is deploy/examples/cluster): outside=192.0.2.10/24, and what of
# it goes on to a guest inside: forward=PORT:IP. Lines typed at the console are run.
export PATH=/bin:/usr/sbin:/usr/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs -o size=4g tmpfs /tmp
mkdir -p /proc/xen; mount -t xenfs xenfs /proc/xen 2>/dev/null
[ -e /sys/bus/xen/drivers/vif ] || modprobe xen-netfront 2>/dev/null
[ -e /sys/bus/xen/drivers/vbd ] || modprobe xen-blkfront 2>/dev/null
for w in $(cat /proc/cmdline); do case $w in ip4=*|gw=*|burn=*|talk=*|serve=*|sink=*|bulk=*|writes=*|outside=*|forward=*) eval "${w%%=*}=\${w#*=}";; esac; done
ip link set lo up
device() { i=0; while [ ! -e /sys/class/$2/$1 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; }
if [ -n "$ip4" ]; then device eth0 net; ip addr add $ip4 dev eth0; ip link set eth0 up; fi
[ -n "$gw" ] && ip route add default via $gw
if [ -n "$outside" ]; then
    device eth1 net
    for m in crc32c_generic nf_conntrack nf_tables nft_ct nft_chain_nat nft_masq nft_nat; do modprobe $m; done
    OUTSIDE_ADDRESS=$outside HEAD=${ip4%/*} SERVICE=sftp /cluster/head.sh start </dev/null >/dev/hvc0 2>&1 && echo HEAD-UP
fi
if [ -n "$forward" ]; then
    nft add rule ip violin_cluster forward iifname eth1 ct status dnat accept
    nft -f - <<E
table ip lab { chain in { type nat hook prerouting priority -100; iifname eth1 meta l4proto { tcp, udp } th dport ${forward%%:*} dnat to ${forward#*:}; }; }
E
fi
[ -n "$writes" ] && device ${writes%:*} block && blocks /dev/${writes%:*} ${writes#*:} >/dev/hvc0 2>&1 &
sh /bin/violin-report 3 >/dev/hvc0 2>&1 &
each() { for w in $(echo $2 | tr , ' '); do talk $1 $(echo $w | tr : ' ') >/dev/hvc0 2>&1 & done; }
each serve "$serve"; each to "$talk"; each sink "$sink"; each bulk "$bulk"
echo "DOMU-UP $(cat /proc/uptime)"
[ -n "$burn" ] && (while :; do :; done) &
while read -r line; do sh -c "$line"; done < /dev/hvc0
while :; do sleep 60; done
"""

BOOT_MODULES = "xen-blkfront crc32c_generic ext4 overlay".split()
BOOT_INIT = r"""#!/bin/sh
# The root is the image on xvda, mounted read-only, and over it what is written, in memory: violin.root=tmpfs.
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for m in @MODULES@; do modprobe $m; done
i=0; while [ ! -b /dev/xvda ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done
mkdir /image /written /root.new
mount -t tmpfs written /written && mkdir /written/files /written/work && mount -t ext4 -o ro /dev/xvda /image &&
    mount -t overlay -o lowerdir=/image,upperdir=/written/files,workdir=/written/work root /root.new ||
    { echo "NO-ROOT" >/dev/hvc0; exec sleep 100000; }
mkdir -p /root.new/image /root.new/written
mount --move /image /root.new/image; mount --move /written /root.new/written
umount /proc /sys /dev
exec switch_root /root.new /init
"""

DOM0_INIT = r"""#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/pts; mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
for w in $(cat /proc/cmdline); do case $w in lab.name=*) NAME=${w#*=};; lab.addr=*) ADDR=${w#*=};; esac; done
hostname $NAME
mkdir -p /run/xen /run/xenstored
for m in virtio_pci virtio_net virtio_blk crc32c_generic ext4 9pnet_virtio 9p xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs xen-netback xen-blkback loop dm-mod dm-mirror nbd nf_tables bridge tun; do modprobe $m || echo "modprobe $m failed"; done
mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
mount -t xenfs xenfs /proc/xen
mount -t ext4 /dev/vda /var/lib || { echo "DOM0-FAILED: no disk"; exec sleep 100000; }
mkdir -p /var/lib/xen/dump /var/lib/xenstored
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /mnt
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up
ip addr add $ADDR dev eth1; ip link set eth1 up
B=/usr/lib/xen-@XV@/bin
$B/xenstored --pid-file /run/xen/xenstored.pid
i=0; until xenstore-read / >/dev/null 2>&1 || [ $i -ge 200 ]; do sleep 0.05; i=$((i+1)); done
$B/xen-init-dom0
$B/xenconsoled --pid-file=/run/xenconsoled.pid --log=guest --log-dir=/var/log/xen/console
echo 'autoballoon="off"' >> /etc/xen/xl.conf
socat TCP-LISTEN:22,reuseaddr,fork EXEC:/bin/bash,stderr &
echo "DOM0-READY $(cat /proc/uptime)"
while :; do setsid bash -c 'exec bash -i </dev/hvc0 >/dev/hvc0 2>&1'; sleep 1; done
"""


def sh(*cmd, **kw):
    return subprocess.run([str(c) for c in cmd], check=True, stdout=subprocess.PIPE, text=True, **kw).stdout


class Images:
    def __init__(self, program):
        self.dir = os.path.join(ROOT, "build", "xen")
        self.program = program
        self.pkgs, self.share = os.path.join(self.dir, "root"), os.path.join(self.dir, "share")
        for d in ("debs", "root", "share", "run"):
            os.makedirs(os.path.join(self.dir, d), exist_ok=True)

    def path(self, *p):
        return os.path.join(self.dir, *p)

    # ---- packages ----

    def download(self):
        out = sh("apt-cache", "depends", "linux-image-amd64")
        kernel = re.search(r"Depends: (linux-image-(\S+-amd64))", out)
        if not kernel:
            sh("apt-get", "update", "-q")
            kernel = re.search(r"Depends: (linux-image-(\S+-amd64))", sh("apt-cache", "depends", "linux-image-amd64"))
        self.kv = kernel.group(2)
        done = self.path("debs/.done")
        wanted = " ".join([*PACKAGES, kernel.group(1)])
        if not os.path.exists(done) or open(done).read() != wanted:
            for old in os.listdir(self.path("debs")):
                os.unlink(self.path("debs", old))
            shutil.rmtree(self.pkgs)
            for made in ("xen.elf", "vmlinux", "stamp"):  # of other packages
                if os.path.exists(self.path(made)):
                    os.unlink(self.path(made))
            for attempt in (1, 2):
                try:
                    sh("apt-get", "download", "-q", *PACKAGES, kernel.group(1), cwd=self.path("debs"), stderr=subprocess.PIPE)
                    break
                except subprocess.CalledProcessError:
                    if attempt == 2:
                        raise
                    sh("apt-get", "update", "-q")
            for deb in sorted(os.listdir(self.path("debs"))):
                if deb.endswith(".deb"):
                    sh("dpkg", "-x", self.path("debs", deb), self.pkgs)
            with open(done, "w") as f:
                f.write(wanted)
        xen = self.path("xen.elf")
        if not os.path.exists(xen):
            with gzip.open(os.path.join(self.pkgs, f"boot/xen-{XV}-amd64.gz")) as f, open(xen, "wb") as o:
                shutil.copyfileobj(f, o)
        self.extract_kernel()

    def extract_kernel(self):
        """The plain ELF out of the bzImage: nothing has to be unpacked under emulation then."""
        out = self.path("vmlinux")
        if os.path.exists(out):
            return
        d = open(os.path.join(self.pkgs, f"boot/vmlinuz-{self.kv}"), "rb").read()
        offset, length = struct.unpack_from("<II", d, 0x248)
        base = ((d[0x1f1] or 4) + 1) * 512 + offset
        p = d[base:base + length]
        if p[:6] == b"\xfd7zXZ\0":
            elf = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(p[:-4])
        elif p[:2] == b"\x1f\x8b":
            import zlib
            elf = zlib.decompressobj(31).decompress(p)
        else:
            sys.exit("the kernel's payload is neither xz nor gzip")
        with open(out + ".new", "wb") as f:
            f.write(elf)
        sh("strip", "-o", out, out + ".new")
        os.unlink(out + ".new")

    # ---- initramfs ----

    def copy_modules(self, root, names):
        lib = os.path.join(self.pkgs, "lib/modules", self.kv)
        if not os.path.exists(os.path.join(lib, "modules.dep")):
            sh("depmod", "-b", self.pkgs, self.kv)
        deps = {}
        for l in open(os.path.join(lib, "modules.dep")):
            f, rest = l.split(":", 1)
            deps[os.path.basename(f)[:-3]] = [f] + rest.split()
        to = os.path.join(root, "lib/modules", self.kv)
        for n in names:
            for f in deps[n]:
                os.makedirs(os.path.dirname(os.path.join(to, f)), exist_ok=True)
                sh("strip", "--strip-debug", "-o", os.path.join(to, f), os.path.join(lib, f))
        for f in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(os.path.join(lib, f), to)
        sh("depmod", "-b", root, self.kv)

    def copy_binary(self, root, source, to=None):
        """A program with its shared libraries; Xen's come from the unpacked packages."""
        to = to or source
        dest = root + to
        os.makedirs(os.path.dirname(dest), exist_ok=True)
        shutil.copy(source, dest, follow_symlinks=True)
        paths = f"{self.pkgs}/usr/lib/x86_64-linux-gnu:{self.pkgs}/lib/x86_64-linux-gnu"
        r = subprocess.run(["ldd", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                           env={**os.environ, "LD_LIBRARY_PATH": paths})
        for lib in re.findall(r"=> (/\S+)|^\s+(/lib64\S+)", r.stdout, re.M):
            lib = lib[0] or lib[1]
            inside = lib[len(self.pkgs):] if lib.startswith(self.pkgs) else lib
            if not os.path.exists(root + inside):
                os.makedirs(os.path.dirname(root + inside), exist_ok=True)
                shutil.copy(lib, root + inside, follow_symlinks=True)

    def busybox(self, root, applets=None):
        box = os.path.join(self.pkgs, "bin/busybox")
        os.makedirs(root + "/bin", exist_ok=True)
        shutil.copy(box, root + "/bin/busybox")
        for a in sh(box, "--list").split():
            if (applets is None or a in applets) and not os.path.lexists(f"{root}/bin/{a}"):
                os.symlink("busybox", f"{root}/bin/{a}")

    def pack(self, root, out):
        names = "\n".join(sorted(os.path.relpath(os.path.join(d, f), root) for d, ds, fs in os.walk(root) for f in ds + fs))
        with open(out + ".new", "wb") as f:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=f, cwd=root, check=True)
        os.replace(out + ".new", out)

    def fresh(self, name):
        root = self.path(name)
        shutil.rmtree(root, ignore_errors=True)
        for d in ("proc", "sys", "dev", "tmp", "etc", "root", "mnt", "run", "lib64"):
            os.makedirs(os.path.join(root, d))
        return root

    def script(self, root, name, text):
        with open(os.path.join(root, name), "w") as f:
            f.write(text)
        os.chmod(os.path.join(root, name), 0o755)

    def guest(self):
        """The same as an initramfs that has all in it, and as a root file system for an image."""
        root = self.fresh("b-domu")
        self.busybox(root)
        self.copy_modules(root, ["xen-netfront", "xen-blkfront"])
        os.makedirs(root + "/sbin", exist_ok=True)
        self.script(root, "sbin/poweroff", "#!/bin/sh\nexec /bin/busybox poweroff -f\n")  # what the kernel runs when it is asked to
        self.guest_files(root)
        self.pack(root, os.path.join(self.share, "images", "domu.cpio"))
        image = os.path.join(self.share, "root.ext4")  # in no host's image-dirs: one is given it, others fetch it
        sh("/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root, image + ".new", f"{ROOT_MIB}M")
        os.replace(image + ".new", image)

    def boot(self):
        root = self.fresh("b-boot")
        self.busybox(root)
        self.copy_modules(root, BOOT_MODULES)
        self.script(root, "init", BOOT_INIT.replace("@MODULES@", " ".join(BOOT_MODULES)))
        self.pack(root, os.path.join(self.share, "images", "boot.cpio"))

    def head(self):
        """A guest that can be the head of deploy/examples/cluster, whose scripts it has as they are."""
        root = self.fresh("b-head")
        self.busybox(root)
        self.copy_modules(root, HEAD_MODULES)
        for b in HEAD_PROGRAMS:
            self.copy_binary(root, b)
        shutil.copytree(CLUSTER, root + "/cluster")
        self.guest_files(root)
        self.pack(root, os.path.join(self.share, "images", "head.cpio"))

    def guest_files(self, root):
        shutil.copy(os.path.join(ROOT, "deploy/guest/violin-report"), root + "/bin/violin-report")
        for program in ("talk", "blocks"):
            shutil.copy(self.path(program), root + "/bin/" + program)
        self.script(root, "init", DOMU_INIT)

    def dom0(self):
        root = self.fresh("b-dom0")
        for d in ("run/xen", "run/xenstored", "run/lock", "var/log/xen/console", "var/lib", "usr/lib", "etc/violin",
                  "usr/bin", "usr/sbin", "sbin", "boot"):
            os.makedirs(os.path.join(root, d), exist_ok=True)
        os.symlink("../run", root + "/var/run")
        os.symlink("../run/lock", root + "/var/lock")
        self.copy_binary(root, "/bin/bash")
        os.symlink("bash", root + "/bin/sh")
        self.busybox(root)
        os.unlink(root + "/bin/ip")
        for b in ("/usr/sbin/ip", "/usr/sbin/bridge", "/usr/sbin/tc", "/usr/bin/ss"):
            self.copy_binary(root, os.path.realpath(b), b)
        os.symlink("../usr/sbin/ip", root + "/bin/ip")
        self.copy_binary(root, self.pkgs + "/usr/bin/socat", "/usr/bin/socat")
        self.copy_binary(root, self.pkgs + "/bin/kmod", "/bin/kmod")
        for b in ("xl", "libxl-save-helper", "xenstored", "xenconsoled", "xen-init-dom0"):
            self.copy_binary(root, f"{self.pkgs}/usr/lib/xen-{XV}/bin/{b}", f"/usr/lib/xen-{XV}/bin/{b}")
        for b in ("xenstore", "xenstore-list", "xenstore-read", "xenstore-write", "xenstore-ls", "xenstore-rm"):
            src = f"{self.pkgs}/usr/bin/{b}"
            if os.path.islink(src):
                os.symlink(os.readlink(src), root + f"/usr/bin/{b}")
            elif os.path.exists(src):
                self.copy_binary(root, src, f"/usr/bin/{b}")
        shutil.copytree(self.pkgs + "/usr/lib/xen-common/bin", root + "/usr/lib/xen-common/bin", symlinks=True)
        shutil.copy(self.pkgs + "/usr/sbin/xl", root + "/usr/sbin/xl", follow_symlinks=False)
        shutil.copytree(self.pkgs + "/etc/xen", root + "/etc/xen", symlinks=True)
        for source, to in BLOCK_PROGRAMS.items():
            self.copy_binary(root, self.pkgs + source, to)
        self.copy_binary(root, self.program, "/usr/sbin/violin")
        shutil.copy(self.path("talk"), root + "/usr/bin/talk")
        # libgcc_s: xl's pthread_cancel loads it by name
        for lib in ("libgcc_s.so.1",):
            found = re.search(rf"{re.escape(lib)} .*=> (\S+)", sh("ldconfig", "-p"))
            os.makedirs(root + "/usr/lib/x86_64-linux-gnu", exist_ok=True)
            shutil.copy(found.group(1), root + f"/usr/lib/x86_64-linux-gnu/{lib}")
        self.copy_modules(root, DOM0_MODULES)
        with open(root + "/etc/passwd", "w") as f:
            f.write("root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\nviolin:x:990:990::/:/bin/false\n")
        with open(root + "/etc/group", "w") as f:
            f.write("root:x:0:\nnogroup:x:65534:\nviolin:x:990:\n")
        with open(root + "/etc/nsswitch.conf", "w") as f:
            f.write("passwd: files\ngroup: files\nhosts: files\n")
        self.script(root, "init", DOM0_INIT.replace("@XV@", XV))
        self.pack(root, self.path("dom0.cpio"))

    @contextlib.contextmanager
    def locked(self):
        """Labs of two programs may begin at once."""
        with open(self.path("lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def build(self):
        with self.locked():
            self.build_alone()

    def build_alone(self):
        self.download()
        os.makedirs(os.path.join(self.share, "images"), exist_ok=True)
        stamp = self.path("stamp")
        cluster = [os.path.join(CLUSTER, f) for f in os.listdir(CLUSTER)]
        sources = [os.path.abspath(__file__), TALK, BLOCKS, self.program, os.path.join(ROOT, "deploy/guest/violin-report")] + cluster
        program = os.path.abspath(self.program)
        if (os.path.exists(stamp) and open(stamp).read() == program and
                all(os.path.getmtime(s) < os.path.getmtime(stamp) for s in sources)):
            return
        for source, name in ((TALK, "talk"), (BLOCKS, "blocks")):
            sh("gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-static", "-s", "-o", self.path(name), source)
        self.guest()
        self.boot()
        self.head()
        self.dom0()
        kernel = os.path.join(self.share, "images", "vmlinuz")
        shutil.copy(os.path.join(self.pkgs, f"boot/vmlinuz-{self.kv}"), kernel + ".new")
        os.replace(kernel + ".new", kernel)
        with open(stamp, "w") as f:
            f.write(program)


if __name__ == "__main__":
    Images(os.path.abspath(sys.argv[1])).build()
