# Makes a root of Debian's essential packages and systemd in a directory, of what is installed
# on this machine: no package that a test would notice is there, and dpkg knows all of them.
set -eu
root="$1"
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/dev" "$root/proc" "$root/run" "$root/var/lib/dpkg/info" "$root/etc"
mkdir -m 1777 "$root/tmp"
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
packages="$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances systemd procps passwd $(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p') | grep '^[a-z0-9]' | sort -u)"
packages="$(dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' $packages 2>/dev/null | sed -n 's/^ii  //p')"
dpkg-query -L $packages | grep '^/.' | grep -v '^/\.$' | sort -u | while read -r file; do [ ! -e "$file" ] && [ ! -L "$file" ] || echo "$file"; done |
  tar --no-recursion -P -T - -cf - | tar -x -C "$root" --keep-directory-symlink
cp /usr/share/base-passwd/passwd.master "$root/etc/passwd"
cp /usr/share/base-passwd/group.master "$root/etc/group"
dpkg-query -s $packages >"$root/var/lib/dpkg/status"
for package in $packages; do cp /var/lib/dpkg/info/"$package".* "$root/var/lib/dpkg/info/"; done
